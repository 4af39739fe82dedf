"""Bad input from end to end: a clear reason for each record, a clear error for each file, and good rows all scored."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bad_input_world import (
    COLUMNS,
    CSV,
    NDJSON,
    SEGMENT,
    USERS,
    Left,
    as_row,
    as_segment,
    command,
    good_events,
    place_of,
    replay,
    stored,
)
from tests.integration.replay_world import Files, Run

pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first
HEADER = ",".join(COLUMNS).encode()
HUGE = b"x" * 20_000_000
MARK = b"\xef\xbb\xbf"

Bad = tuple[bytes, str, str]
"""A record, the reason for which it is refused, and words of the detail."""


def of_segment() -> list[Bad]:
    """Records that nobody can use, in the Segment format."""
    event = good_events()[5]

    def bad(**changes: Any) -> bytes:
        return as_segment(event | {"id": "bad"}, **changes)

    def raw(before: bytes, after: bytes) -> bytes:
        found = bad()
        assert found.count(before) == 1
        return found.replace(before, after)

    user, time, price = b'"userId": "u5"', b'"timestamp": "2024-03-01T01:40:05+00:00"', b'"price": 5.25'
    deep = b'"properties": ' + b'{"a": ' * 9_000 + b"1" + b"}" * 9_000
    return [
        (b"not JSON at all", "unreadable_json", "malformed"),
        (bad()[:-20], "unreadable_json", "truncated"),
        (b"{}", "unknown_type", 'no "type"'),
        (b"[1, 2]", "not_an_object", "expected a JSON object"),
        (b'"text"', "not_an_object", "expected a JSON object"),
        (b"NaN", "unreadable_json", "malformed"),
        (bad(type="page"), "unknown_type", "send them as track events"),
        (bad(type=7), "unknown_type", "the type is 7"),
        (bad(type=None), "unknown_type", 'no "type"'),
        (bad(type="TRACK"), "unknown_type", "'TRACK'"),
        (bad(userId=None), "missing_user", "no user id"),
        (bad(userId=""), "missing_user", "empty"),
        (bad(userId=None, anonymousId="a1"), "missing_user", "only an anonymousId"),
        (bad(userId="é" * 5_000), "bad_user", "more than 512 bytes"),
        (bad(userId="u\0"), "bad_user", "NUL"),
        (bad(userId=1.5), "bad_user", "1.5"),
        (bad(userId={"id": 1}), "bad_user", "an object"),
        (bad(userId=10**200), "bad_user", "more than 100 digits"),
        (raw(user, b'"userId": 1' + b"0" * 9_000), "unreadable_json", "out of range"),
        (raw(user, b'"userId": "u\\ud800"'), "unreadable_json", "surrogate"),
        (raw(user, b'"userId": "u\0"'), "unreadable_json", ""),
        (raw(user, b'"userId": "u\xe9"'), "bad_encoding", "byte 0xe9"),
        (raw(user, b'"userId": "u\xed\xa0\x80"'), "bad_encoding", "byte 0xed"),
        (raw(user, b'"userId": "u\xc0\xaf"'), "bad_encoding", "byte 0xc0"),
        (MARK + MARK + bad(), "unreadable_json", "malformed"),
        (bad().decode().encode("utf-16-le"), "unreadable_json", ""),
        (bad(event=None), "missing_event", "no event name"),
        (bad(event=" "), "missing_event", "empty"),
        (bad(event=["Order"]), "bad_event", "a list"),
        (bad(event="e" * 300), "bad_event", "more than 256 bytes"),
        (bad(timestamp="1900-01-01T00:00:00Z"), "time_out_of_range", "before 1980"),
        (bad(timestamp="3000-01-01T00:00:00Z"), "time_out_of_range", "after 2100"),
        (bad(timestamp="0001-01-01T00:00:00+23:59"), "time_out_of_range", "before 1980"),
        (bad(timestamp="2099-01-01T00:00:00Z"), "time_in_future", "later than the clock"),
        (bad(timestamp="NaN"), "bad_time", "'NaN'"),
        (raw(time, b'"timestamp": NaN'), "unreadable_json", "malformed"),
        (bad(timestamp=None), "missing_time", "no time"),
        (bad(timestamp=""), "missing_time", "empty"),
        (bad(timestamp=1709258400), "bad_time", "ISO 8601"),
        (bad(timestamp="2024-02-30"), "bad_time", "2024-02-30"),
        (bad(properties="boat"), "bad_properties", "must be an object"),
        (bad(properties={"price": "12,50"}), "bad_value", "12.50"),
        (bad(properties={"price": "NaN"}), "bad_value", "'NaN'"),
        (bad(properties={"price": [1]}), "bad_value", "a list"),
        (raw(price, b'"price": 1e400'), "bad_value", ""),
        (raw(price, b'"price": 1' + b"0" * 400), "bad_value", ""),
        (bad(traits=["A"]), "bad_trait", "must be an object"),
        (bad(traits={"country": {"code": "A"}}), "bad_trait", "'country'"),
        (bad(traits={"country": "c" * 300}), "bad_trait", "more than 256 bytes"),
        (bad(messageId={"id": 1}), "bad_message_id", "an object"),
        (bad(properties={"blob": "x" * 5_000_000}), "too_large", "limits.property_bytes"),
        (bad(extra="x" * len(HUGE)), "too_large", "limits.property_bytes"),
        (HUGE, "too_large", "limits.property_bytes"),
        (b"[" * 60_000, "too_deep", "64 levels"),
        (raw(b'"properties": {"price": 5.25, "product": "oar"}', deep), "too_deep", "64 levels"),
        (raw(b'"properties": {"price": 5.25, "product": "oar"}', deep.replace(b'{"a": ', b"[").replace(b"}", b"]")),
         "too_deep", "64 levels"),
    ]  # fmt: skip


def of_csv() -> list[Bad]:
    """The same for CSV with the columns of the mapping, and what only a CSV can get wrong."""
    event = good_events()[5] | {"id": "bad"}

    def bad(**changes: Any) -> bytes:
        return as_row(event, **changes)

    return [
        (b"u5,Viewed", "too_few_columns", "2 columns; the header has 7"),
        (bad() + b",too,many", "too_many_columns", "9 columns; the header has 7"),
        (b'"' + bad(), "unreadable_csv", "not closed"),
        (bad(who=""), "missing_user", "no user id"),
        (bad(who="u" * 10_000), "bad_user", "more than 512 bytes"),
        (bad(who="u\0"), "bad_user", "NUL"),
        (bad(what=""), "missing_event", "no event name"),
        (bad(at=""), "missing_time", "no time"),
        (bad(at="NaN"), "time_out_of_range", "NaN"),
        (bad(at="-2208988800"), "time_out_of_range", "before 1980"),
        (bad(at="32503680000"), "time_out_of_range", "input.time.unit"),
        (bad(at="1e999"), "time_out_of_range", "after 2100"),
        (bad(at="4070908800"), "time_in_future", "later than the clock"),
        (bad(at="2024-03-01"), "bad_time", "seconds since 1970"),
        (bad(price="5,25"), "too_many_columns", "8 columns"),
        (bad(price='"5,25"'), "bad_value", "'5,25'"),
        (bad(price="$5"), "bad_value", "'$5'"),
        (bad(price="inf"), "bad_value", "'inf'"),
        (bad(price="1e39"), "bad_value", "'1e39'"),
        (bad(country="c" * 300), "bad_trait", "more than 256 bytes"),
        (bad(country="é").decode().encode("latin-1"), "bad_encoding", "byte 0xe9"),
        (bad().decode().encode("utf-16-le"), "bad_user", "NUL"),
        (bad(product="x" * 5_000_000), "too_large", "limits.property_bytes"),
        (bad(product='"' + "x" * 5_000_000), "too_large", "limits.property_bytes"),
        (HUGE, "too_large", "limits.property_bytes"),
    ]


def mixed(good: Sequence[bytes], bad: Sequence[Bad]) -> tuple[list[bytes], list[int]]:
    """The good records with a bad one behind every few, and at which rows (from 1) the bad ones stand."""
    every = len(good) // len(bad)
    assert every >= 2
    lines: list[bytes] = []
    rows: list[int] = []
    for place, line in enumerate(good):
        lines.append(line)
        if place % every == 1 and len(rows) < len(bad):
            lines.append(bad[len(rows)][0])
            rows.append(len(lines))
    assert len(rows) == len(bad)
    return lines, rows


def check_dead(dead: Sequence[dict[str, Any]], path: Path, bad: Sequence[Bad], rows: Sequence[int]) -> None:
    assert len(dead) == len(bad)
    for letter, (raw, reason, detail), row in zip(dead, bad, rows, strict=True):
        assert letter["reason"] == reason, letter["detail"]
        assert detail in letter["detail"]
        assert 10 < len(letter["detail"]) < 400
        assert letter["source"] == f"{path} row {row}"
        assert letter["truncated"] == (len(raw) > 16_384)
        if "raw" in letter:
            assert raw.startswith(letter["raw"].encode())


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What the good records alone give."""
    folder = tmp_path_factory.mktemp("clean")
    path = folder / "good.ndjson"
    path.write_bytes(b"\n".join(map(as_segment, good_events())))
    left = replay(folder / "run", SEGMENT, [path])
    assert left.dead == []
    assert len(left.scores) == USERS
    assert len(left.transitions) > 20
    return left


