"""A shard and a learner of a live stream: how time passes while nothing comes, what a failed start leaves, and what is
noticed of a store that went back in time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import pytest

from config.errors import BrokerUnavailable, Stopped, StoreUnavailable
from config.loader import loads
from models.snapshot import BINS, Snapshot
from streams.adapters.memory_sinks import ListCourier, ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.core.questions import question_of
from streams.ports import Claim, Identity, Loaded, Message, OutboxEntry
from streams.runtime import shard_run
from streams.runtime.latest_models import model_key
from streams.runtime.learner_run import LearnerRun
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from tests.unit.test_snapshot import prediction

T0 = 1_704_240_000.0
CATALOG = loads(
    """
version: 1
name: live
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 1h}
segments:
  buyers: {name: Buyers, filter: {event: Order, count: {min: 1}}}
"""
)


class Away:
    """A sink and a courier that take nothing until they are told to."""

    def __init__(self) -> None:
        self.is_away = False
        self.sink, self.courier = ListSink(), ListCourier()

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        self._look()
        self.sink.publish(entries)

    def send(self, messages: Sequence[Message]) -> None:
        self._look()
        self.courier.send(messages)

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")


def ports_on(server: MemoryServer, away: Away) -> Ports:
    store = MemoryStore(server)
    store.prepare(1, Identity(catalog="c"))
    names = count()
    return Ports(store, away, away, Patience(lambda _: None, attempts=2), lambda: f"g{next(names)}")


def run_on(server: MemoryServer, away: Away) -> ShardRun:
    return ShardRun(CATALOG, ports_on(server, away), shard=0, shards=1, source="events-0")


def record(offset: int, event_s: float, log_s: float, user: str = "ann", event: str = "Order") -> Record:
    body = {
        "type": "track",
        "userId": user,
        "event": event,
        "timestamp": datetime.fromtimestamp(event_s, UTC).isoformat(),
        "messageId": str(offset),
    }
    return Record(offset, log_s, json.dumps(body).encode())


@pytest.mark.parametrize("chunks_read", [0, 2])
def test_a_shard_that_is_let_go_while_it_loads_is_not_loaded_to_the_end(chunks_read: int) -> None:
    server, read = MemoryServer(), list[int]()

    class Long(MemoryStore):
        def load(self, claim: Claim) -> Loaded:
            loaded = super().load(claim)
            loaded.rows = self._many(loaded.rows)
            return loaded

        def _many(self, rows: Iterator[list[Any]]) -> Iterator[list[Any]]:
            for n, chunk in enumerate([*rows, *([] for _ in range(100))]):
                read.append(n)
                yield chunk

    first = run_on(server, Away())
    first.assign()
    first.step([record(0, T0, T0)], {}, None)
    store = Long(server)
    store.prepare(1, Identity(catalog="c"))
    ports = replace(ports_on(server, Away()), store=store, is_let_go=lambda: len(read) > chunks_read)
    run = ShardRun(CATALOG, ports, shard=0, shards=1, source="events-0")
    with pytest.raises(Stopped):
        run.assign()
    assert not run.is_loaded
    assert len(read) == chunks_read + 1


def test_nobody_waits_for_a_store_that_is_away_once_a_shard_is_let_go() -> None:
    slept: list[float] = []

    class Down(MemoryStore):
        def load(self, claim: Claim) -> Loaded:
            raise StoreUnavailable(f"away: {claim.shard}")

    patience = Patience(slept.append, attempts=30)
    store = Down(MemoryServer())
    store.prepare(1, Identity(catalog="c"))
    ports = replace(
        ports_on(MemoryServer(), Away()),
        store=store,
        patience=patience,
        is_let_go=lambda: len(slept) == 3,
    )
    with pytest.raises(Stopped):
        ShardRun(CATALOG, ports, shard=0, shards=1, source="events-0").assign()
    assert len(slept) == 3


def test_an_idle_shard_s_clock_keeps_pace_with_the_wall_clock() -> None:
    run = run_on(MemoryServer(), Away())
    run.assign()
    run.step([record(0, T0, T0 + 5.0)], {}, None)
    for second in range(1, 200):
        run.step([], {}, T0 + 5.0 + second)
    assert run.shard.clock_s == T0 + 199.0


def test_a_wall_clock_that_goes_back_stops_the_time_until_it_has_caught_up() -> None:
    run = run_on(MemoryServer(), Away())
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    for now_s in (100.0, 40.0, 90.0, 110.0):
        run.step([], {}, T0 + now_s)
    assert run.shard.clock_s == T0 + 110.0


def test_records_that_do_not_move_the_clock_do_not_hold_time_up() -> None:
    run = run_on(MemoryServer(), Away())
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    for k in range(1, 50):
        run.step([record(k, T0 - 60.0, T0 + 10.0 * k), Record(100 + k, T0 + 10.0 * k, b"no json")], {}, None)
        run.step([], {}, T0 + 10.0 * k + 1.0)
    assert run.shard.clock_s == T0 + 491.0


def test_nor_do_they_when_they_come_in_one_batch_with_what_moved_it() -> None:
    """Found by the simulator: after a pause of an hour, the clock of a shard was an hour late until its next event."""
    run = run_on(MemoryServer(), Away())
    run.assign()
    late, broken = record(1, T0 - 60.0, T0 + 3_600.0), Record(2, T0 + 3_600.0, b"no json")
    run.step([record(0, T0, T0 + 5.0), late, broken], {}, None)
    run.step([], {}, T0 + 3_601.0)
    assert run.shard.clock_s == T0 + 3_596.0


@pytest.mark.parametrize("batches", [1, 2])
def test_a_record_that_was_under_way_for_long_does_not_slow_the_clock(batches: int) -> None:
    """Found by reading: if it moved the clock, that was held back in every silence by as much as it was late."""
    run = run_on(MemoryServer(), Away())
    run.assign()
    records = [record(0, T0, T0 + 5.0), record(1, T0 + 60.0, T0 + 660.0)]
    for batch in [records] if batches == 1 else [[one] for one in records]:
        run.step(batch, {}, None)
    assert run.shard.clock_s == T0 + 60.0
    run.step([], {}, T0 + 661.0)
    assert run.shard.clock_s == T0 + 656.0


def test_nor_does_one_that_comes_when_time_has_passed_in_silence() -> None:
    run = run_on(MemoryServer(), Away())
    run.assign()
    run.step([record(0, T0, T0 + 5.0)], {}, T0 + 1_000.0)
    assert run.shard.clock_s == T0 + 995.0
    run.step([record(1, T0 + 990.0, T0 + 2_000.0)], {}, None)
    run.step([], {}, T0 + 2_001.0)
    assert run.shard.clock_s == T0 + 1_996.0


def test_a_fast_clock_puts_the_shards_clock_ahead_once_and_not_in_every_silence() -> None:
    run = run_on(MemoryServer(), Away())
    run.assign()
    far = run.catalog.time.max_ahead_s
    run.step([record(0, T0 + far, T0), record(1, T0 + far + 61.0, T0 + 60.0)], {}, None)
    assert run.shard.clock_s == T0 + far  # the second one is of its log time: too far ahead
    run.step([record(2, T0 + 400.0, T0 + 400.0), record(1, T0 + 500.0, T0 + 400.0)], {}, T0 + 450.0)
    assert run.shard.clock_s == T0 + 450.0  # a duplicate's lead is none, and silence takes it no further than that


def test_time_that_passed_and_was_saved_does_not_pass_again_after_a_restart() -> None:
    server, away = MemoryServer(), Away()
    first = run_on(server, away)
    first.assign()
    first.step([record(0, T0, T0)], {}, None)
    first.step([], {}, T0 + 7_200.0)  # hands examples over, so it commits
    assert first.counts.commits == 2
    second = run_on(server, away)
    second.assign()
    second.step([], {}, T0 + 7_300.0)
    assert second.shard.clock_s == T0 + 7_300.0


def test_a_commit_within_a_silence_stands_at_the_time_that_it_has_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the simulator: labels were stored of hours that the stored clock had yet to come to."""
    monkeypatch.setattr(shard_run, "COMMIT_CHUNK_BYTES", 0)
    server, away = MemoryServer(), Away()
    first = run_on(server, away)
    first.assign()
    first.step([record(0, T0, T0 + 5.0)], {}, None)
    away.is_away = True
    with pytest.raises(BrokerUnavailable):  # in the commit of the first hour of which labels are known
        first.step([], {}, T0 + 9 * 3_600.0)
    second = run_on(server, Away())
    second.assign()
    assert second.position.log_time_s == second.shard.clock_s + 5.0
    assert T0 < second.shard.clock_s == second.shard.hour * 3_600.0
    second.step([record(1, T0 + 1_800.0, second.position.log_time_s)], {}, None)
    assert second.shard.counters()["late_goals"] == 1
    assert second.shard.clock_s == second.shard.hour * 3_600.0
    second.step([], {}, T0 + 9 * 3_600.0)
    assert second.shard.clock_s == T0 + 9 * 3_600.0 - 5.0


