"""The reading side of a partition of the embedded log, and what takes old segments away.

A reader looks at nothing behind the end mark, so it never meets a record that is half written, or not durable yet.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

from config.errors import BrokerError
from streams.adapters.log_format import (
    END_FILE,
    HEAD_BYTES,
    End,
    Entry,
    Frame,
    is_sound,
    read_frame,
    read_head,
    read_mark,
    segment_bases,
    segment_path,
)

READ_BYTES: Final = 4 << 20
_CHUNK_BYTES: Final = 1 << 20
_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.01
_PAUSE_GROWTH: Final = 1.3
_MARK_ATTEMPTS: Final = 1_000
_NOTHING: Final = End(0, 0, 0)


class PartitionReader:
    """Reads the partition in `folder`, which need not exist yet. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark: int | None = None
        self._segment: tuple[int, int] | None = None
        """(base, open file) of the one that is read."""
        self._at = 0
        """Byte in it of the next frame."""
        self._chunk = b""
        self._chunk_at = 0
        self._next = -1
        """Offset of the next record, where the last read ended; -1 before the first."""
        self._left: list[Entry] = []
        """Of the last frame, what was not asked for yet."""

    @property
    def begin(self) -> int:
        """The offset of the oldest record that is kept; 0 where there is nothing yet."""
        return next(iter(segment_bases(self._folder)), 0)

    @property
    def end(self) -> int:
        """The offset behind the last durable record. Raises BrokerError for a mark that is damaged."""
        return self._end().offset

    def read(self, offset: int, max_records: int, max_bytes: int = READ_BYTES) -> list[Entry]:
        """The records from `offset` on, at least one if there is any, about `max_bytes` of keys and values at most.

        Raises BrokerError: the records at `offset` are not kept any more, the log ends before it, or one is damaged.
        """
        end = self._end()
        if offset == end.offset:
            return []
        if offset > end.offset:
            raise BrokerError(f"{self._folder} ends at {end.offset}: there is no offset {offset}")
        if offset != self._next:
            self._seek(offset, end)
        found: list[Entry] = []
        size = 0
        while self._next < end.offset and len(found) < max_records and size < max_bytes:
            if not self._left:
                self._left = self._read_frame(end)
                self._left.reverse()
            entry = self._left.pop()
            found.append(entry)
            size += len(entry.key) + len(entry.value)
            self._next = entry.offset + 1
        return found

    def wait(self, offset: int, timeout_s: float, stopping: threading.Event) -> bool:
        """Until there is a record at `offset` or behind it; False after the time, or once `stopping` is set."""
        deadline_s, pause_s = time.monotonic() + timeout_s, _FIRST_PAUSE_S
        while self.end <= offset:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or stopping.wait(min(pause_s, left_s)):
                return False
            pause_s = min(pause_s * _PAUSE_GROWTH, _LONGEST_PAUSE_S)
        return True

    def close(self) -> None:
        """Close the files."""
        self._leave_segment()
        if self._mark is not None:
            os.close(self._mark)
            self._mark = None

    # --- frames ------------------------------------------------------------------------------------------------------

    def _end(self) -> End:
        if self._mark is None:
            try:
                self._mark = os.open(self._folder / END_FILE, os.O_RDONLY)
            except FileNotFoundError:
                return _NOTHING
        for _ in range(_MARK_ATTEMPTS):  # a writer may be about it at this very moment
            if (end := read_mark(self._mark)) is not None:
                return end
            if os.fstat(self._mark).st_size == 0:
                return _NOTHING
        raise BrokerError(f"{self._folder / END_FILE} is damaged; the next start of the worker puts it right")

    def _seek(self, offset: int, end: End) -> None:
        """Stand before the record at `offset`, which is before the end."""
        before = [base for base in segment_bases(self._folder) if base <= offset]
        if not before:
            raise BrokerError(f"{self._folder} begins at {self.begin}: the record at {offset} is not kept any more")
        self._enter_segment(before[-1])
        while (frame := self._read_head(end)).end <= offset:
            self._at += frame.size
            self._next = frame.end
        self._left = [entry for entry in reversed(self._read_frame(end)) if entry.offset >= offset]
        self._next = offset

    def _read_head(self, end: End) -> Frame:
        """The head of the next frame; on to the next segment where one is over."""
        assert self._segment is not None, "seek comes first"
        if self._at == self._limit(end):
            self._enter_segment(self._next)
        chunk = self._load(HEAD_BYTES, end)
        frame = read_head(chunk, self._at - self._chunk_at)
        if frame is None or frame.first != self._next:
            raise self._damaged()
        return frame

    def _read_frame(self, end: End) -> list[Entry]:
        """The records of the next frame, which is left behind."""
        frame = self._read_head(end)
        chunk = self._load(frame.size, end)
        at = self._at - self._chunk_at
        if not is_sound(chunk, at, frame):
            raise self._damaged()
        self._at += frame.size
        return read_frame(chunk, at, frame)

    def _limit(self, end: End) -> int:
        """Where the segment ends that is read."""
        assert self._segment is not None, "seek comes first"
        base, file = self._segment
        return end.size if base == end.base else os.fstat(file).st_size

    def _load(self, size: int, end: End) -> bytes:
        """A chunk with `size` bytes from where we stand, or as many as there are."""
        assert self._segment is not None, "seek comes first"
        if not self._chunk_at <= self._at <= self._at + size <= self._chunk_at + len(self._chunk):
            wanted = min(max(size, _CHUNK_BYTES), self._limit(end) - self._at)
            self._chunk, self._chunk_at = os.pread(self._segment[1], wanted, self._at), self._at
        return self._chunk

    def _damaged(self) -> BrokerError:
        assert self._segment is not None, "seek comes first"
        path = segment_path(self._folder, self._segment[0])
        return BrokerError(
            f"{path} at byte {self._at}: the record at offset {self._next} is damaged. The disk or somebody has "
            "changed it: bring the file back from a copy."
        )

    def _enter_segment(self, base: int) -> None:
        self._leave_segment()
        path = segment_path(self._folder, base)
        try:
            self._segment = base, os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise BrokerError(f"{path} is missing: the record at offset {base} cannot be read") from error
        self._next = base

    def _leave_segment(self) -> None:
        if self._segment is not None:
            os.close(self._segment[1])
            self._segment = None
        self._at, self._chunk, self._chunk_at, self._left, self._next = 0, b"", 0, [], -1


