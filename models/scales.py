"""From a rank value to a score and a category: the distribution F, percentiles, hysteresis (docs/core.md)."""

from __future__ import annotations

import math

import numpy as np

from models.jit import F64, I64, jit
from models.snapshot import BINS, Z_MAX, Z_MIN

NONE = 255  # the category of who has none


@jit
def bin_of(z: float) -> int:
    """The bin of F that holds rank value `z`; the first and last also hold what lies outside."""
    place = (z - Z_MIN) / (Z_MAX - Z_MIN) * BINS
    if not place >= 0.0:
        return 0
    if place >= BINS:
        return BINS - 1
    return int(place)


@jit
def likelihood_of(z: float) -> float:
    """1 / (1 + e^-z)."""
    return 1.0 / (1.0 + math.exp(-z))


def percentile_table(counts: I64) -> F64:
    """Score of each bin, mid-rank for ties: 100 (below + same / 2) / n, and 50 where n is 0.

    `counts` int64 [predictions, BINS]; returns float64 of the same shape.
    """
    total = counts.sum(axis=1, keepdims=True)
    below = np.cumsum(counts, axis=1) - counts
    with np.errstate(divide="ignore", invalid="ignore"):
        table = 100.0 * (below + counts * 0.5) / total
    return np.where(total > 0, table, 50.0)


@jit
def plain_category(score: float, edges: F64) -> int:
    """0 below the first edge, 1 below the second, else 2."""
    if score < edges[0]:
        return 0
    if score < edges[1]:
        return 1
    return 2


@jit
def next_category(current: int, score: float, edges: F64, hysteresis: float) -> int:
    """The category after `score`, leaving `current` only when it is past an edge by `hysteresis` points."""
    if current != NONE:
        low = -math.inf if current == 0 else edges[current - 1] - hysteresis
        high = math.inf if current == 2 else edges[current] + hysteresis
        if low <= score < high:
            return current
    return plain_category(score, edges)
