"""Scores, likelihoods and categories of all users, beside each other: for charts and sliders over everybody.

Nine bytes a user and prediction. It is as of a pass over the store (`everybody`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.jit import F32, I64, U8
from models.scales import NONE
from streams.core.definitions import CATEGORIES
from streams.runtime.everybody import UserPage

LIKELIHOOD_EDGES = (
    *(0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 1.0),
)
"""Of 20 buckets: narrow where goals are rare, since most likelihoods are there."""
SCORE_BUCKETS = 20


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some users of an audience."""

    users: int
    with_likelihood: int
    """The others are of a prediction that warms up."""
    expected: float
    """Sum of the likelihoods."""

    @property
    def mean_likelihood(self) -> float | None:
        """None where nobody has one."""
        return self.expected / self.with_likelihood if self.with_likelihood else None


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One prediction over all users of its audience, [n] in no order."""

    score: F32
    likelihood: F32
    """NaN for none"""
    category: U8
    waiting: int
    """Users of the audience whose turn since the prediction went live is still to come; they are not in the arrays."""

    def sums(self, chosen: npt.NDArray[np.bool_]) -> Sums:
        """Of those that are chosen [n]."""
        likelihood = self.likelihood[chosen].astype(np.float64)
        known = ~np.isnan(likelihood)
        return Sums(int(chosen.sum()), int(known.sum()), float(likelihood[known].sum()))

    def within(self, low: float, high: float, category: str | None = None) -> npt.NDArray[np.bool_]:
        """[n] whose score is in [low, high), closed at 100, and who have the category if one is given."""
        score = self.score.astype(np.float64)  # as the core compares: a bound as 32 bits may be another
        chosen: npt.NDArray[np.bool_] = (score >= low) & ((score < high) | (high >= 100.0))
        if category is not None:
            chosen &= self.category == CATEGORIES.index(category)
        return chosen

    def by_score(self) -> list[Sums]:
        """20 buckets of five points, from 0 up; 100 is in the last."""
        place = np.floor(self.score.astype(np.float64) / (100.0 / SCORE_BUCKETS)).astype(np.int64)
        return self._grouped(np.minimum(place, SCORE_BUCKETS - 1), SCORE_BUCKETS)

    def by_category(self) -> list[Sums]:
        """low, medium, high; without those who have none."""
        return self._grouped(self.category.astype(np.int64), len(CATEGORIES))

    def by_likelihood(self) -> list[Sums]:
        """The buckets between LIKELIHOOD_EDGES; without those who have no likelihood."""
        place: I64 = np.searchsorted(np.array(LIKELIHOOD_EDGES[1:-1]), self.likelihood, side="right").astype(np.int64)
        place[np.isnan(self.likelihood)] = len(LIKELIHOOD_EDGES)
        return self._grouped(place, len(LIKELIHOOD_EDGES) - 1)

    def _grouped(self, place: I64, groups: int) -> list[Sums]:
        kept = place < groups
        place, likelihood = place[kept], self.likelihood[kept].astype(np.float64)
        known = ~np.isnan(likelihood)
        users = np.bincount(place, minlength=groups).tolist()
        known_users = np.bincount(place[known], minlength=groups).tolist()
        expected = np.bincount(place[known], weights=likelihood[known], minlength=groups).tolist()
        return [Sums(*each) for each in zip(users, known_users, expected, strict=True)]


def score_tables(pages: Iterable[UserPage], predictions: int) -> tuple[ScoreTable, ...]:
    """The tables of all predictions, from one pass over everybody."""
    parts: list[list[tuple[F32, F32, U8]]] = [[] for _ in range(predictions)]
    waiting = np.zeros(predictions, np.int64)
    for page in pages:
        said = page.said
        waiting += said.waiting.sum(axis=0)
        for p in range(predictions):
            inside = said.inside[:, p] & ~said.waiting[:, p]
            parts[p].append(
                (
                    said.score[inside, p].astype(np.float32),
                    said.likelihood[inside, p].astype(np.float32),
                    said.category[inside, p].astype(np.uint8),
                )
            )
    return tuple(_joined(part, int(waiting[p])) for p, part in enumerate(parts))


def _joined(parts: list[tuple[F32, F32, U8]], waiting: int) -> ScoreTable:
    nobody = np.zeros(0, np.float32), np.zeros(0, np.float32), np.full(0, NONE, np.uint8)
    score, likelihood, category = (np.concatenate(column) for column in zip(nobody, *parts, strict=True))
    return ScoreTable(score, likelihood, category, waiting)
