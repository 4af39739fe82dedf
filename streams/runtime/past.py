"""What happened to moments like these: examples whose outcome is known, of the latest closed window.

Quality is kept per calendar week of the moments (Monday to Monday, UTC), so the past is whole weeks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from config.catalog import Prediction
from models.quality import BUCKETS, MONDAY_S, WEEK_S, Bucket, Quality, Selection, week_start_s
from models.snapshot import BINS, Z_MAX, Z_MIN
from streams.runtime.score_table import LIKELIHOOD_EDGES

_WIDTH: Final = 100.0 / BUCKETS


@dataclass(frozen=True, slots=True)
class Past:
    """Judged moments of some weeks."""

    from_s: float
    until_s: float
    """The weeks are [from_s, until_s), seconds since 1970 UTC."""
    selection: Selection

    @property
    def all(self) -> Bucket:
        """All of them together."""
        return joined(self.selection.categories())

    def of_scores(self, low: float, high: float) -> tuple[float, float, Bucket]:
        """Those that were served a score within the buckets of five points that [low, high) touches: (first score,
        end, what happened).
        """
        first = min(int(low / _WIDTH), BUCKETS - 1)
        end = max(first + 1, min(math.ceil(high / _WIDTH), BUCKETS))
        return first * _WIDTH, end * _WIDTH, joined(self.selection.score_buckets()[first:end])


def last_window(quality: Quality, prediction: Prediction, lateness_s: float, clock_s: float) -> Past | None:
    """The latest moments as many as one window holds whose own window had closed at the clock, in whole weeks.

    None where nothing that was served is judged in these weeks.
    """
    closed_s = clock_s - prediction.window_s - lateness_s
    if math.isnan(closed_s):
        return None
    first, last = _week(closed_s - prediction.window_s), _week(closed_s)
    selection = quality.select(first_week=first, last_week=last)
    return Past(week_start_s(first), week_start_s(last + 1), selection) if selection.n else None


def _week(time_s: float) -> int:
    return math.floor((time_s - MONDAY_S) / WEEK_S)


def joined(buckets: Sequence[Bucket]) -> Bucket:
    """Several buckets as one."""
    filled = [bucket for bucket in buckets if bucket.weight > 0.0]
    weight = sum(bucket.weight for bucket in filled)
    if not weight:
        return Bucket(0.0, None, None)
    likelihood = sum(bucket.weight * (bucket.mean_likelihood or 0.0) for bucket in filled)
    happened = sum(bucket.weight * (bucket.actual_rate or 0.0) for bucket in filled)
    return Bucket(weight, likelihood / weight, happened / weight)


def by_likelihood(selection: Selection) -> list[Bucket]:
    """Judged moments between LIKELIHOOD_EDGES; one lies where the middle of its bin (.023 of a logit wide) does."""
    ranking = selection.ranking  # a group per bin, falling
    weight, goals = ranking.total[::-1], ranking.positive[::-1]
    middle = Z_MIN + (np.arange(BINS) + 0.5) * (Z_MAX - Z_MIN) / BINS
    likelihood = 1.0 / (1.0 + np.exp(-middle))
    place = np.searchsorted(np.array(LIKELIHOOD_EDGES[1:-1]), likelihood, side="right")
    count = len(LIKELIHOOD_EDGES) - 1
    sums = [np.bincount(place, weights=w, minlength=count).tolist() for w in (weight, weight * likelihood, goals)]
    return [Bucket(w, p / w if w else None, y / w if w else None) for w, p, y in zip(*sums, strict=True)]
