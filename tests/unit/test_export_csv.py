"""Members of a segment as a CSV file, which people open in spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest

from streams.api.segments import _LINES
from streams.runtime.members import Member


def rows(*users: str) -> list[list[str]]:
    members = [Member(user, None, 1, {}) for user in users]
    text = b"".join(_LINES["csv"](iter(members), ())).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("user", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_an_id_is_no_formula(user: str) -> None:
    assert rows(user, "ann") == [["user_id", "since", "entry_count"], [f"'{user}", "", "1"], ["ann", "", "1"]]


@pytest.mark.parametrize("user", ["ann", "a=b", "a,b", 'a"b', "a\rb", "zoë", "'x"])
def test_any_other_id_is_as_it_is(user: str) -> None:
    assert rows(user)[1] == [user, "", "1"]


def test_lines_of_json_have_ids_exactly() -> None:
    (line,) = _LINES["ndjson"](iter([Member("=1", None, 1, {})]), ())
    assert b'"user_id":"=1"' in line
