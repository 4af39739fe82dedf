"""Where chunks and models go when somebody has added partitions to their topics."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from config.errors import TopicsDiffer
from config.settings import TopicKind, load_settings
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.kafka_topics import partition_problems
from streams.core.partition import shard_of
from streams.ports import Message


class NotedBatch:
    """Has room for two records."""

    def __init__(self, values: list[bytes | None]) -> None:
        self.records, self._values = 0, values

    def append(self, *, value: bytes | None, **_record: Any) -> Any:
        if self.records == 2:
            return None
        self.records += 1
        self._values.append(value)
        return object()


class NotingProducer:
    """Writes down what is sent, to topics of `count` partitions."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.sent: list[tuple[str, int]] = []
        self.values: list[bytes | None] = []

    async def partitions_for(self, _topic: str) -> set[int]:
        return set(range(self._count))

    def create_batch(self) -> Any:
        return NotedBatch(self.values)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        self.sent += [(topic, partition)] * batch.records
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged

    async def stop(self) -> None: ...


def sent(count: int, messages: list[Message]) -> list[tuple[str, int]]:
    """Topic and partition of each, when topics have `count` partitions."""
    return producer_of(count, messages).sent


def producer_of(count: int, messages: list[Message], **settings: Any) -> NotingProducer:
    producer = NotingProducer(count)

    class Publisher(KafkaPublisher):
        async def open(self) -> Any:
            return producer

    async def publish() -> None:
        await asyncio.to_thread(Publisher(load_settings(**settings)).send, messages)

    asyncio.run(publish())
    return producer


def test_chunks_and_models_stay_where_they_are_read() -> None:
    names = [f"prediction_{n}" for n in range(40)]
    chunks = sent(50, [Message("examples", name, b"x") for name in names])
    assert sorted(chunks) == sorted(("tideline.examples", shard_of(name, 8)) for name in names)
    assert {partition for _, partition in chunks} == set(range(8))
    assert sent(2, [Message("models", "d:orders", b"x")]) == [("tideline.models", 0)]
    ((topic, partition),) = sent(2, [Message("dead-letters", "", b"x")])
    assert topic == "tideline.dead-letters"
    assert partition in {0, 1}


def transition(user: str) -> bytes:
    names = ("specversion", "id", "source", "type", "time", "sequence")
    return msgspec.json.encode({**dict.fromkeys(names, "x"), "subject": user, "partitionkey": user, "data": {}})


def test_transitions_stay_where_their_users_are() -> None:
    """A sequence of a user that goes over to an added partition could be read before what came earlier."""
    users = [f"u{n}" for n in range(40)]
    producer = NotingProducer(20)

    class Publisher(KafkaPublisher):
        async def open(self) -> Any:
            return producer

    async def publish() -> None:
        publisher = Publisher(load_settings(shards=12))
        await asyncio.to_thread(publisher.publish, [(str(n), transition(user)) for n, user in enumerate(users)])

    asyncio.run(publish())
    assert sorted(producer.sent) == sorted(("tideline.segment-events", shard_of(user, 12)) for user in users)


@pytest.mark.parametrize("topic", ["campaign-triggers", "events"])
def test_what_campaigns_put_out_stays_where_its_user_is(topic: str) -> None:
    """A channel would take a number that comes behind a later one for known."""
    users = [f"u{n}" for n in range(40)]
    found = producer_of(20, [Message(topic, user, b"x") for user in users], shards=12).sent
    assert sorted(found) == sorted((f"tideline.{topic}", shard_of(user, 12)) for user in users)


def test_more_partitions_than_are_used_are_no_problem() -> None:
    for kind, wanted in (("segment-events", 12), ("examples", 8), ("models", 1), ("deletions", 1)):
        assert partition_problems(cast("TopicKind", kind), "a", wanted, wanted + 2) == []
    assert partition_problems("events", "a", 12, 14)


def test_nothing_is_a_tombstone_where_the_latest_of_a_key_is_kept() -> None:
    messages = [Message("deletions", "0::ab", b""), Message("deletions", "0::cd", b"x"), Message("examples", "p", b"")]
    assert producer_of(8, messages).values == [None, b"x", b""]


def test_a_topic_that_was_made_anew_with_too_few_is_named() -> None:
    with pytest.raises(TopicsDiffer, match=r"tideline\.examples has no partition"):
        sent(1, [Message("examples", f"prediction_{n}", b"x") for n in range(40)])
