"""The parts of the benchmark against peers that need no server. That one program runs: integration/test_peers.py."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from benchmarks import _measured, _peers, peers
from benchmarks._awaiting import Stuck, Watched, await_events
from benchmarks._live_traffic import LiveScript, live_catalog, rates_of
from benchmarks._measure import Progress
from benchmarks._measured import Backlog, Measured, first_reached, rate_until
from benchmarks._peer_job import Customer, PeerJob, expected
from benchmarks._peers import PEERS, Peer, PeerFailed, PeerMissing
from tests.conftest import ROOT

RECORDS = peers.first_records(LiveScript(users=20, now_day=1, now_s=1_790_000_000.0), 150)
DECIDING = ("river", "numpy", "scipy", "msgspec", "redis", "hiredis", "aiokafka", "faust-streaming")


class FakeOthers:
    """What measures, and what comes of it."""

    def __init__(self, outcome: Exception) -> None:
        self._outcome = outcome

    def measure(self, peer: Peer) -> dict[str, Any]:
        assert peer is PEERS[0]
        raise self._outcome


def locked(name: str) -> dict[str, list[str]]:
    """Versions per package of a lock; several where they depend on the Python."""
    found: dict[str, list[str]] = {}
    for package, version in re.findall(
        r"^([a-z0-9-]+)==([^ \\]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE
    ):
        found.setdefault(package, []).append(version)
    return found


def test_all_programs_run_on_the_same_versions_of_what_decides() -> None:
    ours, theirs = locked("dev.txt"), locked("bench-peers.txt")
    assert {"quixstreams", "bytewax"} <= theirs.keys()
    assert {name: theirs[name] for name in DECIDING} == {name: ours[name] for name in DECIDING}, (
        "a comparison of two versions of river says nothing: `make lock UPGRADE=1` brings both to the newest"
    )


def test_a_customer_is_the_same_after_it_was_json() -> None:
    job = PeerJob(live_catalog())
    kept: dict[str, bytes] = {}
    answers = []
    for raw in RECORDS:
        record = job.decode(raw)
        before = kept.get(record.user_id)
        customer = None if before is None else msgspec.json.decode(before, type=Customer)
        customer, answer = job.take(customer, record)
        kept[record.user_id] = msgspec.json.encode(customer)
        answers.append(answer)
    wanted = expected(live_catalog(), RECORDS)
    assert {answer.user: answer.scores for answer in answers} == wanted.scores
    sent: dict[str, list[bytes]] = {}
    for answer in answers:
        sent.setdefault(answer.user, []).extend(crossing.value for crossing in answer.crossings)
    assert sent == wanted.crossings


def test_scores_are_ranks_and_crossings_alternate() -> None:
    found = expected(live_catalog(), RECORDS)
    scores = [msgspec.json.decode(value) for value in found.scores.values()]
    assert all(0.0 <= each["orders_1d"]["score"] <= 100.0 for each in scores)
    assert len({each["orders_1d"]["likelihood"] for each in scores}) > 5, "models have learned"
    for values in found.crossings.values():
        told = [msgspec.json.decode(value) for value in values]
        assert [each["sequence"] for each in told] == list(range(1, len(told) + 1))
        assert all(each["category"] != each["previous_category"] for each in told)


@pytest.mark.parametrize(
    ("outcome", "key"),
    [
        (PeerMissing("not there"), "missing"),
        (PeerFailed("not there"), "failed"),
        (Stuck("not there"), "failed"),
        (RuntimeError("not there"), "failed"),
    ],
)
def test_a_program_that_cannot_be_measured_is_told(outcome: Exception, key: str) -> None:
    assert peers.measure_or_tell(cast("peers.Others", FakeOthers(outcome)), PEERS[0]) == {key: "not there"}


@pytest.mark.parametrize("failure", [Stuck("it stands"), RuntimeError("it stands")])
def test_tideline_that_cannot_be_measured_is_told_and_stopped(failure: Exception) -> None:
    stopped: list[str] = []

    class Service:
        def stop_workers(self) -> None:
            stopped.append("both")

    class Tideline:
        service = Service()

        def warm_up(self) -> None:
            raise failure

    found = peers.measure_tideline(cast("peers.Tideline", Tideline()), ["tideline", "faust"])
    assert found == {"tideline": {"failed": "it stands"}}
    assert stopped == ["both"]


def test_a_program_without_its_environment_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_peers, "ENVIRONMENT", tmp_path / "none")
    apart = [peer for peer in PEERS if peer.is_apart]
    assert len(apart) == 3
    for peer in apart:
        with pytest.raises(PeerMissing, match="make peers"):
            peer.python()


def test_ratios_are_those_of_the_rates() -> None:
    figures: Any = {
        "tideline": {"events_per_s": 30_000.0},
        "tideline_two_workers": {"events_per_s": 36_000.0},
        "faust": {"events_per_s": 1_500.0},
        "bytewax": {"failed": "it has ended"},
    }
    found = peers.ratios(figures)
    assert found["ratio_to_faust"] == 20.0
    assert found["ratio_of_two_workers"] == 1.2
    assert found["ratio_to_bytewax"] is None


def test_ratios_are_those_with_learning_where_there_is_any() -> None:
    figures: Any = {
        "tideline": {"events_per_s": 30_000.0, "events_per_s_learned": 20_000.0},
        "faust": {"events_per_s": 1_100.0, "events_per_s_learned": 1_000.0},
        "store_alone": {"events_per_s": 80_000.0},
    }
    found = peers.ratios(figures)
    assert found["ratio_to_faust"] == 20.0
    assert found["ratio_to_store_alone"] == 0.25


@pytest.mark.parametrize(
    ("found", "incomplete"), [({"events_per_s": 1.0}, False), ({"missing": "it"}, True), ({"failed": "it"}, True)]
)
def test_a_program_without_figures_is_a_failure(found: dict[str, Any], incomplete: bool) -> None:
    figures: Any = {"cores": 2, "tideline": {"events_per_s": 1.0}, "bytewax": found}
    assert peers.is_incomplete(figures) is incomplete


def test_learning_counts_as_time_and_the_first_stretch_does_not() -> None:
    # It stands for 3 s while it starts, takes 10 a second, and has learned all 2 s after the last.
    marks = [(100.0, 0.0), (100.0, 3.0), *((100.0 + 10.0 * n, 3.0 + n) for n in range(1, 11))]
    assert rate_until(marks, 13.0, 10) == pytest.approx(10.0)
    assert rate_until(marks, 15.0, 10) == pytest.approx(90.0 / 11.0)


def test_a_backlog_is_done_when_it_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(0, 90, 10))
    asked: list[str] = []
    now_s = iter(float(n) for n in range(100))

    def learned() -> float:
        asked.append("learned")
        return 20.0

    def used(*_: object) -> _measured.Usage:
        asked.append("used")
        return _measured.Usage(float(len(asked)), 5, 0.0)

    clock = SimpleNamespace(monotonic=lambda: next(now_s), sleep=lambda _: None)
    monkeypatch.setattr("benchmarks._awaiting.time", clock)
    monkeypatch.setattr(_measured, "used", used)
    watched = Watched("it", lambda: next(counts), lambda: None)
    backlog = Backlog(watched, 0, 80, list, "", Progress("it"), is_at_work=False, await_learned=learned)
    found = backlog.measure()
    assert asked == ["used", "learned", "used"], "what learning costs is in it"
    assert found.learned_after_s == 11.0
    assert found.events_per_s == pytest.approx(10.0)
    assert found.events_per_s_learned == pytest.approx(72.0 / (20.0 - 1.8))


def test_a_step_took_the_time_since_the_one_before() -> None:
    # It counts 400 at once, every 2 s, and is asked every half second.
    marks = [(400.0 * (n // 4 + 1), n / 2.0) for n in range(9)]
    assert rates_of(first_reached(marks), 4) == pytest.approx([200.0] * 4)


def test_what_does_not_come_on_is_told() -> None:
    stuck = Watched("it", lambda: 3, lambda: None)
    with pytest.raises(Stuck, match="it stands at 3 of 5 events"):
        await_events(stuck, 5, seconds=0.0, say=lambda _: None)


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    section = re.search(r"^## `peers`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    rows = re.findall(r"^\| (`[^|]+) \|", section.group(), re.MULTILINE)
    documented = {key for row in rows for key in re.findall(r"`([a-z_0-9]+)`", row)}
    programs = {*peers.TIDELINE.values(), *peers.LIMITS, *(peer.key for peer in PEERS)}
    inner = {field.name for field in fields(Measured)} | {
        "bytes_per_event",
        "connections",
        "version",
        "crossings_checked",
    }
    assert documented == {"cores", *programs, *peers.ratios({}), *inner, "missing", "failed"}
