"""Decoding NDJSON and CSV by the mapping of the catalog."""

from __future__ import annotations

import csv
import io
import json
from math import isnan
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import InputError
from config.loader import loads
from streams.core.decode import CsvDecoder, build_decoder
from streams.core.decode_mapped import split_row
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.message_hash import id_hash
from streams.core.refusal import Refused
from tests.unit.decode_world import CSV, CSV_HEADER, NDJSON, NOON, NOON_S, catalog, csv_row

ROWS = build_decoder(catalog(CSV), header=CSV_HEADER)
LINES = build_decoder(catalog(NDJSON))


def row(text: str) -> Event | BadEvent:
    return ROWS.decode(text.encode(), 3, None, 11)


def good_row(text: str) -> Event:
    event = row(text)
    assert isinstance(event, Event), event
    return event


def bad_row(text: str) -> tuple[DeadReason, str]:
    event = row(text)
    assert isinstance(event, BadEvent), event
    assert (event.position, event.raw) == (3, text.encode())
    return event.reason, event.detail


def line(record: Any) -> Event | BadEvent:
    return LINES.decode(json.dumps(record).encode(), 3, None, 11)


def test_a_row_becomes_an_event() -> None:
    event = good_row(csv_row(id="m", amount="12.50", total="120", channel="web", land="DE", years="33"))
    assert event == Event(
        user="ann",
        name="Order Completed",
        time_s=NOON_S,
        value=12.5,
        message_hash=id_hash("m"),
        traits={"country": "DE", "age": 33.0},
        properties={"total": 120.0, "channel": "web"},
        position=3,
        log_time_s=NOON_S,
        message_id="m",
    )


def test_empty_cells_are_missing_values() -> None:
    event = good_row(csv_row())
    assert isnan(event.value)
    assert (event.traits, event.properties, event.message_hash) == (None, None, 11)


def test_cells_are_trimmed() -> None:
    event = good_row(csv_row(customer="  ann ", what="\tOrder Completed", when=f" {NOON} ", amount=" 5 ", land=" DE"))
    assert (event.user, event.name, event.value, event.traits) == ("ann", "Order Completed", 5.0, {"country": "DE"})


def test_cells_take_the_type_of_what_the_catalog_compares_them_with() -> None:
    # 7 is compared as a number, DE as a text; total with a number, channel with a text.
    event = good_row(csv_row(total="1e2", channel="5", land="7"))
    assert event.properties == {"total": 100.0, "channel": "5"}
    assert event.traits == {"country": 7.0}
    event = good_row(csv_row(total="many", channel="web", land="FR"))
    assert event.properties == {"total": "many", "channel": "web"}
    assert event.traits == {"country": "FR"}


def test_properties_only_for_names_that_need_them() -> None:
    assert good_row(csv_row(what="Page Viewed", total="5")).properties is None


def test_a_row_that_is_split_already_gives_the_same() -> None:
    assert isinstance(ROWS, CsvDecoder)
    text = csv_row(id="m", amount="5")
    assert ROWS.decode_row(text.split(","), text.encode(), 3, None, 11) == row(text) or isnan(good_row(text).value)
    bad = ROWS.decode_row(["x"], b"x", 3, None, 11)
    assert isinstance(bad, BadEvent)
    assert bad.reason is DeadReason.TOO_FEW_COLUMNS


BAD_ROWS = [
    ("ann,x", DeadReason.TOO_FEW_COLUMNS, "2 columns; the header has 9"),
    (csv_row() + ",,x", DeadReason.TOO_MANY_COLUMNS, "11 columns; the header has 9"),
    (csv_row(customer=""), DeadReason.MISSING_USER, "no user id"),
    (csv_row(customer=" "), DeadReason.MISSING_USER, "no user id"),
    (csv_row(customer="a\0"), DeadReason.BAD_USER, "NUL"),
    (csv_row(what=""), DeadReason.MISSING_EVENT, "no event name"),
    (csv_row(when=""), DeadReason.MISSING_TIME, "no time"),
    (csv_row(when="31/05/2024"), DeadReason.BAD_TIME, "'31/05/2024'"),
    (csv_row(when="1717156800"), DeadReason.BAD_TIME, "input.time.unit"),
    (csv_row(when="1900-01-01"), DeadReason.TIME_OUT_OF_RANGE, "1980"),
    (csv_row(amount="5 EUR"), DeadReason.BAD_VALUE, "'5 EUR'"),
    (csv_row(amount="NaN"), DeadReason.BAD_VALUE, "'NaN'"),
    (csv_row(years="old"), DeadReason.BAD_TRAIT, "'age'"),
    (csv_row(land='"DE'), DeadReason.UNREADABLE_CSV, "quote"),
]


@pytest.mark.parametrize(("text", "reason", "detail"), BAD_ROWS)
def test_a_bad_row_says_why(text: str, reason: DeadReason, detail: str) -> None:
    found, said = bad_row(text)
    assert found is reason
    assert detail in said


