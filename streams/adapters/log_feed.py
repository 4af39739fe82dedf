"""A topic of an embedded log, read by many at once: one task looks for new records, whoever reads waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from config.errors import BrokerError, RecordsGone
from config.settings import TopicKind
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.ports import Crossing, Kept

T = TypeVar("T")
POLL_S: Final = 0.01
"""Files have nobody who tells of a change. So often is looked, and by nobody while nobody waits."""
_THREADS: Final = 4
"""Of all readers together, and of nobody else: many of them keep nobody waiting who asks the store."""


class EmbeddedTransitionLog:
    """A `TransitionLog` in files, for one event loop. `find` gives the folder, which may not be there at the start.

    `topic`: another one that is cut by user may be read the same way.
    """

    def __init__(self, find: Callable[[], LogFolder], topic: TopicKind = "segment-events") -> None:
        self._find = find
        self._topic = topic
        self._readers: list[PartitionReader] = []
        self._ends: list[int] = []
        self._changed = asyncio.Event()
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, "transitions")

    async def open(self) -> EmbeddedFeed:
        """See `TransitionLog`."""
        folder = self._find()
        if not self._readers:
            self._readers = self._open_readers(folder)
            self._ends = [reader.end for reader in self._readers]
        return EmbeddedFeed(self, self._open_readers(folder), self._threads)

    def _open_readers(self, folder: LogFolder) -> list[PartitionReader]:
        numbers = range(folder.partitions(self._topic))
        return [PartitionReader(folder.partition(self._topic, number)) for number in numbers]

    async def wait(self, positions: Sequence[int], timeout_s: float) -> None:
        """Until there is a record at one of the positions or behind it, or the time is over.

        Raises BrokerError for a log that is damaged.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while all(end <= position for end, position in zip(self._ends, positions, strict=True)):
                    if self._looking is None or self._looking.done():
                        self._looking = asyncio.create_task(self._look())
                    changed = asyncio.create_task(self._changed.wait())
                    try:
                        await asyncio.wait((changed, self._looking), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        changed.cancel()
                    if self._looking.done():
                        self._looking.result()  # what it has failed by
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """See `TransitionLog`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for reader in self._readers:
            reader.close()
        self._readers = []
        self._threads.shutdown(wait=False)

    async def _look(self) -> None:
        """While anybody waits."""
        while self._waiting:
            ends = [reader.end for reader in self._readers]
            if ends != self._ends:
                self._ends = ends
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()
            await asyncio.sleep(POLL_S)


class EmbeddedFeed:
    """A `TransitionFeed`; reads in a thread. A read that is cancelled has taken nothing."""

    def __init__(self, log: EmbeddedTransitionLog, readers: Sequence[PartitionReader], threads: Executor) -> None:
        self._log = log
        self._readers = readers
        self._threads = threads
        self._positions = [0] * len(readers)
        self._working: asyncio.Future[Any] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def kept(self) -> list[Kept]:
        """See `TransitionFeed`."""
        return await self._in_thread(lambda: [Kept(reader.begin, reader.end) for reader in self._readers])

    def seek(self, positions: Sequence[int]) -> None:
        """See `TransitionFeed`."""
        self._positions = list(positions)

    async def read(self, max_records: int, timeout_s: float) -> list[Crossing]:
        """See `TransitionFeed`."""
        found = await self._take(max_records)
        if not found:
            await self._log.wait(self._positions, timeout_s)
            found = await self._take(max_records)
        return found

    async def close(self) -> None:
        """See `TransitionFeed`. It is done even where who waits for it is cancelled."""
        self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._thread_is_done()
        for reader in self._readers:
            reader.close()

    async def _take(self, max_records: int) -> list[Crossing]:
        positions = list(self._positions)
        found = await self._in_thread(lambda: self._read(positions, max_records))
        for crossing in found:
            self._positions[crossing.partition] = crossing.offset + 1
        return found

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """A thread cannot be cancelled: the readers are in its hands until it is done, whoever still waits for it."""
        await self._thread_is_done()
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._working = working
        return await asyncio.shield(working)

    async def _thread_is_done(self) -> None:
        if self._working is not None:
            await asyncio.wait([self._working])

    def _read(self, positions: Sequence[int], max_records: int) -> list[Crossing]:
        """A share from every partition, so that none has to wait for another."""
        found: list[Crossing] = []
        share = max(1, max_records // len(self._readers))
        for number, reader in enumerate(self._readers):
            position = positions[number]
            try:
                entries = reader.read(position, share)
            except BrokerError as error:
                if not reader.begin <= position <= reader.end:
                    raise RecordsGone(str(error)) from error
                raise
            found += [Crossing(number, entry.offset, entry.value) for entry in entries]
        return found
