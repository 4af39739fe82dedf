"""What every log of transitions does: readers find what was published, from where they ask, and are told of gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BrokerError, BrokerUnavailable, NoLog, RecordsGone
from config.settings import Settings, load_settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients
from streams.adapters.kafka_feed import (
    FETCH_BYTES,
    PARTITION_BYTES,
    KafkaFeed,
    KafkaTransitionLog,
    partition_bytes,
    structured_mode,
)
from streams.adapters.kafka_publisher import binary_mode
from streams.adapters.kafka_topics import require_topics
from streams.adapters.log_feed import EmbeddedTransitionLog
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import segment_path
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.ports import Crossing, Kept, TransitionFeed, TransitionLog
from streams.runtime.wanted_crossings import head_of
from tests.contract.log_places import PARTITIONS, LogPlace
from tests.integration.kafka_world import KafkaWorld
from tests.unit.crossing_examples import crossing

WAIT_S = 20.0


class World(Protocol):
    """A log of transitions that a test can write to, from the readers' event loop or before it."""

    def open(self) -> TransitionLog: ...

    def put(self, partition: int, data: bytes) -> None: ...

    def forget(self, partition: int, before: int) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self._log = MemoryTransitionLog(PARTITIONS)
        self.put, self.forget = self._log.put, self._log.forget

    def open(self) -> MemoryTransitionLog:
        return self._log


class EmbeddedWorld:
    def __init__(self, folder: Path) -> None:
        self.folder = LogFolder.make(folder, PARTITIONS)

    def open(self) -> EmbeddedTransitionLog:
        return EmbeddedTransitionLog(lambda: self.folder)

    def put(self, partition: int, data: bytes) -> None:
        with closing(PartitionWriter(self.folder.partition("segment-events", partition), segment_bytes=1)) as writer:
            writer.append([(b"ann", data)])

    def forget(self, partition: int, before: int) -> None:
        for base in range(before):
            segment_path(self.folder.partition("segment-events", partition), base).unlink()


