"""Faults that were found in the core, each with the smallest input that showed it."""

from __future__ import annotations

import json
from math import nan
from unittest.mock import patch

import numpy as np
import pytest

from config.catalog import Catalog
from config.loader import loads
from models.scales import bin_of
from models.snapshot import Status
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.ledger import cluster_id
from streams.core.shard import Shard, Stop
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
    assert (cluster_id(b"", "c"), 1) in handed
    assert {user for user, _ in handed} <= {cluster_id(b"", "a"), cluster_id(b"", "c")}


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


def drained_within_capacity(shard: Shard, n: int) -> None:
    assert n <= len(shard.out.whole)
    WRITE_TRANSITIONS(shard, n)


WRITE_TRANSITIONS = Shard._write_transitions


def test_looks_that_fill_the_buffer_leave_room_for_the_event_behind_them() -> None:
    """19 filter segments and 189 users in one minute end exactly where no row is left; numba would write beyond it."""
    everybody = "{all: [{prediction: orders, category: [low, medium, high]}, {not: {event: Order, count: {min: 1}}}]}"
    segments = ", ".join(f"s{k}: {{name: S{k}, filter: {everybody}}}" for k in range(19))
    tight = loads(
        "{version: 1, name: small, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h, "
        "scale: probability, hysteresis: 0, categories: {medium: 1, high: 99}}}, "
        f"segments: {{{segments}}}, limits: {{backfill_users_per_minute: 189}}}}"
    )
    driver = Driver(tight, 1)
    views = [event(f"u{n}", T0 + n / 10, n + 1, "View") for n in range(190)]
    with patch.object(Shard, "_write_transitions", drained_within_capacity):
        driver.take([*views, event("u189", T0 + 7_230, 999)])
    assert len(driver.outcome.transitions) > len(driver.engine.shard.out.whole)


def test_a_score_says_no_likelihood_before_the_users_turn_has_come() -> None:
    """Whatever was touched in the commit in which the prediction goes live."""
    slow = loads(
        "{version: 1, name: small, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h}}, "
        "limits: {backfill_users_per_minute: 1}}"
    )
    items = [event(f"u{n}", T0 + n, n + 1) for n in range(10)] + [event("u0", T0 + 7_300 + n, 50 + n) for n in range(2)]
    whole, cut = Driver(slow, 1, store=True), Driver(slow, 1, store=True)
    whole.take(items)
    for item in items:
        cut.take([item])
    assert whole.stored().scores == cut.stored().scores
    said = {user: json.loads(data)["likelihood"] for user, data in whole.stored().scores["orders"].items()}
    assert said["u0"] is not None
    assert said["u9"] is None


def test_what_is_too_large_to_remember_counts_however_the_input_is_cut() -> None:
    keeps = loads(
        "{version: 1, name: small, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}, "
        "remember: {Cart: {properties: [items], cleared_by: [Order]}}, limits: {remember_bytes: 64}}"
    )
    cart = Event("a", "Cart", T0, nan, 1, None, {"items": "x" * 100}, 0, T0)
    order = Event("a", "Order", T0 + 5, nan, 2, None, None, 1, T0 + 5)
    whole, cut = Driver(keeps, 100), Driver(keeps, 100)
    whole.take([cart, order])
    for item in (cart, order):
        cut.take([item])
    assert whole.engine.shard.counters() == cut.engine.shard.counters()
    assert whole.engine.shard.remembered.too_large == 1


def test_older_news_neither_replaces_nor_clears_what_is_remembered() -> None:
    keeps = loads(
        "{version: 1, name: small, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}, "
        "remember: {Cart: {properties: [items], cleared_by: [Order]}}}"
    )

    def cart(at_s: float, items: str, message: int) -> Event:
        return Event("a", "Cart", T0 + at_s, nan, message, None, {"items": items}, message, T0 + at_s)

    def order(at_s: float, message: int) -> Event:
        return Event("a", "Order", T0 + at_s, nan, message, None, None, message, T0 + at_s)

    driver = Driver(keeps, 100, store=True)
    remembered = []
    for item in (cart(100, "new", 1), cart(50, "old", 2), order(60, 3), order(200, 4), cart(150, "late", 5)):
        driver.take([item])
        driver.restart()
        remembered.append(driver.engine.shard.remembered.of("a").get("Cart"))
    new = {"items": "new"}
    assert remembered == [new, new, new, None, None]


def test_chunks_name_their_shard() -> None:
    shard = Shard(catalog(), shard=3)
    shard.feed([event("a", T0, 1), event("a", T0 + 3 * DAY_S, 2)])
    chunks = []
    while shard.run() is Stop.HOUR:
        chunks += shard.matured()
    assert {chunk.shard for chunk in chunks} == {3}


def test_every_value_that_filters_name_is_told_apart_from_values_that_none_does() -> None:
    text = (
        "{version: 1, name: small, features: {events: [Order]}, "
        "predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}, segments: {%s}}"
    )
    lists = [[f"{name}{n}" for n in range(256)] for name in "ab"]
    segments = ", ".join(
        f"in_{n}: {{name: In {n}, filter: {{trait: city, in: [{', '.join(values)}]}}}}"
        for n, values in enumerate(lists)
    )
    driver = Driver(loads(text % segments), 100)
    users = {"first": "a0", "last": "b255", "stranger": "elsewhere"}
    driver.take(
        [
            Event(user, None, T0 + n, nan, n + 1, {"city": city}, None, n, T0 + n)
            for n, (user, city) in enumerate(users.items())
        ]
    )
    entered = {(t["data"]["user_id"], t["data"]["segment_id"]) for t in driver.outcome.decoded()}
    assert entered == {("first", "in_0"), ("last", "in_1")}


def test_users_outside_of_an_audience_are_in_no_segment_that_uses_it() -> None:
    text = (
        "{version: 1, name: small, features: {events: [Order]}, predictions: "
        "{orders: {name: Orders, goal: {did: Order}, window: 1h, audience: {event: Order, since: {max: 2d}}}}, "
        "segments: {calm: {name: Calm, filter: {not: {prediction: orders, category: high}}}}}"
    )
    driver = Driver(loads(text), 1)
    driver.take([event(f"u{n}", T0 + 60 * n, n + 1) for n in range(20)])
    driver.engine.take((), T0 + 10 * DAY_S)
    driver.take([event("new", T0 + 10 * DAY_S + 60, 99, "View")])
    told = [t["data"] for t in driver.outcome.decoded() if t["data"]["segment_id"] == "calm"]
    assert any(one["in_segment"] for one in told)
    assert {one["user_id"] for one in told if not one["in_segment"]} == {
        one["user_id"] for one in told if one["in_segment"]
    }
    assert "new" not in {one["user_id"] for one in told}
