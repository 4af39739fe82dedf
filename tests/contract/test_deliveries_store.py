"""Webhooks in a real server: definitions, and steps that only the owner can make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.errors import Fenced, NotStored, StoreUnavailable
from streams.adapters.redis_deliveries import (
    ARCHIVED_KEPT,
    DEAD_KEPT,
    RECENT_KEPT,
    Endpoint,
    Progress,
    RedisDeliveries,
    Secrets,
    Sent,
    Step,
    dead_field,
)
from streams.adapters.redis_erase import erase_store
from tests.contract.worlds import IDENTITY, RedisWorld

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = Endpoint("wh_1", "https://hooks.example.org/x", "Mine ✓", 100.0, ("orders_7d.high",), "entered", ("live",))
LEASE_S = 30.0


@pytest.fixture
def store(redis_world: RedisWorld) -> Iterator[RedisDeliveries]:
    found = RedisDeliveries(redis_world.url, prefix=redis_world.prefix)
    yield found
    found.close()


@pytest.fixture
def owned(store: RedisDeliveries) -> RedisDeliveries:
    store.add(HOOK, Secrets(SECRET), Progress([5, 7]))
    assert store.claim("me", LEASE_S)
    return store


def test_endpoints_are_there_changed_and_archived(store: RedisDeliveries) -> None:
    assert (store.all(), store.version()) == ([], 0)
    store.add(HOOK, Secrets(SECRET), Progress([5, 7]))
    assert (store.all(), store.get("wh_1"), store.secrets("wh_1")) == ([HOOK], HOOK, Secrets(SECRET))
    assert store.progress("wh_1") == Progress([5, 7])
    assert store.version() == 1
    store.change_secrets("wh_1", lambda _: Secrets("whsec_other", SECRET, 9.0))
    assert store.secrets("wh_1").previous == SECRET
    archived = Endpoint("wh_1", HOOK.url, HOOK.name, 100.0, archived_s=200.0)
    store.replace(archived)
    assert store.all() == [archived]
    assert store.version() == 3
    for missing in (lambda: store.secrets("wh_1"), lambda: store.get("wh_2")):
        with pytest.raises(NotStored):
            missing()


def test_one_step_is_all_of_it(owned: RedisDeliveries) -> None:
    owned.step("me", "wh_1", Step(Progress([6, 7], 2), put={"a": b"1", "b": b"2"}))
    assert sorted(owned.waiting("wh_1")) == [b"1", b"2"]
    sent = Sent("a", "ann", 1.0, 1, "answered 200")
    owned.step("me", "wh_1", Step(Progress([6, 7], 2, 1), drop=["a"], recent=[sent]))
    owned.step("me", "wh_1", Step(Progress([6, 7], 2, 1, 9, 1), drop=["b"], dead={dead_field(1, "b"): b"2"}))
    assert (owned.waiting("wh_1"), owned.recent("wh_1"), owned.dead("wh_1")) == ([], [sent], {dead_field(1, "b"): b"2"})
    assert owned.progress("wh_1") == Progress([6, 7], 2, 1, 9, 1)
    assert (owned.waiting_count("wh_1"), owned.dead_count("wh_1")) == (0, 1)


def test_dead_letters_are_sent_again_and_are_never_nowhere(owned: RedisDeliveries) -> None:
    dead = {dead_field(number, f"d{number}"): b"%d" % number for number in range(3)}
    owned.step("me", "wh_1", Step(Progress(), dead=dead))
    before = owned.version()
    assert owned.redrive("wh_1", frozenset({"d1", "no"})) == 1
    assert owned.version() > before
    assert list(owned.redriven("wh_1")) == [dead_field(1, "d1")]
    assert owned.redrive("wh_1", None) == 2
    assert (owned.dead("wh_1"), owned.waiting_count("wh_1")) == ({}, 3)
    again = owned.redriven("wh_1")
    assert list(again) == sorted(dead)
    owned.step("me", "wh_1", Step(Progress(), put={"d0": b"0"}, redriven=[dead_field(0, "d0")]))
    assert (owned.waiting("wh_1"), len(owned.redriven("wh_1"))) == ([b"0"], 2)
    assert owned.redrive("wh_1", None) == 0


def test_what_is_forgotten_is_neither_dead_nor_to_be_sent_again(owned: RedisDeliveries) -> None:
    names = [dead_field(number, f"d{number}") for number in range(3)]
    sent = [Sent(str(number), "ann", 1.0, 1, "answered 200") for number in range(2)]
    owned.step("me", "wh_1", Step(Progress(), dead=dict.fromkeys(names, b"x"), recent=sent))
    owned.redrive("wh_1", frozenset({"d0"}))
    owned.step("me", "wh_1", Step(Progress(), forgotten=names[:2], forgotten_sent=sent[:1]))
    assert (owned.redriven("wh_1"), list(owned.dead("wh_1")), owned.recent("wh_1")) == ({}, names[2:], sent[1:])


def test_only_the_owner_makes_steps_and_there_is_one(owned: RedisDeliveries) -> None:
    assert not owned.claim("other", LEASE_S)
    assert owned.claim("me", LEASE_S), "a lease is kept"
    with pytest.raises(Fenced):
        owned.step("other", "wh_1", Step(Progress([9, 9])))
    owned.release("other")
    assert not owned.claim("other", LEASE_S), "nobody gives back what another one has"
    owned.release("me")
    assert owned.claim("other", LEASE_S)
    with pytest.raises(Fenced):
        owned.step("me", "wh_1", Step(Progress([9, 9]), put={"a": b"1"}))
    assert (owned.progress("wh_1").positions, owned.waiting("wh_1")) == ([5, 7], [])


def test_a_lease_that_was_not_kept_is_free(owned: RedisDeliveries, redis_world: RedisWorld) -> None:
    redis_world.client.delete(f"{redis_world.prefix}:api:{{hooks}}:owner")  # as when its time is over
    with pytest.raises(Fenced):
        owned.step("me", "wh_1", Step(Progress()))
    assert owned.claim("other", LEASE_S)


def test_what_is_kept_is_bounded(owned: RedisDeliveries) -> None:
    progress = owned.progress("wh_1")
    for start in range(0, DEAD_KEPT + 300, 100):
        dead = {dead_field(number, "d"): b"x" for number in range(start, start + 100)}
        owned.step("me", "wh_1", Step(progress, dead=dead))
    assert owned.dead_count("wh_1") == DEAD_KEPT
    assert next(iter(owned.dead("wh_1"))) == dead_field(300, "d")
    assert progress.dead_dropped == owned.progress("wh_1").dead_dropped == 300
    sent = [Sent(str(number), "ann", 1.0, 1, "") for number in range(RECENT_KEPT + 50)]
    owned.step("me", "wh_1", Step(progress, recent=sent))
    assert len(owned.recent("wh_1")) == RECENT_KEPT
    assert owned.recent("wh_1")[0] == sent[-1]


def test_a_step_that_is_repeated_counts_what_it_drops_once(owned: RedisDeliveries) -> None:
    owned.step("me", "wh_1", Step(Progress(), dead={dead_field(number, "d"): b"x" for number in range(DEAD_KEPT)}))
    step = Step(owned.progress("wh_1"), dead={dead_field(DEAD_KEPT, "d"): b"x"})
    with pytest.raises(Fenced):
        owned.step("another", "wh_1", step)
    owned.step("me", "wh_1", step)
    assert (owned.dead_count("wh_1"), owned.progress("wh_1").dead_dropped) == (DEAD_KEPT, 1)


def test_archived_ones_are_forgotten_some_day(owned: RedisDeliveries, redis_world: RedisWorld) -> None:
    owned.step("me", "wh_1", Step(Progress(), put={"a": b"1"}, dead={dead_field(1, "b"): b"2"}))
    for number in range(ARCHIVED_KEPT + 1):
        id_ = "wh_1" if number == 0 else f"wh_x{number}"
        owned.replace(Endpoint(id_, HOOK.url, "", 100.0, archived_s=200.0 + number))
    assert (owned.waiting("wh_1"), owned.dead_count("wh_1")) == ([], 1)
    owned.add(Endpoint("wh_new", HOOK.url, "", 300.0), Secrets(SECRET), Progress())
    found = {endpoint.id for endpoint in owned.all()}
    assert "wh_1" not in found
    assert len(found) == ARCHIVED_KEPT + 1
    assert not [name for name in redis_world.keys() if name.endswith(b":wh_1")]  # noqa: SIM118


def test_webhooks_stay_when_a_store_is_erased(redis_world: RedisWorld, store: RedisDeliveries) -> None:
    store.add(HOOK, Secrets(SECRET), Progress())
    redis_world.open().prepare(1, IDENTITY)
    erase_store(redis_world.url, prefix=redis_world.prefix)
    assert store.all() == [HOOK]


def test_a_server_that_is_away_is_told() -> None:
    away = RedisDeliveries("unix:///no/such/socket")
    for asked in (away.all, away.version, lambda: away.claim("me", 1.0), lambda: away.redrive("x", None)):
        with pytest.raises(StoreUnavailable):
            asked()
    away.close()
