"""A user whose id holds commands for the terminal: every command shows them, none lets them through."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from streams.runtime.seen import Seen
from tests.integration.test_cli_look import run

pytestmark = pytest.mark.timeout(300)

EVIL = "eve\x1b]0;OWNED\x07\x1b[2J\nbob\u202e"
SHOWN = r"eve\x1b]0;OWNED\x07\x1b[2J\nbob\u202e"
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")

CATALOG = """
version: 1
name: Shop
predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h}}
segments:
  buyers: {name: "Buyers \\x1b[31m", filter: {event: Order, count: {min: 1}}}
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Arguments of a replay, and what it has said."""
    folder = tmp_path_factory.mktemp("evil")
    catalog, events = folder / "shop.yaml", folder / "events.ndjson"
    catalog.write_text(CATALOG)
    track = {"type": "track", "userId": EVIL, "event": "Order", "timestamp": "2024-01-03T00:00:00Z"}
    rows = [track, {**track, "userId": "ann"}, {**track, "userId": EVIL + "\x00"}, {**track, "event": EVIL}]
    events.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"type": "track\x1b[31m"\n')
    args = ["replay", str(events), "--catalog", str(catalog), "--data-dir", str(folder / "data")]
    code, out, err = run(*args)
    assert code == 0
    return args, out + err


def options(stored: tuple[list[str], str]) -> list[str]:
    return stored[0][-2:]


def test_a_replay_shows_them_escaped(stored: tuple[list[str], str]) -> None:
    _, said = stored
    assert not OBEYED.search(said)
    assert f"{SHOWN}  into Buyers \\x1b[31m" in said
    assert "tideline user ann " in said  # a command that would not work is not proposed


def test_all_members_are_one_line_each_and_exact_in_json(stored: tuple[list[str], str]) -> None:
    _, out, _ = run("segment", "buyers", "--all", *options(stored))
    assert sorted(out.splitlines()) == ["ann", SHOWN]
    _, out, _ = run("segment", "buyers", "--all", "--json", *options(stored))
    assert not OBEYED.search(out)
    assert sorted(json.loads(line) for line in out.splitlines()) == ["ann", EVIL]


TAILED = [
    (
        "segment-events",
        {"time": "now", "data": {"user_id": EVIL, "segment_id": EVIL, "in_segment": True, "origin": EVIL}},
    ),
    ("dead-letters", {"reason": EVIL, "detail": EVIL, "source": EVIL, "raw": EVIL}),
    ("campaign-triggers", {"user_id": EVIL}),
    ("campaign-triggers", None),
]


@pytest.mark.parametrize(("kind", "body"), TAILED)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_records_of_topics_command_nothing(
    kind: str, body: object, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(0, 7, 1_700_000_000_000, EVIL, body, EVIL.encode() if body is None else json.dumps(body).encode())
    monkeypatch.setattr("streams.runtime.kafka.watch.follow", lambda *_args, **_options: iter([seen]))
    code, out, _ = run("tail", kind, *more)
    assert code == 0
    assert not OBEYED.search(out)
    assert len(out.splitlines()) == 1
    if more:
        assert json.loads(out) == (body or {"partition": 0, "offset": 7, "key": EVIL, "raw": EVIL})


@pytest.mark.parametrize("command", [["segment", "buyers"], ["user", EVIL], ["dead-letters"], ["predictions"]])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_looking_at_them_commands_nothing(command: list[str], more: list[str], stored: tuple[list[str], str]) -> None:
    code, out, err = run(*command, *more, *options(stored))
    assert code == 0
    assert not OBEYED.search(out + err)
    if not more and command[0] in ("segment", "user"):
        assert SHOWN in out


def test_json_has_the_exact_id(stored: tuple[list[str], str]) -> None:
    _, out, _ = run("segment", "buyers", "--json", *options(stored))
    assert {member["user"] for member in json.loads(out)["users"]} == {"ann", EVIL}
    _, out, _ = run("user", EVIL, "--json", *options(stored))
    found = json.loads(out)
    assert (found["user"], EVIL in {event["name"] for event in found["events"]}) == (EVIL, True)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]


def test_an_id_in_a_csv_is_no_formula_for_a_spreadsheet(tmp_path: Path) -> None:
    track = {"type": "track", "event": "Order", "timestamp": "2024-01-03T00:00:00Z"}
    users = [*FORMULAS, "ann", "a=1"]
    (tmp_path / "shop.yaml").write_text(CATALOG)
    (tmp_path / "e.ndjson").write_text("".join(json.dumps({**track, "userId": user}) + "\n" for user in users))
    where = ["--data-dir", str(tmp_path / "data")]
    code, _, err = run("replay", str(tmp_path / "e.ndjson"), "--catalog", str(tmp_path / "shop.yaml"), *where)
    assert code == 0, err

    def written(*more: str) -> list[str]:
        code, out, err = run("segment", "buyers", "--csv", *more, *where)
        assert code == 0, err
        return sorted(row["user"] for row in csv.DictReader(io.StringIO(out, newline="")))

    assert written() == sorted([*(f"'{user}" for user in FORMULAS), "ann", "a=1"])
    assert written("--raw") == sorted(users)
    code, _, err = run("segment", "buyers", "--raw", *where)
    assert (code, "--raw belongs to --csv" in err) == (2, True)
