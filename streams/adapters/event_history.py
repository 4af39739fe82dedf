"""The events that a log still has, from the oldest on to where it ends at the moment, for who looks through them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader

_BATCH: Final = 1_000
_POLL_MS: Final = 2_000
_EVENTS: Final[TopicKind] = "events"


class PastEvent(NamedTuple):
    """One record. `log_time_s`: when the log took it, seconds since 1970."""

    log_time_s: float
    value: bytes


class EventHistory(Protocol):
    """May be used by several threads."""

    def events(self) -> Generator[PastEvent, None, None]:
        """Each partition's in order, some of one and some of the next. Close it if it is not read to its end.

        Raises BrokerError.
        """


class EmbeddedHistory:
    """An `EventHistory` in files. `find` gives the folder, which may not be there at the start."""

    def __init__(self, find: Callable[[], LogFolder]) -> None:
        self._find = find

    def events(self) -> Generator[PastEvent, None, None]:
        """See `EventHistory`."""
        folder = self._find()
        readers = [PartitionReader(folder.partition(_EVENTS, n)) for n in range(folder.partitions(_EVENTS))]
        try:
            left = {number: (reader.begin, reader.end) for number, reader in enumerate(readers)}
            while left:
                for number, (place, end) in list(left.items()):
                    found = readers[number].read(place, min(_BATCH, end - place)) if place < end else []
                    yield from (PastEvent(entry.log_time_s, entry.value) for entry in found)
                    if found and found[-1].offset + 1 < end:
                        left[number] = found[-1].offset + 1, end
                    else:
                        del left[number]
        finally:
            for reader in readers:
                reader.close()


class KafkaHistory:
    """An `EventHistory` in Kafka's topic `events`; belongs to no consumer group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def events(self) -> Generator[PastEvent, None, None]:
        """See `EventHistory`."""
        kafka = kafka_python()
        with clients(self._settings) as arguments:
            consumer = kafka.KafkaConsumer(
                **arguments,
                group_id=None,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
            )
            try:
                topic = self._settings.topic(_EVENTS)
                places = [kafka.TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
                consumer.assign(places)
                consumer.seek_to_beginning(*places)
                yield from _up_to(consumer, consumer.end_offsets(places))
            finally:
                consumer.close()


class MemoryHistory:
    """An `EventHistory` in memory, for tests."""

    def __init__(self, records: Sequence[PastEvent] = ()) -> None:
        self.records = list(records)

    def events(self) -> Generator[PastEvent, None, None]:
        """See `EventHistory`."""
        yield from self.records


def _up_to(consumer: Any, ends: dict[Any, int]) -> Iterator[PastEvent]:
    left = {place: end for place, end in ends.items() if consumer.position(place) < end}
    while left:
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            for record in records:
                yield PastEvent(record.timestamp / 1_000, b"" if record.value is None else bytes(record.value))
        left = {place: end for place, end in left.items() if consumer.position(place) < end}
