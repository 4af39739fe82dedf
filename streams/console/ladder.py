"""An offer drawn over the score: how much it gives whom. Pure: from an offer to coordinates (`charts`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from config.offers import FixedOffer, LadderOffer, LinearOffer, Offer
from streams.console import charts


class LadderStep(NamedTuple):
    """Scores [low, high), and what they get."""

    low: float
    high: float
    value: float


class Ladder(NamedTuple):
    """All of it."""

    steps: list[LadderStep]
    line: str
    """A path over the scores from 0 to 100."""
    area: str
    """The same, closed at the bottom."""
    top: float
    is_percent: bool
    prediction: str | None
    """Whose score it is; None where everybody gets the same."""


def ladder_of(offer: Offer, *, is_churn: bool) -> Ladder:
    """Of any offer; a sliding one of a churn prediction gives most at 100."""
    steps = _steps(offer, is_churn=is_churn)
    top = charts.top_of([step.value for step in steps])
    parts = []
    for step in steps:
        y = charts.height_of(step.value, top)
        parts += [f"{10.0 * step.low:g} {y:g}", f"{10.0 * step.high:g} {y:g}"]
    line = "M" + "L".join(parts)
    prediction = None if isinstance(offer, FixedOffer) else offer.prediction
    return Ladder(steps, line, f"{line}L1000 1000L0 1000Z", top, offer.unit == "percent", prediction)


def _steps(offer: Offer, *, is_churn: bool) -> list[LadderStep]:
    if isinstance(offer, FixedOffer):
        return [LadderStep(0.0, 100.0, offer.value)]
    if isinstance(offer, LadderOffer):
        edges = [0.0, *offer.edges, 100.0]
        return [LadderStep(edges[n], edges[n + 1], value) for n, value in enumerate(offer.values)]
    return list(_sliding(offer, is_churn=is_churn))


def _sliding(offer: LinearOffer, *, is_churn: bool) -> Iterator[LadderStep]:
    """From the lowest scores to the highest; a value holds up to half-way to the next (`streams.campaigns.offers`)."""
    last = offer.rungs - 1
    values = list(offer.values_offered)
    for n, value in enumerate(values if is_churn else reversed(values)):
        low, high = ((n - 0.5) / last, (n + 0.5) / last) if last else (0.0, 1.0)
        yield LadderStep(100.0 * max(low, 0.0), 100.0 * min(high, 1.0), value)
