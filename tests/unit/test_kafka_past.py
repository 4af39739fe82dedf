"""Several workers let new definitions learn from the log: one reads, all take over, whoever ends meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from benchmarks._warmup import ShortWarmup
from config.catalog import Catalog
from config.settings import Settings, load_settings
from streams.adapters.definition_store import Past
from streams.adapters.memory_past import MemoryPast
from streams.adapters.past_store import LEASE_S, Joined, Standing
from streams.runtime.kafka import past as kafka_past
from streams.runtime.kafka import past_lead
from streams.runtime.kafka.past import KafkaPasts
from streams.runtime.kafka.past_lead import PastJob
from streams.runtime.kafka.read_past import AWAY, Task, offer_to
from streams.runtime.past_reading import Progress
from streams.runtime.records import Record, Run
from tests.unit.test_history import history
from tests.unit.test_live_redefine import AFTER, BEFORE, Seen, Service, run
from tests.unit.test_live_runs import LOG_S, SHARDS, traffic

LOGS = traffic(2_400)
SIZE = max(map(len, LOGS)) // 30 + 1


@pytest.fixture(autouse=True)
def short_warmup() -> Iterator[None]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield


@dataclass
class Shared(MemoryPast):
    """Standings are what the shards have stored."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(lambda: self.now_s)
        self.shards: Mapping[int, Any] = {}

    def standings(self, shards: int) -> list[Standing]:
        blobs = [self.shards[n].blobs if n in self.shards else {} for n in range(shards)]
        return [Standing(one.get("catalog"), one.get("since")) for one in blobs]


class TwoWorkers(Service):
    """The first worker has shard 0 and the learner, the second one the other shards."""

    def __init__(self) -> None:
        self.shared = Shared()
        self.told: list[Past] = []
        self.live = [Seen(BEFORE), Seen(BEFORE)]
        self.workers = [self.worker(n) for n in range(2)]
        super().__init__()
        self.shared.shards = self.servers[0].shards

    def worker(self, number: int) -> KafkaPasts:
        settings, live = load_settings(shards=SHARDS), self.live[number]
        job = PastJob(settings, "redis://nowhere", "tl", live, None, self.told.append, b"")
        return KafkaPasts(job, lambda: self.runs(number), lambda: {0: self.learner} if number == 0 else {})

    def runs(self, number: int) -> dict[int, Run]:
        return {n: run for n, run in enumerate(self.shards) if (n > 0) == (number == 1)}

    def start_shard(self, number: int) -> Any:
        self.pasts = self.workers[number > 0]
        return super().start_shard(number)

    def start_learner(self) -> Any:
        self.pasts = self.workers[0]
        return super().start_learner()

    def define(self, catalog: Catalog = AFTER) -> None:
        self.turn(*range(SHARDS + 1), to=catalog)
        for live in self.live:
            live.catalog = catalog

    def round(self, number: int, *looking: int) -> None:
        """Each shard works its share, the learner learns, and these workers look."""
        for shard, log in enumerate(LOGS):
            self.work(shard, log[: SIZE * (number + 1)])
        self.learn()
        for worker in looking:
            self.workers[worker].look(self.shared)


@dataclass
class Reading:
    """Takes the place of the process: what it does is done at once."""

    service: TwoWorkers
    statuses: list[int | None] = field(default_factory=list)
    """What the next ones end with; 0 when none is left."""
    meanwhile: Callable[[], None] = lambda: None
    tasks: list[Task] = field(default_factory=list)
    offered: list[bool] = field(default_factory=list)

    def __call__(self, module: str, task: bytes, *, folder: Path, log: Path) -> Reading:
        assert module == "streams.runtime.kafka.read_past"
        assert folder.is_dir()
        assert log.parent == folder
        self.tasks.append(msgspec.msgpack.decode(task, type=Task))
        return self

    def wait(self, look_s: float, is_wanted: Callable[[], bool], tell: Callable[[Progress], None]) -> int | None:
        assert look_s > 0
        assert is_wanted()
        tell(self.progress())
        task, ends = self.tasks[-1], [run_.position.offset for run_ in self.service.shards]
        self.meanwhile()
        if not is_wanted():
            return None
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            found = history(AFTER, [log[:end] for log, end in zip(LOGS, ends, strict=True)])
            self.offered.append(offer_to(self.service.shared, task, found))
        return status

    def progress(self) -> Progress:
        return Progress(5, 9)

    def last_words(self) -> str:
        return "no words"


