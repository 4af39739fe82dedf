"""One partition of a Kafka topic, read in order by a thread; the consumer itself lives in the loop it was opened in.

It belongs to no consumer group. What is read again from about the same place comes from a small buffer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from config.errors import BrokerUnavailable, NoLog, RecordsGone, Stopped
from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_errors import explained
from streams.adapters.kafka_feed import FETCH_BYTES, data_of
from streams.trace_context import of_headers

T = TypeVar("T")
_ANSWER_S: Final = 10.0
_FETCH_MS: Final = 200


class PartitionRecord(NamedTuple):
    """One record; a transition stands in it as one JSON object (structured mode)."""

    offset: int
    log_time_s: float
    """When the log took it, or when its producer says that it made it (as the topic is set up); seconds since 1970."""
    value: bytes
    trace: str | None = None
    """Of which trace an event is a part, by its header (`streams.trace_context`); a transition says so itself."""


class KafkaPartition:
    """See the module. For one thread, another one than that of the loop. Every method raises BrokerUnavailable.

    Between records there may be offsets without one, but not behind the last: producers of the topic make no
    transactions.
    """

    def __init__(self, consumer: Any, place: Any, settings: Settings) -> None:
        """`open_partition` makes it."""
        self._consumer = consumer
        self._place = place
        self._settings = settings
        self._is_transitions = place.topic == settings.topic("segment-events")
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[PartitionRecord] = deque()
        self._from = -1
        """The offset from which on the buffer has all records; -1 before the first read."""
        self._next = -1
        """Where the consumer reads on."""

    @property
    def begin(self) -> int:
        """The offset of the oldest record that is kept."""
        return int(self._wait(self._consumer.beginning_offsets([self._place]))[self._place])

    @property
    def end(self) -> int:
        """The offset behind the last record, as the broker knows it now."""
        return int(self._wait(self._consumer.end_offsets([self._place]))[self._place])

    def read(self, offset: int, max_records: int) -> Sequence[PartitionRecord]:
        """Records from an offset on, at least one if there is any: for that one it waits.

        Raises RecordsGone where the partition does not keep them.
        """
        if not self._from <= offset <= self._next:
            self._buffer.clear()
            self._consumer.seek(self._place, offset)
            self._next = offset
        while self._buffer and self._buffer[0].offset < offset:
            self._buffer.popleft()
        self._from = offset
        deadline_s = time.monotonic() + _ANSWER_S
        while len(self._buffer) < max_records:
            if self._fetch(max_records - len(self._buffer)):
                continue
            if self._buffer or self.end <= offset:
                break
            if time.monotonic() > deadline_s:
                raise _silent(self._settings)
        return [record for record, _ in zip(self._buffer, range(max_records), strict=False)]

    def close(self) -> None:
        """Give the connection back."""
        self._wait(self._consumer.stop())

    # --- parts -------------------------------------------------------------------------------------------------------

    def _fetch(self, count: int) -> bool:
        """More into the buffer; false if nothing came. Waits only if there is nothing in it."""
        timeout_ms = 0 if self._buffer else 2 * _FETCH_MS
        try:
            found = self._wait(self._consumer.getmany(self._place, timeout_ms=timeout_ms, max_records=count))
        except OffsetOutOfRangeError as error:
            raise RecordsGone(str(error)) from error
        records = found.get(self._place, ())
        for record in records:
            if self._is_transitions:
                value, trace = data_of(record.headers, record.value), None
            else:
                value, trace = record.value or b"", of_headers(record.headers) if record.headers else None
            self._buffer.append(PartitionRecord(record.offset, record.timestamp / 1_000.0, value, trace))
            self._next = record.offset + 1
        return bool(records)

    def _wait(self, asking: Coroutine[Any, Any, T]) -> T:
        async def answered() -> T:
            async with asyncio.timeout(_ANSWER_S):
                return await asking

        try:
            return asyncio.run_coroutine_threadsafe(answered(), self._loop).result()
        except CancelledError:
            raise Stopped("Kafka had not answered when the process had to stop") from None
        except OffsetOutOfRangeError:
            raise
        except KafkaError as error:
            raise explained(error, self._settings) from error
        except TimeoutError as error:
            raise _silent(self._settings) from error


async def open_partition(settings: Settings, kind: TopicKind, number: int) -> KafkaPartition:
    """A reader of its own. Raises BrokerUnavailable, and NoLog where there is no such partition."""
    topic = settings.topic(kind)
    consumer = AIOKafkaConsumer(
        **aiokafka_arguments(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",  # what is gone has to be told
        isolation_level="read_committed",
        fetch_max_wait_ms=_FETCH_MS,
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        async with asyncio.timeout(_ANSWER_S):
            await consumer.start()
            cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001  `topics` asks the same
            if number not in (cluster.partitions_for_topic(topic) or ()):
                raise NoLog(f"the topic {topic!r} has no partition {number}. See: tideline topics")
            place = TopicPartition(topic, number)
            consumer.assign([place])
    except KafkaError as error:
        await consumer.stop()
        raise explained(error, settings) from error
    except TimeoutError as error:
        await consumer.stop()
        raise _silent(settings) from error
    except BaseException:
        await consumer.stop()
        raise
    return KafkaPartition(consumer, place, settings)


def _silent(settings: Settings) -> BrokerUnavailable:
    return BrokerUnavailable(f"Kafka at {settings.kafka_bootstrap_servers} did not answer in time. Is it running?")
