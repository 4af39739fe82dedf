"""A producer that is given up after one sender's failure, and the others whose records were in it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, RequestTimedOutError

from config.errors import BrokerUnavailable
from config.settings import load_settings
from streams.adapters.kafka_producer import discard_producer
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.core.partition import shard_of
from streams.ports import Message

TOLD_S = 5.0
"""Far below the bound of one attempt."""


class Held(AIOKafkaProducer):  # type: ignore[misc]  # the client has no types
    """The client's own queue of batches, and a sender that takes none out of it."""

    def __init__(self) -> None:
        super().__init__(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
        self.queued: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._sender._sender_task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return  # as the client's does

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0, 1, 2, 3, 4, 5, 6, 7}

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        waiting = await self._message_accumulator.add_batch(batch, TopicPartition(topic, partition), 20.0)
        self.queued.put_nowait((topic, partition))
        return waiting

    def first_batch(self, topic: str, partition: int) -> Any:
        return self._message_accumulator._batches[TopicPartition(topic, partition)][0]


class Publisher(KafkaPublisher):
    """With one producer."""

    def __init__(self, producer: Held) -> None:
        super().__init__(load_settings())
        self._producer = producer


def test_the_other_sender_of_a_producer_that_is_given_up_hears_at_once() -> None:
    told: list[str] = []

    async def publish() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))
        producer = Held()
        publisher = Publisher(producer)
        sends = [asyncio.to_thread(publisher.send, [Message("examples", name, b"x")]) for name in ("one", "other")]
        assert shard_of("one", 8) != shard_of("other", 8), "two partitions"
        one, other = map(asyncio.create_task, sends)
        await producer.queued.get()
        await producer.queued.get()
        batch = producer.first_batch("tideline.examples", shard_of("one", 8))
        batch.failure(RequestTimedOutError())
        async with asyncio.timeout(TOLD_S):
            for sending in (one, other):
                with pytest.raises(BrokerUnavailable):
                    await sending
        assert asyncio.all_tasks() == {asyncio.current_task()}, "the client's own are over, too"
        del batch
        gc.collect()

    asyncio.run(publish())
    assert told == []


def test_what_nobody_waits_for_any_more_fails_without_a_word() -> None:
    told: list[str] = []

    async def publish() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))
        producer = Held()
        given_up = await producer.send_batch(producer.create_batch(), "tideline.examples", partition=0)
        given_up.cancel()
        await discard_producer(producer)
        del given_up
        gc.collect()

    asyncio.run(publish())
    assert told == []


def test_nothing_is_taken_by_a_producer_that_was_given_up() -> None:
    async def publish() -> None:
        producer = Held()
        await discard_producer(producer)
        with pytest.raises(KafkaError):
            await producer.send_batch(producer.create_batch(), "tideline.examples", partition=0)

    asyncio.run(publish())