def test_a_start_that_cannot_publish_the_outbox_is_no_start() -> None:
    server, away = MemoryServer(), Away()
    first = run_on(server, away)
    first.assign()
    away.is_away = True
    with pytest.raises(BrokerUnavailable):
        first.step([record(0, T0, T0)], {}, None)
    second = run_on(server, away)
    with pytest.raises(BrokerUnavailable):
        second.assign()
    assert not second.is_loaded
    away.is_away = False
    second.assign()
    assert len(away.sink.published) == 1


def test_a_store_set_back_after_a_failed_start_is_noticed() -> None:
    server, away = MemoryServer(), Away()
    run = run_on(server, away)
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    earlier = server.copy()
    run_on(server, away).assign()  # another worker, for one commit
    other = run_on(server, away)
    other.assign()
    away.is_away = True
    with pytest.raises(BrokerUnavailable):
        other.step([record(1, T0 + 1.0, T0, user="bob")], {}, None)
    with pytest.raises(BrokerUnavailable):
        run.assign()  # it has seen the second commit
    away.is_away = False
    server.shards = earlier.shards
    run.assign()
    assert run.counts.set_back == 1
    assert run.position.offset == 1


def test_a_store_set_back_while_a_commit_was_being_published_is_noticed() -> None:
    server, away = MemoryServer(), Away()
    run = run_on(server, away)
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    earlier = server.copy()
    away.is_away = True
    with pytest.raises(BrokerUnavailable):  # some of it may have been seen
        run.step([record(1, T0 + 1.0, T0, user="bob")], {}, None)
    away.is_away = False
    server.shards = earlier.shards
    run.assign()
    assert run.counts.set_back == 1