class KafkaLogWorld:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic = settings.topic("segment-events")

    def open(self) -> KafkaTransitionLog:
        return KafkaTransitionLog(self.settings)

    def put(self, partition: int, data: bytes) -> None:
        key, value, headers = binary_mode(data)
        with clients(self.settings) as arguments:
            producer = kafka_python().KafkaProducer(**arguments)
            producer.send(self.topic, value, key, headers, partition).get(timeout=WAIT_S)
            producer.close()

    def forget(self, partition: int, before: int) -> None:
        kafka = kafka_python()
        with clients(self.settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
            admin.delete_records({kafka.TopicPartition(self.topic, partition): before})


@pytest.fixture
def world(log_place: LogPlace) -> World:
    if log_place is None:
        return MemoryWorld()
    return EmbeddedWorld(log_place) if isinstance(log_place, Path) else KafkaLogWorld(log_place)


def use(world: World, doing: Callable[[TransitionFeed], Awaitable[Any]]) -> Any:
    """What somebody finds who opens a feed."""

    async def run() -> Any:
        log = world.open()
        try:
            feed = await log.open()
            try:
                return await doing(feed)
            finally:
                await feed.close()
        finally:
            await log.close()

    return asyncio.run(run())


async def read(feed: TransitionFeed, count: int) -> list[Crossing]:
    found: list[Crossing] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            found += await feed.read(100, 1.0)
    return found


def test_everything_is_read_from_where_one_asks(world: World) -> None:
    for number in range(6):
        world.put(number % 2, crossing(number))

    async def doing(feed: TransitionFeed) -> tuple[list[Kept], list[Crossing]]:
        feed.seek([1, 0, 0])
        return await feed.kept(), await read(feed, 5)

    kept, found = use(world, doing)
    assert kept == [Kept(0, 3), Kept(0, 3), Kept(0, 0)]
    assert sorted(found) == [
        *(Crossing(0, n, crossing(2 * n)) for n in (1, 2)),
        *(Crossing(1, n, crossing(2 * n + 1)) for n in (0, 1, 2)),
    ]
    for partition in (0, 1):
        offsets = [each.offset for each in found if each.partition == partition]
        assert offsets == sorted(offsets)


def test_who_waits_gets_what_comes_and_nothing_in_vain(world: World) -> None:
    world.put(0, crossing(1))

    async def doing(feed: TransitionFeed) -> list[Crossing]:
        feed.seek([1, 0, 0])
        assert await feed.read(10, 0.2) == []
        waiting = asyncio.create_task(read(feed, 1))
        await asyncio.to_thread(asyncio.run, _nothing())  # the reader waits by now
        await asyncio.sleep(0)
        if isinstance(world, MemoryWorld):
            world.put(2, crossing(7))
        else:
            await asyncio.to_thread(world.put, 2, crossing(7))
        return await waiting

    assert use(world, doing) == [Crossing(2, 0, crossing(7))]


async def _nothing() -> None: ...


def test_no_more_comes_at_once_than_was_asked_for(world: World) -> None:
    for number in range(5):
        world.put(0, crossing(number))

    async def doing(feed: TransitionFeed) -> list[Crossing]:
        feed.seek([0, 0, 0])
        first = await read_some(feed, PARTITIONS)
        assert 0 < len(first) <= PARTITIONS
        return first + await read(feed, 5 - len(first))

    assert [each.offset for each in use(world, doing)] == [0, 1, 2, 3, 4]


async def read_some(feed: TransitionFeed, most: int) -> list[Crossing]:
    async with asyncio.timeout(WAIT_S):
        while not (found := await feed.read(most, 1.0)):
            pass
    return found


def test_what_is_not_kept_any_more_is_told(world: World) -> None:
    for number in range(4):
        world.put(1, crossing(number))
    world.forget(1, 2)

    async def doing(feed: TransitionFeed) -> tuple[list[Kept], list[Crossing]]:
        feed.seek([0, 1, 0])
        with pytest.raises(RecordsGone):
            await read(feed, 1)
        feed.seek([0, 2, 0])
        return await feed.kept(), await read(feed, 2)

    kept, found = use(world, doing)
    assert kept[1] == Kept(2, 4)
    assert [(each.partition, each.offset) for each in found] == [(1, 2), (1, 3)]


def test_a_place_that_is_not_there_yet_is_told(world: World) -> None:
    world.put(0, crossing(1))

    async def doing(feed: TransitionFeed) -> None:
        feed.seek([5, 0, 0])
        with pytest.raises(RecordsGone):
            await read(feed, 1)

    use(world, doing)


def test_binary_mode_and_back_changes_nothing() -> None:
    for data in (crossing(1, "zoë \N{SNOWMAN}"), crossing(2, in_segment=False)):
        _, value, headers = binary_mode(data)
        assert structured_mode(headers, value) == data


@given(
    st.binary(max_size=40) | st.sampled_from([b'{"a":1,\r\n"b":[2,\n3]}', b'1}\n\nevent: x\ndata: {"a":1', b'"a\nb"'])
)
def test_no_value_makes_more_than_one_line(value: bytes) -> None:
    try:
        event = structured_mode([("ce_id", b"a\nb"), ("ce_type", None)], value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert not set(b"\r\n") & set(event)
    if b"\n" in value or b"\r" in value:
        assert msgspec.json.decode(event)["data"] == msgspec.json.decode(value)


@pytest.mark.parametrize("partitions", [1, 3, 32, 1_024])
def test_what_a_reader_fetches_has_a_bound(partitions: int) -> None:
    assert partition_bytes(partitions) * partitions <= max(FETCH_BYTES, partitions * PARTITION_BYTES)
    assert partition_bytes(partitions) >= PARTITION_BYTES


def test_records_of_others_in_kafka_are_told_with_their_offsets(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings(shards=PARTITIONS)
    require_topics(settings, create=True)
    world = KafkaLogWorld(settings)
    foreign = [
        (None, []),
        (b"x", [("ce_id", b"\xff")]),
        (b"\xff", []),
        (b"{\n", []),
        (b"1", [("content-type", b"\xff")]),
    ]
    with clients(settings) as arguments:
        producer = kafka_python().KafkaProducer(**arguments)
        for value, headers in foreign:
            producer.send(world.topic, value, b"ann", headers, 0).get(timeout=WAIT_S)
        producer.close()
    world.put(0, crossing(1))

    async def doing(feed: TransitionFeed) -> list[Crossing]:
        assert isinstance(feed, KafkaFeed)
        fetcher = feed._consumer._fetcher
        assert (fetcher._fetch_max_bytes, fetcher._max_partition_fetch_bytes) == (
            FETCH_BYTES,
            FETCH_BYTES // PARTITIONS,
        )
        feed.seek([0, 0, 0])
        return await read(feed, len(foreign) + 1)

    found = use(world, doing)
    assert [each.offset for each in found] == list(range(len(foreign) + 1))
    assert [head_of(each.data) is not None for each in found] == [False] * len(foreign) + [True]
    assert found[-1].data == crossing(1)


def test_logs_that_are_not_there_are_told(tmp_path: Path, kafka_world: KafkaWorld) -> None:
    async def run(log: TransitionLog, error: type[BrokerError], words: str | None = None) -> None:
        with pytest.raises(error, match=words):
            await log.open()
        await log.close()

    asyncio.run(run(EmbeddedTransitionLog(lambda: LogFolder.find(tmp_path)), NoLog))
    away = load_settings(kafka_bootstrap_servers="127.0.0.1:1")
    asyncio.run(run(KafkaTransitionLog(away), BrokerUnavailable))
    none = KafkaTransitionLog(kafka_world.settings(shards=1))
    asyncio.run(run(none, NoLog, "does not exist, or this client may not describe it. Make it with: tideline topics"))
