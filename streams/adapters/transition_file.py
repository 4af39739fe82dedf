"""A sink that writes transitions to a file, one CloudEvent as JSON per line, each one once.

What a crash leaves behind is put right at the next opening: a last line that was cut is removed (it was never
acknowledged, so it will be published again), and transitions whose id is in the file already are skipped.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from config.errors import InputError, StoreFull, StoreUnavailable
from streams.adapters.file_lock import try_lock
from streams.ports import OutboxEntry

REMEMBERED_IDS = 200_000
"""Ids of the latest lines that are known again, or as many as were ever to be published at once if that is more.

A crash repeats the transitions of one commit, of which any part may be in the file already. More than these are
remembered for a store that was set back to a copy from some commits before.
"""

_TAIL_BYTES = 1 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Transition(msgspec.Struct, gc=False):
    """What is read of a line: enough to know it as ours, and to know it again."""

    specversion: str
    id: str


class TransitionFile:
    """A `Sink`. One process at a time writes to a file."""

    def __init__(self, path: Path, *, remembered_ids: int = REMEMBERED_IDS) -> None:
        """Open or create the file; a new one is for its owner alone, an older one keeps its rights.

        Raises InputError: it holds something else than transitions (it is left as it was), another process
        writes to it, or it cannot be opened.
        """
        self.path = path
        self._latest: deque[str] = deque()
        self._known: set[str] = set()
        self._remembered_ids = remembered_ids
        self._decoder = msgspec.json.Decoder(_Transition)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise InputError(str(path), f"cannot be opened for transitions: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise InputError(str(path), "is not a regular file, so nothing can be known to be written to it")
            if not try_lock(self._file):
                raise InputError(str(path), "another process writes its transitions to this file")
            self._size = self._sound_size()
            self._read_latest_ids()
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
            _sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """See `Sink`. Raises InputError if the file turns out to hold something else than transitions further up."""
        self._remember_at_least(len(entries))
        fresh: dict[str, bytes] = {}
        for _, data in entries:
            if b"\n" in data:
                raise ValueError(f"a transition must be one line, not {data[:80]!r}")
            identifier = self._decoder.decode(data).id
            if identifier not in self._known:
                fresh[identifier] = data
        if not fresh:
            return
        self._append(b"".join([line for data in fresh.values() for line in (data, b"\n")]))
        for identifier in fresh:
            self._remember(identifier)

    def close(self) -> None:
        os.close(self._file)

    def _append(self, text: bytes) -> None:
        """All of the text, on disk; after a failure, none of it."""
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            kind = StoreFull if error.errno in _NO_ROOM else StoreUnavailable
            raise kind(f"{self.path}: transitions cannot be written: {error.strerror}") from error
        self._size += len(text)

    def _remember(self, identifier: str) -> None:
        self._known.add(identifier)
        self._latest.append(identifier)
        if len(self._latest) > self._remembered_ids:
            self._known.discard(self._latest.popleft())

    def _remember_at_least(self, number: int) -> None:
        """So many of the last lines may be repetitions."""
        if number <= self._remembered_ids:
            return
        has_older_lines = len(self._latest) == self._remembered_ids
        self._remembered_ids = number
        if has_older_lines:
            self._latest.clear()
            self._known.clear()
            self._read_latest_ids()

    # --- opening ---------------------------------------------------------------------------------------------------

    def _sound_size(self) -> int:
        """Bytes up to the end of the last whole line. Raises InputError if the file does not look like ours."""
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - _TAIL_BYTES)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        # Not one whole line: empty, the first line cut by a crash, or something else.
        beginning = os.pread(self._file, 2, 0)
        if not b'{"'.startswith(beginning) or self._is_json(size):
            raise InputError(str(self.path), "is no file of transitions, so nothing is written to it", 0)
        return 0

    def _is_json(self, size: int) -> bool:
        """Whether a file without a line end is one whole JSON value: then it was not cut, and is not ours."""
        if size > _TAIL_BYTES:
            return True  # no transition is that long
        try:
            msgspec.json.decode(os.pread(self._file, size, 0))
        except msgspec.DecodeError:
            return False
        return True

    def _read_latest_ids(self) -> None:
        """Ids of the last lines. Raises InputError at a line that is not ours, and for a first line that is not."""
        if self._size == 0:
            return
        self._identifier(self._first_line())
        found = [self._identifier(line) for line in islice(self._lines_backwards(), self._remembered_ids)]
        for identifier in reversed(found):
            self._remember(identifier)

    def _lines_backwards(self) -> Iterator[bytes]:
        """The lines from the last to the first, read block by block."""
        end, rest = self._size - 1, b""  # without the last line end
        while end > 0:
            start = max(0, end - _TAIL_BYTES)
            rest, *lines = (os.pread(self._file, end - start, start) + rest).split(b"\n")
            yield from reversed(lines)
            end = start
        yield rest

    def _first_line(self) -> bytes:
        return os.pread(self._file, min(self._size, _TAIL_BYTES), 0).partition(b"\n")[0]

    def _identifier(self, line: bytes) -> str:
        try:
            return self._decoder.decode(line).id
        except msgspec.DecodeError as error:
            shown = line[:80].decode(errors="replace")
            raise InputError(str(self.path), f"is no file of transitions; it has the line {shown!r}: {error}") from None


def _sync_folder(folder: Path) -> None:
    """A new file is durable only when its folder is."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
