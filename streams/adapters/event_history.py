"""The events that a log still has, from the oldest on to where it ends at the moment, for who looks through them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from config.errors import BrokerError, BrokerUnavailable
from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_reading import groupless_consumer
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import Entry
from streams.adapters.log_reader import PartitionReader

_BATCH: Final = 1_000
_POLL_MS: Final = 2_000
_POSITION_MS: Final = 100
_NO_PROGRESS_S: Final = 10.0
"""A broker that gives nothing for so long is away, whatever the client hopes."""
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
                    found = _kept(readers[number], place, end)
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
        for record in kafka_records(self._settings, _EVENTS):
            yield PastEvent(record.timestamp / 1_000, b"" if record.value is None else bytes(record.value))


class MemoryHistory:
    """An `EventHistory` in memory, for tests."""

    def __init__(self, records: Sequence[PastEvent] = ()) -> None:
        self.records = list(records)

    def events(self) -> Generator[PastEvent, None, None]:
        """See `EventHistory`."""
        yield from self.records


def kafka_records(settings: Settings, kind: TopicKind, first: int = 0) -> Generator[Any, None, None]:
    """All records that a topic has when it is asked, each partition's in order; from offset `first` on, for a topic of
    one partition. Raises BrokerError.
    """
    kafka, topic = kafka_python(), settings.topic(kind)
    with groupless_consumer(settings) as consumer:
        places = [kafka.TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
        if not places:  # nobody must take that for a topic without records
            raise BrokerUnavailable(f"Kafka does not tell of the topic {topic}: is it being made, or gone?")
        consumer.assign(places)
        if first:
            for place in places:
                consumer.seek(place, first)
        else:
            consumer.seek_to_beginning(*places)
        yield from _up_to(consumer, consumer.end_offsets(places))


def _kept(reader: PartitionReader, place: int, end: int) -> list[Entry]:
    """Some records of what is kept between two offsets: the oldest may be taken away while one reads. None at the end.

    Raises BrokerError for a log that is damaged.
    """
    while place < end:
        try:
            return reader.read(place, min(_BATCH, end - place))
        except BrokerError:
            if reader.begin <= place:
                raise
            place = reader.begin
    return []


def _up_to(consumer: Any, ends: dict[Any, int], clock: Callable[[], float] = time.monotonic) -> Iterator[Any]:
    """Raises BrokerUnavailable where the broker gives nothing for a while."""
    places: dict[Any, int | None] = {}
    progress_s = clock()
    while True:
        # Without a time of its own the client would wait for a position for ever.
        now = {place: consumer.position(place, timeout_ms=_POSITION_MS) for place in ends}
        if all(at is not None and at >= ends[place] for place, at in now.items()):
            return
        if now != places:
            places, progress_s = now, clock()
        elif clock() - progress_s >= _NO_PROGRESS_S:
            raise BrokerUnavailable(f"Kafka has given no event for {_NO_PROGRESS_S:g} s; is it still running?")
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            yield from records
