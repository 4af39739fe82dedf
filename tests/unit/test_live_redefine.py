"""Shards and learner of a live stream go on under another catalog, each at its own time, also when they are stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks._warmup import ShortWarmup
from config.catalog import Catalog
from config.definitions import Definitions
from config.errors import CatalogError, Fenced, StoreUnavailable
from config.loader import loads
from models.layout import EPOCH
from models.snapshot import Snapshot
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.core.questions import question_of
from streams.core.state import TURN_EPOCH
from streams.ports import Claim, CommitBatch, Identity, Message
from streams.runtime.definitions import FixedCatalog, LiveCatalog
from streams.runtime.joining import Pasts
from streams.runtime.latest_models import LatestModels
from streams.runtime.learner_run import LearnerRun
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from streams.runtime.since import Since
from tests.unit.test_live_runs import LOG_S, SHARDS, START_S, traffic

BEFORE = loads("""
version: 1
name: live
features: {events: [View, Order]}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 6h}
segments:
  buyers: {name: Has bought, filter: {event: Order, count: {min: 1}}}
""")
AFTER = loads("""
version: 1
name: live
features: {events: [Order, Cart, View], traits: {plan: {values: [free, team]}}}
predictions:
  views: {name: Views, goal: {did: View}, window: 3h}
  orders: {name: Orders soon, goal: {did: Order}, window: 6h}
segments:
  seen: {name: Has looked, filter: {event: View, count: {min: 1}}}
  buyers: {name: Has bought, filter: {event: Order, count: {min: 1}}}
