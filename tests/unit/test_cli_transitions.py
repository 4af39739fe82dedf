"""`tideline transitions` and `tideline tail --origin`: the latest transitions, or only those of some origins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from config.errors import InputError
from streams.cli.app import app
from streams.cli.kafka import _line_of
from streams.core import state
from streams.runtime import transition_log
from streams.runtime.kafka import watch
from streams.runtime.seen import Seen
from streams.runtime.transition_log import ORIGINS, Wanted, latest_transitions


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def transition(number: int, origin: str = "live", user: str = "u1", segment: str = "p.high") -> dict[str, Any]:
    data = {
        "user_id": user, "segment_id": segment, "segment_name": f"Name of {segment}", "in_segment": number % 2 == 0,
        "prediction_id": "p", "score": 89.97, "previous_score": None, "likelihood": 0.25, "category": "medium",
        "origin": origin, "caused_by_goal": False, "entry_count": 1, "reasons": [],
    }  # fmt: skip
    return {"id": f"id{number}", "time": f"2024-01-0{1 + number % 9}T00:00:00Z", "data": data}


def write(path: Path, transitions: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(found) + "\n" for found in transitions))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    origins = ["live", "model", "decay", "backfill", "live"]
    made = [transition(n, origin, user=f"u{n % 2}") for n, origin in enumerate(origins)]
    return write(tmp_path / "transitions.ndjson", [*made, transition(5, "decay", segment="other")])


def test_origins_are_those_of_the_core() -> None:
    assert ORIGINS == state.ORIGINS


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["id5", "id4", "id3", "id2", "id1", "id0"]),
        (["--limit", "2"], ["id5", "id4"]),
        (["--origin", "live, decay"], ["id5", "id4", "id2", "id0"]),
        (["--origin", "decay", "--segment", "p.high"], ["id2"]),
        (["--user", "u0", "--limit", "2"], ["id4", "id2"]),
    ],
)
def test_the_latest_that_are_wanted_come_newest_first(file: Path, options: list[str], ids: list[str]) -> None:
    for where in ([str(file)], ["--data-dir", str(file.parent)]):
        code, out, _ = run("transitions", *where, *options, "--json")
        assert (code, [json.loads(line)["id"] for line in out.splitlines()]) == (0, ids)


def test_people_read_who_and_why(file: Path) -> None:
    code, out, _ = run("transitions", str(file), "--origin", "decay", "--segment", "p.high")
    assert code == 0
    assert " ".join(out.split()) == "2024-01-03 u0 into Name of p.high because of silence; score 89, likelihood 25.0%"
    assert "No transition" in run("transitions", str(file), "--user", "nobody")[1]


def test_what_is_no_origin_or_no_file_is_told(file: Path, tmp_path: Path) -> None:
    code, _, err = run("transitions", str(file), "--origin", "live,decayed")
    assert (code, "'decayed' is none of live, decay" in err) == (2, True)
    code, _, err = run("transitions", str(tmp_path / "none.ndjson"))
    assert (code, "is not there" in err) == (3, True)
    (tmp_path / "other.txt").write_text("hello\n")
    with pytest.raises(InputError, match="no file of transitions"):
        latest_transitions(tmp_path / "other.txt", 1)


@given(st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=12), st.integers(1, 9))
def test_lines_come_from_the_end_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b"half a line")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transition_log, "_BLOCK_BYTES", size)
        # Empty lines are none that a run writes; the first one of a file would not be seen.
        assert [line for line in transition_log._lines_from_end(path) if line] == [line for line in lines[::-1] if line]


def test_a_filter_matches_only_what_it_names() -> None:
    wanted = Wanted(frozenset({"live"}), "p.high", "u1")
    decode = msgspec.convert
    kinds = [transition(1), transition(1, "decay"), transition(1, user="u2"), transition(1, segment="x")]
    assert [wanted.has(decode(found, transition_log.Transition)) for found in kinds] == [True, False, False, False]


def test_tail_shows_only_the_origins_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [transition(n, origin) for n, origin in enumerate(["model", "live", "decay", "backfill", "live"])]
    asked: list[int | None] = []

    def follow(*_: object, limit: int | None, **__: object) -> Iterator[Seen]:
        asked.append(limit)
        yield from (Seen(0, n, 0, "u1", found, json.dumps(found).encode()) for n, found in enumerate(made))

    monkeypatch.setattr(watch, "follow", follow)
    code, out, _ = run("tail", "segment-events", "--origin", "live,decay", "--limit", "2", "--json")
    assert (code, [json.loads(line)["id"] for line in out.splitlines()]) == (0, ["id1", "id2"])
    code, out, _ = run("tail", "segment-events", "--limit", "5")
    assert (code, len(out.splitlines()), asked) == (0, 5, [None, 5])
    assert "score 89.9," in out
    code, _, err = run("tail", "dead-letters", "--origin", "live")
    assert (code, "--origin is for segment-events" in err) == (2, True)


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ({"reason": "bad_encoding", "detail": "", "raw_base64": "S/ZsbgoA", "position": 3}, r"  K\xf6ln\n\x00"),
        ({"reason": "bad_time", "raw": "{...}"}, "  {...}"),
        ({"reason": "bad_time", "detail": "", "raw_base64": "abcde"}, "  abcde"),
    ],
)
def test_tail_shows_bytes_as_dead_letters_does(body: dict[str, Any], end: str) -> None:
    assert _line_of("dead-letters", Seen(0, 1, 0, "", body, b"")).endswith(end)
