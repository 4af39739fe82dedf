"""Event files as one log: any number of files, plain or gzip, in the order of event time (`file_order`).

The first pass reads everything once and keeps only where each row stands and when it happened (20 bytes a row, 28 if
the rows have to be put into order). After it, events can be read from any position on. The rows stay on disk.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, islice
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from config.catalog import Catalog, CsvInput
from config.errors import InputError
from streams.adapters.file_header import check_header, csv_words
from streams.adapters.file_order import Stretch, reading_order, stretches
from streams.adapters.file_rows import Lines, Record, csv_records, line_records
from streams.adapters.file_source import Source, Spool
from streams.core.decode import Decoder, build_decoder
from streams.core.decode_mapped import split_row
from streams.core.event_time import LATEST_S
from streams.core.events import DEAD_LETTER_BYTES, BadEvent, DeadReason, Event, bad_event
from streams.core.message_hash import place_hashes
from streams.core.refusal import Refused

Progress = Callable[[int, int], None]
"""Gets the bytes read so far and the bytes of all files (a pipe counts 0)."""

GAP_BYTES: Final = 4_096
"""Rows with at most so much between them are read from disk in one go."""

HEAD_RECORDS: Final = 20
MAX_SIZE: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the first pass found out about one file; `damage` is None or says why its end could not be read."""

    name: str
    """As it was given."""
    rows: int
    size_bytes: int
    compressed: bool
    damage: str | None
    digest: str
    """Of the unpacked content as UTF-8: 64 hex digits."""
    content_bytes: int
    """Size of that content."""
    now_s: float
    """The clock by which its events count as of the future."""
    first_time_s: float
    """Of its rows; NaN if none has a time."""
    last_time_s: float
    late_rows: int = 0
    """Rows that are earlier than the end of the stretches before the file's own."""


