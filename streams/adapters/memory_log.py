"""An `EventLog` in memory, for tests: with what it was given, and made to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from config.errors import BrokerError
from streams.core.partition import shard_of


class MemoryLog:
    """Keeps records. With `failure` set it takes nothing and raises that."""

    def __init__(self, *, has_headers: bool = True, partitions: int = 1) -> None:
        self.has_headers = has_headers
        self._partitions = partitions
        self.ends: Counter[int] = Counter()
        """Offset of the next record of each partition. A test may move it on, as if others had appended."""
        self.traces: list[str | None] = []
        """Of each append."""
        self.records: list[tuple[str, bytes]] = []
        self.failure: BrokerError | None = None
        self.is_closed = False

    async def append(self, records: Sequence[tuple[str, bytes]], *, trace: str | None = None) -> dict[int, int]:
        """See `EventLog`."""
        if self.failure is not None:
            raise self.failure
        self.traces.append(trace)
        self.records += records
        places = dict[int, int]()
        for user, _ in records:
            partition = shard_of(user, self._partitions)
            places[partition] = self.ends[partition]
            self.ends[partition] += 1
        return places

    async def check(self) -> None:
        """Raises `failure` if there is one."""
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """See `EventLog`."""
        self.is_closed = True
