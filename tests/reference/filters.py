"""Filters: a walk over the dictionaries of the catalog, with everything counted from the user's whole history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from streams.core.events import Event, Scalar
from tests.reference.conditions import holds, plain
from tests.reference.definitions import CATEGORIES
from tests.reference.margins import Margins

HOUR_S = 3_600.0
DAY_S = 86_400.0
HOURLY_UP_TO_S = 48 * HOUR_S


def bucket_s(window_s: float) -> float:
    """The size of the buckets that a window is counted in: hours up to 48 h, days above."""
    return HOUR_S if window_s <= HOURLY_UP_TO_S else DAY_S


def count_within(times_s: Iterable[float], window_s: float, at_s: float) -> int:
    """How many of the times are in the last whole buckets of the window, the one of `at_s` included."""
    size = bucket_s(window_s)
    current = math.floor(at_s / size)
    first = current - round(window_s / size) + 1
    return sum(first <= math.floor(time_s / size) <= current for time_s in times_s)


@dataclass(slots=True)
class Answer:
    """What is said about one user for one prediction; everything None outside the audience, likelihood until live."""

    audience: bool = False
    z: float | None = None
    likelihood: float | None = None
    score: float | None = None
    category: int | None = None


@dataclass(slots=True)
class Facts:
    """What a filter can ask about a user at a moment.

    `widen` gives, for predictions whose score ranges are moved now, by how many points: out, below a `not` in, so that
    what holds now is left late.
    """

    history: list[Event]
    traits: Mapping[str, Scalar]
    at_s: float
    answers: Mapping[str, Answer] = field(default_factory=dict)
    members: Mapping[str, bool] = field(default_factory=dict)
    widen: Mapping[str, float] = field(default_factory=dict)
    margins: Margins = field(default_factory=Margins)


def evaluate(filter_: dict[str, Any], facts: Facts, *, nots: int = 0) -> bool:
    """Whether the filter holds, below so many `not`."""
    if "all" in filter_:
        return all(evaluate(inner, facts, nots=nots) for inner in filter_["all"])
    if "any" in filter_:
        return any(evaluate(inner, facts, nots=nots) for inner in filter_["any"])
    if "not" in filter_:
        return not evaluate(filter_["not"], facts, nots=nots + 1)
    if "prediction" in filter_:
        return _predicted(filter_, facts, (-1.0) ** nots)
    return _leaf(filter_, facts)


def brute_filter(
    filter_: BaseModel | dict[str, Any],
    history: list[Event],
    at_s: float,
    traits: dict[str, Scalar] | None = None,
) -> bool:
    """A filter of traits and events, from the entire history of one user up to `at_s` and nothing else.

    Without `traits`, the latest value of each that arrived counts. `history` is in the order of arrival; its times are
    those after the clock's correction.
    """
    known = [event for event in history if event.time_s <= at_s]
    if traits is None:
        traits = {}
        for event in known:
            traits.update(event.traits or {})
    return evaluate(plain(filter_), Facts(known, traits, at_s))


def _leaf(filter_: dict[str, Any], facts: Facts) -> bool:
    if "trait" in filter_:
        return holds(filter_, facts.traits.get(filter_["trait"]))
    if "segment" in filter_:
        return facts.members[filter_["segment"]]
    times_s = [event.time_s for event in facts.history if event.name == filter_["event"]]
    if "since" in filter_:
        return _since(filter_["since"], times_s, facts.at_s)
    window_s = filter_.get("within")
    count = len(times_s) if window_s is None else count_within(times_s, window_s, facts.at_s)
    return holds(filter_["count"], count)


def _since(bounds: dict[str, float], times_s: list[float], at_s: float) -> bool:
    if not times_s:
        return False
    since_s = at_s - max(math.floor(time_s) for time_s in times_s)
    return bounds.get("min", 0.0) <= since_s < bounds.get("max", math.inf)


def _predicted(filter_: dict[str, Any], facts: Facts, way: float) -> bool:
    answer = facts.answers[filter_["prediction"]]
    if "score" in filter_:
        widen = way * facts.widen.get(filter_["prediction"], 0.0)
        return _range(filter_["score"], answer.score, 100.0, widen, facts.margins)
    if "likelihood" in filter_:
        return _range(filter_["likelihood"], answer.likelihood, 1.0, 0.0, facts.margins)
    return answer.category is not None and CATEGORIES[answer.category] in filter_["category"]


def _range(bounds: dict[str, Any], value: float | None, top: float, widen: float, margins: Margins) -> bool:
    if value is None:
        return False
    low, high = bounds.get("min", 0.0), bounds.get("max", top)
    low = low - widen if low > 0.0 else -math.inf
    high = high + widen if high < top else math.inf
    margins.note("range min", value, low)
    margins.note("range max", value, high)
    return low <= value < high
