"""The events topic as an `EventLog`: what the API has accepted, acknowledged by all replicas in sync."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from config.errors import BrokerError, BrokerUnavailable, TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_errors import explained
from streams.adapters.kafka_producer import close_producer, discard_producer, open_producer
from streams.adapters.kafka_topics import partition_problems
from streams.core.partition import shard_of
from streams.trace_context import Headers, headers_of

_APPEND_S: Final = 10.0
"""Senders of events give up after about 15 seconds, and then they would not learn what became of them."""
_CHECK_S: Final = 3.0


class KafkaEventLog:
    """See `EventLog`. Each record goes into the partition of the user's shard.

    A topic with another number of partitions than there are shards takes nothing: its workers end for the same reason,
    and users would be where nobody looks for them.

    Many appends share one producer and run at the same time. A producer that failed is closed and replaced, because
    after a lost record its sequence numbers have a gap; what others had in it then fails as well, and is sent again
    by whoever sent it. Lives in the event loop in which it is first used.
    """

    has_headers = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic("events")
        self._producer: Any = None
        self._opening = asyncio.Lock()

    async def append(self, records: Sequence[tuple[str, bytes]], *, trace: str | None = None) -> dict[int, int]:
        """See `EventLog`."""
        if not records:
            return {}
        headers = None if trace is None else headers_of(trace)
        used: list[Any] = []
        try:
            async with asyncio.timeout(_APPEND_S):
                producer = await self._open()
                used.append(producer)
                return await self._send(producer, records, headers)
        except MessageSizeTooLargeError as error:  # refused by the client: nothing is missing in what it sends
            raise explained(error, self._settings) from error
        except (KafkaError, TimeoutError) as error:
            await self._replace(used)
            raise self._words(error) from error

    async def check(self) -> None:
        """Raises BrokerError unless Kafka answers and the topic is there."""
        try:
            async with asyncio.timeout(_CHECK_S):
                producer = await self._open()
                if not await producer.client.force_metadata_update():
                    raise BrokerUnavailable(f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer")
                await self._shards(producer)
        except (KafkaError, TimeoutError) as error:
            raise self._words(error) from error

    async def close(self) -> None:
        """See `EventLog`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer)

    async def _open(self) -> Any:
        async with self._opening:
            if self._producer is None:
                self._producer = await open_producer(self._settings)
            return self._producer

    async def _send(
        self, producer: Any, records: Sequence[tuple[str, bytes]], headers: Headers | None
    ) -> dict[int, int]:
        waiting: list[asyncio.Future[Any]] = []
        shards = await self._shards(producer)
        try:
            for user, event in records:
                place = shard_of(user, shards)
                sent = await producer.send(self._topic, event, user.encode(), partition=place, headers=headers)
                waiting.append(sent)
            await asyncio.wait(waiting)
        finally:
            for sent in waiting:
                sent.add_done_callback(_look)
        taken = [sent.result() for sent in waiting]
        # Of a batch that it has seen so long ago that it forgot the place, Kafka says -1.
        return {each.partition: each.offset for each in taken if each.offset >= 0}

    async def _shards(self, producer: Any) -> int:
        """How many there are. Raises TopicsDiffer where the topic has not as many partitions."""
        shards, there = self._settings.shards, len(await producer.partitions_for(self._topic))
        if problems := partition_problems("events", self._topic, shards, there):
            raise TopicsDiffer(f"{self._topic} {' '.join(problems)}")
        return shards

    async def _replace(self, failed: Sequence[Any]) -> None:
        for producer in failed:
            if self._producer is producer:
                self._producer = None
                await discard_producer(producer)

    def _words(self, error: KafkaError | TimeoutError) -> BrokerError:
        if isinstance(error, TimeoutError) and not isinstance(error, KafkaError):
            servers = self._settings.kafka_bootstrap_servers
            return BrokerUnavailable(f"Kafka at {servers} did not answer in time. Is it running?")
        return explained(error, self._settings)


def _look(sent: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; a failure that is never looked at would be told as a bug."""
    if not sent.cancelled():
        sent.exception()
