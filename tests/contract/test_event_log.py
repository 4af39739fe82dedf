"""What every event log does: it takes events in order, and a user's events are found together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaConsumer

from config.errors import BrokerError, BrokerUnavailable, TopicsDiffer
from config.settings import Settings, TopicKind, load_settings
from streams.adapters.embedded_log import EmbeddedEventLog
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_feed import KafkaTransitionLog
from streams.adapters.kafka_log import KafkaEventLog
from streams.adapters.kafka_partition import open_partition
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.kafka_topics import require_topics
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.memory_log import MemoryLog
from streams.core.partition import shard_of
from streams.ports import EventLog, Message
from streams.runtime.kafka.watch import follow
from streams.trace_context import of_headers, of_json, with_trace
from tests.contract.log_places import PARTITIONS, LogPlace
from tests.integration.kafka_world import KafkaWorld
from tests.span_world import CONTEXT
from tests.unit.crossing_examples import crossing

Records = list[tuple[str, bytes]]


class LogWorld(Protocol):
    """A log, and what is in it afterwards: (partition, user, event), of each partition in order."""

    def open(self) -> EventLog: ...

    def read(self, count: int) -> list[tuple[int, str, bytes]]: ...


class MemoryLogWorld:
    def __init__(self) -> None:
        self.log = MemoryLog(partitions=PARTITIONS)

    def open(self) -> MemoryLog:
        return self.log

    def read(self, count: int) -> list[tuple[int, str, bytes]]:
        assert len(self.log.records) == count
        return [(shard_of(user, PARTITIONS), user, event) for user, event in self.log.records]


class EmbeddedLogWorld:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> EmbeddedEventLog:
        return EmbeddedEventLog(self.folder, PARTITIONS)

    def read(self, count: int) -> list[tuple[int, str, bytes]]:
        log = LogFolder.make(self.folder, PARTITIONS)
        found = []
        for number in range(PARTITIONS):
            with closing(PartitionReader(log.partition("events", number))) as reader:
                at = reader.begin
                while at < reader.end:
                    entries = reader.read(at, 10)
                    found += [(number, entry.key.decode(), entry.value) for entry in entries]
                    at = entries[-1].offset + 1
        assert len(found) == count
        return found


class KafkaLogWorld:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def open(self) -> KafkaEventLog:
        return KafkaEventLog(self.settings)

    def read(self, count: int) -> list[tuple[int, str, bytes]]:
        seen = islice(follow(self.settings, self.settings.topic("events"), from_start=True), count)
        return [(record.partition, record.key, record.raw) for record in seen]


@pytest.fixture
def world(log_place: LogPlace) -> LogWorld:
    if log_place is None:
        return MemoryLogWorld()
    return EmbeddedLogWorld(log_place) if isinstance(log_place, Path) else KafkaLogWorld(log_place)


def use(log: EventLog, doing: Callable[[EventLog], Awaitable[Any]]) -> None:
    """Do something with a log, and close it."""

    async def run() -> None:
        try:
            await doing(log)
        finally:
            await log.close()

    asyncio.run(run())


def events(user: str, *numbers: int) -> Records:
    return [(user, json.dumps({"userId": user, "n": number}).encode()) for number in numbers]


def test_events_are_taken_in_the_order_of_their_user(world: LogWorld) -> None:
    async def append(log: EventLog) -> None:
        await log.append([*events("ann", 1, 2), *events("zoë", 1), *events("ann", 3)])
        await log.append([])
        await log.append(events("ann", 4))

    use(world.open(), append)
    found = world.read(5)
    assert [event for _, user, event in found if user == "ann"] == [event for _, event in events("ann", 1, 2, 3, 4)]
    assert [event for _, user, event in found if user == "zoë"] == [event for _, event in events("zoë", 1)]


def test_a_users_events_are_in_the_partition_of_the_users_shard(world: LogWorld) -> None:
    users = [f"user-{number}" for number in range(40)] + ["zoë", "日本", ""]
    use(world.open(), lambda log: log.append([record for user in users for record in events(user, 1)]))
    found = world.read(len(users))
    assert {(partition, user) for partition, user, _ in found} == {(shard_of(user, PARTITIONS), user) for user in users}
    assert {partition for partition, _, _ in found} == set(range(PARTITIONS))


def test_an_append_says_where_the_last_record_of_each_partition_is(world: LogWorld) -> None:
    """Also where others append at the same time: what a place says is what a reader finds there."""
    users = [f"user-{number}" for number in range(20)]
    said: list[tuple[tuple[int, int], bytes]] = []

    async def one(log: EventLog, number: int) -> None:
        records = [record for user in users for record in events(user, number, -number)]
        places = await log.append(records)
        last = {shard_of(user, PARTITIONS): event for user, event in records}
        assert places.keys() == last.keys()
        said.extend((place, last[place[0]]) for place in places.items())

    async def append(log: EventLog) -> None:
        assert await log.append([]) == {}
        await asyncio.gather(*[one(log, number) for number in range(1, 6)])
        await one(log, 6)

    use(world.open(), append)
    found: dict[int, list[bytes]] = {}
    for partition, _, event in world.read(6 * 2 * len(users)):
        found.setdefault(partition, []).append(event)
    assert len(said) == 6 * PARTITIONS
    assert all(found[partition][offset] == event for (partition, offset), event in said)


def test_many_append_at_the_same_time(world: LogWorld) -> None:
    async def append(log: EventLog) -> None:
        await asyncio.gather(*[log.append(events(f"user-{number}", 1, 2, 3)) for number in range(50)])

    use(world.open(), append)
    found = world.read(150)
    for number in range(50):
        mine = [event for _, user, event in found if user == f"user-{number}"]
        assert mine == [event for _, event in events(f"user-{number}", 1, 2, 3)]


def test_bytes_stay_as_they_are(world: LogWorld) -> None:
    odd = [("ann", b"\xff not JSON"), ("ann", b""), ("ann", b"[" * 1_000)]
    use(world.open(), lambda log: log.append(odd))
    assert [event for _, _, event in world.read(3)] == [event for _, event in odd]


# --- Kafka alone -----------------------------------------------------------------------------------------------------


def test_a_kafka_that_is_not_there_is_told_and_nothing_stays_open() -> None:
    told: list[str] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))
        log = KafkaEventLog(load_settings(kafka_bootstrap_servers="127.0.0.1:1"))
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            await log.append(events("ann", 1))
        with pytest.raises(BrokerUnavailable):
            await log.check()
        await log.close()

    asyncio.run(run())
    assert told == []


def test_a_record_that_kafka_never_takes_fails_alone(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings(shards=1)
    require_topics(settings, create=True)
    world = KafkaLogWorld(settings)

    async def append(log: EventLog) -> None:
        with pytest.raises(BrokerError, match="too large") as refused:
            await log.append([("ann", b"x" * 3_000_000)])
        assert not isinstance(refused.value, BrokerUnavailable)
        await log.append(events("ann", 2))

    use(world.open(), append)
    assert [event for _, _, event in world.read(1)] == [event for _, event in events("ann", 2)]


def test_a_log_is_checked(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings(shards=1)
    require_topics(settings, create=True)

    async def run() -> None:
        log = KafkaEventLog(settings)
        await log.check()
        await log.close()

    asyncio.run(run())


def test_in_kafka_the_trace_of_what_is_appended_is_a_header(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings(shards=1)
    require_topics(settings, create=True)

    async def run() -> list[tuple[int, str | None]]:
        log = KafkaEventLog(settings)
        await log.append(events("ann", 1, 2), trace=CONTEXT)
        await log.append(events("bo", 1))
        await log.close()
        partition = await open_partition(settings, "events", 0)
        try:
            return [(r.offset, r.trace) for r in await asyncio.to_thread(partition.read, 0, 10)]
        finally:
            await asyncio.to_thread(partition.close)

    assert asyncio.run(run()) == [(0, CONTEXT), (1, CONTEXT), (2, None)]


def test_what_is_published_to_kafka_has_its_trace_as_a_header(kafka_world: KafkaWorld) -> None:
    """Transitions have it as CloudEvents' attribute, too, and messages of campaigns in their record."""
    settings = kafka_world.settings(shards=1)
    require_topics(settings, create=True)
    traced = with_trace(crossing(1), CONTEXT)
    message = Message("campaign-triggers", "ann", with_trace(b'{"type":"Send"}', CONTEXT))

    async def run() -> tuple[bytes, list[list[tuple[str, bytes]]]]:
        publisher = KafkaPublisher(settings)
        await asyncio.to_thread(publisher.carry, [("1-0", traced)], [message])
        await publisher.aclose()
        feed = await KafkaTransitionLog(settings).open()
        try:
            feed.seek([0])
            (found,) = await feed.read(10, 10.0)
        finally:
            await feed.close()
        return found.data, [await headers(settings, topic) for topic in ("segment-events", "campaign-triggers")]

    data, (of_transition, of_message) = asyncio.run(run())
    assert of_json(data) == CONTEXT
    assert of_headers(of_transition) == of_headers(of_message) == CONTEXT
    assert ("ce_traceparent", CONTEXT.encode()) in of_transition


async def headers(settings: Settings, kind: TopicKind) -> list[tuple[str, bytes]]:
    """Those of the first record of the first partition."""
    consumer = AIOKafkaConsumer(settings.topic(kind), **aiokafka_arguments(settings), auto_offset_reset="earliest")
    await consumer.start()
    try:
        return list((await consumer.getone()).headers)
    finally:
        await consumer.stop()


def test_a_topic_with_another_number_of_partitions_than_shards_takes_nothing(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings(shards=3)
    require_topics(settings, create=True)
    many = [(f"user {n}", b"{}") for n in range(30)]

    async def refused(shards: int) -> None:
        log = KafkaEventLog(settings.model_copy(update={"shards": shards}))
        for ask in (log.check, lambda: log.append(many)):
            with pytest.raises(TopicsDiffer, match=rf"3 partitions, and {shards} are wanted.*TIDELINE_SHARDS=3"):
                await ask()
        await log.close()

    asyncio.run(refused(2))
    asyncio.run(refused(4))
    world = KafkaLogWorld(settings)
    use(world.open(), lambda log: log.append(many))
    assert {(number, user) for number, user, _ in world.read(30)} == {(shard_of(user, 3), user) for user, _ in many}
