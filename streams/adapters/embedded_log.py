"""What is appended to an embedded log: events of producers, transitions, and messages between services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from config.errors import BrokerError, BrokerUnavailable
from config.settings import TopicKind
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import MAX_RECORD_BYTES
from streams.adapters.log_reader import PartitionReader
from streams.adapters.log_writer import SEGMENT_BYTES, PartitionWriter
from streams.core.partition import shard_of
from streams.ports import Message, OutboxEntry

GROUP_BYTES: Final = 32 << 20
"""So much may wait while the group before it is written. More is refused, to be sent again."""
_SEGMENTS: Final = 16
"""A bounded partition has so many segments and more, so that old ones can go."""

KeyedRecords = Sequence[tuple[str, bytes]]
"""(user id, event as JSON)."""

Written: TypeAlias = dict[int, int | BrokerError]
"""By partition, the offset of the first record that was appended, or why none was."""


class EventWriter:
    """Appends records to the partitions of their users. `max_bytes`: bound of the whole topic; None for none.

    Threads may share it.
    """

    def __init__(self, folder: LogFolder, *, max_bytes: int | None = None, topic: TopicKind = "events") -> None:
        bound = None if max_bytes is None else max_bytes // folder.shards
        segment_bytes = SEGMENT_BYTES if bound is None else min(SEGMENT_BYTES, bound // _SEGMENTS)
        self._shards = folder.shards
        self._writers = [
            PartitionWriter(folder.partition(topic, number), segment_bytes=segment_bytes, max_bytes=bound)
            for number in range(folder.shards)
        ]

    def by_partition(self, records: KeyedRecords) -> dict[int, list[tuple[bytes, bytes]]]:
        """The records of each partition, in order. Raises BrokerError for one that is too large."""
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        for user, value in records:
            key = user.encode()
            if len(key) + len(value) > MAX_RECORD_BYTES:
                raise BrokerError(f"an event of {len(value):,} bytes is too large; the log takes {MAX_RECORD_BYTES:,}")
            found.setdefault(shard_of(user, self._shards), []).append((key, value))
        return found

    def write(self, parts: Mapping[int, Sequence[tuple[bytes, bytes]]]) -> Written:
        """Append to every partition; durable when it returns, except in those whose error is returned."""
        written: Written = {}
        for number, records in parts.items():
            try:
                written[number] = self._writers[number].append(records)
            except BrokerError as error:
                written[number] = error
        return written

    def append(self, records: KeyedRecords) -> None:
        """All of them, durably. Raises BrokerUnavailable (a part may have been taken), BrokerError."""
        for first in self.write(self.by_partition(records)).values():
            if isinstance(first, BrokerError):
                raise first

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers:
            writer.close()


@dataclass(slots=True)
class _Group:
    """What is appended together, with one sync a partition."""

    parts: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    size: int = 0
    task: asyncio.Task[Written] | None = None


class EmbeddedEventLog:
    """An `EventLog` in files, for one event loop.

    What is appended while another group is written becomes the next group. A thread writes; other processes may write
    to the same log.
    """

    has_headers = False

    def __init__(self, folder: Path, shards: int, *, max_bytes: int | None = None) -> None:
        """`folder`: of the log, `<data directory>/log`, made if need be; `max_bytes`: bound of all events.

        Raises TopicsDiffer (the log has another number of partitions), BrokerUnavailable (it cannot be made).
        """
        self._writer = EventWriter(LogFolder.make(folder, shards), max_bytes=max_bytes)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-log")
        self._turn = asyncio.Lock()
        self._open: _Group | None = None

    async def append(self, records: KeyedRecords, *, trace: str | None = None) -> dict[int, int]:  # noqa: ARG002
        """See `EventLog`. BrokerUnavailable is also raised while more waits than can be written."""
        if not records:
            return {}
        parts = self._writer.by_partition(records)
        group = self._open
        if group is None:
            self._open = group = _Group()
            group.task = asyncio.create_task(self._write(group))
        size = sum(len(user) + len(value) for user, value in records)
        if group.size and group.size + size > GROUP_BYTES:
            raise BrokerUnavailable("events come faster than the log can be written; nothing was taken")
        group.size += size
        behind = {}  # of each partition, how many of the group come up to the last of these
        for number, part in parts.items():
            together = group.parts.setdefault(number, [])
            together += part
            behind[number] = len(together)
        assert group.task is not None, "a group is made with its task"
        written = await asyncio.shield(group.task)  # others wait for it, too
        places = {}
        for number, count in behind.items():
            first = written[number]
            if isinstance(first, BrokerError):
                raise type(first)(str(first)) from first
            places[number] = first + count - 1
        return places

    async def _write(self, group: _Group) -> Written:
        """Wait for the group before, then write this one."""
        async with self._turn:
            self._open = None  # who comes now is of the next
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.write, group.parts)

    async def close(self) -> None:
        """See `EventLog`; what was given is written first."""
        if self._open is not None and self._open.task is not None:
            await asyncio.wait([self._open.task])
        async with self._turn:
            self._thread.shutdown()
            self._writer.close()


# --- what the service itself says -------------------------------------------------------------------------------------


class _Transition(msgspec.Struct, gc=False):
    """What is read of a transition: whose it is, and enough to know it again."""

    subject: str
    id: str


_TRANSITION: Final = msgspec.json.Decoder(_Transition)
REMEMBERED_IDS: Final = 20_000
"""Ids of the latest transitions that are known again, or as many as were ever published at once if that is more. Every
start gives those of one commit once more."""


class LogSink:
    """A `Sink` that appends transitions, as they stand, to the partition in `folder`, each one once.

    Nobody else appends to it.
    """

    def __init__(self, folder: Path, writer: PartitionWriter) -> None:
        self._folder = folder
        self._writer = writer
        self._known: dict[str, None] = {}
        """Ids, the oldest first."""
        self._remembered = 0

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Sink`. Raises BrokerUnavailable, BrokerError."""
        if len(entries) > self._remembered:
            self._remember_at_least(len(entries))
        fresh: dict[str, tuple[bytes, bytes]] = {}
        for _, data in entries:
            transition = _TRANSITION.decode(data)
            if transition.id not in self._known:
                fresh[transition.id] = transition.subject.encode(), data
        if fresh:
            self._writer.append(list(fresh.values()))
            self._known.update(dict.fromkeys(fresh))
        while len(self._known) > self._remembered:
            del self._known[next(iter(self._known))]

    def _remember_at_least(self, number: int) -> None:
        """So many of the last records may be given again."""
        self._remembered = max(number, REMEMBERED_IDS)
        reader = PartitionReader(self._folder)
        try:
            start = max(reader.begin, reader.end - self._remembered)
            self._known = {}
            while entries := reader.read(start, REMEMBERED_IDS):
                self._known.update(dict.fromkeys(_TRANSITION.decode(entry.value).id for entry in entries))
                start = entries[-1].offset + 1
        finally:
            reader.close()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


class LogCourier:
    """A `Courier` to topics of one partition each. Threads may share it."""

    def __init__(self, writers: Mapping[str, PartitionWriter]) -> None:
        self._writers = writers

    def send(self, messages: Sequence[Message]) -> None:
        """See `Courier`. Raises BrokerUnavailable, BrokerError."""
        for topic, group in groupby(messages, key=lambda message: message.topic):
            self._writers[topic].append([(message.key.encode(), message.data) for message in group])


class UserCourier:
    """A `Courier` to topics that are cut by user. `writers`: by topic. Threads may share it."""

    def __init__(self, writers: Mapping[str, EventWriter]) -> None:
        self._writers = writers

    def send(self, messages: Sequence[Message]) -> None:
        """See `Courier`; one sync for each partition and topic. Raises BrokerUnavailable, BrokerError."""
        for topic, group in groupby(messages, key=lambda message: message.topic):
            self._writers[topic].append([(message.key, message.data) for message in group])

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
