"""A `TransitionLog` in memory, for tests: what is put in can be read, until it is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from config.errors import BrokerError, RecordsGone
from streams.ports import Crossing, Kept


class MemoryTransitionLog:
    """So many partitions; with `failure` set nothing can be opened or read."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: list[list[bytes]] = [[] for _ in range(partitions)]
        self.begins = [0] * partitions
        self.failure: BrokerError | None = None
        self.open_feeds = 0
        self._changed = asyncio.Event()

    def put(self, partition: int, data: bytes) -> None:
        """One more transition, which whoever waits gets at once; in the readers' event loop."""
        self.records[partition].append(data)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def forget(self, partition: int, before: int) -> None:
        """What is before that offset is not kept any more."""
        self.begins[partition] = before

    async def open(self) -> MemoryFeed:
        """See `TransitionLog`."""
        self.check()
        self.open_feeds += 1
        return MemoryFeed(self)

    def check(self) -> None:
        """Raises `failure` if there is one."""
        if self.failure is not None:
            raise self.failure

    async def wait(self, timeout_s: float) -> None:
        """For the next `put`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """See `TransitionLog`."""


class MemoryFeed:
    """See `TransitionFeed`."""

    def __init__(self, log: MemoryTransitionLog) -> None:
        self._log = log
        self._positions = [0] * len(log.records)

    async def kept(self) -> list[Kept]:
        """See `TransitionFeed`."""
        return [Kept(begin, len(data)) for begin, data in zip(self._log.begins, self._log.records, strict=True)]

    def seek(self, positions: Sequence[int]) -> None:
        """See `TransitionFeed`."""
        self._positions = list(positions)

    async def read(self, max_records: int, timeout_s: float) -> list[Crossing]:
        """See `TransitionFeed`."""
        found = self._read(max_records)
        if not found:
            await self._log.wait(timeout_s)
            found = self._read(max_records)
        return found

    def _read(self, max_records: int) -> list[Crossing]:
        self._log.check()
        found: list[Crossing] = []
        for number, data in enumerate(self._log.records):
            position = self._positions[number]
            if not self._log.begins[number] <= position <= len(data):
                raise RecordsGone(f"partition {number} does not hold offset {position}")
            taken = data[position : position + max_records - len(found)]
            found += [Crossing(number, position + index, value) for index, value in enumerate(taken)]
            self._positions[number] += len(taken)
        return found

    async def close(self) -> None:
        """See `TransitionFeed`."""
        self._log.open_feeds -= 1
