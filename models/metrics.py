"""Exact figures of how good a likelihood is, on arrays of judged points.

All functions take `n` points: `y` (1 when the goal happened, else 0), a `score` or `likelihood` (higher means
likelier) and, if wanted, a `weight` per point (>= 0; 1 when left out). Equal scores are one group, and inside a
group the order is taken as random, so no figure depends on the order of the rows. A figure that has no meaning
for the points (no points, or only one class) is None. `models/quality.py` has the same figures from bins, for
streams; these need all points at once and have no bins.

Raises ValueError everywhere when shapes differ, `y` is not 0/1, a number is not finite or a weight is negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.jit import F64, I32, jit

__all__ = [
    "LIKELIHOOD_FLOOR",
    "Ranking",
    "auc_resamples",
    "average_precision",
    "band",
    "difference_error",
    "expected_over_observed",
    "lift_quality",
    "normalized_entropy",
    "rank",
    "roc_auc",
    "top_decile_lift",
]

LIKELIHOOD_FLOOR: Final = 1e-7
"""A likelihood nearer to 0 or 1 than this counts as this in a log loss, which would be infinite otherwise."""

BANDS: Final[tuple[tuple[float, str], ...]] = ((60.0, "excellent"), (40.0, "good"), (20.0, "fair"))
"""Lower edges of the bands of lift quality; what is below all of them is "poor"."""

_BLOCK: Final = 8
"""Resamples that are counted side by side: eight doubles are one cache line, and one gather serves all eight."""

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Points in falling order of their score, equal scores joined into `G` groups."""

    positive: F64
    """[G] weight of the points with y = 1 in each group."""
    total: F64
    """[G] weight of all points in each group."""

    def roc_auc(self) -> float | None:
        """Probability that a random positive has a higher score than a random negative, a tie being half."""
        negative = self.total - self.positive
        positives, negatives = float(self.positive.sum()), float(negative.sum())
        if positives <= 0.0 or negatives <= 0.0:
            return None
        above = np.cumsum(self.positive) - self.positive
        return float(np.sum(negative * (above + 0.5 * self.positive)) / (positives * negatives))

    def average_precision(self) -> float | None:
        """Sum over the groups of (recall gained in the group) * (precision down to its end)."""
        positives = float(self.positive.sum())
        if positives <= 0.0:
            return None
        seen = np.cumsum(self.total)
        precision = np.divide(np.cumsum(self.positive), seen, out=np.zeros_like(seen), where=seen > 0.0)
        return float(np.sum(self.positive * precision) / positives)

    def gain(self, share: float) -> float | None:
        """Part of all positives that lies in the best `share` (0 to 1) of the points.

        Groups are cut where the share ends, as if their points were in random order.
        """
        positives = float(self.positive.sum())
        if positives <= 0.0:
            return None
        shares = np.concatenate(([0.0], np.cumsum(self.total) / self.total.sum()))
        gains = np.concatenate(([0.0], np.cumsum(self.positive) / positives))
        return float(np.interp(share, shares, gains))

    def top_decile_lift(self) -> float | None:
        """Rate of positives in the best tenth over the rate of all points; 1 is random."""
        gain = self.gain(0.1)
        return None if gain is None else gain / 0.1

    def lift_quality(self) -> float | None:
        """Mean lift over all audience sizes, 100 for the perfect order, 0 for a random one, below 0 for worse.

        For an audience of the best share s, the gains curve G(s) says which part of the positives it holds; a random
        audience holds s. The figure is the area between G and s over that area for the perfect order (G. Piatetsky-
        Shapiro and S. Steingold, "Measuring lift quality in database marketing", SIGKDD Explorations 2(2), 2000).
        With ties taken as random it equals 100 (2 ROC AUC - 1).
        """
        positives, all_points = float(self.positive.sum()), float(self.total.sum())
        if positives <= 0.0 or positives >= all_points:
            return None
        ends = np.cumsum(self.positive) / positives
        starts = ends - self.positive / positives
        area = float(np.sum(0.5 * (starts + ends) * self.total / all_points)) - 0.5
        perfect = 0.5 * (1.0 - positives / all_points)
        return 100.0 * area / perfect


