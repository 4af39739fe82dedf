"""Transitions and messages into Kafka topics, by one idempotent producer that several threads share."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from config.errors import BrokerError, BrokerUnavailable, Stopped, TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_errors import explained
from streams.adapters.kafka_producer import close_producer, discard_producer, open_producer
from streams.adapters.kafka_topics import BY_USER, COMPACTED, PINNED
from streams.core.partition import shard_of
from streams.ports import Message, OutboxEntry
from streams.trace_context import TRACEPARENT, Headers, headers_of, of_json

_SEND_S: Final = 20.0
"""An idempotent producer keeps a batch for ever while a leader is named for it, dead or not: this bounds the wait."""
_CONTENT: Final = ("content-type", b"application/json")


class _Record(NamedTuple):
    """What is sent; without a `partition` Kafka's client finds one by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class _Envelope(msgspec.Struct, gc=False):
    """A transition as the core writes it: CloudEvents in structured mode."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    sequence: str
    partitionkey: str
    data: msgspec.Raw
    causationid: str | None = None
    traceparent: str | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time", "sequence", "partitionkey")


def binary_mode(transition: bytes) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of a transition, by the Kafka protocol binding of CloudEvents 1.0 (binary mode)."""
    event = _ENVELOPE.decode(transition)
    headers = [(f"ce_{name}", getattr(event, name).encode()) for name in _ATTRIBUTES]
    if event.causationid is not None:
        headers.append(("ce_causationid", event.causationid.encode()))
    if event.traceparent is not None:
        # Once as CloudEvents' attribute, and once for whoever knows OpenTelemetry and nothing of CloudEvents.
        headers += [(f"ce_{TRACEPARENT}", event.traceparent.encode()), *headers_of(event.traceparent)]
    headers.append(_CONTENT)
    return event.subject.encode(), bytes(event.data), headers


_partition_of = lru_cache(maxsize=100_000)(shard_of)
"""Of a key: users have many transitions."""


def _partition(record: _Record, partitions: int) -> int:
    """Its own, else as Java's clients choose; any for a record without a key."""
    if record.partition is not None:
        return record.partition
    if record.key is None:
        return random.randrange(partitions)  # noqa: S311  no secret
    return _partition_of(record.key.decode(), partitions)


class KafkaPublisher:
    """A `Carrier` for threads; the producer itself lives in the event loop it was opened in.

    A producer that failed is closed and replaced, because after a lost record its sequence numbers have a gap.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._producer: Any = None
        self._opening = asyncio.Lock()
        self._places: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sending: set[asyncio.Task[Any]] = set()
        self._is_over = False

    # --- for threads ------------------------------------------------------------------------------------------------

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Sink`. Raises BrokerUnavailable; BrokerError when it is refused; Stopped after `give_up`.

        How long a Kafka that is away is waited for is for each caller to say: many share it, and one that could not
        publish says nothing of the others.
        """
        self.carry(entries, ())

    def send(self, messages: Sequence[Message]) -> None:
        """See `Courier`; raises as `publish`."""
        self.carry((), messages)

    def carry(self, entries: Sequence[OutboxEntry], messages: Sequence[Message]) -> None:
        """See `Carrier`; raises as `publish`."""
        self._wait(self._send_all([*(self._transition(data) for _, data in entries), *map(self._record, messages)]))

    def close(self) -> None:
        """The producer is closed by `aclose`, in its own loop."""

    def _transition(self, data: bytes) -> _Record:
        """Beside the user's events, also when somebody adds partitions: else one of a user could overtake another."""
        key, value, headers = binary_mode(data)
        partition = _partition_of(key.decode(), self._settings.shards)
        return _Record(self._settings.topic("segment-events"), key, value, headers, partition)

    def _record(self, message: Message) -> _Record:
        topic = self._settings.topic(message.topic)  # type: ignore[arg-type]  # the ports do not know kinds of topics
        partition = None
        if message.topic in PINNED:
            partition = shard_of(message.key, PINNED[message.topic])
        elif message.topic in BY_USER:
            partition = _partition_of(message.key, self._settings.shards)
        value = message.data or None if message.topic in COMPACTED else message.data
        trace = of_json(message.data) if message.topic == "campaign-triggers" else None
        headers = [] if trace is None else headers_of(trace)
        return _Record(topic, message.key.encode() or None, value, headers, partition)

    def _wait(self, sending: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(sending, self._loop).result()
        except CancelledError:
            raise Stopped("Kafka had not acknowledged everything when the process had to stop") from None

    # --- in the loop ------------------------------------------------------------------------------------------------

    def give_up(self) -> None:
        """The process has to stop: nobody waits for Kafka any more."""
        self._is_over = True
        for task in self._sending:
            task.cancel()

    async def aclose(self, within_s: float = 5.0) -> None:
        """Close the producer; everything that was given is acknowledged, or its sender was told."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, within_s)

    async def open(self) -> Any:
        """The producer; a new one after a failure."""
        async with self._opening:
            if self._producer is None:
                self._producer = await open_producer(self._settings)
            return self._producer

    async def _send_all(self, records: Sequence[_Record]) -> None:
        if self._is_over:
            raise Stopped("the process has to stop")
        task = asyncio.current_task()
        assert task is not None, "a coroutine that runs is a task's"
        self._sending.add(task)
        used: list[Any] = []
        try:
            async with asyncio.timeout(_SEND_S):
                await self._send_each(records, used)
        except (KafkaError, TimeoutError) as error:
            await self._replace(used)
            raise self._explained(error) from error
        finally:
            self._sending.discard(task)

    async def _send_each(self, records: Sequence[_Record], used: list[Any]) -> None:
        """Send and wait; the producer is put into `used` before it is used."""
        producer = await self.open()
        used.append(producer)
        known = {topic: await producer.partitions_for(topic) for topic in {r.topic for r in records}}
        for topic, partition in {(r.topic, r.partition) for r in records if r.partition is not None}:
            if partition not in known[topic]:
                raise TopicsDiffer(f"{topic} has no partition {partition}: was it made anew? See: tideline topics")
        # Batches are filled here: given one by one, a record costs the client several times what it costs so.
        filled: dict[tuple[str, int], list[Any]] = {}
        for r in records:
            batches = filled.setdefault((r.topic, _partition(r, len(known[r.topic]))), [])
            if not batches or batches[-1].append(timestamp=None, key=r.key, value=r.value, headers=r.headers) is None:
                batches.append(producer.create_batch())
                # The first one always has room.
                batches[-1].append(timestamp=None, key=r.key, value=r.value, headers=r.headers)
        await asyncio.gather(*(self._send_batches(producer, place, batches) for place, batches in filled.items()))

    async def _send_batches(self, producer: Any, place: tuple[str, int], batches: Sequence[Any]) -> None:
        topic, partition = place
        # One at a time: of many that wait for room in a partition, the client gives up the last ones after a second.
        async with self._places[place]:
            waiting = [await producer.send_batch(batch, topic, partition=partition) for batch in batches]
        await asyncio.gather(*waiting)

    async def _replace(self, failed: Sequence[Any]) -> None:
        for producer in failed:
            if self._producer is producer:
                self._producer = None
                await discard_producer(producer)

    def _explained(self, error: KafkaError | TimeoutError) -> BrokerError:
        servers = self._settings.kafka_bootstrap_servers
        if isinstance(error, TimeoutError):
            return BrokerUnavailable(f"Kafka at {servers} did not take records within {_SEND_S:g} s. Is it running?")
        return explained(error, self._settings)
