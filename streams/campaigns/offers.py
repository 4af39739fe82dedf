"""Which offer a user gets, and what it costs."""

from __future__ import annotations

from bisect import bisect_right
from math import ceil
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from config.offers import FixedOffer, LadderOffer, LinearOffer, Offer
from streams.campaigns.inputs import Facts
from streams.campaigns.state import Assignment, Given

Kind = Literal["event", "churn"]
CENTS: Final = 100
"""Budgets are counted in whole hundredths, so that sums are exact."""


def rung_of(offer: Offer, kind: Kind, score: float) -> int:
    """The place on the ladder: of steps from the lowest scores up, of a sliding scale from least up."""
    if isinstance(offer, LadderOffer):
        return bisect_right(offer.edges, score)
    if isinstance(offer, LinearOffer):
        share = score / 100.0 if kind == "churn" else 1.0 - score / 100.0
        return round(share * (offer.rungs - 1))
    return 0


def rungs_of(offer: Offer, kind: Kind, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[n] `rung_of` of many users; every score is a number."""
    if isinstance(offer, LadderOffer):
        return np.searchsorted(np.array(offer.edges), scores, side="right").astype(np.int64)
    if isinstance(offer, LinearOffer):
        share = scores / 100.0 if kind == "churn" else 1.0 - scores / 100.0
        return np.rint(share * (offer.rungs - 1)).astype(np.int64)
    return np.zeros(len(scores), np.int64)


def given(offer: Offer, kind: Kind, facts: Facts, assigned: Assignment | None, now_s: float) -> Given | None:
    """What a user is offered now; None if there is no score to decide by.

    Within `fixed_for` of an earlier offer of the same unit it is not better than that one: waiting does not pay. An
    offer that was held down does not begin that time anew.
    """
    rung = 0
    if not isinstance(offer, FixedOffer):
        score = facts.scores.get(offer.prediction)
        if score is None or score.score is None:
            return None
        rung = rung_of(offer, kind, score.score)
    value = offer.values_offered[rung]
    fixed = assigned.fixed.get(offer.unit) if assigned is not None else None
    is_held_down = fixed is not None and now_s - fixed.since_s < offer.fixed_for_s and fixed.value < value
    if fixed is not None and is_held_down:
        value = fixed.value
    return Given(value, offer.unit, rung, offer.cost(value), is_held_down)


def cents(amount: float) -> int:
    """Whole hundredths, never less than the amount but for what a float cannot tell."""
    return ceil(round(amount * CENTS, 6))
