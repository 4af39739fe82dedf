"""Transitions and messages into Kafka topics, by one idempotent producer that several threads share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from config.errors import BrokerError, BrokerUnavailable, TidelineError
from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_topics import LARGE_RECORD_BYTES
from streams.ports import Message, OutboxEntry

_LOG: Final = logging.getLogger(__name__)
_REQUEST_TIMEOUT_MS: Final = 15_000
_CONTENT: Final = ("content-type", b"application/json")
_REFUSED: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

Headers = list[tuple[str, bytes]]


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


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time", "sequence", "partitionkey")


def binary_mode(transition: bytes) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of a transition, by the Kafka protocol binding of CloudEvents 1.0 (binary mode)."""
    event = _ENVELOPE.decode(transition)
    headers = [(f"ce_{name}", getattr(event, name).encode()) for name in _ATTRIBUTES]
    if event.causationid is not None:
        headers.append(("ce_causationid", event.causationid.encode()))
    headers.append(_CONTENT)
    return event.subject.encode(), bytes(event.data), headers


class KafkaPublisher:
    """A `Sink` and a `Courier` for threads; the producer itself lives in the event loop it was opened in.

    A producer that failed is closed and replaced, because after a lost record its sequence numbers have a gap.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._producer: Any = None
        self._opening = asyncio.Lock()

    # --- for threads ------------------------------------------------------------------------------------------------

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Sink`. Raises BrokerUnavailable, BrokerError."""
        topic = self._settings.topic("segment-events")
        self._wait(self._send_all([(topic, *binary_mode(data)) for _, data in entries]))

    def send(self, messages: Sequence[Message]) -> None:
        """See `Courier`."""
        self._wait(self._send_all([self._record(message) for message in messages]))

    def close(self) -> None:
        """The producer is closed by `aclose`, in its own loop."""

    def _record(self, message: Message) -> tuple[str, bytes | None, bytes, Headers]:
        topic = self._settings.topic(message.topic)  # type: ignore[arg-type]  # the ports do not know kinds of topics
        return topic, message.key.encode() or None, message.data, []

    def _wait(self, sending: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()

    # --- in the loop ------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close the producer; everything that was given is acknowledged, or its sender was told."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def open(self) -> Any:
        """The producer; a new one after a failure."""
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **aiokafka_arguments(self._settings),
                    enable_idempotence=True,
                    acks="all",
                    max_request_size=LARGE_RECORD_BYTES,
                    request_timeout_ms=_REQUEST_TIMEOUT_MS,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()  # it has a task and a connection, which nobody else would end
                    raise
                self._producer = producer
            return self._producer

    async def _send_all(self, records: Sequence[tuple[str, bytes | None, bytes, Headers]]) -> None:
        producer = None
        try:
            producer = await self.open()
            waiting = [await producer.send(topic, value, key, headers=h) for topic, key, value, h in records]
            if waiting:
                await producer.flush()
                for acknowledged in waiting:
                    acknowledged.result()
        except KafkaError as error:
            await self._replace(producer)
            raise self._explained(error) from error

    async def _replace(self, failed: Any) -> None:
        if failed is not None and self._producer is failed:
            self._producer = None
            try:
                await asyncio.wait_for(failed.stop(), timeout=5.0)
            except (KafkaError, TimeoutError) as error:
                _LOG.info("a producer that had failed could not be closed in order: %s", error)

    def _explained(self, error: KafkaError) -> TidelineError:
        servers = self._settings.kafka_bootstrap_servers
        if isinstance(error, _REFUSED):
            return BrokerError(f"Kafka at {servers} refuses a record: {error}. Check the topics: tideline topics")
        return BrokerUnavailable(f"Kafka at {servers} did not take records ({error!r}). Is it running?")