def open_log(
    paths: Sequence[str | Path],
    catalog: Catalog,
    now_s: float,
    *,
    clocks_s: Sequence[float] = (),
    late_share: float | None = None,
    progress: Progress | None = None,
    spool_dir: Path | None = None,
) -> FileLog:
    """Read all files once and give the log. Close it when done; it is a context manager.

    Events later than `now_s` (seconds; plus `time.max_ahead`) are refused. It does not change positions, but what is
    accepted: a run that goes on passes the clocks of the files that it has read before, `clocks_s`, for the first
    files with rows. `late_share`: a file with at most so many rows earlier than the end of those before it is read
    behind them (`file_order`); with None all rows of all files are in the order of their times. gzip, pipes and other
    encodings are unpacked into a temporary file in `spool_dir` (None: the system's place for such files).

    Raises InputError: no such file, a directory, a file given twice, a column that is missing, no row at all.
    """
    with ExitStack() as on_error:
        spool = Spool(spool_dir)
        on_error.callback(spool.close)
        sources = _sources(paths, catalog, spool)
        total_bytes = sum(source.size_bytes for source in sources)
        parts: list[_Part] = []
        before_bytes = 0
        for source in sources:
            read_before = sum(1 for part in parts if part.starts)
            clock_s = clocks_s[read_before] if read_before < len(clocks_s) else now_s
            parts.append(_scan(source, catalog, clock_s, _shifted(progress, before_bytes, total_bytes)))
            before_bytes += source.size_bytes
        _check_content(parts)
        log = FileLog(parts, catalog, spool, late_share)
        on_error.pop_all()
        return log


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of one file, decoded; `whole` if it has no others."""

    name: str
    texts: tuple[bytes, ...]
    """The bytes of each row."""
    events: tuple[Event | BadEvent, ...]
    whole: bool


def sample_file(path: str | Path, catalog: Catalog, now_s: float, rows: int) -> Sample:
    """Decode the first `rows` rows of a file, in its own order, and read no further. Raises as `open_log` does."""
    with ExitStack() as stack:
        spool = Spool(None)
        stack.callback(spool.close)
        source = Source(path, _encoding(catalog), spool)
        blocks = stack.enter_context(closing(source.blocks(lambda _: None)))
        lines = Lines(blocks, _keep_bytes(catalog), lambda: source.damage is not None)
        decoder, records = _start(source, catalog, min(LATEST_S, now_s + catalog.time.max_ahead_s), lines)
        texts = [text for _, _, text in islice(records, rows + 1)]
    if decoder is None or not texts:
        raise InputError(source.name, "has no rows")
    events = [decoder.decode(text, at, None, 0) for at, text in enumerate(texts[:rows])]
    named = [
        msgspec.structs.replace(event, source=f"{source.name} row {at + 1}") if isinstance(event, BadEvent) else event
        for at, event in enumerate(events)
    ]
    return Sample(source.name, tuple(texts[:rows]), tuple(named), len(texts) <= rows)


def begins_with(path: str | Path, catalog: Catalog, content_bytes: int, digest: str) -> bool:
    """Whether the first so many bytes of a file's content (as `FileInfo` counts them) have that digest.

    That is: whether the file has only grown. False for a pipe, which cannot be read again. Raises InputError.
    """
    with ExitStack() as stack:
        spool = Spool(None)
        stack.callback(spool.close)
        source = Source(path, _encoding(catalog), spool)
        if not Path(path).is_file():
            return False
        found = blake2b(digest_size=32)
        left = content_bytes
        for block in stack.enter_context(closing(source.blocks(lambda _: None))):
            found.update(block[:left])
            left -= min(left, len(block))
            if not left:
                break
    return not left and found.hexdigest() == digest


def _encoding(catalog: Catalog) -> str:
    return catalog.input.encoding if isinstance(catalog.input, CsvInput) else "utf-8"


def _shifted(progress: Progress | None, before_bytes: int, total_bytes: int) -> Callable[[int], None]:
    if progress is None:
        return lambda _: None
    return lambda done_bytes: progress(before_bytes + done_bytes, total_bytes)


def _sources(paths: Sequence[str | Path], catalog: Catalog, spool: Spool) -> list[Source]:
    if not paths:
        raise InputError("input", "no file was given")
    sources = [Source(path, _encoding(catalog), spool) for path in paths]
    seen: dict[tuple[int, int], str] = {}
    for source in sources:
        if source.identity in seen:
            raise InputError(source.name, f"is given twice (it is the same file as {seen[source.identity]})")
        seen[source.identity] = source.name
    return sources


class _Part:
    """The rows of one file after the first pass, in the order of the file."""

    def __init__(self, source: Source, now_s: float, latest_s: float) -> None:
        self.source = source
        self.now_s = now_s
        self.latest_s = latest_s
        self.decoder: Decoder | None = None
        self.starts = array("q")
        self.sizes = array("I")
        self.times = array("d")
        self.digest = b""
        self.content_bytes = 0

    def add_all(self, records: Iterable[Record], read_time: Callable[[bytes], float]) -> None:
        """Take in rows."""
        add_start, add_size, add_time = self.starts.append, self.sizes.append, self.times.append
        for offset, size, text in records:
            add_start(offset)
            add_size(size if size < MAX_SIZE else MAX_SIZE)  # noqa: FURB136 (min costs as much as the rest)
            add_time(read_time(text))

    def filled_times(self, before_s: float) -> npt.NDArray[np.float64]:
        """Times in which a row without one has that of the row before; at the start, that of the first that has one."""
        times = np.array(self.times, dtype=np.float64)
        known = ~np.isnan(times)
        if not known.any():
            return np.full(len(times), before_s)
        latest = np.maximum.accumulate(np.where(known, np.arange(len(times)), -1))
        return times[np.where(latest < 0, np.argmax(known), latest)]

    def known_times(self) -> npt.NDArray[np.float64]:
        """The times that rows have, without those of the future, which are dead letters."""
        times = np.array(self.times, dtype=np.float64)
        return times[times <= self.latest_s]

    def info(self, late_rows: int) -> FileInfo:
        """What is told of the file."""
        times = self.known_times()
        source = self.source
        return FileInfo(
            source.name,
            len(self.starts),
            source.size_bytes,
            source.compressed,
            source.damage,
            self.digest.hex(),
            self.content_bytes,
            self.now_s,
            float(times.min()) if len(times) else nan,
            float(times.max()) if len(times) else nan,
            late_rows,
        )


def _scan(source: Source, catalog: Catalog, now_s: float, progress: Callable[[int], None]) -> _Part:
    """The first pass over one file."""
    latest_s = min(LATEST_S, now_s + catalog.time.max_ahead_s)
    part = _Part(source, now_s, latest_s)
    digest = blake2b(digest_size=32)

    def hashed() -> Iterator[bytes]:
        for block in source.blocks(progress):
            digest.update(block)
            part.content_bytes += len(block)
            yield block

    lines = Lines(hashed(), _keep_bytes(catalog), lambda: source.damage is not None)
    decoder, records = _start(source, catalog, latest_s, lines)
    if decoder is not None:
        part.add_all(records, decoder.read_time)
    if source.damage is not None:
        if decoder is None:
            raise InputError(source.name, f"{source.damage}, before the end of the header")
        part.add_all([lines.tail or (lines.end, 0, b"")], lambda _: nan)
    part.decoder = decoder
    part.digest = digest.digest()
    return part


def _keep_bytes(catalog: Catalog) -> int:
    """So much of a row is read: enough to see that it is too large, and for the dead letter."""
    return max(catalog.limits.property_bytes, DEAD_LETTER_BYTES) + 1


def _start(
    source: Source, catalog: Catalog, latest_s: float, lines: Iterable[Record]
) -> tuple[Decoder | None, Iterator[Record]]:
    """The decoder for a file, which for a CSV is made from its header, and the file's records."""
    if not isinstance(catalog.input, CsvInput):
        return build_decoder(catalog, latest_s), _checked_json(source.name, line_records(lines), catalog)
    delimiter = catalog.input.delimiter
    source_lines = iter(lines)
    first = next(csv_records(source_lines, delimiter, catalog.limits.property_bytes), None)
    if first is None:
        return None, iter(())
    try:
        text = first[2].decode()
        header = split_row(text, delimiter)
    except UnicodeDecodeError as error:
        raise InputError(source.name, "the header is not UTF-8; set input.encoding, for example to cp1252") from error
    except Refused as error:
        raise InputError(source.name, f"the header cannot be read: {error.detail}") from error
    check_header(text, header, catalog, source.name)
    records = csv_records(source_lines, delimiter, catalog.limits.property_bytes, len(header))
    return build_decoder(catalog, latest_s, header, source.name), records