def test_every_bad_record_has_its_reason_and_changes_nothing(clean: Left, tmp_path: Path) -> None:
    bad = of_segment()
    lines, rows = mixed([as_segment(event) for event in good_events()], bad)
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(MARK + b"\r\n".join(lines))
    left = replay(tmp_path / "run", SEGMENT, [path])
    check_dead(left.dead, path, bad, rows)
    assert left.of_users == clean.of_users
    assert sum(left.summary["dead_letters"].values()) == len(bad)
    assert left.summary["rows"] == len(lines)


def test_every_bad_row_of_a_csv_has_its_reason_and_changes_nothing(clean: Left, tmp_path: Path) -> None:
    bad = of_csv()
    lines, rows = mixed([as_row(event) for event in good_events()], bad)
    path = tmp_path / "mixed.csv"
    path.write_bytes(MARK + b"\r\n".join([HEADER, *lines, b"", b" "]))
    left = replay(tmp_path / "run", CSV, [path])
    check_dead(left.dead, path, bad, rows)
    assert left.of_users == clean.of_users


def test_what_looks_odd_but_says_all_is_used(clean: Left, tmp_path: Path) -> None:
    """The last of equal keys counts, escapes and blanks are read, and what nobody asks for may be long and strange."""
    lines = [json.dumps(event).encode() for event in good_events()]
    lines[3] = b'{"who": "nobody", "at": 1, ' + lines[3][1:]
    lines[9] = lines[9].replace(b'"who"', b'"\\u0077ho"')
    lines[12] = lines[12][:-1] + b', "more": ' + b"[" * 60 + b"]" * 60 + b"}"
    lines[15] = lines[15][:-1] + b', "more": ' + b"9" * 4_000 + b"}"
    lines[18] = lines[18][:-1] + b', "more": "' + b"{[" * 20_000 + b'"}'
    lines[21] = b"  \t" + lines[21] + b" \r"
    path = tmp_path / "odd.ndjson"
    path.write_bytes(b"\n\n".join(lines))
    left = replay(tmp_path / "run", NDJSON, [path])
    assert left.dead == []
    assert left.of_users == clean.of_users


