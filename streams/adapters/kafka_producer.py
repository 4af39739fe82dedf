"""aiokafka's idempotent producer: how it is opened, closed, and given up after a failure."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_topics import BATCH_BYTES, LARGE_RECORD_BYTES

_LOG: Final = logging.getLogger(__name__)
_REQUEST_TIMEOUT_MS: Final = 15_000
_CLOSE_S: Final = 5.0
_DISCARD_S: Final = 1.0


async def open_producer(settings: Settings) -> Any:
    """A producer that is connected; every record is acknowledged by all replicas in sync, and stored once.

    Raises KafkaError, and SettingsError for certificate files that cannot be used.
    """
    producer = AIOKafkaProducer(
        **aiokafka_arguments(settings),
        enable_idempotence=True,
        acks="all",
        max_request_size=LARGE_RECORD_BYTES,
        # One request at a time carries one batch of a partition: what a commit has to say should fit into one.
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
    )
    try:
        await producer.start()
    except BaseException:
        await discard_producer(producer)  # it has a task and a connection, which nobody else would end
        raise
    return producer


async def close_producer(producer: Any, within_s: float = _CLOSE_S) -> None:
    """Send what it holds if Kafka takes it within `within_s`, and close it."""
    try:
        async with asyncio.timeout(within_s):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        _LOG.info("a producer could not be closed in order: %r", error)
        await discard_producer(producer)


async def discard_producer(producer: Any) -> None:
    """End it without another attempt: what it holds was given up, and must not come behind what is sent again.

    Whoever waits for a record in it hears so at once, by a KafkaError, and may send it by another producer.
    """
    task = producer._sender.sender_task  # noqa: SLF001  `stop` would let it send all it holds first
    if task is not None:
        # Not the client's own `close`: it takes a sender that was ended before it began for an end of ours.
        task.cancel()
        await asyncio.wait({task}, timeout=_DISCARD_S)  # what goes on behind that is cancelled by `stop`
    _fail_all(producer._message_accumulator)  # noqa: SLF001  the client does so only for a sender that failed by itself
    await producer.stop()


def _fail_all(accumulator: Any) -> None:
    """Nobody sends the batches any more."""
    accumulator.fail_all(KafkaError("the producer was given up after another record had failed in it"))
    queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    # Looked at here: few have somebody who waits for room behind them, and who has given up waits for nothing.
    for batch in queued:
        batch._drain_waiter.exception()  # noqa: SLF001
    for batch in [*queued, *accumulator._pending_batches]:  # noqa: SLF001
        batch.future.exception()
