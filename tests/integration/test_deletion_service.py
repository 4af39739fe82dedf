"""A user of a service is deleted over HTTP: done, provable, and in no key of the store any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import msgspec
import pytest
import redis

from config.errors import StoreIncompatible
from streams.adapters.log_feed import EmbeddedTransitionLog
from streams.adapters.log_reader import PartitionReader
from streams.adapters.redis_deletion_requests import KEPT_S, MOST_AHEAD_MS
from streams.adapters.redis_past import RedisPast
from streams.adapters.redis_reader import RedisReader
from streams.api.keys import Role
from streams.api.stored import STATE_S
from streams.core.ledger import Deleted
from streams.core.state import LIFE_STEP
from tests.integration.service_world import LEDGER_KEY, SHARDS, ServiceWorld
from tests.unit.api_world import NOW_S, ApiWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def api(world: ServiceWorld) -> Iterator[ApiWorld]:
    api = ApiWorld(store_url=world.url, ledger_key=LEDGER_KEY)
    yield api
    api.stored.close()


def ask(api: ApiWorld, method: str, path: str, role: Role = Role.WRITE, key: str | None = None) -> httpx.Response:
    named = {} if key is None else {"Idempotency-Key": key}
    return api.ask(method, path, headers=api.headers(role) | named)


def work(world: ServiceWorld, api: ApiWorld) -> None:
    """What the API has put into the log so far comes to the shards, once."""
    records = [msgspec.json.decode(data) for _, data in api.log.records]
    api.log.records.clear()
    world.take(records)
    api.now_s += STATE_S + 1.0


def test_a_member_is_deleted_and_leaves_nothing(world: ServiceWorld, api: ApiWorld) -> None:
    with closing(RedisReader(world.url)) as reader:
        user = next(one for one in reader.members("from_a") if one.startswith("user-"))
        assert reader.traces(user)
        answer = ask(api, "DELETE", f"/v1/users/{user}", key="member")
        assert answer.status_code == 202, answer.text
        asked = answer.json()
        assert asked["status_url"] == f"/v1/deletions/{user}?asked_at=2026-05-28T20:26:40.000Z"
        assert ask(api, "GET", asked["status_url"], Role.READ).status_code == 404  # not yet
        told = {event["id"] for event in _transitions(world)}
        work(world, api)
        proof = ask(api, "GET", asked["status_url"], Role.READ)
        assert proof.status_code == 200, proof.text
        found: dict[str, Any] = proof.json()
        assert (found["deleted_at"], found["lives"], found["is_back"]) == ("2026-05-28T20:26:40.000Z", 1, False)
        for path in (
            f"/v1/users/{user}",
            f"/v1/likelihoods?user={user}&prediction=orders_2d",
            f"/v1/transitions?user={user}",
        ):
            gone = ask(api, "GET", path, Role.READ)
            assert (gone.status_code, gone.json()["type"]) == (410, "urn:tideline:problem:gone"), path
            assert gone.json()["deleted_at"] == "2026-05-28T20:26:40Z"
        exits = [event for event in _transitions(world) if event["id"] not in told and event["subject"] == user]
        # Until then time has passed for the user, too: two years.
        last = {event["data"]["segment_id"]: event["data"] for event in exits}
        assert not any(data["in_segment"] for data in last.values())
        assert last["away"]["origin"] == "deleted"
        assert reader.traces(user) == []  # though nothing else has come to the shard since
        data = reader.deletion(user, LEDGER_KEY)
        assert data is not None
        assert Deleted.of(data).lives == 1
        with pytest.raises(StoreIncompatible, match="another TIDELINE_DELETION_KEY"):
            reader.deletion(user, b"another secret")


def test_of_one_who_comes_back_nothing_of_before_is_told(world: ServiceWorld) -> None:
    log: Any = EmbeddedTransitionLog(lambda: world.folder)
    api = ApiWorld(store_url=world.url, ledger_key=LEDGER_KEY, transitions=log)
    user = _member(world)
    path = f"/v1/transitions?user={user}&limit=100"
    before = {event["id"] for event in _transitions(world) if event["subject"] == user}
    assert before
    assert ask(api, "DELETE", f"/v1/users/{user}", key=path).status_code == 202
    work(world, api)
    assert ask(api, "GET", path, Role.READ).status_code == 410
    came = {"type": "track", "event": "View", "userId": user, "timestamp": "2026-05-28T20:30:00Z", "messageId": path}
    world.take([came])
    found = ask(api, "GET", path, Role.READ)
    assert found.status_code == 200, found.text
    told = found.json()["items"]
    assert all(int(item["sequence"]) > LIFE_STEP for item in told)
    assert not before & {item["id"] for item in told}
    api.stored.close()
    asyncio.run(api.transitions.close())


def test_whom_an_api_with_a_fast_clock_has_deleted_another_api_deletes_again(
    world: ServiceWorld, api: ApiWorld
) -> None:
    ahead = ApiWorld(store_url=world.url, ledger_key=LEDGER_KEY)
    ahead.now_s = 3_600.0
    fast = ask(ahead, "DELETE", "/v1/users/twice", key="fast").json()
    work(world, ahead)
    ahead.stored.close()
    came = {"type": "track", "event": "View", "userId": "twice", "timestamp": "2026-05-28T21:30:00Z", "messageId": "tw"}
    world.take([came])
    slow = ask(api, "DELETE", "/v1/users/twice", key="of-its-own").json()
    assert (fast["asked_at"], slow["asked_at"]) == ("2026-05-28T21:26:40.000Z", "2026-05-28T21:26:40.001Z")
    assert ask(api, "GET", fast["status_url"], Role.READ).json()["is_back"]
    assert ask(api, "GET", slow["status_url"], Role.READ).status_code == 404
    work(world, api)
    found = ask(api, "GET", slow["status_url"], Role.READ).json()
    assert (found["is_back"], found["lives"]) == (False, 1)
    assert found["refused_until"] == "2026-05-28T21:30:00.000Z"


def test_two_requests_that_are_both_not_done_yet_are_two_deletions(world: ServiceWorld, api: ApiWorld) -> None:
    ahead = ApiWorld(store_url=world.url, ledger_key=LEDGER_KEY)
    ahead.now_s = 60.0
    first = ask(ahead, "DELETE", "/v1/users/in-flight", key="a").json()
    second = ask(api, "DELETE", "/v1/users/in-flight", key="b").json()
    assert (first["asked_at"], second["asked_at"]) == ("2026-05-28T20:27:40.000Z", "2026-05-28T20:27:40.001Z")
    came = {
        "type": "track",
        "event": "View",
        "userId": "in-flight",
        "timestamp": "2026-05-28T20:30:00Z",
        "messageId": "f",
    }
    work(world, ahead)
    world.take([came])
    ahead.stored.close()
    work(world, api)
    assert not ask(api, "GET", second["status_url"], Role.READ).json()["is_back"]


def test_a_name_for_a_request_is_forgotten_after_a_day_and_stands_for_a_new_deletion_then(
    world: ServiceWorld, api: ApiWorld
) -> None:
    first = ask(api, "DELETE", "/v1/users/monthly", key="the-same").json()
    work(world, api)
    store = redis.Redis.from_url(world.url)
    kept = store.keys("tl:api:{deletions}:request:*")
    assert kept
    assert all(0 < store.ttl(key) <= KEPT_S for key in [*kept, *store.keys("tl:api:{deletions}:user:*")])
    store.delete(*kept, *store.keys("tl:api:{deletions}:user:*"))
    store.close()
    came = {
        "type": "track",
        "event": "View",
        "userId": "monthly",
        "timestamp": "2026-06-28T20:30:00Z",
        "messageId": "mo",
    }
    world.take([came])
    api.now_s += 40 * 86_400.0
    again = ask(api, "DELETE", "/v1/users/monthly", key="the-same").json()
    assert again["message_id"] != first["message_id"]
    work(world, api)
    found = ask(api, "GET", again["status_url"], Role.READ).json()
    assert (found["lives"], found["is_back"]) == (1, False)


def test_an_api_whose_clock_is_far_ahead_asks_for_no_deletion(world: ServiceWorld) -> None:
    ahead = ApiWorld(store_url=world.url, ledger_key=LEDGER_KEY, most_ahead_ms=MOST_AHEAD_MS)
    for ahead_s, status in [(-400.0, 202), (0.0, 202), (400.0, 503)]:
        ahead.now_s = time.time() - NOW_S + ahead_s
        answer = ask(ahead, "DELETE", "/v1/users/early")
        assert answer.status_code == status, answer.text
    assert len(ahead.log.records) == 2
    ahead.stored.close()


def test_a_request_that_is_sent_again_later_is_done_when_the_first_one_is(world: ServiceWorld, api: ApiWorld) -> None:
    first = ask(api, "DELETE", "/v1/users/lost-answer", key="once").json()
    api.now_s += 10.0
    again = ask(api, "DELETE", "/v1/users/lost-answer", key="once").json()
    assert again == first
    assert len(api.log.records) == 2
    work(world, api)
    assert ask(api, "GET", again["status_url"], Role.READ).status_code == 200
    assert api.ask("GET", "/v1/deletions/lost-answer?asked_at=now", headers=api.headers(Role.READ)).status_code == 422
    later = "/v1/deletions/lost-answer?asked_at=2026-05-28T20:26:41"
    assert ask(api, "GET", later, Role.READ).status_code == 404


def test_what_is_read_of_the_past_is_looked_through_also_where_two_parts_meet(world: ServiceWorld) -> None:
    with closing(RedisPast(world.url)) as past, closing(RedisReader(world.url)) as reader:
        found = msgspec.msgpack.encode([("somebody-else", b"row"), ("who-is-cut", b"row")])
        at = found.index(b"who-is-cut") + 4
        store = redis.Redis.from_url(world.url)
        for number, part in enumerate((found[:at], found[at:])):
            store.set(f"tl:past:f00:shard-0:{number}", part)
        assert reader.traces("who-is-cut") == ["tl:past:f00:shard-0:0: 1"]
        assert reader.traces("who-is-cu") == []
        past.discard("f00", {"shard-0": 2})
        assert reader.traces("who-is-cut") == []
        store.close()


def test_sent_again_with_its_idempotency_key_it_is_one_deletion(api: ApiWorld) -> None:
    first = ask(api, "DELETE", "/v1/users/a%2Fb", key="one").json()
    again = ask(api, "DELETE", "/v1/users/a%2Fb", key="one").json()
    other = ask(api, "DELETE", "/v1/users/a%2Fc", key="one").json()
    assert first == again
    assert first["user_id"] == "a/b"
    assert first["message_id"] != other["message_id"]
    api.log.records.clear()


def test_an_id_that_no_event_can_have_is_refused(api: ApiWorld) -> None:
    answer = ask(api, "DELETE", f"/v1/users/{'x' * 600}")
    assert answer.status_code == 422, answer.text


def test_nobody_who_was_never_deleted_has_a_proof(api: ApiWorld) -> None:
    assert ask(api, "GET", "/v1/deletions/user-1", Role.READ).status_code == 404


def _member(world: ServiceWorld) -> str:
    """One who is still there."""
    with closing(RedisReader(world.url)) as reader:
        return next(one for one in reader.members("from_a") if one.startswith("user-"))


def _transitions(world: ServiceWorld) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(SHARDS):
        reader = PartitionReader(world.folder.partition("segment-events", number))
        entries = reader.read(reader.begin, 10_000_000, 1 << 40)
        found += [msgspec.json.decode(entry.value) for entry in entries]
        reader.close()
    return found
