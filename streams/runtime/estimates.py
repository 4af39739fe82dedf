"""How many users a selection has, and how many of them will do it: for segments before they are made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from config.catalog import (
    AllFilter,
    Catalog,
    CategoryFilter,
    Filter,
    Range,
    ScoreFilter,
    Segment,
)
from config.checks import check
from models.snapshot import Status
from streams.runtime.everybody import ShardState, UserPage
from streams.runtime.score_table import ScoreTable, Sums
from streams.runtime.selecting import Selector, predictions_used
from streams.runtime.stored import StoredState, models_of

_NAME = "estimated"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A selection as of now, seen from one prediction."""

    users: int
    """All who are selected: so many members a segment with this filter would have."""
    audience: Sums
    """The whole audience of the prediction, without those who wait."""
    inside: Sums
    """The selected ones who are in it."""
    waiting: int
    """Users of the audience whose turn since the prediction went live is still to come; not counted."""


def of_range(table: ScoreTable, low: float, high: float, category: str | None) -> Estimate:
    """Of a range of scores [low, high), closed at 100, or a category of it."""
    inside = table.sums(table.within(low, high, category))
    return Estimate(inside.users, table.sums(table.within(0.0, 100.0)), inside, table.waiting)


def of_filter(pages: Iterable[UserPage], states: Iterable[ShardState], tree: Filter, p: int) -> Estimate:
    """Of any filter, seen from prediction number `p`. Raises NotKept."""
    selectors = {id(state): Selector.of(state, tree) for _, state in states}
    users = waiting = 0
    audience, inside = Sums(0, 0, 0.0), Sums(0, 0, 0.0)
    for page in pages:
        chosen = selectors[id(page.state)].chosen(page.users, page.said)
        said = page.said.inside[:, p] & ~page.said.waiting[:, p]
        users += int(chosen.sum())
        waiting += int(page.said.waiting[:, p].sum())
        audience = _added(audience, page, said, p)
        inside = _added(inside, page, said & chosen, p)
    return Estimate(users, audience, inside, waiting)


def _added(sums: Sums, page: UserPage, chosen: npt.NDArray[np.bool_], p: int) -> Sums:
    likelihood = page.said.likelihood[chosen, p]
    known = ~np.isnan(likelihood)
    return Sums(
        sums.users + len(likelihood),
        sums.with_likelihood + int(known.sum()),
        sums.expected + float(likelihood[known].sum()),
    )


def range_filter(prediction: str, low: float, high: float, category: str | None) -> Filter:
    """The filter of a segment of a range of scores, a category, or both; low is below high."""
    parts: list[Filter] = []
    if category is not None:
        parts.append(CategoryFilter(prediction=prediction, category=(category,)))
    if category is None or (low, high) != (0.0, 100.0):
        parts.append(ScoreFilter(prediction=prediction, score=Range(min=low, max=high)))
    return parts[0] if len(parts) == 1 else AllFilter(all=tuple(parts))


def why_no_segment(states: list[StoredState], tree: Filter) -> list[str]:
    """What speaks against a segment with this filter: that it could not be made, or would be empty."""
    state = states[0]
    catalog: Catalog = state.catalog
    segment = Segment(name=_NAME, filter=tree)
    findings = check(catalog.model_copy(update={"segments": {**catalog.segments, _NAME: segment}}))
    reasons = [f"{found}; expected {wanted}" for here, found, wanted in findings if here[:2] == ("segments", _NAME)]
    for name in predictions_used(state, tree):
        latest = max((model for model, _ in models_of(states, name)), key=lambda model: model.version, default=None)
        if catalog.predictions[name].access == "live" and (latest is None or latest.status == Status.WARMING):
            reasons.append(f"{name} warms up: the segment would be empty until it is live")
    return reasons
