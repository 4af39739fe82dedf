"""The bytes of one input file: plain, gzip (by its first bytes) or a pipe; read once from the start, then anywhere.

What cannot be read at any place (gzip, pipes, encodings other than UTF-8) is unpacked into a temporary file during
the first pass; the offsets of the first pass are offsets there.
"""

from __future__ import annotations

import codecs
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final

from config.errors import InputError

BLOCK_BYTES: Final = 262_144
UNPACKED_BLOCK_BYTES: Final = 1_048_576

HEAD_BYTES: Final = 512

GZIP: Final = b"\x1f\x8b"

_OTHER_KINDS: Final = (
    (b"PK\x03\x04", "a zip archive (or an Excel file); unpack it, or save the sheet as CSV"),
    (b"\xfd7zXZ\x00", "an xz file; unpack it with xz -d"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it with zstd -d"),
    (b"BZh", "a bzip2 file; unpack it with bunzip2"),
    (b"PAR1", "a Parquet file; write it as CSV or as JSON lines"),
    (b"SQLite format 3\x00", "a SQLite database; export a table as CSV"),
)

_CHANGED: Final = "changed while it was being read; run on a copy that nobody writes to"


class Spool:
    """One temporary file for everything that has to be unpacked; it has no name and ends with the process."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._fd: int | None = None
        self.size_bytes = 0

    def append(self, block: bytes, source: str) -> None:
        """Write at the end. Raises InputError if there is no room."""
        try:
            fd = self._open() if self._fd is None else self._fd
            rest = memoryview(block)
            while rest:
                written = os.pwrite(fd, rest, self.size_bytes)
                self.size_bytes += written
                rest = rest[written:]
        except OSError as error:
            place = self._directory or tempfile.gettempdir()
            raise InputError(source, f"cannot be unpacked into {place}: {error.strerror}") from error

    def _open(self) -> int:
        fd, path = tempfile.mkstemp(prefix="tideline-", dir=self._directory)
        Path(path).unlink()
        self._fd = fd
        return fd

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`."""
        return b"" if self._fd is None else _pread(self._fd, offset, size)

    def close(self) -> None:
        """Give the disk space back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _pread(fd: int, offset: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(fd, size, offset)):
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Source:
    """One input file. Raises InputError for everything that is wrong with the file as a whole.

    `damage` tells after the first pass what is wrong with its end (half a gzip); what stands before it can be used.
    """

    def __init__(self, path: str | Path, encoding: str, spool: Spool) -> None:
        # A name that is not UTF-8 would end up in dead letters, which are: such bytes are shown as \xff.
        self.name = os.fsencode(path).decode("utf-8", "backslashreplace")
        self.damage: str | None = None
        self.compressed = False
        self._path = Path(path)
        self._encoding = codecs.lookup(encoding).name
        self._spool = spool
        try:
            found = self._path.stat()
        except OSError as error:
            raise InputError(self.name, f"cannot be read: {error.strerror}") from error
        if stat.S_ISDIR(found.st_mode):
            raise InputError(self.name, f"is a directory; name the files in it, such as {self._path / '*.csv'}")
        self._is_file = stat.S_ISREG(found.st_mode)
        self._stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        self.identity = self._stamp[:2]
        self.size_bytes = found.st_size if self._is_file else 0
        self._spool_start: int | None = None

    def blocks(self, progress: Callable[[int], None]) -> Generator[bytes, None, None]:
        """The first pass: the unpacked content in blocks, as UTF-8. `progress` gets the bytes read from disk."""
        with self._opened() as file:
            raw = self._raw_blocks(file, progress)
            first = _head(raw)
            self._check_kind(first)
            self.compressed = first.startswith(GZIP)
            blocks = _chain(first, raw)
            if self.compressed:
                blocks = self._unpacked(blocks)
            blocks = self._checked_text(blocks)
            if not _is_utf8(self._encoding):
                blocks = self._transcoded(blocks)
            if self._is_file and not self.compressed and _is_utf8(self._encoding):
                yield from blocks
                self._check_unchanged(file)
            else:
                yield from self._spooled(blocks)

    def _opened(self) -> FileIO:
        try:
            return FileIO(self._path)
        except OSError as error:
            raise InputError(self.name, f"cannot be read: {error.strerror}") from error

    def _raw_blocks(self, file: FileIO, progress: Callable[[int], None]) -> Iterator[bytes]:
        done = 0
        try:
            while block := file.read(BLOCK_BYTES):
                done += len(block)
                yield block
                progress(done)
        except OSError as error:
            raise InputError(self.name, f"cannot be read: {error.strerror}", done) from error

    def _spooled(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        self._spool_start = self._spool.size_bytes
        for block in blocks:
            self._spool.append(block, self.name)
            yield block

    def _unpacked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        gunzip = Gunzip()
        for block in blocks:
            yield from gunzip.feed(block)
        yield from gunzip.finish()
        self.damage = gunzip.damage

    def _transcoded(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self._encoding)()
        done = 0
        try:
            for block in blocks:
                yield decoder.decode(block).encode("utf-8", "surrogatepass")
                done += len(block)
            # Half a gzip may end inside a character; its last line is not used anyway.
            yield decoder.decode(b"", final=self.damage is None).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            raise InputError(self.name, f"is not {self._encoding} (input.encoding): {error}", done) from error

    def _check_kind(self, first: bytes) -> None:
        for magic, kind in _OTHER_KINDS:
            if first.startswith(magic):
                raise InputError(self.name, f"is {kind}")

    def _checked_text(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        first = _head(blocks)
        self._check_kind(first)
        if first[257:262] == b"ustar":
            raise InputError(self.name, "is a tar archive; unpack it with tar -x")
        if _is_utf8(self._encoding):
            wide = first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or first[:4].count(0) >= 2
            if wide:
                raise InputError(
                    self.name, "looks like UTF-16; write it as UTF-8, or for a CSV set input.encoding: utf-16"
                )
            if b"\n" not in first and first.rstrip(b"\r").count(b"\r") > 0:
                raise InputError(self.name, "its lines end with CR alone; write it with LF or CR LF")
        yield from _chain(first, blocks)

    def _check_unchanged(self, file: FileIO) -> None:
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) != self._stamp:
            raise InputError(self.name, _CHANGED)

    def read_all(self, runs: Iterable[tuple[int, int]]) -> list[bytes]:
        """The bytes of each `(offset, size)`. Raises InputError if the file is not the same as in the first pass."""
        try:
            if self._spool_start is not None:
                return [self._spool.read(self._spool_start + offset, size) for offset, size in runs]
            with self._opened() as file:
                found = [_pread(file.fileno(), offset, size) for offset, size in runs]
                # Checked afterwards: then it also holds for what was just read.
                self._check_unchanged(file)
            return found
        except OSError as error:
            raise InputError(self.name, f"cannot be read: {error.strerror}") from error


def _head(blocks: Iterator[bytes]) -> bytes:
    """The first blocks, enough to tell what they are (a pipe may give a byte at a time)."""
    head = b""
    while len(head) < HEAD_BYTES and (block := next(blocks, None)) is not None:
        head += block
    return head


def _chain(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from others


def _is_utf8(name: str) -> bool:
    return name in ("utf-8", "utf-8-sig", "ascii")


class Gunzip:
    """Unpacks gzip, also of several members, and gives out everything that can be read of a broken one."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(wbits=31)
        self._is_new = True
        self.damage: str | None = None

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The unpacked content of the next block, in pieces of bounded size (a small gzip may unpack to a huge one)."""
        while block and self.damage is None:
            if self._is_new:
                block = block.lstrip(b"\0")  # tapes and some tools fill up with zeros
                if not block:
                    return
            before = self._engine.copy()
            try:
                piece = self._engine.decompress(block, UNPACKED_BLOCK_BYTES)
            except zlib.error as error:
                yield self._until_error(before, block, error)
                return
            self._is_new = False
            yield piece
            block = self._engine.unconsumed_tail
            if self._engine.eof:
                block = self._engine.unused_data
                self._engine = zlib.decompressobj(wbits=31)
                self._is_new = True

    def _until_error(self, engine: Any, block: bytes, error: zlib.error) -> bytes:
        """What a block gives before the error in it: byte by byte, as zlib throws away the piece that has an error."""
        self.damage = f"the gzip data is damaged ({error})"
        pieces: list[bytes] = []
        with suppress(zlib.error):
            pieces.extend(engine.decompress(block[at : at + 1]) for at in range(len(block)))
        return b"".join(pieces)

    def finish(self) -> Iterator[bytes]:
        """The rest, once all blocks were fed."""
        if self.damage is None and not self._is_new:
            yield self._engine.flush()
            if not self._engine.eof:
                self.damage = "the gzip data ends too early: the file was cut off"
