"""Benchmarks in small: that they run, give the keys that docs/benchmarks.md lists, and that the two programs agree.

No test looks at a time: these sizes measure nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks import engine, kafka, memory
from benchmarks._live_traffic import rates_of
from config.errors import BrokerError
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the core may have to be compiled first

SMALL = {
    "engine": "--users 200 --warm-days 38 --timed-days 2 --store-days 1 --reference-users 200 --reference-days 2",
    "memory": "--users 500 --days 38 --arrive-days 3",
    # So many users that predictions go live: the worker warms up as it does for everybody.
    "ingest": "--seconds 1 --connections 2 --batch 10 --rate 20 --deliver-seconds 1",
    "campaigns": "--users 2000",
    "messages": "--rate 5 --seconds 2",
    "lift": "--runs 3 --users 1500",
    # A short soak: what it looks at has to be as it should, with more room for memory, as little is to be seen in it.
    "soak": "--minutes 0.5 --users 2000 --warm-days 2 --rate 400 --growth 10",
    "holdout": "--users 3000 --days 46 --from-day 30",
    "kafka": "--users 2000 --warm-days 6 --events 6000 --plain-events 600 --seconds 8 --rate 500",
}
IN_KAFKA = pytest.mark.timeout(900)  # two servers, a worker that starts twice, two plain programs


@cache
def figures(name: str) -> dict[str, Any]:
    """What a benchmark prints with `--json`. It runs once for all tests of this process."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *SMALL[name].split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert done.stderr.startswith(name), "a line on standard error says how far it is"
    return found