def test_a_row_that_is_not_utf8_says_so() -> None:
    event = ROWS.decode(csv_row(land="M\u00fcnchen").encode("latin-1"), 0, None, 1)
    assert isinstance(event, BadEvent)
    assert event.reason is DeadReason.BAD_ENCODING


def test_more_columns_than_the_header_are_fine_if_they_are_empty() -> None:
    assert good_row(csv_row() + ",, ").user == "ann"


@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=6),
    st.sampled_from(",;\t|¦"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@example(cells=[";", "\r"], delimiter=";", quoting=csv.QUOTE_MINIMAL)
def test_rows_are_split_as_the_csv_module_writes_them(cells: list[str], delimiter: str, quoting: Literal[0, 1]) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n", quoting=quoting).writerow(cells)
    assert split_row(out.getvalue().removesuffix("\r\n"), delimiter) == cells


@given(st.text(alphabet='a,"\n ', max_size=12))
def test_rows_with_quotes_are_split_as_the_csv_module_reads_them(text: str) -> None:
    text += '"'
    reader = csv.reader([text, "more"])
    try:
        expected = next(reader)
    except csv.Error:  # a line end outside of quotes
        expected = []
    if expected and reader.line_num == 1:
        assert split_row(text, ",") == expected
    else:
        with pytest.raises(Refused) as refused:
            split_row(text, ",")
        assert refused.value.reason is DeadReason.UNREADABLE_CSV


HEADERS = [
    (["customer", "when"], ["there is no column 'what'", "there is no column 'id'"]),
    (["Id", "Customer", *CSV_HEADER[2:]], ["no column 'customer' (did you mean 'Customer'?)", "did you mean 'Id'?"]),
    (["id", "custmer", *CSV_HEADER[2:]], ["did you mean 'custmer'?", "the columns are 'id', 'custmer', 'what'"]),
    ([*CSV_HEADER, "when"], ["there are 2 columns named 'when'"]),
    ([";".join(CSV_HEADER)], ["look separated by ';': set input.delimiter"]),
    ([f"column {n}" for n in range(99)], ["and 59 more"]),
]


@pytest.mark.parametrize(("header", "said"), HEADERS)
def test_a_header_without_the_columns_is_refused(header: list[str], said: list[str]) -> None:
    with pytest.raises(InputError) as error:
        build_decoder(catalog(CSV), header=header, source="orders.csv")
    assert str(error.value).startswith("orders.csv: ")
    for part in said:
        assert part in str(error.value)


def test_spaces_in_the_header_do_not_count() -> None:
    decoder = build_decoder(catalog(CSV), header=[f" {name} " for name in CSV_HEADER])
    assert isinstance(decoder.decode(csv_row().encode(), 0, None, 1), Event)


def test_a_csv_decoder_needs_the_header() -> None:
    with pytest.raises(ValueError, match="header"):
        build_decoder(catalog(CSV))


FULL = {
    "who": {"id": 5, "country": "DE"},
    "type": "Order Completed",
    "at": {"ms": 1717156800000},
    "amount": "12.5",
    "id": 9,
    "cart": {"total": 100, "items": [1, 2]},
    "channel": None,
}


def test_a_line_becomes_an_event() -> None:
    assert line(FULL) == Event(
        user="5",
        name="Order Completed",
        time_s=NOON_S,
        value=12.5,
        message_hash=id_hash("9"),
        traits={"country": "DE"},
        properties={"total": 100},
        position=3,
        log_time_s=NOON_S,
        message_id="9",
    )


@pytest.mark.parametrize("node", [None, 5, "x", [], [{"id": 5}], True])
def test_a_path_through_something_that_is_no_object_is_a_missing_field(node: Any) -> None:
    event = line(FULL | {"cart": node, "at": {"ms": "1717156800000"}})
    assert isinstance(event, Event)
    assert (event.time_s, event.properties) == (NOON_S, None)
    bad = line(FULL | {"who": node})
    assert isinstance(bad, BadEvent)
    assert bad.reason is DeadReason.MISSING_USER
    assert "the keys of the record are 'who', 'type'" in bad.detail


def test_a_path_behind_another_path_works() -> None:
    text = NDJSON.replace("{total: cart.total", "{total: cart.total, cart: cart")
    text += "remember: {Order Completed: {properties: [cart]}}\n"
    event = build_decoder(catalog(text)).decode(json.dumps(FULL).encode(), 0, None, 1)
    assert isinstance(event, Event)
    assert event.properties == {"total": 100, "cart": {"total": 100, "items": [1, 2]}}


BAD_LINES: list[tuple[bytes, DeadReason]] = [
    (b"[]", DeadReason.NOT_AN_OBJECT),
    (b"{", DeadReason.UNREADABLE_JSON),
    (b"\xff", DeadReason.BAD_ENCODING),
    (b"[" * 50_000, DeadReason.TOO_DEEP),
    (b" " * 70_000, DeadReason.TOO_LARGE),
    (json.dumps(FULL | {"at": {"ms": 1717156800}}).encode(), DeadReason.TIME_OUT_OF_RANGE),
    (json.dumps(FULL | {"at": {"ms": "2024-05-31"}}).encode(), DeadReason.BAD_TIME),
    (json.dumps(FULL | {"at": {"ms": True}}).encode(), DeadReason.BAD_TIME),
    (json.dumps(FULL | {"at": {}}).encode(), DeadReason.MISSING_TIME),
    (json.dumps(FULL | {"type": None}).encode(), DeadReason.MISSING_EVENT),
    (json.dumps(FULL | {"amount": "-"}).encode(), DeadReason.BAD_VALUE),
    (b'{"\\ud800": 1}', DeadReason.UNREADABLE_JSON),
]


@pytest.mark.parametrize(("raw", "reason"), BAD_LINES)
def test_a_bad_line_says_why(raw: bytes, reason: DeadReason) -> None:
    event = LINES.decode(raw, 0, None, 1)
    assert isinstance(event, BadEvent)
    assert event.reason is reason
    assert isnan(LINES.read_time(raw)) or reason not in (DeadReason.BAD_TIME, DeadReason.TIME_OUT_OF_RANGE)


node = (
    st.none()
    | st.integers(0, 9)
    | st.text(max_size=3)
    | st.dictionaries(st.sampled_from(["id", "ms", "total"]), st.integers())
)


@given(st.dictionaries(st.sampled_from(["who", "at", "cart", "type", "amount", "channel"]), node))
def test_any_object_is_an_event_or_a_dead_letter_as_a_plain_reading_says(record: dict[str, Any]) -> None:
    event = line(record)
    raw = json.dumps(record).encode()

    def at(*path: str) -> Any:
        found: Any = record
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    if isinstance(event, Event):
        assert event.user == str(at("who", "id"))
        assert event.time_s == at("at", "ms") / 1000
        assert LINES.read_time(raw) == event.time_s
        wanted = {"total": at("cart", "total"), "channel": at("channel")}
        found = {name: value for name, value in wanted.items() if value is not None}
        assert event.properties == (found or None if event.name == "Order Completed" else None)
    elif event.reason is DeadReason.MISSING_USER:
        assert at("who", "id") is None
    elif event.reason is DeadReason.MISSING_TIME:
        assert at("at", "ms") is None


@given(st.binary(max_size=120))
def test_any_bytes_are_an_event_or_a_dead_letter(raw: bytes) -> None:
    for decoder in (ROWS, LINES):
        event = decoder.decode(raw, 0, None, 1)
        assert isinstance(event, BadEvent)
        assert event.raw == raw
        decoder.read_time(raw)


COMMA = """
version: 1
name: Comma
input:
  {format: csv, delimiter: ";", decimal: ",", user: u, event: e, time: {field: t, unit: s}, value: v,
   traits: {size: s}, properties: {weight: w, note: n}}
features: {value: money, traits: {size: {numeric: true}}}
predictions:
  p: {name: P, goal: {did: X, where: {weight: {min: 1.5}, note: {exists: true}}}, window: 7d}
"""


def test_numbers_with_a_decimal_comma() -> None:
    decoder = build_decoder(loads(COMMA), header=list("uetvswn"))
    event = decoder.decode(b"ann;X;1704067200,5;12,50;1,75;2,5;3,5", 0, None, 1)
    assert isinstance(event, Event)
    assert (event.time_s, event.value, event.traits) == (1704067200.5, 12.5, {"size": 1.75})
    assert event.properties == {"weight": 2.5, "note": "3,5"}  # only what is compared with a number is one
    whole = decoder.decode(b"ann;X;1704067200;12;-1;2;", 0, None, 1)
    assert isinstance(whole, Event)
    assert (whole.value, whole.traits, whole.properties) == (12.0, {"size": -1.0}, {"weight": 2.0})


@pytest.mark.parametrize(
    ("cells", "reason", "words"),
    [
        ("1704067200;12.50;1;", "bad_value", "expected a number such as 12,50"),
        ("1704067200;1.234,50;1;", "bad_value", "'1.234,50'"),
        ("1704067200;1,234,50;1;", "bad_value", "'1,234,50'"),
        ("1704067200;1;1.5;", "bad_trait", "'1.5'"),
        ("1704067200.5;1;1;", "bad_time", "seconds since 1970"),
    ],
)
def test_a_point_is_no_decimal_comma(cells: str, reason: str, words: str) -> None:
    decoder = build_decoder(loads(COMMA), header=list("uetvswn"))
    bad = decoder.decode(f"ann;X;{cells}2,5;a".encode(), 0, None, 1)
    assert isinstance(bad, BadEvent)
    assert (bad.reason, words in bad.detail) == (reason, True), bad.detail