def _checked_json(name: str, records: Iterator[Record], catalog: Catalog) -> Iterator[Record]:
    """The same records; refuses files that are no JSON lines at all, which would only give dead letters.

    A first line that is broken is a dead letter as any other line, so what follows it decides as well.
    """
    head = list(islice(records, HEAD_RECORDS))
    texts = [text.lstrip() for _, _, text in head]
    if texts and (texts[0] == b"{" or texts[0].startswith(b"[")) and _is_document(texts):
        raise InputError(
            name, "is JSON, but not one object a line; with jq: jq -c '.[]' (an array), or jq -c . (objects)"
        )
    if not any(text.startswith(b"{") for text in texts) and (words := csv_words(texts, catalog)):
        raise InputError(name, words)
    if len(texts) == HEAD_RECORDS and not any(text.startswith(b"{") for text in texts):
        raise InputError(name, "no line starts with {, so it is not JSON lines; for a CSV set input.format: csv")
    return chain(head, records)


def _is_document(texts: list[bytes]) -> bool:
    """Whether these first lines belong to one JSON value: none is an object alone, or they go on with the first one."""
    if not any(map(_is_object, texts)):
        return True
    whole = b"\n".join(texts).decode(errors="replace").rstrip()
    first_line = whole.partition("\n")[0]
    try:
        _, end = json.JSONDecoder().raw_decode(whole)
    except json.JSONDecodeError as error:
        return error.pos >= len(whole)  # nothing is wrong with it but that the rest is missing
    except RecursionError:
        return False
    return end > len(first_line)


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def _check_content(parts: Sequence[_Part]) -> None:
    """Refuse files with the same content, and input without any row."""
    seen: dict[bytes, str] = {}
    for part in parts:
        if not part.starts:
            continue
        if part.digest in seen:
            raise InputError(part.source.name, f"has the same content as {seen[part.digest]}; give it once")
        seen[part.digest] = part.source.name
    if not seen:
        raise InputError(", ".join(part.source.name for part in parts), "has no rows")


