"""The events that Kafka has kept, read from their beginning by partition, without a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from config.errors import BrokerUnavailable
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_reading import groupless_consumer
from streams.runtime.records import Record

_POLL_MS: Final = 500
_POSITION_MS: Final = 100
NO_PROGRESS_S: Final = 60.0
"""A broker that gives nothing for so long is away, whatever the client hopes; a restart takes less."""


class KafkaPartitionReader:
    """Partition `number` of the events, up to `end`, which its user sets. Raises BrokerError."""

    def __init__(self, consumer: Any, topic: str, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._place = kafka_python().TopicPartition(topic, number)
        self._clock = clock
        self._at = -1
        self.end = 0
        consumer.assign([self._place])

    def ask_begin(self) -> int:
        """The oldest offset that is kept."""
        return int(self._consumer.beginning_offsets([self._place])[self._place])

    def ask_end(self) -> int:
        """Where it ends at the moment; from now on that is its `end`."""
        self.end = int(self._consumer.end_offsets([self._place])[self._place])
        return self.end

    def read(self, offset: int, most: int) -> list[Record]:
        """The next records before `end`, at most so many; none where there are none.

        What is gone by retention, or was never committed, is left out. Raises BrokerUnavailable where the broker
        gives nothing for `NO_PROGRESS_S`.
        """
        if offset != self._at:
            self._consumer.seek(self._place, offset)
            self._at = offset
        position, progress_s = offset, self._clock()
        while True:
            found = self._consumer.poll(timeout_ms=_POLL_MS, max_records=most).get(self._place, ())
            if found:
                records = [_record(one) for one in found if one.offset < self.end]
                self._at = found[-1].offset + 1 if len(records) == len(found) else -1
                return records
            # Without a time of its own the client would wait for a position for ever.
            now_at = self._consumer.position(self._place, timeout_ms=_POSITION_MS)
            if now_at is not None and now_at >= self.end:
                return []
            if now_at is not None and now_at != position:
                position, progress_s = now_at, self._clock()
            elif self._clock() - progress_s >= NO_PROGRESS_S:
                raise BrokerUnavailable(f"Kafka has given no event for {NO_PROGRESS_S:g} s; is it still running?")


class KafkaPastLog:
    """A `PastLog` in Kafka's topic of events: a consumer for each partition, as the one that is behind is read next."""

    def __init__(self, readers: Sequence[KafkaPartitionReader]) -> None:
        self._readers = readers

    def begins(self) -> list[int]:
        """See `PastLog`."""
        return [reader.ask_begin() for reader in self._readers]

    def ends(self) -> list[int]:
        """See `PastLog`."""
        return [reader.ask_end() for reader in self._readers]

    def read(self, partition: int, offset: int, most: int) -> Sequence[Record]:
        """See `PastLog`."""
        return self._readers[partition].read(offset, most)


@contextmanager
def kafka_past_log(settings: Settings) -> Iterator[KafkaPastLog]:
    """All partitions of the events. Raises BrokerError, also for what the client raises while it is used."""
    topic = settings.topic("events")
    with ExitStack() as stack:
        consumers = [stack.enter_context(groupless_consumer(settings)) for _ in range(settings.shards)]
        yield KafkaPastLog([KafkaPartitionReader(one, topic, number) for number, one in enumerate(consumers)])


@contextmanager
def kafka_partition(settings: Settings, number: int) -> Iterator[KafkaPartitionReader]:
    """One partition of them. Raises as `kafka_past_log`."""
    with groupless_consumer(settings) as consumer:
        yield KafkaPartitionReader(consumer, settings.topic("events"), number)


def _record(record: Any) -> Record:
    """A record that does not say when Kafka took it is taken now, as by a worker."""
    log_time_s = record.timestamp / 1_000 if record.timestamp > 0 else time.time()
    return Record(record.offset, log_time_s, b"" if record.value is None else bytes(record.value))