""")


class Stop(Exception):
    """The process ends here."""


class StoppingStore(MemoryStore):
    """Ends the process before call number `calls` of those that replace a state, or right after it."""

    def __init__(self, server: MemoryServer, stops: Stops) -> None:
        super().__init__(server)
        self._stops = stops

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        self._stops.count()
        super().stage(claim, batch, part)
        self._stops.count()

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        if batch.replaces is not None:
            self._stops.count()
        super().commit(claim, batch, trim)
        if batch.replaces is not None:
            self._stops.count()


@dataclass
class Stops:
    at: int = -1
    calls: int = 0

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Stop


class Seen(FixedCatalog):
    """What a run has seen of the definitions; a look shows all of them."""

    newest: list[Catalog]

    def refresh(self) -> Catalog:
        self.catalog = self.newest[-1]
        return self.catalog


@dataclass
class Service:
    """Runs that may be stopped and started anew, with what they have sent."""

    count: int = SHARDS
    pasts: Pasts | None = None
    chunks: list[Record] = field(default_factory=list)
    sinks: dict[str, bytes] = field(default_factory=dict)
    stops: Stops = field(default_factory=Stops)
    models_sent: list[tuple[str, int, bytes]] = field(default_factory=list)
    """(key, version, model)"""

    def __post_init__(self) -> None:
        self.servers = MemoryServer(), MemoryServer()
        self.wanted = [Seen(BEFORE) for _ in range(self.count + 1)]
        self.newest = [BEFORE]
        for each in self.wanted:
            each.newest = self.newest
        self.models = LatestModels(BEFORE)
        self.models.use(AFTER)
        self.sent_models, self.sent = 0, set[bytes]()
        self.shards = [self.start_shard(n) for n in range(self.count)]
        self.learner = self.start_learner()

    def start_shard(self, number: int) -> ShardRun:
        ports, wanted, source = self.ports(0, self.count), self.wanted[number], f"events-{number}"
        run = ShardRun(wanted, ports, shard=number, shards=self.count, source=source, pasts=self.pasts)
        run.assign()
        return run

    def start_learner(self) -> LearnerRun:
        run = LearnerRun(self.wanted[self.count], self.ports(1, 1), partition=0, every=self.count, pasts=self.pasts)
        run.assign()
        return run

    def ports(self, server: int, shards: int) -> Ports:
        store = StoppingStore(self.servers[server], self.stops)
        store.prepare(shards, Identity(catalog="c"))
        return Ports(store, Told(self), self, Patience(lambda _: None), lambda: "g")

    def send(self, messages: Sequence[Message]) -> None:
        for topic, key, data in messages:
            if data in self.sent:
                continue  # sent again after a stop: it would move the places in the log from which versions follow
            self.sent.add(data)
            if topic == "examples":
                self.chunks.append(Record(len(self.chunks), 0.0, data))
            else:
                assert topic == "models"
                self.models.take("models", [(self.sent_models, key.encode(), data, 0.0)])
                self.models_sent.append((key, Snapshot.from_bytes(data).version, data))
                self.sent_models += 1

    def work(self, shard: int, values: list[bytes]) -> None:
        """Up to the end of `values`, of which the beginning may be done; a stop is followed by a start."""
        while True:
            run = self.shards[shard]
            at = run.position.offset
            try:
                run.step([Record(n, LOG_S, value) for n, value in enumerate(values)][at:], self.models.latest, None)
                return
            except Stop:
                self.shards[shard] = self.start_shard(shard)

    def learn(self) -> None:
        while True:
            try:
                self.learner.step(self.chunks[self.learner.position.offset :])
                return
            except Fenced:
                self.learner.assign()

    def turn(self, *numbers: int, to: Catalog = AFTER) -> None:
        for number in numbers:
            self.newest.append(to)
            self.wanted[number].catalog = to

    def transitions(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.sinks.values()]

    def learned(self) -> dict[str, tuple[int, int, int]]:
        return {one.spec.id: (one.learned, one.goals, one.missed) for one in self.learner.learner.predictions}


@dataclass
class Told:
    """A sink that knows ids."""

    service: Service

    def publish(self, entries: Sequence[tuple[str, bytes]]) -> None:
        for _, data in entries:
            key = json.loads(data)["id"]
            assert self.service.sinks.setdefault(key, data) == data

    def close(self) -> None:
        ListSink().close()


@pytest.fixture(autouse=True)
def short_warmup() -> Iterator[None]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield


def run(service: Service, *, changes: dict[int, tuple[int, ...]], rounds: int = 30, learns: bool = True) -> Service:
    """All of the traffic in rounds; before round n the runs `changes[n]` (`SHARDS` is the learner) get `AFTER`."""
    logs = traffic(2_400)
    size = max(map(len, logs)) // rounds + 1
    for round_ in range(rounds):
        service.turn(*changes.get(round_, ()))
        for shard, log in enumerate(logs):
            service.work(shard, log[: size * (round_ + 1)])
        if learns:
            service.learn()
    service.learn()
    return service


EVERYBODY = (*range(SHARDS), SHARDS)


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        ({12: EVERYBODY}, True),
        ({12: (0,), 15: (SHARDS,), 18: (1, 2)}, True),
        ({12: (SHARDS,), 15: (1,), 18: (0, 2)}, True),
        ({12: (0,), 16: (2,), 20: (1,), 29: (SHARDS,)}, False),
    ],
    ids=["at once", "learner between", "learner first", "all chunks at the end"],
)
def test_no_example_is_lost_or_learned_twice_in_whatever_order_they_change(
    changes: dict[int, tuple[int, ...]], learns: bool
) -> None:
    plain, changed = run(Service(), changes={}), run(Service(), changes=changes, learns=learns)
    learned, goals, missed = changed.learned()["orders"]
    assert (learned, goals, missed) == plain.learned()["orders"]
    assert learned > 1_000
    assert changed.learned()["views"][0] > 300
    assert changed.learned()["views"][2] == 0
    assert changed.learner.refused_chunks == changed.learner.foreign_chunks == 0
    names = changed.learner.learner.feature_names
    assert names == tuple(changed.shards[0].shard.vocabulary.feature_names())
    # Of a name that never came there is something to learn, too: for how long it has not come.
    assert learns_from(changed, "orders") - {"since:Cart"} == learns_from(plain, "orders")


def learns_from(service: Service, prediction: str) -> set[str]:
    """Names of the features that the model gives any weight."""
    learner = service.learner.learner
    (model,) = [one.model for one in learner.predictions if one.spec.id == prediction]
    folded = model.fold()
    assert folded is not None
    return {name for name, weight in zip(learner.feature_names, folded[0].tolist(), strict=True) if weight}


def test_what_is_new_begins_empty_and_says_since_when_and_what_was_there_stays() -> None:
    service = run(Service(), changes={12: EVERYBODY})
    shard = service.shards[0].shard
    since = Since.of(service.servers[0].shards[0].blobs)
    assert set(since.predictions) == {"views"}
    assert set(since.events) == {"Cart"}
    assert START_S < since.predictions["views"] < shard.clock_s
    told = service.transitions()
    assert {t["data"]["origin"] for t in told if t["data"]["segment_id"] == "seen"} <= {"backfill", "live"}
    plain = run(Service(), changes={})
    for segment in ("buyers",):
        assert _members(service, segment) == _members(plain, segment)
    assert _members(service, "seen") == {user for run_ in service.shards for user in run_.shard.users.ids}


def _members(service: Service, segment: str) -> set[str]:
    return set().union(*(stored.members.get(segment, set()) for stored in service.servers[0].shards.values()))


def test_a_stop_at_any_step_of_the_change_changes_nothing() -> None:
    whole = run(Service(), changes={12: EVERYBODY})
    calls = whole.stops.calls
    assert calls > 10
    for at in sorted({1, 2, *range(3, calls, 5), calls - 1, calls}):
        stopped = run(Service(stops=Stops(at)), changes={12: EVERYBODY})
        assert stopped.stops.calls > calls - 1
        assert {t["id"]: t for t in stopped.transitions()} == {t["id"]: t for t in whole.transitions()}
        assert stopped.learned() == whole.learned()
        for number in range(SHARDS):
            a, b = stopped.servers[0].shards[number], whole.servers[0].shards[number]
            assert (a.rows, a.scores, a.index, a.members) == (b.rows, b.scores, b.index, b.members)
            assert a.staged is None


def test_a_shard_that_starts_with_another_file_goes_on_with_what_is_stored() -> None:
    service = run(Service(), changes={}, rounds=10)
    before = {user: row for stored in service.servers[0].shards.values() for user, row in stored.rows.items()}
    for number in range(SHARDS):
        service.turn(number)
        service.shards[number] = service.start_shard(number)
        assert service.shards[number].catalog.name == BEFORE.name
        service.work(number, traffic(2_400)[number])
        assert service.shards[number].catalog is AFTER
        assert service.shards[number].users == service.servers[0].shards[number].rows.keys().__len__()
    assert before.keys() == {user for stored in service.servers[0].shards.values() for user in stored.rows}


def bounded(catalog: Catalog, users: int) -> Catalog:
    """With so many users in a commit at most; the loader wants it no lower than one."""
    return catalog.model_copy(update={"limits": catalog.limits.model_copy(update={"commit_users": users})})


@pytest.fixture
def three_parts() -> Iterator[None]:
    """Of a review in one idle turn."""
    with patch("streams.runtime.shard_run.IDLE_PARTS", 3):
        yield


@pytest.mark.usefixtures("three_parts")
def test_members_enter_at_once_in_commits_of_a_bounded_size_while_nothing_comes_and_no_time_passes() -> None:
    service = run(Service(), changes={}, rounds=10)
    after = bounded(AFTER, 2)
    for number, shard in enumerate(service.shards):
        service.turn(number, to=after)
        told, commits, clock_s = len(service.sinks), shard.counts.commits, shard.shard.clock_s
        shard.step([], service.models.latest, None)
        assert shard.users > 6
        assert 4 <= shard.counts.commits - commits <= 5, "models may be one more"
        assert len(service.sinks) - told == 6
        while shard.shard.is_reviewing:
            shard.step([], service.models.latest, None)
        assert shard.shard.clock_s == clock_s
    assert _members(service, "seen") == {user for run_ in service.shards for user in run_.shard.users.ids}
    assert {t["data"]["origin"] for t in service.transitions() if t["data"]["segment_id"] == "seen"} == {"backfill"}


@pytest.mark.usefixtures("three_parts")
def test_a_stop_in_the_middle_of_a_review_repeats_and_loses_nothing() -> None:
    service = run(Service(), changes={}, rounds=10)
    for number in range(SHARDS):
        service.turn(number, to=bounded(AFTER, 1))
        service.shards[number].step([], service.models.latest, None)
        while service.shards[number].shard.is_reviewing:
            service.shards[number] = service.start_shard(number)
            service.shards[number].step([], service.models.latest, None)
    assert _members(service, "seen") == {user for run_ in service.shards for user in run_.shard.users.ids}
    told = [t["subject"] for t in service.transitions() if t["data"]["segment_id"] == "seen"]
    assert len(told) == len(set(told))


def reviewing(service: Service) -> list[int]:
    return [number for number, run_ in enumerate(service.shards) if run_.shard.is_reviewing]


@pytest.mark.usefixtures("three_parts")
def test_another_change_waits_for_the_review_of_the_one_before() -> None:
    service = run(Service(), changes={}, rounds=10)
    shard = service.shards[0]
    service.turn(0, to=bounded(AFTER, 1))
    shard.step([], service.models.latest, None)
    assert reviewing(service) == [0]
    fewer = {name: one for name, one in AFTER.segments.items() if name != "buyers"}
    service.turn(0, to=AFTER.model_copy(update={"segments": fewer}))
    shard.step([], service.models.latest, None)
    assert reviewing(service) == []
    assert service.servers[0].shards[0].members["seen"] == set(shard.shard.users.ids)


def test_a_segment_that_goes_takes_the_generation_with_it() -> None:
    service = run(Service(), changes={}, rounds=10)
    generation = service.servers[0].shards[0].generation
    service.ports(0, SHARDS)
    fewer = BEFORE.model_copy(update={"segments": {}})
    service.turn(0, to=fewer)
    run_ = service.shards[0]
    object.__setattr__(run_._ports, "new_generation", lambda: "another")
    service.work(0, traffic(2_400)[0])
    assert (generation, service.servers[0].shards[0].generation) == ("g", "another")
    assert "buyers" not in service.servers[0].shards[0].members


def test_everybody_has_a_turn_also_when_a_prediction_goes_live_in_the_middle_of_an_hour() -> None:
    service = run(Service(), changes={29: EVERYBODY})
    for shard in service.shards:
        shard.step([], service.models.latest, LOG_S + 20 * 60.0)
        service.learn()
        live = {key: model for key, model in service.models.latest.items() if key.endswith(":orders")}
        shard.step([], live, LOG_S + 25 * 60.0)
        shard.step([], live, LOG_S + 27 * 60.0)
        users, turn = shard.shard.users, int(shard.shard.si[TURN_EPOCH])
        assert turn > 0
        assert min(users.rows.u[: len(users), EPOCH].tolist()) >= turn


# --- where the catalog comes from ------------------------------------------------------------------------------------


@dataclass
class ListKept:
    """Definitions in memory."""

    definitions: Definitions = field(default_factory=lambda: Definitions(0, {}, {}))
    is_away: bool = False
    reads: int = 0

    def revision(self) -> int:
        if self.is_away:
            raise StoreUnavailable("away")
        return self.definitions.revision

    def read(self) -> Definitions:
        self.reads += 1
        return self.definitions


def test_a_definition_is_read_once_and_one_that_does_not_fit_leaves_what_was() -> None:
    kept = ListKept()
    live = LiveCatalog(BEFORE, kept)
    assert live.catalog is BEFORE
    kept.definitions = Definitions(1, {"views": AFTER.predictions["views"]}, {})
    first = live.refresh()
    assert list(first.predictions) == ["orders", "views"]
    assert live.refresh() is first
    assert kept.reads == 1
    using = loads(
        "{version: 1, name: x, predictions: {p: {name: P, goal: {did: Order}, window: 7d}}, "
        "segments: {s: {name: S, filter: {prediction: p, category: high}}}}"
    )
    kept.definitions = Definitions(2, {}, {"s": using.segments["s"]})
    assert live.refresh() is first
    with pytest.raises(CatalogError):
        LiveCatalog(BEFORE, kept)


def test_questions_differ_by_what_is_learned_alone() -> None:
    a, b = BEFORE.predictions["orders"], AFTER.predictions["orders"]
    assert a != b
    assert question_of(BEFORE, "orders") == question_of(AFTER, "orders")
    longer = BEFORE.model_copy(update={"predictions": {"orders": a.model_copy(update={"window_s": 7 * 3600.0})}})
    assert question_of(longer, "orders") != question_of(BEFORE, "orders")
