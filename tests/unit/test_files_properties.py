"""Whatever the files hold: every row is accounted for once, in a stable order, from any position on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import isnan, nan
from pathlib import Path
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.errors import InputError
from streams.adapters import file_source
from streams.adapters.file_rows import Lines, csv_records, line_records
from streams.adapters.files import FileLog, open_log
from streams.core.decode import build_decoder
from streams.core.decode_mapped import split_row
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.refusal import Refused
from tests.unit.decode_world import NDJSON, SEGMENT, SIMPLE_CSV, catalog, track

NOW_S = 4e9
CATALOGS = [catalog(SEGMENT), catalog(NDJSON), catalog(SIMPLE_CSV)]
SMALL = catalog(SIMPLE_CSV, property_bytes=256)
HEADER = b"user,time,value\n"


@contextmanager
def opened(contents: list[bytes], catalog_: Catalog, block_bytes: int = 262_144) -> Iterator[FileLog]:
    """The log of files with these contents, read in blocks of that size."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(patch.object(file_source, "BLOCK_BYTES", block_bytes))
        paths = [folder / f"{n}.txt" for n in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield stack.enter_context(open_log(paths, catalog_, NOW_S))


def everything(log: FileLog) -> list[str]:
    """All events of a log, as text: NaN equals itself there."""
    return [repr(row) for batch in log.batches(0, 5) for row in batch]


def without_source(rows: list[str]) -> list[str]:
    return [row.split(", source=")[0] for row in rows]


line = (
    st.binary(max_size=30)
    | st.sampled_from(
        [track(), track(userId=""), b"ann,2024-05-31,1", b"", b" ", b"\r", b'"a', b'a"b,","', b'""', b"{"]
    )
    | st.integers(1, 28).map(lambda day: f"u{day},2024-01-{day:02},1".encode())
    | st.integers(1, 28).map(lambda day: track(timestamp=f"2024-01-{day:02}"))
)
contents = st.lists(line, max_size=12).map(b"\n".join)
blocks = st.sampled_from([1, 7, 64, 262_144])


@given(contents, blocks, st.booleans())
@example(b"\xef\xbb\xbf", 1, True)
@example(b"\n\n\n", 1, False)
def test_any_content_is_a_log_or_an_input_error(content: bytes, block_bytes: int, with_header: bool) -> None:
    for catalog_ in CATALOGS:
        try:
            with opened([HEADER + content if with_header else content], catalog_, block_bytes) as log:
                rows = [row for batch in log.batches(0, 5) for row in batch]
        except InputError as error:
            assert str(error)  # noqa: PT017 (no error is fine too)
            continue
        assert [row.position for row in rows] == list(range(log.rows))
        assert {type(row) for row in rows} <= {Event, BadEvent}
        if catalog_ is not CATALOGS[2]:
            expected = (HEADER if with_header else b"") + content
            expected = expected.removeprefix(b"\xef\xbb\xbf")
            assert log.rows == sum(not text.isspace() and text != b"" for text in expected.split(b"\n"))


@given(
    st.binary(max_size=300) | contents,
    st.sampled_from([1, 5, 1_000]),
    st.sampled_from([40, 10_000]),
    st.sampled_from([None, 1, 3]),
)
@example(b'"a\n' * 50, 5, 40, None)
@example(b'"a\n\n\r\nb"\r\n"c""\n"', 1, 10_000, 1)
@example(b'"' + b"x" * 500 + b"\n" + b'"y"', 5, 40, None)
def test_every_byte_of_a_csv_is_in_one_record_or_blank(
    content: bytes, block_bytes: int, limit_bytes: int, columns: int | None
) -> None:
    cut = [content[at : at + block_bytes] for at in range(0, len(content), block_bytes)]
    records = list(csv_records(Lines(cut, 10_000, lambda: False), ",", limit_bytes, columns))
    left = bytearray(content.removeprefix(b"\xef\xbb\xbf").rjust(len(content), b" "))
    end = 0
    for offset, size, text in records:
        assert offset >= end
        assert text == content[offset : offset + size]
        assert text.strip()
        left[offset : offset + size] = b" " * size
        end = offset + size
    assert not left.strip()


@given(st.binary(max_size=300), st.integers(1, 20), st.integers(1, 50))
def test_lines_are_those_of_split_and_keep_few_bytes(content: bytes, block_bytes: int, keep_bytes: int) -> None:
    cut = [content[at : at + block_bytes] for at in range(0, len(content), block_bytes)]
    records = list(line_records(Lines(cut, keep_bytes, lambda: False)))
    marked = len(content) - len(content.removeprefix(b"\xef\xbb\xbf"))
    expected = [text for text in content[marked:].split(b"\n") if text.strip()]
    assert len([text for _, _, text in records]) <= len(expected)
    for offset, size, text in records:
        assert content[offset : offset + size].startswith(text)
        assert len(text) <= max(keep_bytes, block_bytes) + block_bytes
        assert text == content[offset : offset + size] or size > keep_bytes
    if keep_bytes >= 50 > max(map(len, expected), default=0):
        assert [text for _, _, text in records] == [text.removesuffix(b"\r") for text in expected]


cell = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6) | st.sampled_from(
    ['"', ",", "\n", "\r\n", 'a\n"b",\n\nc', " "]
)


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), cell, st.integers(1, 28)), min_size=1, max_size=10),
    st.sampled_from(["\n", "\r\n"]),
    blocks,
)
def test_what_the_csv_module_writes_is_read_back(
    rows: list[tuple[str, str, int]], newline: str, block_bytes: int
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=newline)
    writer.writerow(["user", "note", "time", "value"])
    for n, (user, note, day) in enumerate(rows):
        writer.writerow([user, note, f"2024-01-{day:02}", n])
    with opened([out.getvalue().encode()], CATALOGS[2], block_bytes) as log:
        events = [row for batch in log.batches() for row in batch]
    expected = sorted(((day, n, user) for n, (user, _, day) in enumerate(rows)), key=lambda row: row[0])
    assert [(e.user, e.value) for e in events if isinstance(e, Event)] == [(user, n) for _, n, user in expected]
    assert len(events) == len(rows)


