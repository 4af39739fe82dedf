"""What workers share of the past, in memory, in a server and in a cluster: one suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from streams.adapters import past_store, redis_past
from streams.adapters.memory_past import MemoryPast
from streams.adapters.past_store import Joined, Offer, PastStore
from streams.adapters.redis_past import RedisPast
from tests.contract.worlds import RedisWorld


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PastStore]:
    monkeypatch.setattr(past_store, "PART_BYTES", 10)
    if request.param == "memory":
        yield MemoryPast()
        return
    world = RedisWorld(request.getfixturevalue(f"{request.param}_url"))
    with closing(world), closing(RedisPast(world.url, prefix=world.prefix)) as found:
        yield found


def offer(store: PastStore, id_: str = "one", catalog: str = "c1") -> Offer:
    parts = {"learner": store.put(id_, "learner", b"x" * 35), "shard-0": store.put(id_, "shard-0", b"")}
    return Offer(id_, catalog, ["p"], [7], parts)


def test_one_at_a_time_has_the_lease(store: PastStore) -> None:
    assert store.read().holder is None
    first = store.take("a")
    assert first is not None
    assert store.take("b") is None
    assert store.take("a") == first
    assert store.read().holder == "a"
    store.release("b")
    assert store.read().holder == "a"
    store.release("a")
    assert store.read().holder is None
    assert store.take("a") == first, "nobody can have read meanwhile"
    store.release("a")
    second = store.take("b")
    assert second is not None
    assert second > first


def test_an_offer_is_seen_with_its_parts_until_it_is_withdrawn(store: PastStore) -> None:
    epoch = store.take("a")
    assert epoch is not None
    made = offer(store)
    assert made.parts == {"learner": 4, "shard-0": 1}
    assert store.read().offer is None
    assert store.offer(epoch, made)
    assert store.read().offer == made
    assert store.get(made, "learner") == b"x" * 35
    assert store.get(made, "shard-0") == b""
    assert store.withdraw(epoch, made)
    assert store.read().offer is None
    assert store.get(made, "learner") is None


def test_whoever_has_lost_the_lease_to_another_changes_nothing(store: PastStore) -> None:
    earlier = store.take("a")
    assert earlier is not None
    mine = offer(store)
    assert store.offer(earlier, mine)
    store.release("a")
    assert store.take("b") == earlier + 1
    assert not store.offer(earlier, offer(store, "two"))
    assert not store.withdraw(earlier, mine)
    assert not store.fail(earlier, "c1")
    board = store.read()
    assert (board.offer, board.failed) == (mine, None)
    assert store.get(mine, "learner") == b"x" * 35
    assert store.fail(earlier + 1, "c1")
    assert store.read().failed == "c1"


def test_what_learners_have_taken_over_is_seen_by_partition(store: PastStore) -> None:
    assert store.read().joined == {}
    store.joined(3, Joined("one", 12))
    store.joined(0, Joined("one", 5))
    store.joined(3, Joined("two", 40))
    assert store.read().joined == {0: Joined("one", 5), 3: Joined("two", 40)}


def test_all_of_it_goes_by_itself_when_nobody_is_left() -> None:
    now_s = 0.0
    memory = MemoryPast(lambda: now_s)
    epoch = memory.take("a")
    assert epoch is not None
    made = offer(memory)
    memory.offer(epoch, made)
    memory.fail(epoch, "c1")
    now_s = past_store.LEASE_S
    assert memory.read().holder is None
    now_s = past_store.OFFER_S
    assert memory.read().offer is None
    assert memory.get(made, "learner") is not None, "whoever has begun to load it can end"
    now_s = past_store.PARTS_S
    assert memory.get(made, "learner") is None
    now_s = past_store.FAILED_S
    assert memory.read().failed is None


def test_all_of_it_goes_by_itself_in_a_server_too(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_past, "LEASE_S", 7.0)
    with closing(RedisPast(redis_world.url, prefix=redis_world.prefix)) as store:
        epoch = store.take("a")
        assert epoch is not None
        store.offer(epoch, offer(store))
        store.fail(epoch, "c1")
    bounds = {
        ":{past}:holder": 7.0,
        ":{past}:offer": past_store.OFFER_S,
        ":{past}:failed": past_store.FAILED_S,
        ":past:one:learner:0": past_store.PARTS_S,
        ":past:one:shard-0:0": past_store.PARTS_S,
    }
    for key, bound_s in bounds.items():
        assert bound_s - 60 < redis_world.client.ttl(redis_world.prefix + key) <= bound_s, key
    assert redis_world.client.ttl(redis_world.prefix + ":{past}:now") == -1, "the epoch stays"


def test_how_shards_stand_is_read(redis_world: RedisWorld) -> None:
    redis_world.client.hset(f"{redis_world.prefix}:{{1}}:state", mapping={"catalog": b"{}", "since": b"{1}"})
    with closing(RedisPast(redis_world.url, prefix=redis_world.prefix)) as store:
        assert [tuple(one) for one in store.standings(2)] == [(None, None), (b"{}", b"{1}")]


def test_who_was_deleted_is_read(redis_world: RedisWorld) -> None:
    redis_world.client.hset(f"{redis_world.prefix}:{{1}}:deleted", mapping={"ab": b"\x00\xff", "cd": b"2"})
    with closing(RedisPast(redis_world.url, prefix=redis_world.prefix)) as store:
        assert store.deleted(0) == []
        assert sorted(store.deleted(1)) == [("ab", b"\x00\xff"), ("cd", b"2")]