def rank(y: Numbers, score: Numbers, weight: Numbers | None = None) -> Ranking:
    """The ranking of `n` points by `score`; sorts once for all figures that only need the order."""
    weights = _weights(y, score, weight)
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    in_order = np.asarray(score, dtype=np.float64)[order]
    starts = np.flatnonzero(np.concatenate(([True], in_order[1:] != in_order[:-1]))) if len(in_order) else order
    sorted_weights = weights[order]
    if not len(order):
        return Ranking(sorted_weights, sorted_weights)
    positive = np.add.reduceat(sorted_weights * np.asarray(y, dtype=np.float64)[order], starts)
    return Ranking(positive, np.add.reduceat(sorted_weights, starts))


def roc_auc(y: Numbers, score: Numbers, weight: Numbers | None = None) -> float | None:
    """Area under the ROC curve, exact, a tie being half; None unless both classes are there."""
    return rank(y, score, weight).roc_auc()


def average_precision(y: Numbers, score: Numbers, weight: Numbers | None = None) -> float | None:
    """Average precision (area under precision over recall as a step function); None without positives."""
    return rank(y, score, weight).average_precision()


def top_decile_lift(y: Numbers, score: Numbers, weight: Numbers | None = None) -> float | None:
    """Rate of positives in the best tenth over the rate of all points; None without positives."""
    return rank(y, score, weight).top_decile_lift()


def lift_quality(y: Numbers, score: Numbers, weight: Numbers | None = None) -> float | None:
    """Lift quality up to 100 (see `Ranking.lift_quality`); None unless both classes are there."""
    return rank(y, score, weight).lift_quality()


def band(quality: float) -> str:
    """The word for a lift quality as it is shown, rounded: excellent from 60, good from 40, fair from 20, else poor."""
    for edge, word in BANDS:
        if round(quality) >= edge:
            return word
    return "poor"


def normalized_entropy(y: Numbers, likelihood: Numbers, weight: Numbers | None = None) -> float | None:
    """Mean log loss over the entropy of the rate of these points.

    Below 1 the likelihoods tell more than the rate alone would (X. He et al., "Practical lessons from predicting
    clicks on ads at Facebook", ADKDD 2014). None unless both classes are there.
    """
    weights = _weights(y, likelihood, weight)
    _check_likelihood(likelihood)
    total = float(weights.sum())
    positives = float(weights[np.asarray(y) == 1].sum())
    if positives <= 0.0 or positives >= total:
        return None
    p = np.clip(np.asarray(likelihood, dtype=np.float64), LIKELIHOOD_FLOOR, 1.0 - LIKELIHOOD_FLOOR)
    loss = -float(np.sum(weights * np.log(np.where(np.asarray(y) == 1, p, 1.0 - p)))) / total
    rate = positives / total
    return loss / -(rate * math.log(rate) + (1.0 - rate) * math.log1p(-rate))


def expected_over_observed(y: Numbers, likelihood: Numbers, weight: Numbers | None = None) -> float | None:
    """Sum of the likelihoods over the number of positives, 1 when right on average; None without positives."""
    weights = _weights(y, likelihood, weight)
    _check_likelihood(likelihood)
    positives = float(weights[np.asarray(y) == 1].sum())
    if positives <= 0.0:
        return None
    return float(np.sum(weights * np.asarray(likelihood, dtype=np.float64))) / positives