def test_a_store_that_goes_back_twice_to_the_same_copy_gets_a_generation_each_time() -> None:
    server, away = MemoryServer(), Away()
    run = run_on(server, away)
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    earlier = server.copy()
    run.step([record(1, T0 + 1.0, T0, user="bob")], {}, None)
    generations = [server.shards[0].generation]
    for _ in range(3):
        server.shards = earlier.copy().shards
        run.assign()
        generations.append(server.shards[0].generation)
    assert len(set(generations)) == 4
    assert run.counts.set_back == 3


@pytest.mark.parametrize("commits", [0, 1])
def test_a_store_that_goes_back_behind_its_latest_generation_gets_a_new_one(commits: int) -> None:
    server, away = MemoryServer(), Away()
    first = run_on(server, away)
    first.assign()
    first.step([record(0, T0, T0)], {}, None)
    earlier = server.copy()
    first.step([record(1, T0 + 1.0, T0, user="bob")], {}, None)
    server.shards = earlier.copy().shards
    first.assign()  # a second generation
    second = run_on(server, away)  # which is all that this one knows
    second.assign()
    for _ in range(commits):
        second.step([record(1, T0 + 1.0, T0, user="bob")], {}, None)
    server.shards = earlier.copy().shards
    second.assign()
    assert second.counts.set_back == 1


