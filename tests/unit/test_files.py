"""Files as one log: order, positions, compression, damage, and the errors for files that are no input at all."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from config.catalog import Catalog, CsvInput
from config.errors import InputError
from config.places import mapped_fields
from streams.adapters import file_source
from streams.adapters.files import FileLog, open_log
from streams.core.decode_mapped import CsvDecoder
from streams.core.events import BadEvent, DeadReason, Event
from tests.unit.decode_world import CSV, NDJSON, NOON_S, SEGMENT, SIMPLE_CSV, catalog, track

SHOP = catalog(SIMPLE_CSV)
SEGMENTS = catalog(SEGMENT)
NOW_S = 4e9
HEADER = "user,time,value\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def rows_of(log: FileLog) -> list[Event | BadEvent]:
    return [event for batch in log.batches(0, 3) for event in batch]


def read(catalog_: Catalog, *paths: Path) -> list[Event | BadEvent]:
    with open_log(paths, catalog_, NOW_S) as log:
        rows = rows_of(log)
        assert [row.position for row in rows] == list(range(log.rows))
        return rows


def users(rows: list[Event | BadEvent]) -> list[str]:
    return [row.user if isinstance(row, Event) else row.reason.value for row in rows]


def refused(catalog_: Catalog, *paths: Path | str) -> str:
    with pytest.raises(InputError) as error:
        open_log(list(paths), catalog_, NOW_S).close()
    return str(error.value)


def test_rows_in_order_are_read_as_they_stand(write: Write) -> None:
    path = write("a.csv", HEADER + "ann,2024-05-31T12:00:00Z,5\nbob,2024-05-31T12:00:00Z,\n\ncat,2024-06-01,7\n")
    with open_log([path], SHOP, NOW_S) as log:
        assert not log.sorted
        assert (log.rows, log.first_time_s, log.last_time_s) == (3, NOON_S, NOON_S + 43_200)
        assert users(rows_of(log)) == ["ann", "bob", "cat"]
        assert [(f.rows, f.compressed, f.damage) for f in log.files] == [(3, False, None)]


def test_rows_out_of_order_are_sorted_and_those_of_one_time_keep_their_order(write: Write) -> None:
    first = write("a.csv", HEADER + "c1,2024-03-01,1\na1,2024-01-01,1\nc2,2024-03-01,1\n")
    second = write("b.csv", HEADER + "b1,2024-02-01,1\nc3,2024-03-01,1\na2,2024-01-01,1\n")
    with open_log([first, second], SHOP, NOW_S) as log:
        assert log.sorted
        assert users(rows_of(log)) == ["a1", "a2", "b1", "c1", "c2", "c3"]


def test_a_row_without_a_time_stays_behind_the_row_before_it(write: Write) -> None:
    late = write("late.csv", HEADER + "x0,,1\nl1,2024-03-01,1\nx1,never,1\nx2,2024-04-01\n")
    early = write("early.csv", HEADER + "y0,3000-01-01,1\ne1,2024-01-01,1\ny1,,1\n")
    rows = read(SHOP, late, early)
    assert users(rows) == [
        "time_out_of_range",
        "e1",
        "missing_time",
        "missing_time",
        "l1",
        "bad_time",
        "too_few_columns",
    ]
    sources = [row.source for row in rows if isinstance(row, BadEvent)]
    assert sources == [f"{early} row 1", f"{early} row 3", f"{late} row 1", f"{late} row 3", f"{late} row 4"]


def test_only_bad_rows_are_a_log_too(write: Write) -> None:
    with open_log([write("a.csv", HEADER + "x,,\ny,,\n")], SHOP, NOW_S) as log:
        assert users(rows_of(log)) == ["missing_time", "missing_time"]
        assert log.first_time_s != log.first_time_s  # NaN


def test_the_future_is_refused_but_keeps_its_place(write: Write) -> None:
    path = write("a.csv", HEADER + "late,2024-06-01,1\nann,2024-05-31T12:00:00Z,1\nsoon,2024-05-31T12:05:00Z,1\n")
    with open_log([path], SHOP, NOON_S) as log:
        assert users(rows_of(log)) == ["ann", "soon", "time_in_future"]  # max_ahead is 5 minutes
    with open_log([path], SHOP, NOON_S + 86_400) as log:
        assert users(rows_of(log)) == ["ann", "soon", "late"]


def test_the_hash_is_that_of_file_and_row_and_not_of_the_content(write: Write) -> None:
    same = "ann,2024-05-31T12:00:00Z,5\n" * 3
    one = read(SHOP, write("a.csv", HEADER + same))
    hashes = [row.message_hash for row in one if isinstance(row, Event)]
    assert len(set(hashes)) == 3
    # Another file in front changes positions, and nothing else.
    both = read(SHOP, write("b.csv", HEADER + "bob,2024-01-01,1\n"), write("a.csv", HEADER + same))
    assert [row.message_hash for row in both if isinstance(row, Event)][1:] == hashes


def test_the_digest_is_of_the_content_of_the_first_file(write: Write) -> None:
    def digest(*paths: Path) -> str:
        with open_log(paths, SHOP, NOW_S) as log:
            return log.digest

    text = HEADER + "ann,2024-05-31,5\n"
    first = digest(write("a.csv", text))
    assert len(first) == 64
    assert digest(write("b.csv", text)) == first
    assert digest(write("b.csv.gz", gzip.compress(text.encode()))) == first
    assert digest(write("b.csv", text + "bob,2024-05-31,5\n")) != first
    behind = write("b.csv", text + "\nx,2024-01-01,1")
    assert digest(write("a.csv", text), behind) == first
    assert digest(behind, write("a.csv", text)) != first


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_reading_can_start_anywhere(write: Write, size: int) -> None:
    path = write("a.csv", HEADER + "".join(f"u{n},2024-01-{n * 7 % 28 + 1:02},1\n" for n in range(20)))
    with open_log([path], SHOP, NOW_S) as log:
        everything = rows_of(log)
        for start in range(log.rows + 1):
            batches = list(log.batches(start, size))
            assert [len(batch) <= size for batch in batches] == [True] * len(batches)
            assert [row for batch in batches for row in batch] == everything[start:]
        with pytest.raises(InputError, match="only 20 rows"):
            next(log.batches(21))


def test_quoted_cells_may_hold_line_ends_delimiters_and_quotes(write: Write) -> None:
    text = 'user,note,time,value\r\n"a,n\r\n\r\nn","say ""hi""\n",2024-05-31,"1"\r\nbob,5" disk,2024-06-01,2\r\n'
    assert users(read(SHOP, write("a.csv", text))) == ["a,n\r\n\r\nn", "bob"]


def test_one_stray_quote_costs_one_row(write: Write) -> None:
    good = "".join(f"u{n},2024-06-01,1\n" for n in range(5_000))
    rows = read(SHOP, write("a.csv", HEADER + 'ann,2024-05-31,1\n"oops,2024-05-31,1\n' + good))
    assert users(rows) == ["ann", "unreadable_csv", *(f"u{n}" for n in range(5_000))]
    end = read(SHOP, write("b.csv", HEADER + 'ann,2024-05-31,1\n"oops,2024-05-31,1\nbob,2024-06-01,1'))
    assert users(end) == ["ann", "unreadable_csv", "bob"]


def test_a_stray_quote_is_not_closed_by_a_quote_further_down(write: Write) -> None:
    between = "".join(f"u{n},2024-06-01,1\n" for n in range(500))
    for later in ('bob,2024-06-02,"1"\n', '"bob",2024-06-02,1\n', '"bob,2024-06-02,1\n'):
        rows = read(SHOP, write("a.csv", HEADER + 'ann,2024-05-31,1\n"oops,2024-05-31,1\n' + between + later))
        last = "bob" if later.count('"') == 2 else "unreadable_csv"
        assert users(rows) == ["ann", "unreadable_csv", *(f"u{n}" for n in range(500)), last]


def test_a_row_over_several_lines_may_have_blanks_behind_its_quotes(write: Write) -> None:
    text = 'user,note,time,value\r\n"ann" ,"one\r\ntwo" \t, 2024-05-31 ,"1" \r\nbob,"x\ny",2024-06-01,2,,\n'
    assert users(read(SHOP, write("a.csv", text))) == ["ann", "bob"]


def test_hostile_quotes_do_not_cost_for_ever(write: Write) -> None:
    # Every line leaves a quote open whether it starts inside of one or not.
    rows = read(SHOP, write("a.csv", HEADER + 'x",",\n' * 5_000))
    assert len(rows) == 5_000


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks(write: Write, newline: str, last: str, mark: bytes) -> None:
    text = (HEADER + "ann,2024-05-31,1\n  \nbob,2024-05-31,2" + last).replace("\n", newline)
    assert users(read(SHOP, write("a.csv", mark + text.encode()))) == ["ann", "bob"]
    lines = newline.encode().join([track(userId="ann"), b"", b"\t", track(userId="bob")]) + last.encode()
    assert users(read(SEGMENTS, write("a.ndjson", mark + lines))) == ["ann", "bob"]


def test_another_delimiter_and_encoding(write: Write) -> None:
    text = "user ; time ; value\nJos\u00e9; 2024-05-31 ; 1,5\nann;2024-05-31;2\n"
    for encoding in ("cp1252", "utf-16", "utf-16-le", "utf-8"):
        extra = f"delimiter: ';', encoding: {encoding}, value: value"
        rows = read(catalog(SIMPLE_CSV.replace("value: value}", extra + "}", 1)), write("a.csv", text.encode(encoding)))
        assert users(rows) == ["bad_value", "ann"]
        assert isinstance(rows[0], BadEvent)
        assert rows[0].raw == "Jos\u00e9; 2024-05-31 ; 1,5".encode()


def test_a_row_in_another_encoding_is_a_dead_letter(write: Write) -> None:
    path = write("a.csv", HEADER.encode() + "Jos\u00e9,2024-05-31,1\nann,2024-05-31,2\n".encode("latin-1"))
    assert users(read(SHOP, path)) == ["bad_encoding", "ann"]


def test_a_huge_row_is_a_dead_letter_and_is_not_kept(write: Write) -> None:
    huge = track(properties={"x": "y" * 5_000_000})
    rows = read(SEGMENTS, write("a.ndjson", b"\n".join([track(userId="ann"), huge, track(userId="bob")])))
    assert users(rows) == ["ann", "too_large", "bob"]
    assert isinstance(rows[1], BadEvent)
    assert rows[1].raw == huge[: len(rows[1].raw)]
    assert rows[1].truncated


def test_one_bad_line_of_every_kind_does_not_stop_the_rest(write: Write) -> None:
    bad = [b"{", b"[]", b"\xff", b"[" * 60_000, b'{"type":"page"}', track(userId=None), track(timestamp="1900-01-01")]
    lines = [track(userId="ann"), *bad, track(userId="bob")]
    assert users(read(SEGMENTS, write("a.ndjson", b"\n".join(lines)))) == [
        "ann",
        "unreadable_json",
        "not_an_object",
        "bad_encoding",
        "too_deep",
        "unknown_type",
        "missing_user",
        "time_out_of_range",
        "bob",
    ]


MANY = HEADER + "".join(f"user {n},2024-{n % 12 + 1:02}-01,{n}\n" for n in range(3_000))


@pytest.mark.parametrize("block_bytes", [1, 17, 262_144])
def test_gzip_equals_plain(write: Write, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MANY if block_bytes > 1 else MANY[:3_000]
    monkeypatch.setattr(file_source, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(file_source, "UNPACKED_BLOCK_BYTES", 10 * block_bytes)
    plain = read(SHOP, write("a.csv", text))
    middle = len(text) // 2
    members = gzip.compress(text[:middle].encode()) + gzip.compress(b"") + gzip.compress(text[middle:].encode())
    for content in (gzip.compress(text.encode()), members, members + b"\0" * 500):
        packed = read(SHOP, write("a.csv.gz", content))
        assert [row for row in packed if isinstance(row, Event)] == [row for row in plain if isinstance(row, Event)]
        assert len(packed) == len(plain)


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(write: Write) -> None:
    assert users(read(SHOP, write("a.txt", gzip.compress((HEADER + "ann,2024-05-31,1\n").encode())))) == ["ann"]


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.999])
def test_half_a_gzip_gives_its_rows_and_one_dead_letter(write: Write, kept: float) -> None:
    packed = gzip.compress(MANY.encode(), mtime=0)
    plain = [row for row in read(SHOP, write("all.csv", MANY)) if isinstance(row, Event)]
    values = {row.user: row.value for row in plain}
    with open_log([write("a.csv.gz", packed[: int(len(packed) * kept)])], SHOP, NOW_S) as log:
        rows = rows_of(log)
        assert log.files[0].damage is not None
    good = [row for row in rows if isinstance(row, Event)]
    bad = [row for row in rows if isinstance(row, BadEvent)]
    assert 10 < len(good) < 3_000
    assert {row.user: row.value for row in good} == {
        user: values[user] for user in (f"user {n}" for n in range(len(good)))
    }
    assert [row.reason for row in bad] == [DeadReason.TRUNCATED_FILE]
    assert "cut off" in bad[0].detail


def test_a_last_row_that_is_cut_is_never_taken_for_a_row(write: Write) -> None:
    # Without compression every byte comes through: 12.50 cut to 12 would be another value.
    text = HEADER + "ann,2024-05-31,1\nbob,2024-06-01,12.50\n"
    packed = gzip.compress(text.encode(), compresslevel=0, mtime=0)
    rows = read(SHOP, write("a.csv.gz", packed[: packed.index(b"12.50") + 2]))
    assert users(rows) == ["ann", "truncated_file"]
    assert isinstance(rows[1], BadEvent)
    assert rows[1].raw == b"bob,2024-06-01,12"


def test_a_damaged_gzip_gives_the_rows_before_the_damage(write: Write) -> None:
    packed = bytearray(gzip.compress(MANY.encode(), mtime=0))
    packed[len(packed) // 2] ^= 0xFF
    rows = read(SHOP, write("a.csv.gz", bytes(packed)))
    assert users(rows)[-1] == "truncated_file" or "truncated_file" in users(rows)
    assert sum(isinstance(row, Event) for row in rows) > 100
    wrong_sum = gzip.compress(MANY.encode(), mtime=0)[:-8] + b"12345678"
    rows = read(SHOP, write("b.csv.gz", wrong_sum))
    assert sum(isinstance(row, Event) for row in rows) == 3_000
    assert [row.detail for row in rows if isinstance(row, BadEvent)] == [
        "the gzip data is damaged (Error -3 while decompressing data: incorrect data check)"
    ]
    garbage = gzip.compress(MANY.encode(), mtime=0) + b"garbage"
    assert users(read(SHOP, write("c.csv.gz", garbage))).count("truncated_file") == 1


def test_a_gzip_cut_inside_the_header_is_refused(write: Write) -> None:
    packed = gzip.compress(MANY.encode(), compresslevel=0)
    assert "before the end of the header" in refused(SHOP, write("a.csv.gz", packed[:20]))


def test_a_pipe_is_read_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[MANY.encode()])
    writer.start()
    rows = read(SHOP, pipe)
    writer.join()
    assert len(rows) == 3_000
    assert not any(isinstance(row, BadEvent) for row in rows)


def test_a_pipe_and_a_file_tell_how_far_they_are(write: Write) -> None:
    seen: list[tuple[int, int]] = []
    paths = [write("a.csv", MANY), write("b.csv.gz", gzip.compress((MANY + "x,2024-01-01,1\n").encode()))]
    total = sum(path.stat().st_size for path in paths)
    open_log(paths, SHOP, NOW_S, progress=lambda done, of: seen.append((done, of))).close()
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)
    assert {of for _, of in seen} == {total}


def test_one_empty_file_among_others_is_fine(write: Write) -> None:
    full = HEADER + "ann,2024-05-31,1\n"
    paths = [
        write("a.csv", ""),
        write("b.csv", HEADER),
        write("c.csv", full),
        write("d.csv", "\n"),
        write("e.csv", HEADER),
    ]
    with open_log(paths, SHOP, NOW_S) as log:
        assert users(rows_of(log)) == ["ann"]
        assert [file.rows for file in log.files] == [0, 0, 1, 0, 0]


def test_the_temporary_file_goes_where_it_should_and_leaves_nothing(write: Write, tmp_path: Path) -> None:
    packed = write("a.csv.gz", gzip.compress(MANY.encode()))
    spool = tmp_path / "spool"
    with pytest.raises(InputError, match="cannot be unpacked into"):
        open_log([packed], SHOP, NOW_S, spool_dir=spool)
    spool.mkdir()
    with open_log([packed], SHOP, NOW_S, spool_dir=spool) as log:
        assert len(rows_of(log)) == 3_000
        assert list(spool.iterdir()) == []


REFUSED = [
    ("a.csv", b"", "has no rows"),
    ("a.csv", HEADER.encode(), "has no rows"),
    ("a.csv", b"\n \n", "has no rows"),
    ("a.csv", gzip.compress(b"", mtime=0), "has no rows"),
    ("a.csv", b"User ID,Time,value\nx,2024-05-31,1\n", "did you mean 'User ID'?"),
    (
        "a.csv",
        b"user;time;value\nx;2024-05-31;1\n",
        "separated by ';', and input.delimiter is not set, which means ',': set delimiter: \";\" under input",
    ),
    ("a.csv", b'user;time;"value, EUR"\nx;2024-05-31;1\n', "separated by ';'"),
    ("a.csv", b"user|when|value\nx|2024-05-31|1\n", "the columns are 'user', 'when', 'value'"),
    ("a.csv", b"user,when\nx,2024-05-31\n", "no column 'time', for which input.time.field (line 4) asks"),
    ("a.csv", b"user,time,time\nx,2024-05-31,1\n", "2 columns named 'time', for which input.time.field (line 4) asks"),
    (
        "a.csv",
        b'{"user": "x", "at": {"time": 5}}\n',
        "set input.format: ndjson, and name its fields (paths like a.b too)",
    ),
    ("a.csv", b'{"user": "x", "at": {"time": 5}}\n', "'user', 'at.time'"),
    ("a.csv", track() + b"\n" + track(), "is JSON, and input.format (line 4) is csv: its records are in the form of"),
    ("a.csv", b'[\n{"user": "x"}\n]\n', "write it as JSON lines, one object a line"),
    ("a.csv", b'user,"time,value\nx,2024-05-31,1\n', "the header cannot be read"),
    ("a.csv", "benützer,time,value\n".encode("latin-1"), "the header is not UTF-8"),
    ("a.csv", (HEADER + "ann,2024-05-31,1\n").encode("utf-16"), "looks like UTF-16"),
    ("a.csv", (HEADER + "ann,2024-05-31,1\n").encode("utf-16-le"), "looks like UTF-16"),
    ("a.csv", (HEADER + "ann,2024-05-31,1\n").replace("\n", "\r").encode(), "end with CR alone"),
    ("a.xlsx", b"PK\x03\x04....", "Excel"),
    ("a.xz", b"\xfd7zXZ\x00...", "xz -d"),
    ("a.zst", b"\x28\xb5\x2f\xfd...", "zstd -d"),
    ("a.bz2", b"BZh9...", "bunzip2"),
    ("a.parquet", b"PAR1...", "Parquet"),
    ("a.tgz", gzip.compress(b"name".ljust(257, b"\0") + b"ustar\0", mtime=0), "tar"),
]


@pytest.mark.parametrize(("name", "content", "said"), REFUSED)
def test_what_is_no_input_is_refused_with_the_reason(write: Write, name: str, content: bytes, said: str) -> None:
    path = write(name, content)
    message = refused(SHOP, path)
    assert said in message
    assert str(path) in message


def test_json_that_is_not_lines_is_refused(write: Write) -> None:
    def said(content: bytes) -> str:
        return refused(SEGMENTS, write("a.json", content))

    one, two = track(), track(userId="bob")
    assert "not one object a line" in said(b"[" + one + b"," + two + b"]")
    assert "not one object a line" in said(b"[\n" + one + b",\n" + two + b"\n]")
    assert "not one object a line" in said(b"[" + one + b",\n" + two + b"]")
    assert "not one object a line" in said(one.replace(b"{", b"{\n").replace(b",", b",\n"))
    pretty = [json.dumps(json.loads(text), indent=1).encode() for text in (one, two)]
    assert "not one object a line" in said(b"\n".join(pretty))
    assert "not one object a line" in said(b"[\n" + b",\n".join(pretty) + b"\n]")
    assert "not one object a line" in said(b"[\n" + b",\n".join([one] * 100) + b"\n]")
    assert "input.format: csv" in said(MANY.encode())
    assert "no rows" in said(b"")


def test_a_line_that_is_an_array_is_a_dead_letter_if_others_are_objects(write: Write) -> None:
    assert users(read(SEGMENTS, write("a.json", b"[1]\n" + track()))) == ["not_an_object", "ann"]
    assert users(read(catalog(NDJSON), write("a.json", b"5\n"))) == ["not_an_object"]


@pytest.mark.parametrize("bad", [b"{", b"[", b'[{"type": "track",', b"[1, 2", b'{"type":', b"{" * 200, b"[" * 100_000])
@pytest.mark.parametrize("others", [2, 50])
def test_a_first_line_that_is_broken_is_a_dead_letter(write: Write, bad: bytes, others: int) -> None:
    lines = [bad, *[track(userId=f"u{number}") for number in range(others)]]
    found = users(read(SEGMENTS, write("a.json", b"\n".join(lines) + b"\n")))
    assert found[0] in ("unreadable_json", "not_an_object", "too_deep", "too_large")
    assert found[1:] == [f"u{number}" for number in range(others)]


def test_an_encoding_that_does_not_fit_is_refused(write: Write) -> None:
    ascii_ = catalog(SIMPLE_CSV.replace("value: value}", "value: value, encoding: utf-16}", 1))
    assert "is not utf-16 (input.encoding)" in refused(ascii_, write("a.csv", HEADER + "x"))


def test_paths_that_cannot_be_read_are_refused(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", MANY)
    assert "No such file" in refused(SHOP, tmp_path / "missing.csv")
    assert "is a directory; name the files in it" in refused(SHOP, tmp_path)
    assert "no file was given" in refused(SHOP)
    assert "is given twice" in refused(SHOP, path, path)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    assert "is given twice (it is the same file as " in refused(SHOP, path, link)
    assert "has the same content as" in refused(SHOP, path, write("b.csv.gz", gzip.compress(MANY.encode())))


def test_a_file_that_changes_while_it_is_read_is_noticed(write: Write) -> None:
    path = write("a.csv", MANY)
    with open_log([path], SHOP, NOW_S) as log:
        assert len(log.read(0, 10)) == 10
        path.write_bytes(MANY[:-500].encode())
        with pytest.raises(InputError, match="changed while it was being read"):
            log.read(0, 10)
        path.unlink()
        with pytest.raises(InputError, match="No such file"):
            log.read(0, 10)


def test_memory_is_bounded_by_the_number_of_rows(write: Write) -> None:
    with open_log([write("a.csv", MANY)], SHOP, NOW_S) as log:
        kept = sum(array.nbytes for array in vars(log).values() if hasattr(array, "nbytes"))
        assert kept <= log.rows * 20 + 100


def test_a_delimiter_that_the_catalog_has_and_the_file_has_not(write: Write) -> None:
    extra = 'value: value, delimiter: ";", decimal: ","}'
    semicolons = catalog(SIMPLE_CSV.replace("value: value}", extra, 1))
    message = refused(semicolons, write("a.csv", HEADER + "ann,2024-05-31,1.5\n"))
    assert "separated by ',', and input.delimiter (line 4) is ';': set delimiter: \",\" and decimal: \".\"" in message
    tabs = catalog(SIMPLE_CSV.replace("value: value}", 'value: value, delimiter: "\\t"}', 1))
    assert "separated by ',', and input.delimiter (line 4) is tabs" in refused(
        tabs, write("a.csv", HEADER + "ann,x,1\n")
    )
    given_tabs = write("a.csv", (HEADER + "ann,2024-05-31,1.5\n").replace(",", "\t"))
    assert 'set delimiter: "\\t" under input' in refused(SHOP, given_tabs)


def test_brackets_in_a_header_are_no_json(write: Write) -> None:
    assert "no column 'user'" in refused(SHOP, write("a.csv", "[User Id],[time],[value]\nann,2024-05-31,1\n"))


@pytest.mark.parametrize("text", [SEGMENT, NDJSON])
def test_a_csv_under_a_catalog_for_json_is_told_what_to_write(write: Write, text: str) -> None:
    message = refused(catalog(text), write("a.csv", "user;what;time\nann;View;2024-05-31\n"))
    given = "input.format (line 5) is ndjson" if text == NDJSON else "without input the catalog reads Segment JSON"
    assert f"is a CSV, and {given}" in message
    assert 'set input.format: csv and name its columns, as in input: {format: csv, delimiter: ";", user' in message
    assert "The columns are 'user', 'what', 'time'" in message


def test_the_columns_that_are_looked_for_are_all_that_are_read() -> None:
    for text in (SIMPLE_CSV, CSV):
        shop = catalog(text)
        assert isinstance(shop.input, CsvInput)
        fields = [field for field, _ in mapped_fields(shop)]
        assert set(CsvDecoder(shop, shop.input, fields)._mapping.fields) == set(fields)


def test_a_mapped_column_must_be_there_although_nothing_makes_use_of_it(write: Write) -> None:
    for key in ("traits", "properties"):
        unused = catalog(SIMPLE_CSV.replace("value: value}", f"value: value, {key}: {{shade: Color}}}}", 1))
        message = refused(unused, write("a.csv", "user,time,value,colour\nann,2024-05-31,1,red\n"))
        assert f"no column 'Color' (did you mean 'colour'?), for which input.{key}.shade (line 4) asks" in message
