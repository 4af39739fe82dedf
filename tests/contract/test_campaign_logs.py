"""A partition of a log as campaigns read it: in files, and on a real Kafka."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from config.errors import BrokerError, BrokerUnavailable, NoLog, RecordsGone
from config.settings import Settings, TopicKind, load_settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients
from streams.adapters.kafka_partition import open_partition
from streams.adapters.kafka_publisher import binary_mode
from streams.adapters.kafka_topics import require_topics
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import segment_path
from streams.adapters.log_reader import PartitionReader
from streams.adapters.log_writer import PartitionWriter
from streams.runtime.campaigns.two_logs import Log
from tests.contract.log_places import PARTITIONS
from tests.integration.kafka_world import KafkaWorld
from tests.unit.crossing_examples import crossing

WAIT_S = 20.0


class World(Protocol):
    """A log that a test can write to."""

    def open(self, topic: TopicKind, number: int) -> Log: ...

    def put(self, topic: TopicKind, number: int, *values: bytes) -> None: ...

    def forget(self, topic: TopicKind, number: int, before: int) -> None: ...

    def close(self) -> None: ...


class Files:
    def __init__(self, path: Path) -> None:
        self._folder = LogFolder.make(path, PARTITIONS)
        self._readers: list[PartitionReader] = []

    def open(self, topic: TopicKind, number: int) -> Log:
        self._readers.append(PartitionReader(self._folder.partition(topic, number)))
        return self._readers[-1]

    def put(self, topic: TopicKind, number: int, *values: bytes) -> None:
        with closing(PartitionWriter(self._folder.partition(topic, number), segment_bytes=1)) as writer:
            for value in values:
                writer.append([(b"ann", value)])

    def forget(self, topic: TopicKind, number: int, before: int) -> None:
        for base in range(before):
            segment_path(self._folder.partition(topic, number), base).unlink()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class Kafka:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._opened: list[Any] = []

    def open(self, topic: TopicKind, number: int) -> Log:
        asking = asyncio.run_coroutine_threadsafe(open_partition(self._settings, topic, number), self._loop)
        self._opened.append(asking.result(WAIT_S))
        found: Log = self._opened[-1]
        return found

    def put(self, topic: TopicKind, number: int, *values: bytes) -> None:
        with clients(self._settings) as arguments:
            producer = kafka_python().KafkaProducer(**arguments)
            for value in values:
                key, data, headers = binary_mode(value) if topic == "segment-events" else (b"ann", value, [])
                producer.send(self._settings.topic(topic), data, key, headers, number).get(timeout=WAIT_S)
            producer.close()

    def forget(self, topic: TopicKind, number: int, before: int) -> None:
        kafka = kafka_python()
        with clients(self._settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
            admin.delete_records({kafka.TopicPartition(self._settings.topic(topic), number): before})

    def close(self) -> None:
        for each in self._opened:
            each.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


@contextmanager
def kafka_of(settings: Settings) -> Iterator[Kafka]:
    with closing(Kafka(settings)) as found:
        yield found


@pytest.fixture(params=["files", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "files":
        with closing(Files(tmp_path / "log")) as found:
            yield found
        return
    broker: KafkaWorld = request.getfixturevalue("kafka_world")
    settings = broker.settings(shards=PARTITIONS)
    require_topics(settings, create=True)
    with kafka_of(settings) as kafka:
        yield kafka


def values(log: Log, offset: int, count: int = 100) -> list[tuple[int, bytes]]:
    """All that is there from an offset on, however it is cut."""
    found: list[tuple[int, bytes]] = []
    end = log.end
    while offset < end:
        some = log.read(offset, count)
        assert 0 < len(some) <= count
        found += [(each.offset, each.value) for each in some]
        offset = some[-1].offset + 1
    return found


def test_a_partition_in_which_nothing_has_come_is_empty(world: World) -> None:
    log = world.open("events", 1)
    assert (log.begin, log.end, list(log.read(0, 5))) == (0, 0, [])


def test_records_are_read_in_their_order_with_their_time(world: World) -> None:
    log, before_s = world.open("events", 1), time.time()
    world.put("events", 1, b"a", b"b", b"c")
    world.put("events", 2, b"x")
    assert (log.begin, log.end) == (0, 3)
    assert values(log, 0) == values(log, 0, 2) == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert values(log, 1) == [(1, b"b"), (2, b"c")]
    assert all(before_s - 5.0 <= each.log_time_s <= time.time() + 5.0 for each in log.read(0, 3))


def test_what_was_looked_at_is_read_again_and_what_comes_later_behind_it(world: World) -> None:
    log = world.open("events", 0)
    world.put("events", 0, b"a", b"b", b"c")
    for _ in range(3):
        assert [each.value for each in log.read(1, 2)] == [b"b", b"c"]
    assert [each.value for each in log.read(1, 1)] == [b"b"]
    world.put("events", 0, b"d")
    assert values(log, 2) == [(2, b"c"), (3, b"d")]
    assert values(log, 0) == [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]
    world.put("events", 0, b"e")
    assert values(log, 4) == [(4, b"e")]


def test_a_transition_is_the_event_that_the_shard_has_written(world: World) -> None:
    log = world.open("segment-events", 2)
    wanted = [crossing(1, "ann"), crossing(2, "bo")]
    world.put("segment-events", 2, *wanted)
    assert [value for _, value in values(log, 0)] == wanted


def test_what_is_not_kept_any_more_is_told(world: World) -> None:
    log = world.open("events", 0)
    world.put("events", 0, b"a", b"b", b"c")
    world.forget("events", 0, 2)
    assert (log.begin, log.end) == (2, 3)
    assert values(log, 2) == [(2, b"c")]
    with pytest.raises((RecordsGone, BrokerError)):
        log.read(0, 5)
    assert values(log, 2) == [(2, b"c")]


def test_a_topic_that_is_not_there_is_told(kafka_world: KafkaWorld) -> None:
    with kafka_of(kafka_world.settings(shards=PARTITIONS)) as kafka, pytest.raises(NoLog, match="no partition 7"):
        kafka.open("events", 7)


def test_a_broker_that_is_not_there_is_told() -> None:
    settings = load_settings(kafka_bootstrap_servers="127.0.0.1:1")
    with kafka_of(settings) as kafka, pytest.raises(BrokerUnavailable):
        kafka.open("events", 0)