@given(st.lists(contents.map(HEADER.__add__), min_size=1, max_size=3, unique=True))
def test_the_order_is_a_stable_sort_of_the_files_by_time(files: list[bytes]) -> None:
    decoder = build_decoder(SMALL, header=["user", "time", "value"])
    keyed: list[tuple[float, str]] = []
    before_s = -float("inf")
    for content in files:
        texts = [text for _, _, text in list(csv_records(Lines([content], 10_000, lambda: False), ",", 256, 3))[1:]]
        times = [decoder.read_time(text) for text in texts]
        first = next((time_s for time_s in times if not isnan(time_s)), nan)
        before_s = before_s if isnan(first) else first
        for text, time_s in zip(texts, times, strict=True):
            before_s = before_s if isnan(time_s) else time_s
            event = decoder.decode(text, 0, None, 0)
            keyed.append((before_s, event.user if isinstance(event, Event) else repr(event.raw)))
    try:
        with opened(files, SMALL) as log:
            rows = [row for batch in log.batches() for row in batch]
            assert log.sorted == ([key for key, _ in keyed] != sorted(key for key, _ in keyed))
    except InputError as error:
        assert not keyed or "the header" in str(error)  # noqa: PT017
        return
    expected = [name for _, name in sorted(keyed, key=lambda row: row[0])]
    assert [row.user if isinstance(row, Event) else repr(row.raw) for row in rows] == expected


@given(
    st.lists(contents.map(HEADER.__add__), min_size=1, max_size=2, unique=True), st.integers(0, 30), st.integers(1, 9)
)
def test_resuming_at_any_row_equals_the_tail(files: list[bytes], start: int, size: int) -> None:
    try:
        with opened(files, SMALL) as log:
            rows = everything(log)
            start = min(start, log.rows)
            assert [repr(row) for batch in log.batches(start, size) for row in batch] == rows[start:]
        with opened(files, SMALL) as again:
            assert again.digest == log.digest
            assert without_source(everything(again)) == without_source(rows)
    except InputError as error:
        assert "has no rows" in str(error)  # noqa: PT017


@given(contents.map(HEADER.__add__), blocks, st.integers(0, 400))
def test_gzip_equals_plain_in_any_cut_of_members(content: bytes, block_bytes: int, cut: int) -> None:
    packed = gzip.compress(content[:cut], mtime=0) + gzip.compress(content[cut:], mtime=0)
    try:
        with opened([content], SMALL) as plain, opened([packed], SMALL, block_bytes) as other:
            assert other.digest == plain.digest
            assert other.sorted == plain.sorted
            assert without_source(everything(other)) == without_source(everything(plain))
    except InputError as error:
        assert "has no rows" in str(error)  # noqa: PT017


@given(contents, st.integers(0, 500))
@settings(max_examples=50)
def test_a_cut_gzip_gives_a_prefix_of_the_rows_and_one_dead_letter(content: bytes, kept: int) -> None:
    rows = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(30)) + content
    packed = gzip.compress(rows, compresslevel=0, mtime=0)
    kept = min(max(kept, 2), len(packed) - 1)
    texts = [text for _, _, text in line_records(Lines([rows], 10_000, lambda: False))]
    with opened([packed[:kept]], CATALOGS[1]) as log:
        found = [row for batch in log.batches() for row in batch]
    bad = [row for row in found if isinstance(row, BadEvent)]
    cut_off = [row for row in bad if row.reason is DeadReason.TRUNCATED_FILE]
    assert len(cut_off) == 1
    in_file = [row.raw for row in bad if row.reason is not DeadReason.TRUNCATED_FILE]
    assert set(in_file) <= set(texts)
    assert len(found) <= len(texts) + 1


@given(st.text(alphabet='ab,"\n', max_size=40))
def test_records_are_those_of_the_csv_module_where_all_quotes_are_closed(text: str) -> None:
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row and any(cell.strip() for cell in row)]
    records = [part.decode() for _, _, part in csv_records(Lines([text.encode()], 10_000, lambda: False), ",", 10_000)]
    try:
        found = [split_row(record, ",") for record in records]
    except Refused:
        return  # a quote that is not closed: the csv module takes the rest of the text for one row
    assert [row for row in found if any(cell.strip() for cell in row)] == expected
