"""What the services read of a log: records with their place, and the time at which the log took them."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from zlib import crc32

import msgspec

from streams.runtime.witness import Witness


class Record(NamedTuple):
    """One record of a partition."""

    offset: int
    log_time_s: float
    """When the log took it, seconds since 1970."""
    value: bytes
    trace: str | None = None
    """Of which trace it is a part (`streams.trace_context`); looked for only where traces are on."""


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Where a service stands in its partition, as stored with each commit."""

    offset: int = 0
    """The next one to read; 0 before the first commit, for wherever the partition begins."""
    log_time_s: float = 0.0
    """A shard's: the wall clock of which its clock is the image: while nothing comes, the clock is as far past the wall
    clock as it is past this. A learner's: when the log took the last record that was read."""

    last_offset: int = -1
    """Where the last record stood that is worked; -1 before the first one, and where that is not known: in stores of
    before this was kept, and where records are to be read again."""
    last_crc: int = 0
    """CRC-32 of that record's value: by it the log is known again."""

    @classmethod
    def behind(cls, record: Record, log_time_s: float, offset: int | None = None) -> Position:
        """Behind `record`, the last one that is worked; `offset` is the next one's, if that is known."""
        after = record.offset + 1 if offset is None else offset
        return cls(after, log_time_s, record.offset, crc32(record.value))

    def at_time(self, log_time_s: float) -> Position:
        """The same place, at another time of the wall clock."""
        return Position(self.offset, log_time_s, self.last_offset, self.last_crc)

    def to_bytes(self) -> bytes:
        """As stored."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Position:
        """As `to_bytes` gave it; the start for None."""
        return cls() if data is None else msgspec.msgpack.decode(data, type=cls)


class Run(Protocol):
    """The work of one partition: `ShardRun`, `LearnerRun`."""

    position: Position

    @property
    def is_loaded(self) -> bool: ...

    @property
    def set_backs(self) -> int: ...

    def assign(self, witness: Witness | None = None) -> Position: ...

    def drop(self) -> None: ...
