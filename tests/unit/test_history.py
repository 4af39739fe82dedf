"""What is defined late learns from the log, and ends as if it had always been there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from unittest.mock import patch

import msgspec
import pytest

from benchmarks._warmup import ShortWarmup
from config.catalog import Catalog
from models.learner import Learner
from models.pipeline import CompiledLogistic
from models.snapshot import Status
from streams.core.decode import SegmentDecoder
from streams.core.ledger import cluster_id, ledger_name
from streams.core.message_hash import id_hash, place_hash
from streams.core.shard import Shard
from streams.runtime.history import NOBODY_GONE, Gone, HistoryRun, PastLearner, PastShard
from streams.runtime.joining import JoiningLearner, JoiningShard
from streams.runtime.lockstep import LockStep
from streams.runtime.records import Record
from tests.unit.test_live_redefine import AFTER, Service, run
from tests.unit.test_live_runs import LOG_S, SHARDS, START_S, event, traffic


@pytest.fixture(autouse=True)
def short_warmup() -> Iterator[None]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield


def together(n: int) -> list[bytes]:
    """The traffic of all shards as one partition, in the order of time."""
    values = [value for log in traffic(n) for value in log]
    return sorted(values, key=lambda value: str(msgspec.json.decode(value)["timestamp"]))


def records(values: Sequence[bytes]) -> list[Record]:
    return [Record(n, LOG_S, value) for n, value in enumerate(values)]


def lock_step(catalog: Catalog, values: Sequence[bytes]) -> LockStep:
    engine, decoder, source = LockStep(catalog, generation="g"), SegmentDecoder(catalog), id_hash("events-0")
    for n, value in enumerate(values):
        engine.take([decoder.decode(value, n, LOG_S, place_hash(source, n))])
    return engine


def history(catalog: Catalog, logs: Sequence[Sequence[bytes]], gone: Gone = NOBODY_GONE) -> HistoryRun:
    found = HistoryRun(catalog, shards=len(logs), source=lambda n: f"events-{n}", gone=gone)
    told: list[int] = []
    whole = [records(log) for log in logs]
    found.run(lambda n, offset, most: whole[n][offset : offset + most], [len(log) for log in logs], told.append)
    assert told[-1] == sum(map(len, logs))
    assert told == sorted(told)
    return found


def test_the_past_of_one_shard_is_bit_for_bit_what_lock_step_gives() -> None:
    values = together(1_500)
    past, engine = history(AFTER, [values]), lock_step(AFTER, values)
    for a, b in zip(past.learner.predictions, engine.learner.predictions, strict=True):
        assert isinstance(a.model, CompiledLogistic)
        assert isinstance(b.model, CompiledLogistic)
        assert a.model.to_bytes() == b.model.to_bytes()
        assert (a.learned, a.goals, a.warmup.left) == (b.learned, b.goals, b.warmup.left)
    assert rows_of(past.shards[0]) == rows_of(engine.shard)
    assert {one.status for one in past.shards[0].snapshot.predictions} == {Status.LIVE}
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(past.shard_state(0)), type=PastShard)
    assert rows_of(stored.load(AFTER, shard=0, shards=1, codec=None)) == rows_of(engine.shard)


def rows_of(shard: Shard) -> dict[str, bytes]:
    return {user: shard.users.buffer[row].tobytes() for row, user in enumerate(shard.users.ids) if user}


def test_several_shards_learn_every_example_once_and_are_never_an_hour_apart() -> None:
    logs = traffic(2_400)
    alone = [history(AFTER, [log]).learner.predictions for log in logs]
    past = history(AFTER, logs)
    for p, one in enumerate(past.learner.predictions):
        assert one.learned == sum(each[p].learned for each in alone) > 500
        assert one.goals == sum(each[p].goals for each in alone)
    found = past.learned()
    assert set(found.serves) == {"views", "orders"}
    assert {name: set(counts) for name, counts in found.counts.items()} == {"views": {0, 1, 2}, "orders": {0, 1, 2}}


KEY = b"k" * 32


def deletion(user: str, time_s: float, number: int) -> bytes:
    when = datetime.fromtimestamp(time_s, UTC).isoformat()
    return msgspec.json.encode({"type": "delete", "userId": user, "timestamp": when, "messageId": f"d{number}"})


def test_nothing_is_learned_of_a_user_who_was_deleted_before_the_log_is_read() -> None:
    values = [*together(1_200), deletion("user-7", START_S + 1_300 * 60.0, 1)]
    live = history(AFTER, [values], Gone(KEY))
    known = live.shards[0].ledger.copy()
    assert [name for name, _ in known] == [ledger_name(KEY, "user-7")]
    learned: list[int] = []
    with patch.object(Learner, "learn", autospec=True, side_effect=lambda _, chunk: learned.extend(chunk.user)):
        past = history(AFTER, [values], Gone(KEY, [known]))
    assert cluster_id(KEY, "user-8") in learned
    assert cluster_id(KEY, "user-7") not in learned
    assert past.shards[0].users.find("user-7") is None
    stored = msgspec.msgpack.encode([past.shard_state(0), past.learned()])
    assert b"user-8" in stored
    assert b"user-7" not in stored
    assert ledger_name(b"", "user-7").encode() not in stored


def test_rows_of_users_who_are_deleted_on_the_way_are_given_again() -> None:
    values = [
        value
        for n in range(3_000)
        for value in (event(f"user-{n}", "View", START_S + n, n), deletion(f"user-{n}", START_S + n + 0.5, n))
    ]
    (shard,) = history(AFTER, [values]).shards
    assert shard.counters()["deleted_users"] == 3_000
    assert len(shard.users) < 2_100, "a batch of them"
    assert history(AFTER, [values]).shard_state(0).rows == []


@dataclass
class MemoryPasts:
    """What was read, for those who ask."""

    are_coming: bool = True
    logs: Sequence[Sequence[bytes]] = ()
    past: PastLearner | None = None
    states: list[PastShard] = field(default_factory=list)
    readings: int = 0
    version: int | None = None
    told: list[tuple[str, int]] = field(default_factory=list)
    """What learners have said."""
    joined: list[int] = field(default_factory=list)
    may_join: frozenset[int] = frozenset(range(SHARDS))

    def read(self, logs: Sequence[Sequence[bytes]], ends: Sequence[int]) -> None:
        found = history(AFTER, [log[:end] for log, end in zip(logs, ends, strict=True)])
        self.past, self.logs, self.version = found.learned(), logs, None
        self.readings += 1
        self.states = [found.shard_state(n) for n in range(len(logs))]

    def of_learner(self, partition: int, catalog: Catalog) -> JoiningLearner | None:
        assert partition == 0
        if self.past is None or catalog is not AFTER:
            return None
        return JoiningLearner(f"reading {self.readings}", frozenset({"views"}), self.past)

    def learner_joined(self, partition: int, reading: str, version: int, begun_s: float) -> None:
        assert (partition, reading) == (0, f"reading {self.readings}")
        self.version, self.begun_s = version, begun_s
        self.told.append((reading, version))

    def of_shard(self, shard: int, catalog: Catalog) -> JoiningShard | None:
        if self.version is None or catalog is not AFTER or shard not in self.may_join:
            return None
        state, log = self.states[shard], records(self.logs[shard])

        def load() -> Shard:
            self.joined.append(shard)
            return state.load(AFTER, shard=shard, shards=len(self.states), codec=None)

        return JoiningShard(
            state.offset,
            load,
            lambda start, end: iter([log[start:end]]),
            frozenset({"views"}),
            {"views": self.version},
            {"views": self.begun_s},
        )


def late(
    logs: list[list[bytes]], *, defined: int, read: int, joined: int, rounds: int = 30
) -> tuple[Service, MemoryPasts]:
    """AFTER is defined before a round, the past is read up to where all stood at another, and joins at a third."""
    pasts = MemoryPasts()
    service = Service(count=len(logs), pasts=pasts)
    size, ends = max(map(len, logs)) // rounds + 1, [0] * len(logs)
    for round_ in range(rounds):
        if round_ == defined:
            service.turn(*range(len(logs) + 1))
        if round_ == read:
            ends = [run_.position.offset for run_ in service.shards]
        if round_ == joined:
            pasts.read(logs, ends)
        for shard, log in enumerate(logs):
            service.work(shard, log[: size * (round_ + 1)])
        service.learn()
    service.learn()
    return service, pasts


@pytest.mark.parametrize(("read", "joined"), [(18, 18), (15, 22), (24, 26)])
def test_a_late_prediction_of_one_shard_ends_with_the_very_model_of_one_that_was_always_there(
    read: int, joined: int
) -> None:
    values = together(2_400)
    service, pasts = late([values], defined=12, read=read, joined=joined)
    always = lock_step(AFTER, values)
    assert pasts.joined == [0]
    for name in ("views", "orders"):
        p = list(AFTER.predictions).index(name)
        found, wanted = service.learner.learner.predictions[p], always.learner.predictions[p]
        assert (found.learned, found.goals, found.missed) == (wanted.learned, wanted.goals, 0), name
    late_model, model = (one.predictions[0].model for one in (service.learner.learner, always.learner))
    assert isinstance(late_model, CompiledLogistic)
    assert isinstance(model, CompiledLogistic)
    assert late_model.to_bytes() == model.to_bytes()
    shard = service.shards[0].shard
    assert shard.serves(0)
    assert service.shards[0].since.is_complete
    told = [t["data"] for t in service.transitions() if t["data"]["prediction_id"] == "views"]
    assert {t["origin"] for t in told if t["in_segment"]} >= {"backfill"}


def test_late_predictions_of_several_shards_learn_every_example_once() -> None:
    logs = traffic(2_400)
    service, pasts = late(logs, defined=12, read=15, joined=20)
    always = Service()
    always.turn(*range(SHARDS + 1))
    run(always, changes={})
    assert sorted(pasts.joined) == list(range(SHARDS))
    assert service.learned() == always.learned()
    assert service.learner.foreign_chunks == service.learner.refused_chunks == 0
    assert all(run_.shard.serves(0) and run_.since.is_complete for run_ in service.shards)
    assert {s.snapshot.predictions[0].status for s in (run_.shard for run_ in service.shards)} == {Status.LIVE}


def test_a_past_that_is_read_anew_while_some_shards_have_joined_costs_no_example() -> None:
    logs = traffic(2_400)
    pasts = MemoryPasts(may_join=frozenset({0}))
    service = Service(pasts=pasts)
    size, again = max(map(len, logs)) // 30 + 1, [0] * SHARDS
    for round_ in range(30):
        if round_ == 12:
            service.turn(*range(SHARDS + 1))
        if round_ == 15:
            pasts.read(logs, [run_.position.offset for run_ in service.shards])
        if round_ == 18:
            assert pasts.joined == [0]
            again = [run_.position.offset for run_ in service.shards]
        if round_ == 22:  # of what shard 0 has said since round 18 the new reading knows nothing
            pasts.read(logs, again)
            pasts.may_join = frozenset(range(SHARDS))
        for shard, log in enumerate(logs):
            service.work(shard, log[: size * (round_ + 1)])
        service.learn()
    service.learn()
    always = Service()
    always.turn(*range(SHARDS + 1))
    run(always, changes={})
    assert sorted(pasts.joined) == list(range(SHARDS))
    assert [reading for reading, _ in pasts.told[:1] + pasts.told[-1:]] == ["reading 1", "reading 2"]
    assert service.learned() == always.learned()
    assert all(run_.shard.serves(0) and run_.since.is_complete for run_ in service.shards)
    versions: dict[tuple[str, int], bytes] = {}
    for key, version, data in service.models_sent:
        assert versions.setdefault((key, version), data) == data, "a version of a model is one model"


def test_a_learner_that_is_stopped_when_it_has_taken_over_says_so_at_its_next_start() -> None:
    logs = traffic(1_200)
    service, pasts = late(logs, defined=12, read=15, joined=20)
    assert {reading for reading, _ in pasts.told} == {"reading 1"}
    version, pasts.version, pasts.told = pasts.version, None, []
    service.learner = service.start_learner()
    learned = service.learned()
    service.learn()
    assert pasts.version == version
    assert service.learned() == learned


def test_nothing_is_said_of_a_prediction_before_its_past_has_joined() -> None:
    service, pasts = late(traffic(2_400), defined=12, read=29, joined=99)
    assert pasts.joined == []
    assert service.learned()["views"] == (0, 0, 0)
    assert not [t for t in service.transitions() if t["data"]["prediction_id"] == "views"]
    assert all(set(run_.since.predictions) == {"views"} for run_ in service.shards)


def test_where_no_past_comes_a_prediction_learns_from_now_on() -> None:
    pasts = MemoryPasts(are_coming=False)
    service = run(Service(pasts=pasts), changes={12: (*range(SHARDS), SHARDS)})
    assert service.learned()["views"][0] > 300
