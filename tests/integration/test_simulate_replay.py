"""The simulated shop through the full path, and beside the best that can be known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.examples import KIND_EVENT, KIND_SILENT
from streams.cli.app import app
from tests.conftest import ROOT, SLOWNESS
from tests.integration.simulate_world import judge

CATALOG = str(ROOT / "examples" / "shop" / "catalog.yaml")


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_replay_of_simulated_events_gives_segment_events(tmp_path: Path) -> None:
    events, transitions = tmp_path / "shop.ndjson.gz", tmp_path / "transitions.ndjson"
    failures = ("--duplicates", "0.02", "--late", "0.02", "--bad", "0.005")
    code, out, _ = run("simulate", "--out", str(events), "--users", "700", "--days", "60", *failures, "--json")
    assert code == 0
    made = json.loads(out)
    code, out, err = run(
        "replay",
        str(events),
        "-c",
        CATALOG,
        "--data-dir",
        str(tmp_path / "d"),
        "--transitions",
        str(transitions),
        "--json",
    )
    assert code == 0, err
    summary = json.loads(out)["summary"]
    assert summary["rows"] == made["records"]
    assert sum(summary["dead_letters"].values()) == made["bad"]
    assert summary["counters"]["duplicates"] == made["duplicates"]
    assert summary["users"] == made["users_seen"]
    orders = next(found for found in summary["predictions"] if found["id"] == "orders_7d")
    assert orders["status"] == "live"
    entered = [json.loads(line) for line in transitions.read_text().splitlines()]
    segments = {event["data"]["segment_id"] for event in entered}
    assert {"orders_7d.high", "full_carts", "may_write"} <= segments
    assert {event["data"]["origin"] for event in entered} >= {"backfill", "live", "decay"}


@pytest.mark.slow
def test_tideline_is_between_the_heuristic_and_the_oracle() -> None:
    judged = judge(users=1_500, days=90, seed=1, from_day=50.0)
    for kind in (KIND_EVENT, KIND_SILENT):
        part = judged.of(kind)
        assert len(part.y) > 5_000
        aucs = [part.auc(name) for name in ("true", "oracle", "tideline", "heuristic")]
        assert aucs == sorted(aucs, reverse=True)
        true, oracle, tideline, heuristic = aucs
        assert true > oracle + 0.03
        # How far Tideline is from the best possible, and that it is worth more than the rule of thumb.
        assert oracle - 0.10 < tideline < oracle - 0.01
        assert tideline > heuristic + 0.02
        for name in ("true", "oracle"):
            assert part.calibration(name) == pytest.approx(1.0, abs=0.15)
        assert part.calibration("tideline") == pytest.approx(1.0, abs=0.35)


def test_a_reader_that_has_enough_ends_it_in_peace() -> None:
    command = [sys.executable, "-m", "streams", "simulate", "--out", "-", "--users", "200000", "--days", "30"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(timeout=60 * SLOWNESS) == 0
    assert json.loads(first)["type"] == "identify"
    assert b"Traceback" not in told
    assert b"rror" not in told
