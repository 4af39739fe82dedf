"""`tideline simulate` on the command line: what it writes, what it says, what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import simulate
from streams.cli.app import app
from tests.conftest import ROOT

NOW_DAY = 20_600.25
"""Of the days since 1970; 2024-01-01 is day 19,723."""
SMALL = ("--users", "200", "--days", "12")


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, ["simulate", *args], env={"COLUMNS": "200", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_file_and_its_truth(tmp_path: Path) -> None:
    events, truth = tmp_path / "shop.ndjson", tmp_path / "truth.csv"
    code, out, _ = run("--out", str(events), "--truth", str(truth), *SMALL)
    assert code == 0
    assert "events of 200 users over 12 days" in out
    assert "tideline replay" in out
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    with truth.open(newline="") as file:
        moments = list(csv.DictReader(file))
    assert set(moments[0]) == {"user_id", "time", "moment", "true", "oracle"}
    told = [(row["user_id"], row["time"], row["moment"]) for row in moments if row["moment"] != "look"]
    assert told == [(line["userId"], line["timestamp"], line.get("event", "identify")) for line in lines]
    assert len(moments) > len(told)
    assert all(0.0 <= float(row[name]) <= 1.0 for row in moments for name in ("true", "oracle"))
    assert f"{len(moments):,} moments" in out


def test_standard_output_holds_events_and_nothing_else() -> None:
    code, out, err = run("--out", "-", *SMALL, "--seed", "3")
    assert code == 0
    assert all(json.loads(line)["messageId"].startswith("s3-user-") for line in out.splitlines())
    assert f"{len(out.splitlines()):,} events of 200 users" in err


def test_a_script_gets_the_keys_of_the_page(tmp_path: Path) -> None:
    code, out, _ = run("--out", str(tmp_path / "x.ndjson.gz"), *SMALL, "--bad", "0.1", "--late", "0.1", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["records"] == sum(found["events"].values()) + found["duplicates"] + found["bad"]
    page = (ROOT / "docs/cli.md").read_text()
    section = page[page.index("## `tideline simulate") :]
    section = section[: section.index("\n## ", 4)]
    assert set(found) <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--users", "0"), "from 1 to"),
        (("--users", "2.5"), "no whole number"),
        (("--users", "many"), "no whole number"),
        (("--rate", "fast"), "500, max or real"),
        (("--rate", "0"), "500, max or real"),
        (("--start", "soon"), "2024-01-01"),
        (("--days", "0"), "above 0"),
        (("--late", "2"), "less than or equal to 1"),
        (("--truth", "{out}"), "another name"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, args: tuple[str, str], words: str) -> None:
    path = tmp_path / "x.ndjson"
    code, _, err = run("--out", str(path), *(arg.format(out=path) for arg in args))
    assert code == 2
    assert words in " ".join(err.replace("│", " ").split())
    assert not path.exists()


@pytest.mark.parametrize(
    ("to", "more", "live", "days_ago"),
    [
        ("kafka", None, False, 12.0),
        ("log", None, False, 12.0),
        ("kafka", "now", False, 0.0),
        ("log", None, True, 0.0),
        ("shop.ndjson", None, True, 0.0),
        ("log", "2024-02-01", False, NOW_DAY - 19_754),
        ("shop.ndjson", None, False, NOW_DAY - 19_723),
        ("-", None, False, NOW_DAY - 19_723),
    ],
)
def test_a_service_gets_history_that_ends_now(
    monkeypatch: pytest.MonkeyPatch, to: str, more: str | None, *, live: bool, days_ago: float
) -> None:
    monkeypatch.setattr("streams.cli.simulate.time.time", lambda: NOW_DAY * 86_400.0)
    assert simulate._begin_ms(more, 12.0, Path(to), live=live) == round((NOW_DAY - days_ago) * 86_400_000)


def test_json_beside_events_on_standard_output_is_refused() -> None:
    code, out, err = run("--out", "-", "--json", *SMALL)
    assert (code, out) == (2, "")
    assert "give --out a file" in err


def test_a_folder_that_is_not_there_is_an_error_of_the_file(tmp_path: Path) -> None:
    code, _, err = run("--out", str(tmp_path / "no" / "x.ndjson"), *SMALL)
    assert code == 3
    assert "cannot be written" in err


def test_users_may_be_written_as_numbers_are(tmp_path: Path) -> None:
    code, out, _ = run("--out", str(tmp_path / "x.ndjson"), "--users", "1e3", "--days", "1", "--arrive-days", "2")
    assert code == 0
    assert re.search(r"4\d\d|5\d\d users have not signed up by then", out)


def test_the_kafka_to_send_to_can_be_named() -> None:
    code, _, err = run("--out", "kafka", "--kafka", "127.0.0.1:1", *SMALL)
    assert code == 6
    assert "No Kafka answers at 127.0.0.1:1" in err
    code, _, err = run("--out", "-", "--kafka", "127.0.0.1:1", *SMALL)
    assert code == 2
    assert "--out kafka" in err