def trim(folder: Path, *, needed: int | None, older_than_s: float, max_bytes: int | None = None) -> int:
    """Take away whole segments, the oldest first: those whose next one begins before the log time `older_than_s`
    (seconds since 1970), and as many more as it takes to come down to `max_bytes`.

    What is at or behind the offset `needed` (None: nothing is), and the last segment, always stay. Returns how many
    were taken away.
    """
    bases = segment_bases(folder)
    sizes = [segment_path(folder, base).stat().st_size for base in bases]
    total, taken = sum(sizes), 0
    for base, behind, size in zip(bases, bases[1:], sizes, strict=False):
        is_over = max_bytes is not None and total > max_bytes
        is_needed = needed is not None and behind > needed
        if is_needed or not (is_over or _begins_before(folder, behind, older_than_s)):
            break
        segment_path(folder, base).unlink()
        total -= size
        taken += 1
    return taken


def _begins_before(folder: Path, base: int, log_time_s: float) -> bool:
    """Whether the segment's first record is older: then all segments before it are."""
    file = os.open(segment_path(folder, base), os.O_RDONLY)
    try:
        frame = read_head(os.pread(file, HEAD_BYTES, 0), 0)
    finally:
        os.close(file)
    return frame is not None and frame.log_time_s < log_time_s
