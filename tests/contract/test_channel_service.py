"""All channels of campaigns on a real server: who owns them, what changes of them do, and what people ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from aiohttp import web

from config.campaigns import Channel, Messaging
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_deliveries import Secrets
from streams.adapters.redis_desks import RedisDesks
from streams.campaigns.effects import Note, Purge, Send
from streams.runtime.campaigns.outlet import trigger_of
from streams.runtime.channels.building import Means
from streams.runtime.channels.redriving import renewed
from streams.runtime.channels.service import Around, ChannelService, Stores
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.signing import write_secret
from tests.conftest import SLOWNESS
from tests.contract.worlds import RedisWorld
from tests.unit.test_channels_desk import NOW_S, send
from tests.unit.webhook_receiver import Receiver

SECRET = write_secret(b"a secret of the tests, 32 bytes!")
WITHIN_S = 20.0 * SLOWNESS
AT_ONCE = 16


def messaging(**kinds: str) -> Messaging:
    channels = {id_: Channel.model_validate({"kind": kind}, context={}) for id_, kind in kinds.items()}
    return Messaging(channels=channels)


class World:
    """Stores, a log, a receiver, and services on them."""

    def __init__(self, redis_world: RedisWorld) -> None:
        self.desks = RedisDesks(redis_world.url, prefix=redis_world.prefix)
        self.settings = RedisChannels(redis_world.url, prefix=redis_world.prefix)
        self.log = MemoryTransitionLog(1)
        self.messaging = messaging(it="webhook")
        self.status = 200
        self.silent = asyncio.Event()
        """Until then whoever delivers to `silent` gets no answer."""
        self.notes: list[Note] = []

    def put(self, *outs: Send | Purge) -> None:
        """Campaigns put this out."""
        for each in outs:
            self.log.put(0, trigger_of(each).data)

    def set(self, path: str = "x", channel: str = "it") -> None:
        """Let the channel deliver there."""
        settings = {"kind": "webhook", "url": f"http://127.0.0.1:{self.receiver.port}/{path}"}
        self.settings.put(channel, json.dumps(settings).encode(), Secrets(SECRET))

    def service(self, lease_s: float = 10.0) -> ChannelService:
        async def tell(notes: Sequence[Note]) -> None:
            self.notes += notes

        async def recheck(sends: Sequence[Send], _channel: str) -> list[None]:
            return [None] * len(sends)

        around = Around(
            log=self.log,
            messaging=lambda: self.messaging,
            recheck=recheck,
            tell=tell,
            means=Means(self.sender, _nothing_published, allow_private=True),
            limits=Limits(attempts=1, at_once=AT_ONCE),
            wall=lambda: NOW_S,
            lease_s=lease_s,
        )
        return ChannelService(Stores(self.desks, self.settings), around)

    @property
    def paths(self) -> list[tuple[str, str]]:
        """Path and id of everything that came."""
        return [(path, headers["webhook-id"]) for _, path, headers, _ in self.receiver.requests]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async def answer(request: Any) -> Any:
            if request.path == "/silent":
                await self.silent.wait()
            return web.Response(status=self.status)

        self.sender = Sender(allow_private=True, timeout_s=60.0)
        async with Receiver(answer) as self.receiver:
            yield
        await self.sender.close()

    def close(self) -> None:
        self.desks.close()
        self.settings.close()


async def _nothing_published(_: Sequence[tuple[str, bytes]]) -> None:
    raise AssertionError("no channel of the topic")


@pytest.fixture
def world(redis_world: RedisWorld) -> Iterator[World]:
    with closing(World(redis_world)) as found:
        yield found


async def until(holds: Callable[[], bool]) -> None:
    """Others go on meanwhile."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  a server has nobody who tells of a change
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(service: ChannelService) -> AsyncIterator[ChannelService]:
    working = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        await working


def run(world: World, story: Callable[[], Awaitable[None]]) -> None:
    async def go() -> None:
        async with world.open():
            await story()

    asyncio.run(go())


def test_a_channel_without_settings_waits_until_it_has_some(world: World) -> None:
    async def story() -> None:
        world.put(send(1))
        async with running(world.service()) as service:
            await until(lambda: service.lacking == {"it": "settings"})
            assert service.runs == {}
            world.set()
            await until(lambda: world.paths == [("/x", "id-1")])
            assert service.lacking == {}

    run(world, story)


def test_changed_settings_hold_for_what_comes_next_and_nothing_comes_twice(world: World) -> None:
    async def story() -> None:
        world.set("one")
        world.put(send(1))
        async with running(world.service()) as service:
            await until(lambda: world.paths == [("/one", "id-1")])
            before = service.runs["it"]
            await until(lambda: before.desk.taken.counts == {"arrived": 1})
            world.set("two")
            await until(lambda: service.runs.get("it") not in (None, before))
            world.put(send(2))
            await until(lambda: world.paths == [("/one", "id-1"), ("/two", "id-2")])

    run(world, story)


def test_a_channel_that_is_no_more_delivers_nothing(world: World) -> None:
    async def story() -> None:
        world.set()
        async with running(world.service()) as service:
            await until(lambda: set(service.runs) == {"it"})
            world.messaging = messaging(lines="log")
            await until(lambda: set(service.runs) == {"lines"})
            world.put(send(1))
            await until(lambda: service.runs["lines"].desk.taken.places == {0: 1})
            assert world.paths == []

    run(world, story)


def test_one_delivers_and_the_other_goes_on_when_it_stops(world: World) -> None:
    async def story() -> None:
        world.set()
        async with running(world.service()) as first:
            await until(lambda: first.is_owner)
            async with running(world.service()) as second:
                await until(lambda: second.answered_s is not None)
                assert not second.is_owner
                world.put(send(1))
                await until(lambda: len(world.paths) == 1)
                first.stop()
                await until(lambda: second.is_owner)
                world.put(send(2, "bo"))
                await until(lambda: [id_ for _, id_ in world.paths] == ["id-1", "id-2"])

    run(world, story)


def test_what_was_given_up_is_sent_again_when_somebody_asks(world: World) -> None:
    async def story() -> None:
        world.set()
        world.status = 500
        world.put(send(1))
        async with running(world.service()) as service:
            await until(lambda: world.desks.counted("it", "dead") == 1)
            world.status = 200
            redriven = await asyncio.to_thread(world.desks.redrive, "it", "dead", renewed(NOW_S))
            assert redriven == 1
            await until(lambda: service.runs["it"].desk.taken.counts.get("arrived") == 1)
            assert [id_ for _, id_ in world.paths] == ["id-1", "id-1"]
            assert (world.desks.asked("it"), world.desks.counted("it", "dead")) == ({}, 0)

    run(world, story)


def test_a_channel_whose_other_side_does_not_answer_slows_no_other_one_down(world: World) -> None:
    """One process delivers for all channels, under one lease."""
    world.messaging = messaging(it="webhook", slow="webhook")
    for number in range(1, 41):
        texts = {id_: {"body": "x"} for id_ in ("it", "slow")}
        world.put(send(number, f"user{number}", channels=("it", "slow"), texts=texts))

    async def story() -> None:
        world.set()
        world.set("silent", channel="slow")
        async with running(world.service()) as service:
            await until(lambda: sum(path == "/silent" for path, _ in world.paths) == AT_ONCE)
            await until(lambda: service.runs["it"].desk.taken.counts.get("arrived") == 40)
            assert service.runs["slow"].desk.taken.counts.get("arrived", 0) == 0
            world.silent.set()
            await until(lambda: service.runs["slow"].desk.taken.counts.get("arrived") == 40)

    run(world, story)
