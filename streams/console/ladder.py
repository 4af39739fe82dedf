"""An offer drawn over the score and the users who have it: how much it gives whom, and what that could cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


class Bucket(NamedTuple):
    """Users whose score is in [low, high)."""

    low: float
    high: float
    users: int


class LadderRow(NamedTuple):
    """One step with the users whom it is for."""

    step: LadderStep
    users: float
    """About so many: of a bucket that is cut, the part that is inside."""
    cost: float | None
    """Money if all of them use it; None where a percentage has no order to be taken of."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """An offer over the users of a prediction's audience."""

    ladder: Ladder
    bars: list[charts.Bar]
    rows: list[LadderRow]

    @property
    def users(self) -> float:
        """Whom it is for in all."""
        return sum(row.users for row in self.rows)

    @property
    def cost(self) -> float | None:
        """Money if all of them use it; None where that is not known."""
        costs = [row.cost for row in self.rows if row.cost is not None]
        return sum(costs) if len(costs) == len(self.rows) else None


def drawing_of(
    offer: Offer, buckets: Sequence[Bucket], scope: tuple[float, float] = (0.0, 100.0), *, is_churn: bool
) -> Drawing:
    """An offer over the users of an audience, of whom those with scores in `scope` may get it."""
    ladder = ladder_of(offer, is_churn=is_churn)
    bars = charts.bars([each.users for each in buckets], charts.top_of([each.users for each in buckets]))
    rows = []
    for step in ladder.steps:
        low, high = max(step.low, scope[0]), min(step.high, scope[1])
        users = sum(_users_within(each, low, high) for each in buckets)
        is_known = offer.unit == "amount" or offer.order_value is not None or step.value == 0.0
        rows.append(LadderRow(step, users, users * offer.cost(step.value) if is_known else None))
    return Drawing(ladder, bars, rows)


def _users_within(bucket: Bucket, low: float, high: float) -> float:
    inside = min(high, bucket.high) - max(low, bucket.low)
    return bucket.users * max(inside, 0.0) / (bucket.high - bucket.low)


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
