"""What to do about records that could not be used."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from config.loader import loads
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, DeadReason
from streams.runtime.hints import DeadLetter, hint_for, hint_in_log
from streams.runtime.refusals import refused_records
from streams.runtime.replay import Totals

CATALOG = """
version: 1
name: Times
input: {{format: csv, user: who, event: {{constant: Order}}, time: {{field: at, unit: {unit}}}, value: price}}
features: {{value: price}}
predictions: {{p: {{name: P, goal: {{did: Order}}, window: 7d}}}}
"""


@pytest.mark.parametrize("reason", list(DeadReason))
def test_every_reason_has_a_hint(reason: DeadReason) -> None:
    assert len(hint_for(reason, [], loads(CATALOG.format(unit="iso")))) > 10


@pytest.mark.parametrize(
    ("unit", "at", "price", "hint"),
    [
        ("s", "1704067200000", "1", "1704067200000 is 2024-01-01 if it is in milliseconds: set input.time.unit: ms"),
        (
            "ms",
            "1704067200",
            "1",
            "1704067200 is 2024-01-01 if it is in seconds: set input.time.unit: s (it is ms now)",
        ),
        ("iso", "1704067200", "1", "1704067200 is 2024-01-01 if it is in seconds: set input.time.unit: s"),
        ("iso", "1704067200.25", "1", "set input.time.unit: s"),
        ("iso", "1704067200123", "1", "set input.time.unit: ms"),
        ("iso", "31.12.2024", "1", "write 2024-05-31 or"),
        ("iso", "1/2/2024 2:30 PM", "1", "nobody can tell the day from the month"),
        ("iso", "2024/12/31 14:00", "1", "with the year first"),
        ("iso", "yesterday", "1", "write days as 2024-05-31"),
        ("s", "-5", "1", "times must lie between 1980 and 2100"),
        ("iso", "2024-01-01", '"12,50"', "decimal comma"),
        ("iso", "2024-01-01", "12 EUR", "without a currency"),
    ],
)
def test_a_hint_follows_from_what_was_refused(unit: str, at: str, price: str, hint: str) -> None:
    catalog = loads(CATALOG.format(unit=unit))
    decoder = build_decoder(catalog, header=["who", "at", "price"])
    bad = decoder.decode(f"ann,{at},{price}".encode(), 3, None, 1)
    assert isinstance(bad, BadEvent)
    letter = DeadLetter(bad.reason, bad.detail, bad.position)
    assert hint in hint_for(bad.reason, [letter], catalog)


@pytest.mark.parametrize("reason", list(DeadReason))
def test_without_a_mapping_no_hint_names_one(reason: DeadReason) -> None:
    text = CATALOG.format(unit="iso").replace(", value: price}", "}").replace("features: {value: price}\n", "")
    segment = loads(re.sub(r"input: .*\n", "", text))
    letter = DeadLetter(reason, "the time 1704067200 is before 1980 or after 2100", 0)
    hint = hint_for(reason, [letter], segment)
    assert not re.search(r"input\.(user|event|time|decimal)", hint)
    assert len(hint) > 10


@pytest.mark.parametrize("reason", list(DeadReason))
def test_hints_for_a_log_are_not_those_for_files(reason: DeadReason) -> None:
    hint = hint_in_log(reason)
    assert len(hint) > 10
    if reason not in (DeadReason.UNREADABLE_CSV, DeadReason.TOO_MANY_COLUMNS, DeadReason.TOO_FEW_COLUMNS):
        assert not re.search(r"input\.(user|event|time|format|encoding|decimal)|\bCSV\b", hint)


@pytest.mark.parametrize(("digest", "is_of_a_file"), [("of files", True), (None, False)])
def test_what_a_log_brought_is_not_mended_by_how_files_are_read(digest: str | None, *, is_of_a_file: bool) -> None:
    """Whoever sets input.decimal for events over HTTP spoils the files, and mends nothing."""
    letter = DeadLetter(DeadReason.BAD_VALUE, "price is no number: '12,5'", 3)
    data = msgspec.json.encode(letter)
    reader: Any = SimpleNamespace(
        info=SimpleNamespace(input=digest, shards=1), each_dead_letter=lambda _: [SimpleNamespace(data=data)]
    )
    (refused,) = refused_records(
        reader, Totals(dead_letters={DeadReason.BAD_VALUE: 1}), loads(CATALOG.format(unit="iso"))
    )
    assert ("input.decimal" in refused.hint) == is_of_a_file
    assert refused.examples == (letter,)


def test_a_producer_is_told_what_a_record_needs() -> None:
    assert "each record with userId" in hint_in_log(DeadReason.MISSING_USER)
    assert "a record without a value is none" in hint_in_log(DeadReason.UNREADABLE_JSON)


def test_the_start_of_a_record_is_one_line_of_bounded_length() -> None:
    letter = DeadLetter("bad_user", "", 0, raw="a\nb\tc\0" + "x" * 500)
    assert letter.start(20) == r"a\nb\tc\x00xxxxxxxx" + "…"
    assert DeadLetter("bad_encoding", "", 0, raw_base64="S/ZsbgoA").start(20) == r"K\xf6ln\n\x00"
    assert DeadLetter("x", "", 7).place == "position 7"
