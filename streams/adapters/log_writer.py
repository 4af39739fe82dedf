"""The writing side of a partition of the embedded log. Several processes may append to one: each holds its lock then.

    lock; put right what a killed writer left; write; sync; move the end mark; unlock

Readers believe the end mark alone, and it only moves over what is synced. It is itself not synced: after the machine
went down it may stand too early, so the next writer reads on behind it, keeps every whole frame and cuts off the rest.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from config.errors import BrokerError, BrokerUnavailable
from streams.adapters.file_lock import held_lock
from streams.adapters.log_format import (
    END_FILE,
    MAX_RECORD_BYTES,
    End,
    find_frame,
    is_sound,
    read_head,
    read_mark,
    segment_bases,
    segment_path,
    write_frame,
    write_mark,
)

SEGMENT_BYTES: Final = 64 << 20
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Only Linux has it; it leaves out the times of the file.
_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class PartitionWriter:
    """Appends to the partition in `folder`, which is made if need be. For one thread at a time or several.

    `segment_bytes`: a segment that would grow beyond it is closed. `max_bytes`: all segments together; None for no
    bound. `clock_s` gives the log time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._clock_s = clock_s
        self._mutex = threading.Lock()
        self._mark: int | None = None
        self._segment: tuple[int, int] | None = None
        """(base, open file) of the one that was written last."""
        self._older_bytes: tuple[int, int] | None = None
        """(base, bytes of the segments before it), as they were counted last."""

    def open(self) -> End:
        """Put right what a killed writer or a crash of the machine left. Returns where the partition ends.

        Raises BrokerUnavailable (files cannot be written), BrokerError (acknowledged records are gone or damaged).
        """
        with self._mutex, self._locked() as mark:
            return self._sound_end(mark)

    def append(self, records: Sequence[tuple[bytes, bytes]]) -> int:
        """Append (key, value), all or none; durable when it returns. Returns the offset of the first.

        Raises BrokerUnavailable: the disk is full, the partition has reached `max_bytes`, or files cannot be written;
        nothing was taken. BrokerError: a record is larger than MAX_RECORD_BYTES, or see `open`.
        """
        for key, value in records:
            if len(key) + len(value) > MAX_RECORD_BYTES:
                raise BrokerError(
                    f"{self._folder}: a record of {len(key) + len(value):,} bytes is too large; the log takes "
                    f"{MAX_RECORD_BYTES:,}"
                )
        with self._mutex, self._locked() as mark:
            end = self._sound_end(mark)
            data = write_frame(end.offset, self._clock_s(), records)
            self._check_room(end, len(data))
            if end.size and end.size + len(data) > self._segment_bytes:
                end = self._begin_segment(mark, end)
            self._write(end, data)
            write_mark(mark, End(end.offset + len(records), end.base, end.size + len(data)))
            return end.offset

    def close(self) -> None:
        """Close the files."""
        with self._mutex:
            self._close_segment()
            if self._mark is not None:
                os.close(self._mark)
                self._mark = None

    # --- under the lock ----------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file of the end mark, locked."""
        try:
            if self._mark is None:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._mark = os.open(self._folder / END_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            with held_lock(self._mark):
                yield self._mark
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> BrokerError:
        if error.errno in _NO_ROOM:
            return BrokerUnavailable(
                f"{self._folder}: there is no room ({error.strerror}), so nothing was taken. Make room on the disk."
            )
        return BrokerUnavailable(f"{self._folder}: the log cannot be written ({error.strerror}); nothing was taken")

    def _sound_end(self, mark: int) -> End:
        """The end mark if the files are as it says, else what they hold."""
        end = read_mark(mark)
        if end is not None and self._is_as_marked(end):
            return end
        return self._recover(mark, end)

    def _is_as_marked(self, end: End) -> bool:
        is_last = end.offset == end.base or not segment_path(self._folder, end.offset).exists()
        return is_last and os.fstat(self._open_segment(end.base)).st_size == end.size

    def _recover(self, mark: int, end: End | None) -> End:
        """Keep what is whole behind the mark, cut off the rest, and mark the end anew."""
        bases = segment_bases(self._folder)
        if end is None:
            base = bases[-1] if bases else 0
            end = End(base, base, 0)
        for base in [base for base in bases if base > end.base]:
            end = self._read_on(end, is_last=False)
            if base != end.offset:
                raise BrokerError(f"{self._folder}: records {end.offset} to {base} are missing. {_RESTORE}")
            end = End(base, base, 0)
        end = self._read_on(end, is_last=True)
        file = self._open_segment(end.base)
        os.ftruncate(file, end.size)
        _sync(file)
        _sync_folder(self._folder)
        write_mark(mark, end)
        return end

    def _read_on(self, end: End, *, is_last: bool) -> End:
        """From the mark to the last whole frame of its segment. Raises BrokerError for damage before the very end."""
        path, file = segment_path(self._folder, end.base), self._open_segment(end.base)
        size = os.fstat(file).st_size
        if size < end.size:
            raise BrokerError(f"{path} has {size:,} bytes, and had {end.size:,} of records already. {_RESTORE}")
        data, at, offset = os.pread(file, size - end.size, end.size), 0, end.offset
        while (frame := read_head(data, at)) is not None and frame.first == offset and is_sound(data, at, frame):
            at, offset = at + frame.size, frame.end
        if at < len(data) and (not is_last or find_frame(data, at, offset) is not None):
            raise BrokerError(f"{path} at byte {end.size + at}: the record at offset {offset} is damaged. {_RESTORE}")
        return End(offset, end.base, end.size + at)

    def _check_room(self, end: End, more_bytes: int) -> None:
        if self._max_bytes is None:
            return
        is_known = self._older_bytes is not None and self._older_bytes[0] == end.base
        if not is_known or self._total(end) + more_bytes > self._max_bytes:
            self._older_bytes = end.base, self._count_older(end.base)
        if self._total(end) + more_bytes > self._max_bytes:
            raise BrokerUnavailable(
                f"{self._folder}: it has reached its bound of {self._max_bytes:,} bytes, so nothing was taken. It gets "
                "room as old records are worked; TIDELINE_LOG_MAX_GB raises the bound."
            )

    def _total(self, end: End) -> int:
        return end.size + (self._older_bytes or (0, 0))[1]

    def _count_older(self, last: int) -> int:
        total = 0
        for base in segment_bases(self._folder):
            if base != last:
                with suppress(FileNotFoundError):  # taken away as old meanwhile
                    total += segment_path(self._folder, base).stat().st_size
        return total

    # --- files -------------------------------------------------------------------------------------------------------

    def _open_segment(self, base: int) -> int:
        if self._segment is not None and self._segment[0] == base:
            return self._segment[1]
        self._close_segment()
        path = segment_path(self._folder, base)
        is_new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._segment = base, file
        if is_new:
            _sync_folder(self._folder)
            _sync_folder(self._folder.parent)
        return file

    def _close_segment(self) -> None:
        if self._segment is not None:
            os.close(self._segment[1])
            self._segment = None

    def _begin_segment(self, mark: int, end: End) -> End:
        """The mark goes there at once, so that nobody appends to the one before."""
        self._open_segment(end.offset)
        new = End(end.offset, end.offset, 0)
        write_mark(mark, new)
        return new

    def _write(self, end: End, data: bytes) -> None:
        """All of the data, synced; after a failure, none of it."""
        file = self._open_segment(end.base)
        try:
            rest, at = memoryview(data), end.size
            while rest:
                written = os.pwrite(file, rest, at)
                rest, at = rest[written:], at + written
            _sync(file)
        except OSError:
            os.ftruncate(file, end.size)
            raise


_RESTORE: Final = "The disk or somebody has changed it: bring the file back from a copy."


def _sync_folder(folder: Path) -> None:
    """A new file is durable only when its folder is."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