def test_partitions_that_go_to_and_fro_keep_their_generation() -> None:
    server, away = MemoryServer(), Away()
    runs = [run_on(server, away), run_on(server, away)]
    for offset in range(6):
        run = runs[offset % 2]
        run.assign()
        run.step([record(offset, T0 + offset, T0 + offset)], {}, None)
    assert [run.counts.set_back for run in runs] == [0, 0]


def test_a_learner_that_cannot_send_what_is_left_has_not_started() -> None:
    shards, server, away = MemoryServer(), MemoryServer(), Away()
    run = run_on(shards, away)
    run.assign()
    run.step([record(0, T0, T0)], {}, None)
    run.step([], {}, T0 + 7_200.0)
    chunks = [Record(n, T0, message.data) for n, message in enumerate(away.courier.sent)]
    assert chunks

    def learner() -> LearnerRun:
        return LearnerRun(CATALOG, ports_on(server, away), partition=0, every=1)

    first = learner()
    first.assign()
    away.is_away = True
    with pytest.raises(BrokerUnavailable):
        first.step(chunks)
    second = learner()
    with pytest.raises(BrokerUnavailable):
        second.assign()
    assert not second.is_loaded
    away.is_away = False
    second.assign()
    assert second.position.offset == len(chunks)
    assert {message.topic for message in away.courier.sent[len(chunks) :]} == {"models"}


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_that_is_in_force_before_a_name_is_found_knows_of_it_afterwards() -> None:
    """As where a store was made anew, or went back, and its learner has gone on."""
    visits = [record(0, T0, T0), record(1, T0 + 1.0, T0 + 1.0, event="Visit"), record(2, T0 + 2.0, T0 + 2.0)]
    before = run_on(MemoryServer(), Away())
    before.assign()
    before.step(visits, {}, None)
    names = tuple(before.shard.vocabulary.feature_names())
    learned = prediction(len(names), version=7, weights=np.linspace(1.0, 2.0, len(names)))
    model = Snapshot(7, (learned,), np.zeros((1, BINS), np.int64), names)
    models = {model_key(question_of(CATALOG, "orders"), "orders"): model}
    run = run_on(MemoryServer(), Away())
    run.assign()
    run.step(visits[:1], models, None)
    run.step(visits[1:2], models, None)
    assert tuple(run.shard.vocabulary.feature_names()) == names
    in_force = run.shard.snapshot.predictions[0]
    nowhere = [name for name, weight in zip(names, in_force.weights, strict=True) if weight == 0.0]
    assert nowhere
    assert all(name.endswith("Visit") or ":Visit:" in name for name in nowhere)
    run.step(visits[2:], models, None)
    in_force = run.shard.snapshot.predictions[0]
    assert in_force.version == 7
    assert (in_force.weights == learned.weights).all()
    assert (in_force.means == learned.means).all()
    version = run.shard.snapshot.version
    run.step([record(3, T0 + 3.0, T0 + 3.0)], models, None)
    assert run.shard.snapshot.version == version, "there is nothing more to know"


def test_a_model_that_is_read_late_after_a_restart_completes_the_one_in_force() -> None:
    """The topic of models is read beside the first batches."""
    server = MemoryServer()
    visits = [record(0, T0, T0), record(1, T0 + 1.0, T0 + 1.0, event="Visit"), record(2, T0 + 2.0, T0 + 2.0)]
    before = run_on(MemoryServer(), Away())
    before.assign()
    before.step(visits, {}, None)
    names = tuple(before.shard.vocabulary.feature_names())
    learned = prediction(len(names), version=7, weights=np.linspace(1.0, 2.0, len(names)))
    model = Snapshot(7, (learned,), np.zeros((1, BINS), np.int64), names)
    models = {model_key(question_of(CATALOG, "orders"), "orders"): model}
    first = run_on(server, Away())
    first.assign()
    first.step(visits[:1], models, None)
    first.step(visits[1:2], models, None)
    again = run_on(server, Away())
    again.assign()
    again.step(visits[2:], {}, None)
    assert (again.shard.snapshot.predictions[0].weights == 0.0).any()
    again.step([record(3, T0 + 3.0, T0 + 3.0)], models, None)
    assert (again.shard.snapshot.predictions[0].weights == learned.weights).all()
