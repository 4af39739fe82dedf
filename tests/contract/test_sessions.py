"""Sessions in memory, in a server and in a cluster: one suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from config.errors import StoreUnavailable
from streams.adapters.memory_sessions import MemorySessions
from streams.adapters.redis_erase import erase_store
from streams.adapters.redis_sessions import RedisSessions
from streams.console.sessions import IDLE_S, LONGEST_S, Sessions, SessionStore
from tests.contract.worlds import IDENTITY, RedisWorld


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    if request.param == "memory":
        yield MemorySessions()
        return
    world = RedisWorld(request.getfixturevalue(f"{request.param}_url"))
    with closing(world), closing(RedisSessions(world.url, prefix=world.prefix)) as found:
        yield found


def test_a_session_is_found_until_it_is_ended(store: SessionStore) -> None:
    store.put("one", b"first", 60)
    store.put("two", b"second", 60)
    assert store.take_up("one", 60) == b"first"
    store.remove("one")
    store.remove("one")
    assert store.take_up("one", 60) is None
    assert store.take_up("two", 60) == b"second"
    assert store.take_up("never", 60) is None


def test_signing_in_and_out(store: SessionStore) -> None:
    now_s = [1_000.0]
    sessions = Sessions(store, lambda: now_s[0])
    session = sessions.begin("a" * 12)
    other = sessions.begin("a" * 12)
    assert sessions.find(session.id) == session
    assert session.id != other.id
    assert session.token != other.token
    assert session.is_token(session.token)
    assert not session.is_token(other.token)
    sessions.end(session.id)
    assert sessions.find(session.id) is None
    now_s[0] += LONGEST_S + 1
    assert sessions.find(other.id) is None, "however often it was used"
    for odd in ("", "x" * 64, "é", "0" * 64, session.id + "\n"):
        assert sessions.find(odd) is None


def test_an_unused_session_ends_by_itself_and_a_used_one_goes_on() -> None:
    now_s = [0.0]
    store = MemorySessions(clock=lambda: now_s[0])
    store.put("one", b"x", 10)
    now_s[0] = 9.0
    assert store.take_up("one", 10) == b"x"
    now_s[0] = 18.0
    assert store.take_up("one", 10) == b"x"
    now_s[0] = 28.0
    assert store.take_up("one", 10) is None


def test_the_server_lets_a_session_end_and_knows_no_id(redis_world: RedisWorld) -> None:
    with closing(RedisSessions(redis_world.url, prefix=redis_world.prefix)) as store:
        session = Sessions(store, lambda: 1_000.0).begin("a" * 12)
        (name,) = redis_world.keys()
        assert session.id.encode() not in name
        assert session.id.encode() not in redis_world.client.get(name)
        redis_world.client.expire(name, 5)
        assert Sessions(store, lambda: 1_000.0).find(session.id) == session
        assert IDLE_S - 60 < redis_world.client.ttl(name) <= IDLE_S


def test_who_is_signed_in_stays_when_a_store_is_erased(redis_world: RedisWorld) -> None:
    with closing(RedisSessions(redis_world.url, prefix=redis_world.prefix)) as store:
        sessions = Sessions(store, lambda: 1_000.0)
        session = sessions.begin("a" * 12)
        redis_world.open().prepare(1, IDENTITY)
        erase_store(redis_world.url, prefix=redis_world.prefix)
        assert sessions.find(session.id) == session


def test_a_server_that_is_away_is_told() -> None:
    store = RedisSessions("unix:///no/such/socket")
    with pytest.raises(StoreUnavailable):
        store.take_up("one", 60)