def documented(name: str) -> set[str]:
    """The keys in the table of docs/benchmarks.md under the heading of a benchmark."""
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    section = re.search(rf"^## `{name}`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    rows = re.findall(r"^\| (`[^|]+) \|", section.group(), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z_0-9]+)`", row)}


@IN_KAFKA
@pytest.mark.parametrize("name", SMALL)
def test_every_key_is_documented_and_there(name: str) -> None:
    assert set(figures(name)) == documented(name)


def test_every_event_is_stored_and_every_webhook_arrives() -> None:
    found = figures("ingest")
    assert found["events"] == found["events_stored"] > 0
    assert (found["healthy_missing"], found["dead_beside_missing"]) == (0, 0)
    assert found["healthy_deliveries"] == found["dead_beside_deliveries"] == 20


def test_a_scheduled_campaign_goes_out_once_to_everybody_but_those_drawn() -> None:
    found = figures("campaigns")
    assert found["inputs"] == found["users"] == found["other_effects"]  # a note for each
    assert 0.8 * found["users"] < found["sends"] < 0.9 * found["users"]
    assert (found["outbox_left"], found["commits"]) == (0, 4)


def test_every_message_arrives_beside_an_endpoint_that_never_answers() -> None:
    found = figures("messages")
    assert (found["campaigns"], found["messages"], found["missing"]) == (100, 10, 0)


def test_the_true_effect_of_an_offer_is_measured() -> None:
    found = figures("lift")
    assert found["rate_intervals"] == found["runs"] == 3
    assert found["true_rate"] > 0.01
    assert found["observed_over_expected"]["treated"] > 1.2


def test_whoever_is_treated_does_more_than_was_expected() -> None:
    found = figures("holdout")
    assert found["sent"].keys() == {"reminder", "large_discount"}
    assert found["treated_ratio"] < found["untouched_ratio"]


def test_the_plain_program_and_the_shard_say_the_same() -> None:
    found = figures("engine")
    assert found["likelihoods_compared"] > 1_000
    assert found["likelihood_max_difference"] < 1e-6
    assert found["transitions_compared"] > 500
    # A rank value next to the edge of a bin may round to either side of it; that is one crossing or two.
    assert found["transitions_differing"] <= 0.001 * found["transitions_compared"]


def test_both_programs_do_the_same_work() -> None:
    found = figures("engine")
    assert found["dropped_examples"] == 0
    assert found["events"] == found["reference_events"]  # the same users on the same days here
    assert found["looks_per_event"] == pytest.approx(found["reference_looks_per_event"], rel=0.01)
    assert found["examples_learned_per_event"] == pytest.approx(found["reference_learned_per_event"], rel=1e-9)


def test_shares_add_up() -> None:
    found = figures("engine")
    for key in ("shares", "with_store_shares"):
        assert sum(found[key].values()) == pytest.approx(1.0, abs=0.001)  # each is rounded
        assert min(found[key].values()) > -0.001


def test_the_ratio_is_that_of_the_rates() -> None:
    found = figures("engine")
    assert found["ratio_to_reference"] == pytest.approx(found["events_per_s"] / found["reference_events_per_s"])


def test_memory_reaches_the_steady_state() -> None:
    found = figures("memory")
    assert (found["users"], found["predictions"], found["predictions_live"]) == (500, 3, 3)
    assert 0 < found["pending_examples"] <= found["pending_limit"]
    assert found["pending_rate"] == {"event": 1.0, "silent": 1.0, "crossing": 1.0}


def test_memory_counts_the_parts() -> None:
    found = figures("memory")
    assert found["bytes_of"]["rows"] == 500 * found["row_bytes"]
    assert found["bytes_of"]["pending_examples"] >= found["pending_limit"] * found["pending_example_bytes"]
    assert {"rows", "scores", "index", "members", "pending", "dedupe"} <= set(found["redis_bytes_of"])
    assert found["redis_bytes_of"]["rows"] > found["bytes_of"]["rows"]
    assert found["redis_used_bytes"] > sum(found["redis_bytes_of"].values()) * 0.9


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_of_the_process_is_read() -> None:
    found = figures("memory")
    assert 50 << 20 < found["process_bytes_empty"] < found["process_bytes"] <= found["process_peak_bytes"]
    assert found["process_anonymous_bytes"] < found["process_bytes"]


@IN_KAFKA
def test_on_kafka_every_event_is_scored() -> None:
    found = figures("kafka")
    assert found["events"] == found["events_scored"] == 6_000
    assert found["dead_letters"] == 0
    assert 0 < found["event_time_hours"] <= 24.0


@IN_KAFKA
def test_on_kafka_figures_are_there_and_fit_together() -> None:
    found = figures("kafka")
    for other in ("plain_faust", "simple_faust", "consume_and_decode"):
        assert found[f"{other}_events_per_s"] > 0
        assert found[f"ratio_to_{other}"] == pytest.approx(
            found["events_per_s_learned"] / found[f"{other}_events_per_s"]
        )
    assert found["learned_after_s"] >= 0.0
    assert found["events_per_s_slowest"] <= found["events_per_s"] <= found["events_per_s_fastest"]
    for stretch in ("latency", "latency_at_half"):
        assert 0 < found[f"{stretch}_p50_ms"] <= found[f"{stretch}_p99_ms"] <= found[f"{stretch}_worst_ms"]
        assert found[f"{stretch}_transitions"] > 0
    assert (found["latency_rate"], found["latency_events"]) == (500, 4_000)
    assert found["latency_at_half_rate"] == pytest.approx(found["events_per_s"] / 2)


def test_rates_are_those_of_equal_counts() -> None:
    # It stands still for 5 s; then 100 come within a second, 300 within the next, 400 within the third.
    marks = [(7.0, 0.0), (7.0, 5.0), (107.0, 6.0), (107.0, 6.5), (407.0, 7.0), (807.0, 8.0), (807.0, 9.0)]
    assert rates_of(marks, 2) == pytest.approx([400 / 2, 400 / 1])


def test_no_broker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokerError("there is no Java")

    monkeypatch.setattr(kafka, "open_service", refuse)
    with pytest.raises(SystemExit, match="there is no Java"):
        kafka.main(["--data-dir", str(tmp_path)])


@pytest.mark.parametrize("main", [engine.main, memory.main, kafka.main])
def test_help_explains_the_options(main: Callable[[Sequence[str]], None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    words = capsys.readouterr().out
    assert "--users" in words
    assert "docs/benchmarks.md" in words