def auc_resamples(
    y: Numbers,
    scores: Sequence[Numbers],
    user: Numbers,
    weight: Numbers | None = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> F64:
    """ROC AUC of every score on the same bootstrap resamples of the users: float64[resamples, len(scores)].

    A resample draws as many users as there are, with replacement, and takes all points of a user as often as the
    user was drawn (points of one user are not independent). NaN where a resample holds one class only. The same
    `seed` and the same users give the same resamples.
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    if np.shape(user) != np.shape(y):
        raise ValueError(f"user must have the shape of y, {np.shape(y)}, not {np.shape(user)}")
    users, user_index = np.unique(user, return_inverse=True)
    prepared = [_prepare(y, score, _weights(y, score, weight), user_index) for score in scores]
    generator = np.random.default_rng(seed)
    result = np.empty((resamples, len(scores)))
    for first in range(0, resamples, _BLOCK):
        drawn = np.zeros((len(users), _BLOCK))
        size = min(_BLOCK, resamples - first)
        for column in range(size):
            picks = generator.integers(0, max(1, len(users)), len(users))
            drawn[:, column] = np.bincount(picks, minlength=len(users))
        for index, (sorted_user, signed_weight, last) in enumerate(prepared):
            result[first : first + size, index] = _auc_block(sorted_user, signed_weight, last, drawn)[:size]
    return result


def difference_error(first: F64, second: F64) -> float | None:
    """Standard error of `first - second`, two columns of `auc_resamples`; None with fewer than two usable resamples."""
    difference = first - second
    usable = difference[np.isfinite(difference)]
    return float(np.std(usable, ddof=1)) if len(usable) >= 2 else None


def _weights(y: Numbers, score: Numbers, weight: Numbers | None) -> F64:
    """The weights as doubles, after all checks on the three arrays."""
    if np.ndim(y) != 1 or np.shape(score) != np.shape(y):
        raise ValueError(f"y and score must be [n], not {np.shape(y)} and {np.shape(score)}")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("y must hold 0 and 1 only")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    if weight is None:
        return np.ones(len(y))
    weights = np.asarray(weight, dtype=np.float64)
    if weights.shape != np.shape(y) or not np.isfinite(weights).all() or (weights < 0.0).any():
        raise ValueError(f"weight must be finite, not negative and of shape {np.shape(y)}")
    return weights


def _check_likelihood(likelihood: Numbers) -> None:
    if len(likelihood) and not (np.min(likelihood) >= 0.0 and np.max(likelihood) <= 1.0):
        raise ValueError("a likelihood is not between 0 and 1")


def _prepare(
    y: Numbers, score: Numbers, weights: F64, user_index: npt.NDArray[np.intp]
) -> tuple[I32, F64, npt.NDArray[np.bool_]]:
    """Points in rising order of the score: user, weight (negative where y = 0), whether its group ends here."""
    order = np.argsort(score, kind="stable")
    in_order = score[order]
    last = np.concatenate((in_order[1:] != in_order[:-1], [True]))[: len(order)]
    signed = np.where(np.asarray(y)[order] == 1, weights[order], -weights[order])
    return user_index[order].astype(np.int32), signed, last


@jit
def _auc_block(user: I32, signed_weight: F64, last: npt.NDArray[np.bool_], drawn: F64) -> F64:
    """ROC AUC in each column of `drawn` [users, _BLOCK], how often each user counts; points in rising order.

    Weights of the open group wait in `group` until its end, because a positive beats only half of its ties.
    """
    below = np.zeros(_BLOCK)
    positives = np.zeros(_BLOCK)
    group_positive = np.zeros(_BLOCK)
    group_negative = np.zeros(_BLOCK)
    area = np.zeros(_BLOCK)
    for i in range(len(user)):
        row = user[i]
        positive = max(signed_weight[i], 0.0)
        negative = max(-signed_weight[i], 0.0)
        if last[i] and (i == 0 or last[i - 1]):
            # A group of one point, by far the most common: nothing waits.
            for b in range(_BLOCK):
                count = drawn[row, b]
                area[b] += positive * count * below[b]
                positives[b] += positive * count
                below[b] += negative * count
            continue
        for b in range(_BLOCK):
            count = drawn[row, b]
            group_positive[b] += positive * count
            group_negative[b] += negative * count
        if last[i]:
            for b in range(_BLOCK):
                area[b] += group_positive[b] * (below[b] + 0.5 * group_negative[b])
                below[b] += group_negative[b]
                positives[b] += group_positive[b]
                group_positive[b] = 0.0
                group_negative[b] = 0.0
    result = np.empty(_BLOCK)
    for b in range(_BLOCK):
        mass = positives[b] * below[b]
        result[b] = area[b] / mass if mass > 0.0 else np.nan
    return result
