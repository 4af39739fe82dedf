"""What users, files and catalogs are called is shown as it is: it neither commands the terminal nor is it markup."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from config.errors import InputError
from streams.cli.screen import TerminalWatcher, fail, show, warn
from streams.cli.tables import add, plain_table
from streams.runtime.words import printable, printable_json
from tests.unit.test_cli import run

EVIL = "eve\x1b]0;OWNED\x07\x1b[2J\nbob\x9b31m\u202e\x7f\r\t"
SHOWN = r"eve\x1b]0;OWNED\x07\x1b[2J\nbob\x9b31m\u202e\x7f\r\t"
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal does something about, but the end of a line."""

CATALOG = """
version: 1
name: "My [/bold] shop"
predictions:
  orders_7d:
    name: "[/red] Orders [dim]soon"
    goal: {did: "Order [/] Completed"}
    window: 7d
segments:
  buyers: {name: "[/x] Buyers [b]", filter: {event: "Order [/] Completed", count: {min: 1}}}
"""


def test_every_character_that_a_terminal_obeys_is_shown_escaped() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("\udc80 \u2066 \u2028") == r"\udc80 \u2066 \u2028"
    assert printable("Zoë 東京 👩‍🚀 [bold] \\ \xa0") == "Zoë 東京 👩‍🚀 [bold] \\ \xa0"


@given(st.text(st.characters()))
def test_json_for_a_terminal_says_exactly_the_same(text: str) -> None:
    line = printable_json(json.dumps(text, ensure_ascii=False))
    assert not OBEYED.search(line)
    assert "\n" not in line
    assert json.loads(line) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_reaches_the_terminal_raw(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out, err = Screen(), Screen()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    table = plain_table("user", "is")
    add(table, EVIL, "x")
    show(table, Text(EVIL), "plain \x1b[31m", Text("\x9b2J\udc80"))
    warn(EVIL)
    with TerminalWatcher() as watcher:
        watcher.note(EVIL)
        with watcher.step("Reading"):
            pass
    with pytest.raises(Exception, match="3"):
        fail(InputError(EVIL, "is \x1b[2J"))
    assert not OBEYED.search(out.getvalue())
    assert not OBEYED.search(re.sub(r"\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r", "", err.getvalue()))
    assert f"{SHOWN}  x" in out.getvalue()


def test_names_of_a_catalog_are_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "[b]shop[i].yaml"
    path.write_text(CATALOG)
    code, out, err = run("check", str(path))
    assert (code, err) == (0, "")
    for said in ("My [/bold] shop", "[b]shop[i].yaml", "[/red] Orders [dim]soon", "did Order [/] Completed"):
        assert said in out
    assert "[/x] Buyers [b]" in out


def test_events_that_are_looked_at_first_command_nothing(tmp_path: Path) -> None:
    catalog = tmp_path / "shop.yaml"
    catalog.write_text(CATALOG)
    name = "a\x1b[31m.ndjson" + os.fsdecode(b"\xff")
    events = tmp_path / name
    track = {"type": "track", "userId": EVIL, "event": EVIL, "timestamp": "2024-01-03T00:00:00Z"}
    rows = [{**track, "traits": {EVIL: EVIL}, "properties": {EVIL: EVIL}}, {**track, "userId": None}]
    events.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"type": "\x1b[31m"\n')
    code, out, err = run("check", str(catalog), str(events))
    assert code == 0
    assert not OBEYED.search(out + err)
    assert SHOWN in out
    code, out, err = run("check", str(catalog), str(events), "--json")
    assert not OBEYED.search(out + err)
    assert json.loads(out)["files"][0]["first"][0]["user"] == EVIL
