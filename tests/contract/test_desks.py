"""What channels have taken in, in a real server: whole steps, of the owner alone, nothing left of deleted users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from random import Random
from typing import Any

import msgspec
import pytest

from config.errors import Fenced
from streams.adapters.redis_desks import ENDED_KEPT, RedisDesks
from streams.adapters.redis_reader import RedisReader
from streams.campaigns.effects import Note, Purge, Send
from streams.campaigns.question import Wait, Withhold
from streams.runtime.channels.desk import Step, Taken
from streams.runtime.channels.parcel import Parcel
from streams.runtime.channels.run import ChannelRun, DeskStore, Tools
from streams.runtime.channels.stored import StoredDesks
from streams.runtime.deliveries.pace import Delivery, Limits
from streams.runtime.deliveries.sender import Outcome
from tests.contract.worlds import IDENTITY, RedisWorld
from tests.unit.test_channels_desk import FINE, LOST, NOW_S, send

LEASE_S = 30.0


@pytest.fixture
def store(redis_world: RedisWorld) -> Iterator[RedisDesks]:
    with closing(RedisDesks(redis_world.url, prefix=redis_world.prefix)) as found:
        assert found.claim("me", LEASE_S)
        yield found


def desks(store: RedisDesks, owner: str = "me", now_s: float = NOW_S) -> StoredDesks:
    return StoredDesks(store, owner, lambda: now_s)


def delivery(number: int, user: str = "ann", **given: Any) -> Delivery:
    return Delivery(f"id-{number}", user, b"body", number, NOW_S, **given)


def step(store: RedisDesks, taken: Taken, **given: Any) -> None:
    asyncio.run(desks(store).step("it", taken, Step(**given)))


def load(store: RedisDesks, channel: str = "it") -> tuple[Taken, list[Delivery]]:
    return asyncio.run(desks(store).load(channel))


def known(store: RedisDesks, ids: Sequence[str], now_s: float = NOW_S) -> set[str]:
    return asyncio.run(desks(store, now_s=now_s).known("it", ids))


def test_a_channel_begins_with_nothing(store: RedisDesks) -> None:
    assert load(store) == (Taken(), [])
    assert (known(store, []), known(store, ["id-1"]), desks(store).ended("it", "dead")) == (set(), set(), [])


def test_what_waits_is_found_again_in_its_order(store: RedisDesks) -> None:
    taken = Taken({3: ("g", 7)}, 12, {"arrived": 2})
    step(store, taken, put=[delivery(10), delivery(9, "zoë\n"), delivery(11, is_marked=True)])
    step(store, taken, put=[delivery(10, attempts=1)], drop=[delivery(9)])
    assert load(store) == (taken, [delivery(10, attempts=1), delivery(11, is_marked=True)])
    assert load(store, "other") == (Taken(), [])


def test_a_step_may_be_made_twice(store: RedisDesks) -> None:
    for _ in range(2):
        step(
            store, Taken(order=3), put=[delivery(2)], drop=[delivery(1)], dead=[delivery(1)], ids={"id-2": NOW_S + 9.0}
        )
    assert load(store) == (Taken(order=3), [delivery(2)])
    assert desks(store).ended("it", "dead") == [delivery(1)]


def test_what_people_ask_for_is_found_until_it_is_taken_in(store: RedisDesks) -> None:
    version = store.version()
    for name, number in (("b", 2), ("a", 1)):
        store.ask("it", name, msgspec.msgpack.encode(delivery(number)))
    assert store.version() > version
    found = asyncio.run(desks(store).asked("it"))
    assert list(found.items()) == [("a", delivery(1)), ("b", delivery(2))]
    assert store.waiting_count("it") == 2
    step(store, Taken(), put=[delivery(1)], asked=["a"])
    assert list(asyncio.run(desks(store).asked("it"))) == ["b"]


def test_of_a_deleted_user_nothing_is_asked_for_any_more(store: RedisDesks) -> None:
    for name, user in (("a", "ann"), ("b", "bo")):
        store.ask("it", name, msgspec.msgpack.encode(delivery(1, user)))
    step(store, Taken(), purged=["ann"])
    assert list(store.asked("it")) == ["b"]


def test_ids_are_known_until_they_expire(store: RedisDesks, redis_world: RedisWorld) -> None:
    many = {f"id-{n}": NOW_S + n for n in range(1, 2_500)}
    step(store, Taken(), ids=many)
    assert known(store, list(many)) == set(many)
    assert known(store, ["id-1", "id-2", "id-9999"], NOW_S + 1.0) == {"id-2"}
    asyncio.run(desks(store, now_s=NOW_S + 2_000.0).step("it", Taken(), Step(ids={"new": NOW_S + 9_000.0})))
    key = f"{redis_world.prefix}:campaigns:{{desks}}:ids:it"
    assert redis_world.client.zcard(key) == 500, "those that had expired are gone"


def test_of_who_was_deleted_nothing_is_left(store: RedisDesks, redis_world: RedisWorld) -> None:
    redis_world.open().prepare(1, IDENTITY)
    dead, unknown = [delivery(1), delivery(2, "bo")], [delivery(3), delivery(4, "bo")]
    step(store, Taken(), put=[delivery(5)], dead=dead, unknown=unknown)
    with closing(RedisReader(redis_world.url, prefix=redis_world.prefix)) as reader:
        assert len(reader.traces("ann")) == 3
        step(store, Taken(), drop=[delivery(5)], purged=["ann"])
        assert reader.traces("ann") == []
    found = desks(store)
    assert (found.ended("it", "dead"), found.ended("it", "unknown")) == ([dead[1]], [unknown[1]])


def test_the_latest_that_were_given_up_are_kept(store: RedisDesks) -> None:
    step(store, Taken(), dead=[delivery(n) for n in range(ENDED_KEPT)])
    step(store, Taken(), dead=[delivery(ENDED_KEPT), delivery(ENDED_KEPT + 1)], unknown=[delivery(5)])
    found = desks(store).ended("it", "dead")
    assert [each.number for each in found] == list(range(2, ENDED_KEPT + 2))
    assert desks(store).ended("it", "unknown") == [delivery(5)]


def test_only_the_owner_makes_steps(store: RedisDesks) -> None:
    assert store.claim("me", LEASE_S)
    assert not store.claim("other", LEASE_S)
    with pytest.raises(Fenced):
        asyncio.run(desks(store, "other").step("it", Taken(order=9), Step(put=[delivery(1)])))
    assert load(store) == (Taken(), [])
    store.release("other")
    store.release("me")
    assert store.claim("other", LEASE_S)
    with pytest.raises(Fenced):
        step(store, Taken(order=9))


class Other:
    """The other side."""

    at_once = 50
    knows_ids = False

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: list[str] = []
        self.arrived = asyncio.Event()

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        self.asked += [parcel.id for parcel in parcels]
        self.arrived.set()
        return [self.outcome] * len(parcels)

    async def close(self) -> None: ...


async def _nothing_against(sends: Sequence[Send], _channel: str) -> list[Withhold | Wait | None]:
    return [None] * len(sends)


async def _tell(_: Sequence[Note]) -> None: ...


def delivered(desks: DeskStore, outcome: Outcome, found: Sequence[Send | Purge], *, until_asked: bool = True) -> Other:
    """A process takes these in, and works until the other side was asked."""

    async def go() -> Other:
        other = Other(outcome)
        run = ChannelRun("it", other, Tools(desks, _nothing_against, _tell, lambda: NOW_S, Random(1), Limits()))
        await run.open()
        await run.take(found)
        work = asyncio.create_task(run.run())
        async with asyncio.timeout(10.0):
            if until_asked:
                await other.arrived.wait()
            run.stop()
            await work
        return other

    return asyncio.run(go())


def test_a_channel_goes_on_where_the_process_before_it_stopped(store: RedisDesks) -> None:
    assert delivered(desks(store), FINE, [send(1), send(2, "bo")]).asked == ["id-1", "id-2"]
    again = [send(1), send(2, "bo"), send(3, "cy"), send(1, generation="h"), send(2, "bo", generation="h")]
    assert delivered(desks(store), FINE, again).asked == ["id-3"]
    assert load(store)[0].counts == {"arrived": 3, "repeated": 2}


def test_what_is_not_known_to_have_arrived_is_kept_for_a_person(store: RedisDesks) -> None:
    delivered(desks(store), LOST, [send(1)])
    assert [each.id for each in desks(store).ended("it", "unknown")] == ["id-1"]
    assert delivered(desks(store), FINE, [send(1)], until_asked=False).asked == []
    delivered(desks(store), FINE, [Purge(0, "g", 2, "ann")], until_asked=False)
    assert desks(store).ended("it", "unknown") == []
