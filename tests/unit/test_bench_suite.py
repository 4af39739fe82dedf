"""`make bench`: all benchmarks in one table, and none whose failure is hidden. Nothing is measured here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import growth, suite
from benchmarks._asked import ASKED, LIMIT_MINUTES, Asked, Verdict, complaints, judge, judge_time
from benchmarks._machine import machine_lines
from benchmarks._measure import Progress
from benchmarks._table import BEGIN, END, HEADLINES, put_into, report
from benchmarks.suite import RUNS, Outcome, Run
from tests.conftest import ROOT

PROGRAM: dict[str, Any] = {
    "events_per_s": 30_000.0,
    "events_per_s_learned": 29_000.0,
    "learned_after_s": 0.5,
    "cpu_s_per_million_events": 33.2,
    "store_cpu_s_per_million_events": 9.0,
    "memory_peak_bytes": 300 << 20,
    "memory_growth_bytes_per_million_events": 50.0 * (1 << 20),
    "half_load_p50_ms": 20.5,
    "half_load_p99_ms": 88.0,
}
PEERS = {
    "cores": 2,
    "tideline": PROGRAM,
    "faust": PROGRAM | {"events_per_s": 1_500.0, "events_per_s_learned": 1_450.0, "version": "0.15.3"},
    "quix_streams": {"failed": "it has ended\n(status 1)"},
    "bytewax": {"missing": "`make peers` makes it"},
    "store_alone": {"events_per_s": 90_000.0, "events": 60_000},
    "ratio_to_faust": 20.0,
    "ratio_to_store_alone": 1 / 3,
}
SIZE = {"cpu_us_per_event": 50.0, "cpu_us_per_moment": 20.0, "looks_per_event": 1.5, "events": 9_000}
GROWTH = {
    "users_10000": SIZE,
    "users_3000000": SIZE | {"cpu_us_per_event": 60.0},
    "cpu_us_per_event_largest_to_smallest": 1.2,
    "cpu_us_per_moment_largest_to_smallest": 1.0,
}


def test_every_benchmark_is_run_and_none_that_is_not_there() -> None:
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("_")}
    assert {run.name for run in RUNS} == there - suite.APART
    assert sum(run.about_s for run in RUNS) <= (1.0 - suite.RESERVE) * LIMIT_MINUTES * 60.0


def test_headlines_are_documented_keys() -> None:
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert HEADLINES.keys() | {"peers", "growth"} == {run.name for run in RUNS}
    assert [key for keys in HEADLINES.values() for key in keys if f"`{key}`" not in text] == []


def test_the_table_shows_all_and_names_what_failed() -> None:
    outcomes = [
        Outcome(Run("peers", "--users 5", 9.0), 12.0, PEERS, "it has ended with status 1; see what it said"),
        Outcome(Run("growth", "", 9.0), 12.0, GROWTH, None),
        Outcome(
            Run("messages", "", 9.0), 12.0, {"campaigns": 100, "p50_ms": 98.2, "p99_ms": 1_186.0, "missing": 0}, None
        ),
        Outcome(Run("lift", "", 9.0), 12.0, None, "it has printed no JSON"),
    ]
    text = report(["a machine"], outcomes, 90.0)
    lines = text.splitlines()
    assert "- a machine" in lines
    assert "- all took 1.5 minutes (asked for < 30: holds)" in lines
    assert "**`peers`** (--users 5; 12 s): FAILED: it has ended with status 1; see what it said" in lines
    used = "20.5 ms, 88 ms | 33.2 | 9 | 300 MiB | 50 MiB |"
    assert f"| Tideline, one worker | 30,000 | 29,000 |  |  | {used}" in lines
    assert f"| plain Faust, one event at a time 0.15.3 | 1,500 | 1,450 | 20 × | ≥ 20: holds | {used}" in lines
    not_measured = "≥ 8: does not hold (not measured)"
    assert f"| Quix Streams | failed: it has ended (status 1) |  |  | {not_measured} |  |  |  |  |  |" in lines
    assert f"| Bytewax | missing: `make peers` makes it |  |  | {not_measured} |  |  |  |  |  |" in lines
    assert "| limit: Valkey, only taking the same writes | 90,000 |  | 0.333 × |  |  |  |  |  |  |" in lines
    assert "| 3,000,000 | 60.0 µs | 1.50 | 20.0 µs | 9,000 |  |" in lines
    assert "| most to fewest | 1.20 × |  | 1.00 × |  | ≤ 1.5: holds |" in lines
    assert "| `p99_ms` | 1,186 |  |" in lines
    assert "| `missing` | 0 | ≤ 0: holds |" in lines
    assert "**`lift`** (default sizes; 12 s): FAILED: it has printed no JSON" in lines
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert set(tables) == {11, 7, 4}


def test_the_table_says_what_does_not_hold() -> None:
    kafka = {"ratio_to_plain_faust": 19.9, "latency_p50_ms": 25.0}
    text = report([], [Outcome(Run("kafka", "", 9.0), 12.0, kafka, None)], 1_800.0)
    assert "- all took 30.0 minutes (asked for < 30: does not hold)" in text
    assert "| `ratio_to_plain_faust` | 19.9 | ≥ 20: does not hold |" in text
    assert "| `latency_p50_ms` | 25 | < 25: does not hold |" in text
    assert "| `dead_letters` |  | ≤ 0: does not hold (not measured) |" in text


@pytest.mark.parametrize(
    ("than", "value", "holds"),
    [
        *[("≥", 20.0, True), ("≥", 19.99, False), ("≤", 20.0, True), ("≤", 20.01, False)],
        *[("<", 19.99, True), ("<", 20.0, False), ("≥", None, False), ("≤", None, False)],
        *[("≥", float("nan"), False), ("<", float("nan"), False)],
    ],
)
def test_a_figure_is_judged(than: str, value: float | None, holds: bool) -> None:
    verdict = Verdict(Asked("it", "figure", than, 20.0), value)
    assert verdict.holds is holds
    assert len(complaints([verdict])) == (not holds)


def test_what_was_not_measured_does_not_hold() -> None:
    for figures in (None, {}, {"ratio_to_plain_faust": None}):
        found = {verdict.asked.key: verdict for verdict in judge("kafka", figures)}
        assert len(found) == 5
        assert not any(verdict.holds for verdict in found.values())
    assert "peers: ratio_to_bytewax is not measured, asked for ≥ 8" in complaints(judge("peers", PEERS))
    assert judge("lift", None) == []


def test_what_is_asked_is_asked_of_figures_that_are_documented() -> None:
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert {asked.benchmark for asked in ASKED} <= {run.name for run in RUNS}
    for asked in ASKED:
        section = text[text.index(f"## `{asked.benchmark}`") :].partition("\n## ")[0]
        assert f"`{asked.key}`" in section


def test_half_an_hour_is_too_long() -> None:
    assert judge_time(1_799.0).holds
    assert not judge_time(1_800.0).holds


def test_a_page_keeps_all_but_what_is_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    put_into(page, "new\n")
    put_into(page, "newer\n")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no <!-- make bench"):
        put_into(page, "new")


def test_the_page_has_the_marks() -> None:
    text = suite.DOCUMENT.read_text(encoding="utf-8")
    assert 0 < text.index(BEGIN) < text.index(END)


@pytest.mark.parametrize(
    ("status", "output", "failure"),
    [
        (0, '{"a": 1}', None),
        (1, '{"a": 1}', "it has ended with status 1; see what it said"),
        (1, "", "it has ended with status 1; see what it said"),
        (0, "", "it has printed no JSON"),
    ],
)
def test_a_failure_is_kept_with_the_figures(
    status: int, output: str, failure: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, status, output)

    monkeypatch.setattr(subprocess, "run", run)
    found = suite.work(Run("engine", "--users 4", 1.0))
    assert asked[0][1:] == ["-m", "benchmarks.engine", "--json", "--users", "4"]
    assert found.failure == failure
    assert found.figures == (json.loads(output) if output else None)


def test_all_are_run_after_one_failed_and_the_status_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "all.json"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")

    def work(run: Run) -> Outcome:
        return Outcome(run, 1.0, None, "no") if run.name == "engine" else Outcome(run, 1.0, {"users": 5}, None)

    monkeypatch.setattr(suite, "work", work)
    with pytest.raises(SystemExit, match="1"):
        suite.main(["--only", "memory", "engine", "--write", str(page), "--json", str(figures)])
    assert json.loads(figures.read_text(encoding="utf-8")) == {"engine": {"failed": "no"}, "memory": {"users": 5}}
    said = capsys.readouterr()
    assert "== 1 of 2: engine" in said.err
    assert "== engine FAILED: no" in said.err
    assert "FAILED: no" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("ratio", "seconds", "told"),
    [
        (8.0, 1.0, None),
        (7.9, 1.0, "== does not hold: peers: ratio_to_bytewax is 7.9, asked for ≥ 8"),
        (None, 1.0, "== does not hold: peers: ratio_to_bytewax is not measured, asked for ≥ 8"),
        (8.0, 1_860.0, "== does not hold: all: minutes is 31, asked for < 30"),
    ],
)
def test_the_status_tells_what_does_not_hold(
    ratio: float | None,
    seconds: float,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = {**PEERS, "ratio_to_quix_streams": 9.0, "ratio_to_bytewax": ratio}
    now_s = iter([0.0, seconds])
    monkeypatch.setattr("benchmarks.suite.time", SimpleNamespace(monotonic=lambda: next(now_s)))
    monkeypatch.setattr(suite, "work", lambda run: Outcome(run, 1.0, figures, None))
    monkeypatch.setattr(suite, "machine_lines", list)
    if told is None:
        suite.main(["--only", "peers"])
    else:
        with pytest.raises(SystemExit, match="1"):
            suite.main(["--only", "peers"])
    said = [line for line in capsys.readouterr().err.splitlines() if "hold" in line]
    assert said == ([] if told is None else [told])


def test_the_machine_and_the_versions_are_told() -> None:
    text = "\n".join(machine_lines())
    assert " cores, " in text
    for name in ("Python 3.", "Kafka 4.", "river 0.", "faust-streaming 0.", "quixstreams ", "bytewax "):
        assert name in text


def test_growth_gives_the_keys_that_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[growth.Crowd] = []

    def answer(_: object, crowd: growth.Crowd) -> growth.Cost:
        worked.append(crowd)
        return growth.Cost(events=1_000, looks=3_000, cpu_s=0.1 + 0.01 * crowd.seed, resident_bytes=1 << 20)

    monkeypatch.setattr(growth, "precompile", lambda: None)
    monkeypatch.setattr(growth, "answer_of", answer)
    found: dict[str, Any] = dict(growth.run([10_000, 3_000_000], 3.0, Progress("growth")))
    assert [(crowd.users, crowd.seed) for crowd in worked] == [*((10_000, n) for n in range(1, 6)), (3_000_000, 1)]
    assert found["users_10000"]["cpu_us_per_event"] == pytest.approx(130.0), "the median of five"
    assert found["cpu_us_per_event_largest_to_smallest"] == pytest.approx(110 / 130)
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    section = text[text.index("## `growth`") :].partition("\n## ")[0]
    keys = found.keys() | found["users_10000"].keys()
    assert [key for key in keys if f"`{key}`" not in section] == []


def test_what_users_cost_is_told_by_events_and_by_moments() -> None:
    cost = growth.Cost(events=1_000, looks=3_000, cpu_s=0.1, resident_bytes=None)
    assert cost.cpu_us_per_event == pytest.approx(100.0)
    assert cost.cpu_us_per_moment == pytest.approx(25.0)