class Partition:
    """Of the log, for a shard that takes over."""

    end = 0

    def __init__(self, log: Sequence[bytes]) -> None:
        self._log = log

    def read(self, offset: int, most: int) -> list[Record]:
        found = [Record(n, LOG_S, value) for n, value in enumerate(self._log)]
        return found[offset : min(offset + most, self.end)]


@contextmanager
def partition(settings: Settings, number: int) -> Iterator[Partition]:
    assert settings.shards == SHARDS
    yield Partition(LOGS[number])


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> TwoWorkers:
    monkeypatch.setattr(kafka_past, "EXAMPLES_PARTITIONS", 1)  # there is one learner
    monkeypatch.setattr(past_lead, "AGAIN_S", 0.0)
    monkeypatch.setattr(kafka_past, "kafka_partition", partition)
    return TwoWorkers()


@pytest.fixture
def reading(service: TwoWorkers, monkeypatch: pytest.MonkeyPatch) -> Reading:
    found = Reading(service)
    monkeypatch.setattr(past_lead, "ReadingProcess", found)
    return found


def is_over(service: TwoWorkers) -> bool:
    return all(run_.since.is_complete and run_.catalog is AFTER for run_ in service.shards)


def check_the_end(service: TwoWorkers) -> None:
    """As if it had always been there, and nothing is left."""
    service.learn()
    always = Service()
    always.turn(*range(SHARDS + 1))
    run(always, changes={})
    assert is_over(service)
    assert service.learned() == always.learned()
    assert all(run_.shard.serves(0) for run_ in service.shards)
    board = service.shared.read()
    assert (board.offer, board.holder, service.shared.parts) == (None, None, {})
    assert service.told[-1].phase == "done"


def test_one_of_two_workers_reads_and_both_take_over(service: TwoWorkers, reading: Reading) -> None:
    for n in range(30):
        if n == 12:
            service.define()
        service.round(n, 0, 1)
    check_the_end(service)
    assert len(reading.tasks) == 1
    assert [told.phase for told in service.told] == ["reading", "joining", "done"]
    assert (reading.tasks[0].predictions, service.told[0].predictions) == (["views"], ["views"])
    assert (service.told[0].records, service.told[0].of) == (5, 9)


def test_where_the_worker_that_reads_is_gone_another_one_reads_when_its_lease_is_over(
    service: TwoWorkers, reading: Reading
) -> None:
    reading.statuses = [None]  # it is killed meanwhile
    for n in range(30):
        if n == 12:
            service.define()
        if n == 14:
            service.shared.now_s = LEASE_S - 1.0
        if n == 16:
            assert (len(reading.tasks), service.shared.read().holder is None) == (1, False)
            service.shared.now_s = 2 * LEASE_S
        service.round(n, *([0] if n == 12 else [1] if n <= 20 else [0, 1]))
    check_the_end(service)
    assert [task.epoch for task in reading.tasks] == [1, 2]


def test_what_was_read_before_another_worker_took_over_is_refused(service: TwoWorkers, reading: Reading) -> None:
    def sleeps() -> None:
        if len(reading.tasks) == 1:
            service.shared.now_s += LEASE_S
            epoch = service.shared.take("another one")
            assert epoch == 2
            found = history(AFTER, [log[:9] for log in LOGS])
            assert not offer_to(service.shared, reading.tasks[0], found)
            service.shared.release("another one")

    reading.meanwhile = sleeps
    for n in range(30):
        if n == 12:
            service.define()
        service.round(n, 0, 1)
    service.shared.parts = {k: v for k, v in service.shared.parts.items() if k[0] != reading.tasks[0].id}  # as expiry
    check_the_end(service)
    assert [task.epoch for task in reading.tasks] == [1, 3]
    assert reading.offered == [True]


