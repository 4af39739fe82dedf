"""One partition of the embedded log and its run: where it begins, what it is given, and how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from config.errors import BrokerError, Fenced, SettingsError, Stopped
from config.loader import loads
from config.settings import TopicKind, load_settings
from models.snapshot import BINS, Snapshot
from streams.adapters.log_folder import LogFolder, read_worked, write_worked
from streams.adapters.log_format import segment_bases
from streams.adapters.log_reader import PartitionReader, trim
from streams.adapters.log_writer import PartitionWriter
from streams.cli.kafka import embedded_log
from streams.core.questions import question_of
from streams.runtime.embedded import work as work_module
from streams.runtime.embedded.models import ModelsFollower
from streams.runtime.embedded.retention import trim_topics
from streams.runtime.embedded.watch import follow, lag_of
from streams.runtime.embedded.work import PartitionWork, Step
from streams.runtime.embedded.worker import _Works
from streams.runtime.latest_models import LatestModels, model_key
from streams.runtime.records import Position, Record, Run
from streams.runtime.witness import Witness

PATIENCE_S = 30.0


class FakeRun:
    """Keeps what it is given; a step may raise what a test has put into `failures`."""

    def __init__(self, offset: int = 0) -> None:
        self.position = Position(offset)
        self.is_loaded = True
        self.set_backs = 0
        self.witnesses: list[Witness | None] = []
        self.taken: list[bytes] = []
        self.times: list[float] = []
        self.batches: list[int] = []
        self.failures: list[Exception] = []
        self.changed = threading.Condition()

    def assign(self, witness: Witness | None = None) -> Position:
        self.witnesses.append(witness)
        return self.position

    def drop(self) -> None:
        self.is_loaded = False

    def step(self, records: Sequence[Record], now_s: float | None) -> None:
        with self.changed:
            if self.failures and records:
                raise self.failures.pop(0)
            self.taken += [record.value for record in records]
            self.batches.append(len(records))
            if now_s is not None:
                assert not records
                self.times.append(now_s)
            if records:
                self.position = Position(records[-1].offset + 1, records[-1].log_time_s)
            self.changed.notify_all()

    def wait_for(self, number: int) -> None:
        """So many records are taken."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= number, PATIENCE_S)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_module, "IDLE_S", 0.05)
    monkeypatch.setattr(work_module, "AFTER_FENCE_S", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "events" / "0"


def append(folder: Path, first: int, number: int, *, segment_bytes: int = 1 << 20) -> list[bytes]:
    values = [str(n).encode() for n in range(first, first + number)]
    writer = PartitionWriter(folder, segment_bytes=segment_bytes)
    for value in values:
        writer.append([(b"u", value)])
    writer.close()
    return values


class Works:
    """Works that are ended with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready = threading.Event()
        self._begun: list[PartitionWork] = []

    def start(self, run: FakeRun, *, accepts_gaps: bool = False) -> tuple[PartitionWork, Future[None]]:
        def make() -> tuple[Run, Step]:
            return run, run.step

        options = {"batch": 3, "on_ready": self.ready.set, "accepts_gaps": accepts_gaps}
        work = PartitionWork("events 0", self.folder, make, **options)  # type: ignore[arg-type]
        self._begun.append(work)
        return work, work.start()

    def close(self) -> None:
        for work in self._begun:
            work.stop()
            work.close()


@pytest.fixture
def works(folder: Path) -> Iterator[Works]:
    works = Works(folder)
    yield works
    works.close()


def test_records_come_in_batches_as_they_are_appended_and_go_on_where_the_store_stands(
    works: Works, folder: Path
) -> None:
    values = append(folder, 0, 7)
    run = FakeRun(offset=2)
    work, ended = works.start(run)
    run.wait_for(5)
    assert works.ready.is_set()
    values += append(folder, 7, 4)
    run.wait_for(9)
    assert run.taken == values[2:]
    assert max(run.batches) == 3
    work.stop()
    ended.result(PATIENCE_S)
    assert work.lag == 0
    assert read_worked(folder) == 11
    again = FakeRun(offset=11)
    _, _ = works.start(again)
    append(folder, 11, 1)
    again.wait_for(1)


def test_a_run_hears_what_was_told_last(works: Works, folder: Path) -> None:
    append(folder, 0, 1)
    first, second = FakeRun(), FakeRun(offset=1)
    work, ended = works.start(first)
    first.wait_for(1)
    for witness in (Witness("a-long-generation", 10), Witness("g", 9)):
        work.tell(witness)
    work.stop()
    ended.result(PATIENCE_S)
    works.ready.clear()
    works.start(second)
    assert works.ready.wait(PATIENCE_S)
    assert (first.witnesses, second.witnesses) == ([None], [Witness("g", 9)])


@pytest.mark.parametrize(("value", "is_known"), [(b"1", True), (b"2", False)])
def test_a_log_that_was_made_anew_and_has_grown_is_not_read_on(
    works: Works, folder: Path, value: bytes, is_known: bool
) -> None:
    append(folder, 0, 5)
    run = FakeRun()
    run.position = Position.behind(Record(1, 5.0, value), 5.0)
    _, ended = works.start(run)
    if is_known:
        run.wait_for(3)
        assert run.taken == [b"2", b"3", b"4"]
        return
    with pytest.raises(BrokerError, match="the record at offset 1 is not the one that was worked there"):
        ended.result(PATIENCE_S)
    assert run.taken == []


def test_time_passes_while_nothing_comes(works: Works, folder: Path) -> None:
    append(folder, 0, 1)
    run = FakeRun()
    works.start(run)
    with run.changed:
        assert run.changed.wait_for(lambda: len(run.times) >= 3, PATIENCE_S)
    assert run.times == sorted(run.times)
    assert run.taken == [b"0"]


def test_a_worker_is_not_ready_while_a_step_hangs(works: Works, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(folder, 0, 1)
    run, is_in_it, goes_on = FakeRun(), threading.Event(), threading.Event()

    def hang(records: Sequence[Record], now_s: float | None) -> None:  # noqa: ARG001  a step's
        is_in_it.set()
        assert goes_on.wait(PATIENCE_S)

    monkeypatch.setattr(run, "step", hang)
    work, ended = works.start(run)
    both = _Works([work])
    assert is_in_it.wait(PATIENCE_S)
    settled = [both.is_settled]  # a step may take some seconds
    monkeypatch.setattr(work_module, "HANGS_S", 0.0)
    settled.append(both.is_settled)
    work.stop()
    goes_on.set()
    ended.result(PATIENCE_S)
    settled.append(both.is_settled)
    assert settled == [True, False, True]


def test_a_partition_that_is_taken_away_is_claimed_again(works: Works, folder: Path) -> None:
    values = append(folder, 0, 5)
    run = FakeRun()
    run.failures.append(Fenced("somebody else"))
    works.start(run)
    run.wait_for(5)
    assert run.taken == values
    assert len(run.witnesses) == 2


def test_what_a_step_fails_by_ends_the_work_and_is_told(works: Works, folder: Path) -> None:
    append(folder, 0, 5)
    run = FakeRun()
    run.failures.append(BrokerError("full"))
    _, ended = works.start(run)
    with pytest.raises(BrokerError, match="full"):
        ended.result(PATIENCE_S)


def test_a_wait_that_is_given_up_is_an_orderly_end(works: Works, folder: Path) -> None:
    append(folder, 0, 5)
    run = FakeRun()
    run.failures.append(Stopped("the store is away"))
    _, ended = works.start(run)
    assert ended.result(PATIENCE_S) is None


@pytest.mark.parametrize(("offset", "words"), [(6, "ends at 5"), (1, "begins at [23]: what lies between is gone")])
def test_a_log_that_does_not_fit_to_the_store_is_refused(works: Works, folder: Path, offset: int, words: str) -> None:
    append(folder, 0, 5, segment_bytes=1)
    assert trim(folder, needed=2, older_than_s=1e12) == 2
    _, ended = works.start(FakeRun(offset))
    with pytest.raises(BrokerError, match=f"events 0: the store stands at offset {offset}, and the topic {words}"):
        ended.result(PATIENCE_S)


def test_a_learner_leaves_out_what_is_gone(works: Works, folder: Path) -> None:
    values = append(folder, 0, 5, segment_bytes=1)
    trim(folder, needed=2, older_than_s=1e12)
    run = FakeRun(1)
    works.start(run, accepts_gaps=True)
    run.wait_for(3)
    assert run.taken == values[2:]


def test_a_new_store_says_of_when_the_oldest_record_is(
    works: Works, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(folder, 0, 5, segment_bytes=1)
    trim(folder, needed=2, older_than_s=1e12)
    (oldest,) = PartitionReader(folder).read(segment_bases(folder)[0], 1)
    run = FakeRun()
    works.start(run)
    run.wait_for(3)
    (told,) = [record.getMessage() for record in caplog.records if "the store is new" in record.getMessage()]
    assert f"of {datetime.fromtimestamp(oldest.log_time_s, UTC):%Y-%m-%d %H:%M} UTC" in told


# --- models, retention, and looking ---------------------------------------------------------------------------------


CATALOG = loads("""
version: 1
name: models
predictions:
  a: {name: A, goal: {did: Order}, window: 7d}
  b: {name: B, goal: {did: Order}, window: 8d}
""")


def snapshot_bytes(version: int) -> bytes:
    import numpy as np

    return Snapshot(version, (), np.zeros((0, BINS), np.int64)).to_bytes()


def test_the_latest_model_of_each_prediction_is_kept_with_its_place(tmp_path: Path) -> None:
    models = LatestModels(CATALOG)
    a, b = (model_key(question_of(CATALOG, name), name) for name in ("a", "b"))
    writer = PartitionWriter(tmp_path)
    writer.append(
        [
            (b"other:a", b"x"),
            (a.encode(), b"no model"),
            (b.encode(), snapshot_bytes(5)),
            (a.encode(), snapshot_bytes(7)),
        ]
    )
    follower = ModelsFollower(tmp_path, models)
    follower.catch_up()
    assert {p: snapshot.version for p, snapshot in models.latest.items()} == {a: 7, b: 5}
    assert models.offsets == {a: 3, b: 2}
    writer.append([(b.encode(), snapshot_bytes(4)), (a.encode(), b"no model")])
    follower.catch_up()
    assert {p: snapshot.version for p, snapshot in models.latest.items()} == {a: 7, b: 5}, "an older one, and none"
    assert models.offsets == {a: 3, b: 2}
    assert models.refused == 2
    following = follower.start()
    writer.append([(b.encode(), snapshot_bytes(9))])
    follower.stop()
    following.result(PATIENCE_S)
    for each in (follower, writer):
        each.close()


def test_old_segments_go_except_what_is_needed(tmp_path: Path) -> None:
    log = LogFolder.make(tmp_path / "log", 1)
    settings = load_settings(log_events_days=10, log_rest_days=2, log_max_gb=1e-6)
    day_s, now_s = 86_400.0, 100 * 86_400.0
    for topic in ("events", "segment-events", "models"):
        for age in (12.0, 11.0, 3.0, 1.0, 0.0):  # days; each a segment
            writer = PartitionWriter(
                log.partition(topic, 0),
                segment_bytes=1,
                clock_s=lambda age=age: now_s - age * day_s,  # type: ignore[misc]
            )
            writer.append([(b"u", b"x")])
            writer.close()
    needed: dict[TopicKind, int | None] = {"events": 4, "segment-events": None, "models": 2}
    trim_topics(log, settings, lambda topic, _: needed.get(topic), now_s)
    kept = {topic: segment_bases(log.partition(topic, 0)) for topic in needed}
    assert kept == {"events": [1, 2, 3, 4], "segment-events": [2, 3, 4], "models": [2, 3, 4]}
    needed["events"] = 2
    trim_topics(log, settings, lambda topic, _: needed.get(topic), now_s + 100 * day_s)
    assert segment_bases(log.partition("events", 0)) == [2, 3, 4], "not worked yet"


def test_a_log_is_looked_at_from_outside(tmp_path: Path) -> None:
    log = LogFolder.make(tmp_path / "log", 2)
    for number in range(2):
        writer = PartitionWriter(log.partition("events", number), clock_s=lambda: 5.5)
        writer.append([(b"u", json.dumps({"n": n}).encode()) for n in range(3)])
        writer.append([(b"u", b"no JSON")])
        writer.close()
    write_worked(log.partition("events", 1), 3)
    found = lag_of(log, "events")
    assert [(lag.end, lag.committed, lag.lag) for lag in found] == [(4, 0, 4), (4, 3, 1)]
    assert [(lag.start, lag.oldest_s) for lag in found] == [(0, 5.5), (0, 5.5)]
    there: list[int] = []
    seen = list(follow(log, "events", from_start=True, limit=8, begin=there.append))
    assert there == [8]
    assert [(s.partition, s.offset) for s in seen] == [(p, n) for p in range(2) for n in range(4)]
    assert (seen[1].body, seen[1].time_ms, seen[3].body, seen[3].raw) == ({"n": 1}, 5_500, None, b"no JSON")
    coming = follow(log, "events")
    later = threading.Timer(0.1, append, (log.partition("events", 0), 0, 1))
    later.start()
    assert [(s.partition, s.offset, s.body) for s in islice(coming, 1)] == [(0, 4, 0)]
    later.join()


def test_the_log_of_a_data_directory_and_a_kafka_are_not_asked_at_once(tmp_path: Path) -> None:
    assert embedded_log(None, kafka="a:1") is None
    with pytest.raises(SettingsError, match="leave out --kafka, or --data-dir"):
        embedded_log(tmp_path, kafka="a:1")
    with pytest.raises(BrokerError, match="holds no log"):
        embedded_log(tmp_path, kafka=None)
