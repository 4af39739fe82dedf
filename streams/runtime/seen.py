"""What is seen of a log from outside: its records, and how far workers are behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of a topic. `body` is what it says: the parsed JSON, or None where it is no JSON."""

    partition: int
    offset: int
    time_ms: int
    key: str
    body: Any
    raw: bytes


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """Offsets of a partition; `committed` is None if no worker has said how far it is.

    `oldest_s`: when the log took the record at `start` (seconds since 1970 UTC); None where there is none, or it was
    not asked.
    """

    partition: int
    start: int
    end: int
    committed: int | None
    oldest_s: float | None = None

    @property
    def lag(self) -> int:
        """Records that are still to be read, as far as they exist."""
        return self.end - (self.start if self.committed is None else max(self.start, self.committed))


def body_of(raw: bytes) -> Any:
    """The parsed JSON of a record; None where it is none."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last: nested too deeply
        return None