def test_whoever_takes_over_while_it_joins_goes_on_with_what_was_read(service: TwoWorkers, reading: Reading) -> None:
    for n in range(30):
        if n == 12:
            service.define()
        service.round(n, *([0] if n <= 14 else [1] if n < 25 else [0, 1]))
        if n == 14:
            assert service.shared.read().offer is not None
            assert not is_over(service)
            service.shared.now_s += LEASE_S
    check_the_end(service)
    assert len(reading.tasks) == 1


def test_a_second_definition_while_the_first_is_offered_has_all_read_anew(
    service: TwoWorkers, reading: Reading
) -> None:
    for n in range(30):
        if n == 12:
            service.define()
        if n == 14:
            assert service.shared.read().offer is not None
            service.define(SECOND)
        if n == 15:
            service.define()
        service.round(n, 0, 1)
    check_the_end(service)
    assert len(reading.tasks) == 2
    assert reading.tasks[0].id != reading.tasks[1].id


SECOND = AFTER.model_copy(update={"name": "another"})


def test_a_log_that_cannot_be_read_is_given_up_by_all_and_one_that_is_away_is_not(
    service: TwoWorkers, reading: Reading
) -> None:
    reading.statuses = [AWAY, 1, AWAY, AWAY, 1, AWAY, 1, 1]
    for n in range(30):
        if n == 12:
            service.define()
        service.round(n, 0, 1)
    service.learn()
    assert len(reading.tasks) == 7
    assert service.told[-1].phase == "failed"
    assert not any(worker.are_coming for worker in service.workers)
    assert service.learned()["views"][0] > 100, "it learns from then on"
    assert not is_over(service)
    assert service.shared.read().holder is None


def test_shards_wait_for_the_learners_of_all_partitions(monkeypatch: pytest.MonkeyPatch, service: TwoWorkers) -> None:
    monkeypatch.setattr(kafka_past, "examples_partition", {"views": 0, "orders": 5}.__getitem__)
    for n in range(12):
        service.round(n)
    service.define()
    service.round(12)
    epoch = service.shared.take("another one")
    assert epoch is not None
    task = Task(b"", service.workers[0]._digest_of(AFTER), {}, "", "tl", "one", epoch, ["orders", "views"], "", b"")
    assert offer_to(service.shared, task, history(AFTER, [log[:9] for log in LOGS]))
    worker = service.workers[0]

    def seen() -> Any:
        worker.look(service.shared)
        return worker.of_shard(0, AFTER)

    assert seen() is None
    assert worker.of_learner(3, AFTER) is None
    joining = worker.of_learner(0, AFTER)
    assert joining is not None
    assert joining.predictions == {"views"}
    worker.learner_joined(0, "one", 12, 50.0)
    assert seen() is None
    assert service.shared.read().joined == {0: Joined("one", 12, 50.0)}
    service.shared.joined(5, Joined("earlier", 3))
    assert seen() is None
    service.shared.joined(5, Joined("one", 30))
    assert seen().versions == {"views": 12, "orders": 30}
    assert seen().begun_s == {"views": 50.0, "orders": 0.0}


def test_a_shard_that_waits_for_what_is_not_offered_has_it_read_anew(service: TwoWorkers, reading: Reading) -> None:
    """Found by a reader: a change that was taken back had one shard rewrite itself in every step."""
    names = (f"n{n}" for n in count())
    service.shards[1]._ports = replace(service.shards[1]._ports, new_generation=lambda: next(names))
    without = AFTER.model_copy(
        update={"predictions": {k: v for k, v in AFTER.predictions.items() if k != "orders"}, "segments": {}}
    )
    went_back = False
    for n in range(60):
        if n == 12:
            service.define()
        service.round(n, 0, 1)
        if not went_back and service.shared.read().offer is not None:
            for catalog in (without, AFTER):  # shard 1 alone sees both; who leads sees neither
                service.turn(1, to=catalog)
                service.shards[1].step([], service.models.latest, None)
            went_back = True
            before = service.shards[1].counts.commits
            for _ in range(5):
                service.shards[1].step([], service.models.latest, None)
            assert service.shards[1].counts.commits - before <= 1, "it does not take over what does not concern it"
        if went_back and service.shards[1].since.is_complete:
            break
    assert service.shards[1].since.is_complete
    assert len(reading.tasks) == 2
