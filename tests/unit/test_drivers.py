"""What raises and lowers a likelihood: the effect of a standard deviation, in words and for machines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.snapshot import PredictionSnapshot, Status
from streams.runtime.drivers import drivers, likelihood_at_means

NAMES = ["total:Order", "recency", "since:Order", "trait:plan=free", "age"]


def test_the_strongest_effect_of_a_standard_deviation_comes_first() -> None:
    weights, variances = np.array([0.5, -3.0, 0.1, 0.0, -0.2]), np.array([4.0, 0.01, 0.0, 9.0, 1.0])
    found = drivers(weights, variances, NAMES, 10)
    assert [(each.feature, each.direction) for each in found] == [
        ("total:Order", "raises"),
        ("recency", "lowers"),
        ("age", "lowers"),
    ]
    assert [each.effect for each in found] == pytest.approx([1.0, -0.3, -0.2])
    assert [each.words for each in found] == [
        "Order in total: many",
        "time since the last event: long",
        "time since the first event: long",
    ]
    assert [each.feature for each in drivers(weights, variances, NAMES, 1)] == ["total:Order"]


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        drivers(np.zeros(2), np.zeros(3), NAMES, 5)


def test_the_likelihood_that_effects_are_added_to() -> None:
    weights, means = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    usual = PredictionSnapshot(Status.LIVE, weights, -1.0, means, 10, 3)
    assert likelihood_at_means(usual) == pytest.approx(1 / (1 + math.e))
    flat = PredictionSnapshot(Status.LIVE, weights, -1e6, means, 10, 3)
    assert 0 < likelihood_at_means(flat) < 1e-12
