"""Every benchmark, one after another, in half an hour on a quiet machine, and a table of what they say: `make bench`.

Each runs as its own command with `--json`, in a size that fits; docs/benchmarks.md says what the keys mean. One that
fails is named, in the table too, and the others go on. What is asked of the figures (`_asked.py`) stands beside them.
The status is 1 when a benchmark has failed, a figure is not what is asked for, or all took too long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._asked import Verdict, complaints, judge, judge_time
from benchmarks._machine import machine_lines
from benchmarks._table import put_into, report

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
RESERVE = 0.1
"""Of the time that is allowed, what the benchmarks leave together on two quiet cores."""


@dataclass(frozen=True, slots=True)
class Run:
    """A benchmark, its arguments, and about how long it takes on two quiet cores, in seconds."""

    name: str
    arguments: str
    about_s: float


RUNS = (
    Run("peers", "--seconds 15", 470),
    Run("growth", "", 400),
    Run("kafka", "--seconds 20 --plain-events 5000", 200),
    Run("engine", "--users 30000", 105),
    Run("memory", "--users 30000 --days 38 --arrive-days 3", 90),
    Run("ingest", "--seconds 10 --deliver-seconds 10", 60),
    Run("campaigns", "--users 100000", 40),
    Run("messages", "", 60),
    Run("console", "--users 50000", 60),
    Run("lift", "--runs 15", 60),
    Run("holdout", "--users 5000 --days 42", 40),
)

APART = frozenset({"suite", "soak"})
"""This one, and what takes half an hour by itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: its figures, or why it failed (or both: peers that failed beside others)."""

    run: Run
    seconds: float
    figures: dict[str, Any] | None
    failure: str | None


def work(run: Run) -> Outcome:
    """One benchmark. What it says of its progress goes to our standard error."""
    started_s = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{run.name}", "--json", *run.arguments.split()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - started_s
    failure = f"it has ended with status {done.returncode}; see what it said" if done.returncode else None
    try:
        figures = json.loads(done.stdout)
    except json.JSONDecodeError:
        return Outcome(run, seconds, None, failure or "it has printed no JSON")
    return Outcome(run, seconds, figures, failure)


def work_all(runs: Sequence[Run]) -> Iterator[Outcome]:
    """All, saying which one is at work, and how long the rest will take."""
    for n, run in enumerate(runs):
        left_s = sum(each.about_s for each in runs[n:])
        print(
            f"== {n + 1} of {len(runs)}: {run.name} (all that is left: about {left_s / 60.0:.0f} min)", file=sys.stderr
        )
        outcome = work(run)
        if outcome.failure is not None:
            print(f"== {run.name} FAILED: {outcome.failure}", file=sys.stderr)
        yield outcome


def verdicts_of(outcomes: Sequence[Outcome], seconds: float) -> list[Verdict]:
    """Of all figures that were to be measured, and of the time."""
    found = [verdict for outcome in outcomes for verdict in judge(outcome.run.name, outcome.figures)]
    return [*found, judge_time(seconds)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    names = [run.name for run in RUNS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="only these (default: all)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this page, between its marks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures into this file")
    given = parser.parse_args(arguments)
    machine = machine_lines()
    started_s = time.monotonic()
    outcomes = []
    for outcome in work_all([run for run in RUNS if run.name in given.only]):
        outcomes.append(outcome)
        if given.json is not None:  # after each: whoever has to stop early has the others
            figures = {each.run.name: each.figures or {"failed": each.failure} for each in outcomes}
            given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    seconds = time.monotonic() - started_s
    text = report(machine, outcomes, seconds)
    print(text)
    if given.write is not None:
        put_into(given.write, text)
    failed = [f"{each.run.name} FAILED: {each.failure}" for each in outcomes if each.failure is not None]
    not_held = complaints(verdicts_of(outcomes, seconds))
    for line in [*failed, *(f"does not hold: {each}" for each in not_held)]:
        print(f"== {line}", file=sys.stderr)
    if failed or not_held:
        sys.exit(1)


if __name__ == "__main__":
    main()
