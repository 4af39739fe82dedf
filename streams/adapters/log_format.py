"""What the files of the embedded log hold: frames of records, and the mark that says where a partition ends.

A partition is a folder. Its segments are files named by the offset of their first record; each holds frames, one behind
another. A frame is what one append has brought; so what a crash has torn is the last frame, and nothing else:

    magic  crc32  bytes of the body  number of records  offset of the first  log time (seconds since 1970)
    body: per record the lengths of key and value, then all keys and values

The crc is that of everything behind it. All numbers are little-endian. The file `end` holds the end mark, and is what
processes lock.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from streams.trace_context import of_json

MAX_RECORD_BYTES: Final = 8 << 20
"""Of key and value together."""
END_FILE: Final = "end"

# The first byte never occurs in UTF-8, so no JSON inside of a record looks like the beginning of a frame.
_MAGIC: Final = b"\xf7tl\x01"
_HEAD: Final = struct.Struct("<4sIIIQd")
_CHECKED_FROM: Final = 8
_LENGTHS_BYTES: Final = 8
_MARK: Final = struct.Struct("<QQQ")
_CRC: Final = struct.Struct("<I")
_SUFFIX: Final = ".log"
HEAD_BYTES: Final = _HEAD.size


class Entry(NamedTuple):
    """One record as it is read."""

    offset: int
    log_time_s: float
    """When the log took it, seconds since 1970."""
    key: bytes
    value: bytes

    @property
    def trace(self) -> str | None:
        """Of which trace its event is a part (`streams.trace_context`). There are no headers, so it says so itself."""
        return of_json(self.value)


class Frame(NamedTuple):
    """The head of a frame, and its size with the body."""

    crc: int
    size: int
    records: int
    first: int
    """Offset of its first record."""
    log_time_s: float

    @property
    def end(self) -> int:
        """The offset behind its last record."""
        return self.first + self.records


class End(NamedTuple):
    """Where a partition ends: what is before it is durable, and whole."""

    offset: int
    """Of the next record."""
    base: int
    """The last segment, by the offset of its first record."""
    size: int
    """Of the last segment, in bytes."""


def write_frame(first: int, log_time_s: float, records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A frame of (key, value) from offset `first` on."""
    lengths = [len(part) for record in records for part in record]
    body = b"".join([struct.pack(f"<{len(lengths)}I", *lengths), *(part for record in records for part in record)])
    head = _HEAD.pack(_MAGIC, 0, len(body), len(records), first, log_time_s)
    crc = crc32(body, crc32(head[_CHECKED_FROM:]))
    return b"".join([_HEAD.pack(_MAGIC, crc, len(body), len(records), first, log_time_s), body])


def read_head(data: bytes, at: int) -> Frame | None:
    """The head of a frame at `data[at:]`; None where there is none, or not all of it. The body is not looked at."""
    if len(data) - at < HEAD_BYTES:
        return None
    magic, crc, body_bytes, records, first, log_time_s = _HEAD.unpack_from(data, at)
    return Frame(crc, HEAD_BYTES + body_bytes, records, first, log_time_s) if magic == _MAGIC else None


def is_sound(data: bytes, at: int, frame: Frame) -> bool:
    """Whether all of the frame is at `data[at:]`, as it was written."""
    if len(data) - at < frame.size:
        return False
    return crc32(memoryview(data)[at + _CHECKED_FROM : at + frame.size]) == frame.crc


def read_frame(data: bytes, at: int, frame: Frame) -> list[Entry]:
    """The records of a sound frame."""
    lengths = struct.unpack_from(f"<{2 * frame.records}I", data, at + HEAD_BYTES)
    place = at + HEAD_BYTES + _LENGTHS_BYTES * frame.records
    entries, offset, log_time_s = [], frame.first, frame.log_time_s
    for key_bytes, value_bytes in zip(lengths[::2], lengths[1::2], strict=True):
        middle = place + key_bytes
        end = middle + value_bytes
        entries.append(Entry(offset, log_time_s, data[place:middle], data[middle:end]))
        place = end
        offset += 1
    return entries


def find_frame(data: bytes, at: int, offset: int) -> int | None:
    """Where behind `at` a sound frame of records from `offset` on begins; None if there is none."""
    while (at := data.find(_MAGIC, at)) >= 0:
        frame = read_head(data, at)
        if frame is not None and frame.first >= offset and is_sound(data, at, frame):
            return at
        at += 1
    return None


# --- names and the end mark -------------------------------------------------------------------------------------------


def segment_path(folder: Path, base: int) -> Path:
    """The segment that begins with offset `base`."""
    return folder / f"{base:020}{_SUFFIX}"


def segment_bases(folder: Path) -> list[int]:
    """The first offsets of all segments, in order; none for a folder that does not exist."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name[: -len(_SUFFIX)]) for name in names if name.endswith(_SUFFIX))


def read_mark(file: int) -> End | None:
    """The end mark in an open file; None for one that is missing or not whole."""
    data = os.pread(file, _MARK.size + _CRC.size, 0)
    if len(data) != _MARK.size + _CRC.size or crc32(data[: _MARK.size]) != _CRC.unpack_from(data, _MARK.size)[0]:
        return None
    return End(*_MARK.unpack_from(data))


def write_mark(file: int, end: End) -> None:
    """One write of a few bytes. It is not synced: a start finds the true end again."""
    data = _MARK.pack(*end)
    os.pwrite(file, data + _CRC.pack(crc32(data)), 0)
