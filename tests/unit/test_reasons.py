"""Reasons and their words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.layout import feature_names
from models.reasons import Reason, describe, reasons

NAMES = ("count:Order Completed:7d", "since:Order Completed", "sessions", "age", "gap:mean", "recency", "value:last")


def test_the_strongest_contributions_come_first_with_direction_and_strength() -> None:
    weights = np.array([0.5, -1.0, 2.0, 0.0, 0.1, -0.3, 0.2])
    means = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    x = np.array([3.0, 4.0, 1.0, 9.0, 2.0, 0.0, 1.5], np.float32)
    found = reasons(weights, means, x, NAMES)
    assert [(r.feature, round(r.contribution, 6), r.level, r.direction) for r in found] == [
        ("since:Order Completed", -3.0, "high", "lowers"),
        ("count:Order Completed:7d", 1.0, "high", "raises"),
        ("recency", 0.3, "low", "raises"),
        ("gap:mean", 0.1, "high", "raises"),
        ("value:last", 0.1, "high", "raises"),
    ]
    assert [r.strength for r in found] == sorted((r.strength for r in found), reverse=True)
    assert len(reasons(weights, means, x, NAMES, top=2)) == 2


def test_what_adds_nothing_is_no_reason() -> None:
    zero = np.zeros(7)
    assert reasons(zero, zero, np.ones(7, np.float32), NAMES) == ()
    assert reasons(np.ones(7), np.ones(7), np.ones(7, np.float32), NAMES) == ()


numbers = st.floats(-100, 100, allow_nan=False, width=32)


@settings(max_examples=60, deadline=None)
@given(*(hnp.arrays(np.float64, 7, elements=numbers) for _ in range(3)))
def test_all_contributions_together_are_the_difference_of_the_logits(weights, means, x):  # type: ignore[no-untyped-def]
    found = reasons(weights, means, x.astype(np.float32), NAMES, top=7)
    assert sum(r.contribution for r in found) == pytest.approx(float(weights @ x - weights @ means), abs=1e-6)


def test_equal_contributions_keep_the_order_of_the_columns() -> None:
    found = reasons(np.ones(7), np.zeros(7), np.array([1, -1, 1, 1, 1, -1, 1], np.float32), NAMES)
    assert [r.feature for r in found] == list(NAMES[:5])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        reasons(np.zeros(7), np.zeros(7), np.zeros(6, np.float32), NAMES)


@pytest.mark.parametrize(
    ("feature", "high", "low"),
    [
        (
            "count:Order Completed:30d",
            "Order Completed in about the last 30 days: many",
            "Order Completed in about the last 30 days: few",
        ),
        ("count:a:b:1d", "a:b in about the last day: many", "a:b in about the last day: few"),
        ("count:*:7d", "other event in about the last 7 days: many", "other event in about the last 7 days: few"),
        ("count:X:0.5d", "X in about the last 0.5 days: many", "X in about the last 0.5 days: few"),
        ("count:X:odd", "X in about the last odd: many", "X in about the last odd: few"),
        ("total:Product Viewed", "Product Viewed in total: many", "Product Viewed in total: few"),
        (
            "since:Cart: Viewed",
            "time since the last Cart: Viewed: long, or never",
            "time since the last Cart: Viewed: short",
        ),
        ("value:7d", "value in about the last 7 days: high", "value in about the last 7 days: low"),
        ("value:last", "latest value: high", "latest value: low"),
        ("value:mean", "mean value: high", "mean value: low"),
        ("sessions", "sessions: many", "sessions: few"),
        ("age", "time since the first event: long", "time since the first event: short"),
        ("gap:mean", "usual time between events: long", "usual time between events: short"),
        ("gap:last", "latest time between events: long", "latest time between events: short"),
        ("recency", "time since the last event: long", "time since the last event: short"),
        (
            "recency/gap",
            "silence compared with the usual time between events: long",
            "silence compared with the usual time between events: short",
        ),
        ("trait:country=France", "country is France", "country is not France"),
        ("trait:plan=a=b", "plan is a=b", "plan is not a=b"),
        ("trait:seats", "seats: high", "seats: low"),
        ("brand new", "brand new: high", "brand new: low"),
        ("total:", "total:: high", "total:: low"),
    ],
)
def test_features_in_words(feature: str, high: str, low: str) -> None:
    assert describe(feature, high=True) == high
    assert describe(feature, high=False) == low


def test_a_reason_reads_as_a_line_for_people() -> None:
    assert str(Reason("count:Order Completed:7d", 0.84, "high")) == (
        "Order Completed in about the last 7 days: many (+0.8)"
    )
    assert str(Reason("recency", -1.26, "high")) == "time since the last event: long (-1.3)"
    assert str(Reason("trait:country=France", 0.31, "low")) == "country is not France (+0.3)"


def test_every_feature_that_exists_has_words() -> None:
    names = feature_names(
        ["Order Completed", "*"], [1.0, 7.0, 30.0, 90.0], True, [("country", "France"), ("age", None)]
    )
    for name in names:
        assert describe(name, high=True) != f"{name}: high", name
