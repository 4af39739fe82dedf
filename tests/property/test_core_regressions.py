"""Faults that were found in the core, each with the smallest input that showed it."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest

from config.catalog import Catalog
from config.loader import loads
from models.scales import bin_of
from models.snapshot import Status
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.users import user_key
from tests.property.engine import Driver

T0, DAY_S = 1_704_240_000.0, 86_400.0


def catalog(model: str = "logistic") -> Catalog:
    return loads(
        "{version: 1, name: small, features: {events: [Order, View]}, "
        f"predictions: {{orders: {{name: Orders, goal: {{did: Order}}, window: 1d, model: {model}}}}}}}"
    )


def event(user: str, time_s: float, message: int, name: str = "Order") -> Event:
    return Event(user, name, time_s, nan, message, None, None, message, time_s)


def test_examples_keep_their_users_over_a_restart_when_a_users_first_event_was_a_duplicate() -> None:
    driver = Driver(catalog(), 100, store=True)
    driver.take([event("a", T0, 1), event("b", T0 + 1, 1), event("c", T0 + 2, 2, "View")])
    driver.restart()
    driver.take([event("c", T0 + 60, 3), event("a", T0 + 3 * DAY_S, 4)])
    handed = {(int(u), int(y)) for chunk in driver.outcome.chunks for u, y in zip(chunk.user, chunk.y, strict=True)}
    assert (user_key("c"), 1) in handed
    assert {user for user, _ in handed} <= {user_key("a"), user_key("c")}


@pytest.mark.parametrize("value", ["1e39", "-1e300", "1e13"])
def test_money_that_no_32_bit_float_can_sum_is_a_dead_letter(value: str) -> None:
    text = (
        "{version: 1, name: small, features: {value: price}, "
        "predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}}"
    )
    raw = (
        '{"type":"track","userId":"u","event":"Order","timestamp":"2024-01-01T00:00:00Z","properties":{"price":'
        + value
        + "}}"
    )
    decoded = build_decoder(loads(text)).decode(raw.encode(), 0, None, 7)
    assert isinstance(decoded, BadEvent)
    assert decoded.reason is DeadReason.BAD_VALUE


def test_every_number_has_a_bin() -> None:
    assert [int(bin_of(z)) for z in (nan, -np.inf, np.inf, 0.0)] == [0, 0, 1023, 512]


def test_a_linear_river_model_is_served_from_its_weights() -> None:
    driver = Driver(catalog("{river: river.linear_model.LogisticRegression}"), 5)
    numbers = iter(range(1, 10_000))
    for day in range(12):
        at = T0 + day * DAY_S
        driver.engine.take([event(f"u{n}", at + n, next(numbers), "Order" if n % 2 else "View") for n in range(20)])
    shard = driver.engine.shard
    assert shard.snapshot.predictions[0].status is Status.LIVE
    likelihoods = np.concatenate([chunk.likelihood for chunk in driver.outcome.chunks])
    low, high = np.unique(likelihoods[-20:])  # users who order, and users who only look; 0.5 was said of all
    assert low < 0.1
    assert high > 0.9
