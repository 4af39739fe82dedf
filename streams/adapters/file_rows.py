"""Cutting a stream of bytes into records: lines, and CSV records that may go over several lines.

A record is `(offset, size, text)`: where it starts in the stream, its bytes without the line end, and these bytes.
Of a line above `keep_bytes` the text may be cut; it is too large to be used, and a bound on memory needs it so.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

Record = tuple[int, int, bytes]

UTF8_BOM: Final = b"\xef\xbb\xbf"

LOOK_AHEAD_LINES: Final = 1_000
"""A CSV record goes over so many lines at most. Beyond, the quote that opened it counts as a mistake."""

MANY_UNCLOSED: Final = 100
"""After so many of these mistakes in a file the look-ahead shrinks, so that a hostile file cannot cost for ever."""

SHORT_LOOK_AHEAD_LINES: Final = 16


class Lines:
    """The lines of a stream of blocks, as they are (blank ones too); a byte order mark at the start is left out.

    If the stream turns out to be damaged at its end, a last line without a line end is not among the lines, as it is
    half of something; `tail` holds it then. `end` is the offset behind the last line once all were read.
    """

    def __init__(self, blocks: Iterable[bytes], keep_bytes: int, damaged: Callable[[], bool]) -> None:
        self._blocks = blocks
        self._keep_bytes = keep_bytes
        self._damaged = damaged
        self.tail: Record | None = None
        self.end = 0

    def __iter__(self) -> Iterator[Record]:
        lines = self._split()
        first = next(lines, None)
        if first is not None:
            _, size, text = first
            mark = len(UTF8_BOM) if text.startswith(UTF8_BOM) else 0
            yield mark, size - mark, text[mark:]
            yield from lines

    def _split(self) -> Iterator[Record]:
        offset = size = 0
        rest = b""
        for block in self._blocks:
            first, *others = block.split(b"\n")
            rest += first[: max(0, self._keep_bytes - len(rest))]
            size += len(first)
            for piece in others:
                yield offset, size, rest
                offset += size + 1
                rest, size = piece, len(piece)
        self.end = offset + size
        if size and self._damaged():
            self.tail = (offset, size, rest)
        elif size:
            yield offset, size, rest


def line_records(lines: Iterable[Record]) -> Iterator[Record]:
    """Every line that is not blank, without its CR."""
    for line in lines:
        text = line[2]
        if text and not text.isspace():
            yield line if text[-1] != 13 else _without_cr(line)


def _without_cr(record: Record) -> Record:
    offset, size, text = record
    return (offset, size - 1, text[:-1]) if len(text) == size else record


def csv_records(
    lines: Iterable[Record], delimiter: str, limit_bytes: int, columns: int | None = None
) -> Iterator[Record]:
    """Like `line_records`, with the lines joined that one CSV record goes over; the csv module decides which.

    A quote that is opened and not closed within `limit_bytes` and `LOOK_AHEAD_LINES` is a mistake in that line: the
    line becomes a record by itself (which cannot be read), and the lines behind it are read as usual. So one stray
    quote costs one row and not the rest of the file. With `columns`, so does one that a quote further down seems to
    close: a record over several lines must have so many cells, and quotes only around whole ones.
    """
    source = iter(lines)
    waiting: deque[Record] = deque()
    unclosed = 0
    while (line := waiting.popleft() if waiting else next(source, None)) is not None:
        text = line[2]
        if b'"' not in text or line[1] > limit_bytes:
            if text and not text.isspace():
                yield line if text[-1] != 13 else _without_cr(line)
            continue
        look_ahead = LOOK_AHEAD_LINES if unclosed < MANY_UNCLOSED else SHORT_LOOK_AHEAD_LINES
        joined = _Joined(line, waiting, source, limit_bytes, look_ahead)
        if joined.is_closed(delimiter) and joined.is_one_row(delimiter, columns):
            yield _without_cr(joined.whole()) if joined.lines[-1][2].endswith(b"\r") else joined.whole()
        else:
            unclosed += 1
            waiting.extendleft(reversed(joined.lines[1:]))
            yield _without_cr(line) if text.endswith(b"\r") else line


class _Joined:
    """A line with a quote, and the lines behind it until the csv module wants no more."""

    def __init__(
        self, first: Record, waiting: deque[Record], source: Iterator[Record], limit_bytes: int, look_ahead: int
    ) -> None:
        self.lines = [first]
        self._waiting = waiting
        self._source = source
        self._limit_bytes = limit_bytes
        self._look_ahead = look_ahead
        self._ran_out = False

    def is_closed(self, delimiter: str) -> bool:
        """Whether the record ends, its quotes closed, within the limits."""
        try:
            next(csv.reader(self._feed(), delimiter=delimiter), None)
        except csv.Error:  # a cell above the csv module's own limit
            return False
        return not self._ran_out

    def is_one_row(self, delimiter: str, columns: int | None) -> bool:
        """Whether several lines are one row with so many cells, and not rows between two stray quotes."""
        if columns is None or len(self.lines) == 1:
            return True
        blanks = re.compile(rf'"[ \t\r]+(?={re.escape(delimiter)}|$)')  # allowed behind a closing quote
        texts = (blanks.sub('"', line[2].decode(errors="replace")).replace("\r", " ") + "\n" for line in self.lines)
        try:
            cells = next(csv.reader(texts, delimiter=delimiter, strict=True))
        except csv.Error:  # something stands between a closing quote and the delimiter
            return False
        return len(cells) == columns or (len(cells) > columns and not any(cell.strip() for cell in cells[columns:]))

    def _feed(self) -> Iterator[str]:
        yield _as_text(self.lines[0])
        while len(self.lines) < self._look_ahead:
            line = self._waiting.popleft() if self._waiting else next(self._source, None)
            if line is None:
                break
            self.lines.append(line)
            if line[0] + line[1] - self.lines[0][0] > self._limit_bytes:
                break
            yield _as_text(line)
        self._ran_out = True

    def whole(self) -> Record:
        """The record over all its lines."""
        offset = self.lines[0][0]
        last_offset, last_size, _ = self.lines[-1]
        return offset, last_offset + last_size - offset, b"\n".join(text for _, _, text in self.lines)


def _as_text(line: Record) -> str:
    # A lone CR outside of quotes is an error for the csv module; where quotes close does not depend on it.
    return line[2].decode(errors="replace").replace("\r", " ") + "\n"
