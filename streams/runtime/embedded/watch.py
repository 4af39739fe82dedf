"""Looking at an embedded log: records as they come, and how far its worker is behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from config.settings import TopicKind
from streams.adapters.log_folder import LogFolder, read_worked
from streams.adapters.log_format import Entry
from streams.adapters.log_reader import PartitionReader
from streams.runtime.seen import PartitionLag, Seen, body_of

_PAUSE_S: Final = 0.05
_BATCH: Final = 1_000


def follow(
    folder: LogFolder,
    topic: TopicKind,
    *,
    from_start: bool = False,
    limit: int | None = None,
    begin: Callable[[int], None] = lambda _: None,
) -> Iterator[Seen]:
    """The records of a topic, those that come from now on or all; endless without a `limit`.

    `begin` is told first how many of them are there already.
    In no particular order between partitions. Raises BrokerError for a log that is damaged.
    """
    readers = [PartitionReader(folder.partition(topic, number)) for number in range(folder.partitions(topic))]
    places = [reader.begin if from_start else reader.end for reader in readers]
    begin(sum(reader.end - place for reader, place in zip(readers, places, strict=True)))
    left, never = limit, threading.Event()
    try:
        while True:
            found = False
            for number, reader in enumerate(readers):
                for entry in reader.read(places[number], _BATCH):
                    yield _seen(number, entry)
                    places[number], found = entry.offset + 1, True
                    left = None if left is None else left - 1
                    if left == 0:
                        return
            if not found:
                never.wait(_PAUSE_S)
    finally:
        for reader in readers:
            reader.close()


def _seen(partition: int, entry: Entry) -> Seen:
    time_ms, key = round(entry.log_time_s * 1_000), entry.key.decode(errors="replace")
    return Seen(partition, entry.offset, time_ms, key, body_of(entry.value), entry.value)


def lag_of(folder: LogFolder, topic: TopicKind) -> tuple[PartitionLag, ...]:
    """How far the worker is in a topic, as it said itself a second ago. Raises BrokerError for a damaged log."""
    found = []
    for number in range(folder.partitions(topic)):
        place = folder.partition(topic, number)
        reader = PartitionReader(place)
        try:
            oldest = reader.read(reader.begin, 1)
            oldest_s = oldest[0].log_time_s if oldest else None
            found.append(PartitionLag(number, reader.begin, reader.end, read_worked(place), oldest_s))
        finally:
            reader.close()
    return tuple(found)