class FileLog:
    """The rows of all files in the order in which they are read; made by `open_log`.

    `rows` counts all rows, also those that cannot be read. `sorted` is True if the rows were not in time order and
    are therefore read in another order than they stand. The same content always has the same positions. `read_files`
    are the files with rows, `stretches` count them, and `digest` is that of the first of them, which stays the same
    when files are put behind the others. `first_time_s` and `last_time_s` are NaN if no row has a time
    (those of the future left out).
    """

    def __init__(self, parts: Sequence[_Part], catalog: Catalog, spool: Spool, late_share: float | None) -> None:
        self._spool = spool
        self._sources = [part.source for part in parts]
        self._decoders = [part.decoder for part in parts]
        self._keep_bytes = _keep_bytes(catalog)
        self._hashes = np.array([int.from_bytes(part.digest[:8], "little") for part in parts], dtype=np.uint64)
        counts = np.array([len(part.starts) for part in parts], dtype=np.int64)
        self._first_rows = np.cumsum(counts) - counts
        self._starts = np.concatenate([np.array(part.starts, dtype=np.int64) for part in parts])
        self._sizes = np.concatenate([np.array(part.sizes, dtype=np.uint32) for part in parts])
        self._cut_off = {
            int(first + count) - 1
            for first, count, part in zip(self._first_rows, counts, parts, strict=True)
            if part.source.damage is not None
        }
        times = _all_times(parts)
        self.rows = len(times)
        full = [part for part in parts if part.starts]
        ends, late = stretches([part.known_times() for part in full], late_share)
        rows = np.cumsum([len(part.starts) for part in full])
        self.stretches = tuple(Stretch(files, int(rows[files - 1])) for files in ends)
        self._order = reading_order(times, [stretch.rows for stretch in self.stretches])
        self.sorted = self._order is not None
        self.read_files = tuple(part.info(late_rows) for part, late_rows in zip(full, late, strict=True))
        with_rows = iter(self.read_files)
        self.digest = self.read_files[0].digest
        self.files = tuple(next(with_rows) if part.starts else part.info(0) for part in parts)
        self.first_time_s = float(np.fmin.reduce([file.first_time_s for file in self.files]))
        self.last_time_s = float(np.fmax.reduce([file.last_time_s for file in self.files]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the temporary file; nothing can be read afterwards."""
        self._spool.close()

    def batches(self, start: int = 0, size: int = 4_096) -> Iterator[list[Event | BadEvent]]:
        """All rows from position `start` on, `size` at a time, as events or with the reason why not.

        The events do not depend on `start` and `size`. Raises InputError if `start` is behind the last row, or a file
        has changed since the first pass.
        """
        if not 0 <= start <= self.rows:
            raise InputError(self._sources[0].name, f"the input has only {self.rows} rows", start)
        for first in range(start, self.rows, size):
            yield self.read(first, min(first + size, self.rows))

    def read(self, first: int, last: int) -> list[Event | BadEvent]:
        """The rows at the positions from `first` up to and without `last`."""
        return self.read_with_bytes(first, last)[1]

    def read_with_bytes(self, first: int, last: int) -> tuple[list[bytes], list[Event | BadEvent]]:
        """As `read`, with the bytes of every row (of one above the size limit only its start)."""
        rows = np.arange(first, last) if self._order is None else self._order[first:last]
        files = np.searchsorted(self._first_rows, rows, side="right") - 1
        in_file = rows - self._first_rows[files]
        hashes = place_hashes(self._hashes[files], in_file.astype(np.uint64))
        texts = self._texts(rows, files)
        decoders = self._decoders
        events: list[Event | BadEvent] = []
        for position, text, place_hash, file in zip(
            range(first, last), texts, hashes.tolist(), files.tolist(), strict=True
        ):
            decoder = decoders[file]
            assert decoder is not None, "a file without a decoder has no rows"
            events.append(decoder.decode(text, position, None, place_hash))
        for cut_off in self._cut_off:
            for at in np.flatnonzero(rows == cut_off).tolist():
                detail = self._sources[files[at]].damage or ""
                events[at] = bad_event(DeadReason.TRUNCATED_FILE, detail, first + at, texts[at])
        for at, event in enumerate(events):
            if type(event) is BadEvent:
                name = f"{self._sources[files[at]].name} row {in_file[at] + 1}"
                events[at] = msgspec.structs.replace(event, source=name)
        return texts, events

    def _texts(self, rows: npt.NDArray[np.int64], files: npt.NDArray[np.int64]) -> list[bytes]:
        """The bytes of rows, read from disk in runs of neighbours."""
        starts = self._starts[rows]
        ends = starts + np.minimum(self._sizes[rows], self._keep_bytes)
        by_place = np.lexsort((starts, files))
        file, start, end = files[by_place], starts[by_place], ends[by_place]
        is_new = np.ones(len(rows), dtype=bool)
        is_new[1:] = (file[1:] != file[:-1]) | (start[1:] - end[:-1] > GAP_BYTES)
        run_starts = np.flatnonzero(is_new)
        run_ends = np.append(run_starts[1:], len(rows)) - 1
        buffers = self._buffers(file[run_starts], start[run_starts], end[run_ends])
        run_of = np.cumsum(is_new) - 1
        origin = start[run_starts][run_of]
        texts = [b""] * len(rows)
        places = zip(
            by_place.tolist(), run_of.tolist(), (start - origin).tolist(), (end - origin).tolist(), strict=True
        )
        for at, run, low, high in places:
            texts[at] = buffers[run][low:high]
        return texts

    def _buffers(
        self, files: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> list[bytes]:
        """The bytes of runs, which are grouped by file."""
        buffers: list[bytes] = []
        for file in np.unique(files).tolist():
            of_file = files == file
            runs = zip(starts[of_file].tolist(), (ends - starts)[of_file].tolist(), strict=True)
            buffers += self._sources[file].read_all(runs)
        return buffers


def _all_times(parts: Sequence[_Part]) -> npt.NDArray[np.float64]:
    """The times of all rows; -inf at the start of the input as long as no row has one."""
    times = []
    before_s = -np.inf
    for part in parts:
        filled = part.filled_times(before_s)
        if len(filled):
            before_s = filled[-1]
        times.append(filled)
    return np.concatenate(times)
