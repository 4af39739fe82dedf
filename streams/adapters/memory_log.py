"""An `EventLog` in memory, for tests: with what it was given, and made to fail."""

from __future__ import annotations

from collections.abc import Sequence

from config.errors import BrokerError


class MemoryLog:
    """Keeps records. With `failure` set it takes nothing and raises that."""

    def __init__(self, *, has_headers: bool = True) -> None:
        self.has_headers = has_headers
        self.traces: list[str | None] = []
        """Of each append."""
        self.records: list[tuple[str, bytes]] = []
        self.failure: BrokerError | None = None
        self.is_closed = False

    async def append(self, records: Sequence[tuple[str, bytes]], *, trace: str | None = None) -> None:
        """See `EventLog`."""
        if self.failure is not None:
            raise self.failure
        self.traces.append(trace)
        self.records += records

    async def check(self) -> None:
        """Raises `failure` if there is one."""
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """See `EventLog`."""
        self.is_closed = True