def test_broken_gzip_files_give_the_rows_before_the_break_and_say_so(tmp_path: Path) -> None:
    """Three files: cut off, damaged in the middle, and a good one behind them in time, which is not touched."""
    header, rows = HEADER, [as_row(event) for event in good_events()]
    cut = gzip.compress(b"\n".join([header, *rows[:200]]), mtime=0)
    damaged = bytearray(gzip.compress(b"\n".join([header, *rows[200:400]]), mtime=0))
    damaged[len(damaged) // 2] ^= 0xFF
    contents = {
        "cut.csv.gz": cut[: len(cut) // 2],
        "damaged.csv.gz": bytes(damaged),
        "good.csv": b"\n".join([header, *rows[400:]]),
    }
    paths = [tmp_path / name for name in contents]
    for path in paths:
        path.write_bytes(contents[path.name])
    left = replay(tmp_path / "run", CSV, paths)
    broken = [letter for letter in left.dead if letter["reason"] == "truncated_file"]
    assert [place_of(letter["source"])[0] for letter in broken] == [str(path) for path in paths[:2]]
    assert "cut off" in broken[0]["detail"]
    assert "damaged" in broken[1]["detail"]
    assert f"{paths[0]}: the gzip data ends too early" in left.err
    assert f"{paths[1]}: the gzip data is damaged" in left.err
    used = left.summary["counters"]["events"]
    assert 200 + 40 < used < 600
    assert left.summary["rows"] == used + len(left.dead)
    assert len(left.scores) == USERS


# --- files that are no input as a whole ---

LINES = b"\n".join(map(as_segment, good_events()[:50]))
ROWS = b"\n".join([HEADER, *map(as_row, good_events()[:50])])
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": (SEGMENT, b"", "has no rows"),
    "blank": (SEGMENT, b"\n \r\n\n", "has no rows"),
    "empty_gzip": (SEGMENT, gzip.compress(b""), "has no rows"),
    "header_only": (CSV, ROWS.split(b"\n")[0], "has no rows"),
    "missing_column": (CSV, ROWS.replace(b"price", b"prize", 1), "no column 'price' (did you mean 'prize'?)"),
    "column_twice": (CSV, ROWS.replace(b"product", b"price", 1), "2 columns named 'price'"),
    "other_delimiter": (CSV, ROWS.replace(b",", b";"), 'set delimiter: ";" under input'),
    "header_in_latin1": (CSV, b"gr\xfc\xdfe," + ROWS, "not UTF-8; set input.encoding"),
    "header_with_open_quote": (CSV, b'"' + ROWS.split(b"\n")[0], "the header cannot be read"),
    "utf16": (SEGMENT, LINES.decode().encode("utf-16"), "UTF-16; write it as UTF-8"),
    "utf16_without_mark": (CSV, ROWS.decode().encode("utf-16-be"), "UTF-16; write it as UTF-8"),
    "array": (SEGMENT, b"[" + LINES.replace(b"\n", b",\n") + b"]", "not one object a line"),
    "array_on_one_huge_line": (SEGMENT, b"[" + LINES.replace(b"\n", b",") * 100 + b"]", "not one object a line"),
    "csv_as_json": (SEGMENT, ROWS, "set input.format: csv"),
    "json_as_csv": (CSV, LINES, "in the form of the Segment spec, so leave input out of the catalog"),
    "one_huge_line": (CSV, HUGE, "no column 'who'"),
    "cr_alone": (CSV, ROWS.replace(b"\n", b"\r"), "CR alone"),
    "gzip_cut_in_the_header": (CSV, gzip.compress(ROWS, compresslevel=0)[:25], "before the end of the header"),
    "excel": (CSV, b"PK\x03\x04 and so on", "save the sheet as CSV"),
    "parquet": (CSV, b"PAR1 and so on", "Parquet"),
}


def check_refused(result: tuple[int, str, str], path: Path, words: str) -> None:
    code, out, err = result
    assert (code, out) == (3, "")
    message = err.partition("Error: ")[2]
    assert message.startswith(str(path))
    assert words in message
    assert len(message) < len(str(path)) + 1_000
    assert "Traceback" not in err


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_input_ends_with_the_reason(tmp_path: Path, name: str) -> None:
    catalog, content, words = REFUSED[name]
    path = tmp_path / "events"
    path.write_bytes(content)
    (tmp_path / "catalog.yaml").write_text(catalog)
    where = ("--catalog", tmp_path / "catalog.yaml", "--data-dir", tmp_path / "data")
    check_refused(command("replay", path, *where), path, words)


def test_a_path_that_cannot_be_read_ends_with_the_reason_and_leaves_the_store_usable(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(SEGMENT)
    where = ("--catalog", tmp_path / "catalog.yaml", "--data-dir", tmp_path / "data")
    good = tmp_path / "good.ndjson"
    good.write_bytes(LINES)
    check_refused(command("replay", tmp_path, *where), tmp_path, "is a directory; name the files in it")
    check_refused(command("replay", tmp_path / "none", *where), tmp_path / "none", "No such file")
    check_refused(command("replay", good, good, *where), good, "is given twice")
    with socket.socket(socket.AF_UNIX) as unreadable:  # even root cannot read a socket as a file
        place = tmp_path / "socket"
        unreadable.bind(str(place))
        check_refused(command("replay", place, *where), place, "cannot be read: No such device")
        check_refused(command("replay", good, place, *where), place, "cannot be read: No such device")
    assert command("replay", good, *where)[0] == 0


def test_as_a_process_it_ends_with_code_3_and_one_error(tmp_path: Path) -> None:
    files = Files(tmp_path / "events.csv", tmp_path / "catalog.yaml")
    files.events.write_bytes(ROWS.replace(b"who", b"whom", 1))
    files.catalog.write_text(CSV)
    with Run(files, tmp_path / "data") as run:
        code, out, err = run.wait()
    check_refused((code, out, err), files.events, "there is no column 'who' (did you mean 'whom'?)")
    assert [line.partition(" ")[0] for line in err.splitlines() if line[0] != " "][-1] == "Error:"
    assert not (tmp_path / "data").exists()


# --- nothing but bad records ---


@pytest.mark.parametrize("form", ["segment", "csv"])
def test_a_file_of_nothing_but_bad_records_is_read_to_its_end_and_is_an_error(tmp_path: Path, form: str) -> None:
    bad, catalog, header = (of_segment(), SEGMENT, b"") if form == "segment" else (of_csv(), CSV, HEADER + b"\n")
    path = tmp_path / "bad"
    path.write_bytes(header + b"\n".join(raw for raw, _, _ in bad))
    (tmp_path / "catalog.yaml").write_text(catalog)
    where = ("--data-dir", tmp_path / "data")
    for _ in range(2):  # the second time it is complete already, and no less an error
        code, _, err = command("replay", path, "--catalog", tmp_path / "catalog.yaml", *where)
        assert code == 3
        assert f"none of the {len(bad)} records could be used" in err
        assert "Traceback" not in err
    dead, _ = stored(tmp_path / "data")
    check_dead(dead, path, bad, range(1, len(bad) + 1))
    code, out, _ = command("predictions", "--json", *where)
    assert code == 0
    assert sum(json.loads(out)["dead_letters"].values()) == len(bad)
    code, _, err = command("user", "u5", *where)
    assert code != 0
    assert "u5" in err
