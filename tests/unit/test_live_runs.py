"""Shards and a learner of a live stream, without faults: they go live together, with one distribution.

What faults do to them is tried out by the simulator (tests/sim) and on a real Kafka (tests/integration).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from benchmarks._warmup import ShortWarmup
from config.errors import StoreIncompatible
from config.loader import loads
from models.snapshot import Snapshot, Status
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.core.partition import shard_of
from streams.core.questions import question_of
from streams.ports import Identity, Message
from streams.runtime.births import birth_in
from streams.runtime.latest_models import model_key
from streams.runtime.learner_run import LearnerRun
from streams.runtime.records import Record
from streams.runtime.refusal_log import RefusalLog
from streams.runtime.shard_run import Ports, ShardRun

SHARDS = 3
START_S = 1_704_067_200.0
LOG_S = START_S + 1e6  # later than every event, so that none is of the future
CATALOG = loads("""
version: 1
name: live
features: {events: [View, Order]}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 6h}
""")
ANOTHER_WINDOW = loads("""
version: 1
name: live
features: {events: [View, Order]}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7h}
""")
SEED = 20_241_122
MODELS = model_key(question_of(CATALOG, "orders"), "orders")


def iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def event(user: str, name: str, time_s: float, number: int) -> bytes:
    return msgspec.json.encode(
        {"type": "track", "userId": user, "event": name, "timestamp": iso(time_s), "messageId": f"m{number}"}
    )


@dataclass
class World:
    """Logs, stores and runs in this process."""

    models: dict[str, Snapshot] = field(default_factory=dict)
    chunks: list[Record] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)
    sinks: list[ListSink] = field(default_factory=list)
    learned: int = 0
    asks: bool = False
    """Whether the learner asks for the births of the stores of shards."""
    names: Iterator[int] = field(default_factory=count)
    """Of generations."""

    def __post_init__(self) -> None:
        self.servers = MemoryServer(), MemoryServer()
        self.shards = [
            ShardRun(CATALOG, self.ports(0, SHARDS), shard=n, shards=SHARDS, source=f"events-{n}")
            for n in range(SHARDS)
        ]
        self.learner = LearnerRun(CATALOG, self.ports(1, 1), partition=0, every=SHARDS)
        runs: tuple[ShardRun | LearnerRun, ...] = (*self.shards, self.learner)
        for run in runs:
            assert run.assign().offset == 0

    def ports(self, server: int, shards: int) -> Ports:
        store = MemoryStore(self.servers[server])
        store.prepare(shards, Identity(catalog="c"))
        self.sinks.append(ListSink())
        shards_store = MemoryStore(self.servers[0])
        return Ports(
            store,
            self.sinks[-1],
            self,
            Patience(lambda _: None),
            lambda: f"{id(self)}-{next(self.names)}",
            birth_of=(lambda shard: birth_in(shards_store, shard)) if self.asks and server else None,
        )

    def send(self, messages: Sequence[Message]) -> None:
        for topic, key, data in messages:
            if topic == "examples":
                assert key == "orders"
                self.chunks.append(Record(len(self.chunks), 0.0, data))
            elif topic == "models":
                assert key == MODELS
                features = self.shards[0].shard.definitions.layout.columns.features
                self.models[key] = Snapshot.from_bytes(data, features)
            else:
                assert topic == "dead-letters"
                self.letters.append(json.loads(data))

    def step(self, shard: int, values: Sequence[bytes], now_s: float | None = None) -> None:
        at = self.shards[shard].position.offset
        self.shards[shard].step([Record(at + n, LOG_S, v) for n, v in enumerate(values)], self.models, now_s)

    def learn(self) -> None:
        records, self.learned = self.chunks[self.learned :], len(self.chunks)
        self.learner.step(records)

    @property
    def statuses(self) -> list[Status]:
        return [run.shard.snapshot.predictions[0].status for run in self.shards]


@pytest.fixture
def world() -> Iterator[World]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield World()


def traffic(n: int) -> list[list[bytes]]:
    """Per shard, in blocks of one hour and more."""
    rng = random.Random(SEED)
    users = [f"user-{k}" for k in range(60)]
    logs: list[list[bytes]] = [[] for _ in range(SHARDS)]
    for number in range(n):
        user = rng.choice(users)
        name = "Order" if rng.random() < 0.2 else "View"
        time_s = START_S + number * 60.0
        logs[shard_of(user, SHARDS)].append(event(user, name, time_s, number))
    return logs


def run_all(world: World, logs: list[list[bytes]], size: int) -> list[list[Status]]:
    """Shards in turns, the learner after each round; the statuses that were seen, each once."""
    seen = [world.statuses]
    for first in range(0, max(map(len, logs)), size):
        for shard, log in enumerate(logs):
            if log[first : first + size]:
                world.step(shard, log[first : first + size])
            if world.statuses != seen[-1]:
                seen.append(world.statuses)
        world.learn()
    return seen


def test_a_prediction_goes_live_in_all_shards_and_ranks_in_all_of_their_users(world: World) -> None:
    seen = run_all(world, traffic(3_000), 20)
    assert seen[0] == [Status.WARMING] * SHARDS
    assert seen[-1] == [Status.LIVE] * SHARDS
    first_live = next(statuses for statuses in seen if Status.LIVE in statuses)
    assert Status.WARMING not in first_live, "live before every shard had counted its users anew"
    users = sum(run.users for run in world.shards)
    assert users == 60
    assert int(world.models[MODELS].counts.sum()) == users, "the distribution is that of all shards"
    transitions = [json.loads(data) for sink in world.sinks for data in sink.published]
    assert {t["data"]["origin"] for t in transitions} > {"backfill", "live"}
    versions = {t["data"]["model_version"] for t in transitions}
    assert len(versions) > 3
    assert max(versions) <= max(run.shard.snapshot.predictions[0].version for run in world.shards)


def test_chunks_are_numbered_and_a_repeated_one_is_not_learned_again(world: World) -> None:
    run_all(world, traffic(1_500), 50)
    before = world.learner.learner.predictions[0].learned
    assert before > 500
    again = [Record(len(world.chunks) + n, 0.0, chunk.value) for n, chunk in enumerate(world.chunks)]
    world.learner.step(again)
    assert world.learner.learner.predictions[0].learned == before
    assert world.learner.learner.predictions[0].missed == 0


def test_models_of_examples_that_were_made_anew_take_the_place_of_those_before(world: World) -> None:
    run_all(world, traffic(900), 50)
    chunks = [Record(chunk.offset, 100.0, chunk.value) for chunk in world.chunks]
    first, shard = world.models[MODELS], world.shards[0].shard
    assert (first.version > 9, first.predictions[0].begun_s) == (True, 0.0)
    world.servers[1].shards.clear()
    world.learner = LearnerRun(CATALOG, world.ports(1, 1), partition=0, every=SHARDS)
    world.learner.assign()
    world.learner.step(chunks[:1])
    world.learner.drop()
    world.learner.assign()
    world.learner.step([Record(1, 200.0, chunks[1].value)])
    world.learner.step([Record(n, 200.0, chunk.value) for n, chunk in enumerate(chunks[2:5], 2)])
    again = world.models[MODELS]
    assert again.predictions[0].age == (100.0, again.version), "as its first record says, however often it is loaded"
    assert again.version < first.version
    before = shard.snapshot.predictions[0].version
    assert before > again.version
    world.shards[0].step([], world.models, None)
    assert shard.snapshot.predictions[0].age == again.predictions[0].age
    assert not shard.take_models({0: first}), "what is gone does not come back"


def test_a_learner_that_begins_late_counts_what_it_missed(world: World) -> None:
    logs = traffic(900)
    for shard, log in enumerate(logs):
        world.step(shard, log)
    by_shard: dict[int, list[Record]] = {n: [] for n in range(SHARDS)}
    for chunk in world.chunks:
        by_shard[msgspec.msgpack.decode(chunk.value)[3]].append(chunk)
    assert all(len(chunks) > 5 for chunks in by_shard.values())
    world.learner.step([chunk for chunks in by_shard.values() for chunk in chunks[5:]])
    assert world.learner.learner.predictions[0].missed == SHARDS  # once each, however many there were


def test_a_new_store_on_the_same_topics_goes_on_where_the_old_one_was_learned(world: World) -> None:
    logs = traffic(1_500)
    run_all(world, logs, 50)
    again = World(chunks=list(world.chunks))
    before = len(again.chunks)
    run_all(again, logs, 50)
    assert len(again.chunks) > before
    figures = [w.learner.learner.predictions[0] for w in (world, again)]
    assert figures[0].learned == figures[1].learned > 500
    more = traffic(2_100)
    run_all(again, [log[len(old) :] for log, old in zip(more, logs, strict=True)], 50)
    assert figures[1].learned > figures[0].learned, "what is new is learned"


def test_chunks_of_another_question_in_the_topic_are_left_out(world: World) -> None:
    run_all(world, traffic(900), 50)
    learned = world.learner.learner.predictions[0].learned
    fresh = World()
    fresh.servers = MemoryServer(), MemoryServer()
    fresh.learner = LearnerRun(ANOTHER_WINDOW, fresh.ports(1, 1), partition=0, every=SHARDS)
    fresh.learner.assign()
    fresh.learner.step(world.chunks)
    assert (fresh.learner.foreign_chunks, fresh.learner.learner.predictions[0].learned) == (len(world.chunks), 0)
    assert learned > 0


def test_records_that_are_no_chunk_are_told_and_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    run_all(world, traffic(900), 50)
    learned = world.learner.learner.predictions[0].learned
    parts = msgspec.msgpack.decode(world.chunks[0].value)
    another_format = msgspec.msgpack.encode([parts[0] + 1, *parts[1:]])
    no_array = msgspec.msgpack.encode([*parts[:6], 0, 2**63, b"", *parts[9:]])  # for no examples any width adds up
    narrow = msgspec.msgpack.encode([*parts[:6], 1, 1, bytes(4 + 1 + 8 + 8 + 1 + 5 * 4 + 2), *parts[9:]])
    bad = [b"no chunk", another_format, no_array, narrow]
    values = [chunk.value for chunk in world.chunks]
    mixed = [values[0], *bad[:1], *values[1:5], *bad[1:], *values[5:]]
    fresh = World()
    fresh.learner.step([Record(at, 0.0, value) for at, value in enumerate(mixed)])
    assert fresh.learner.learner.predictions[0].learned == learned > 0
    assert fresh.learner.position.offset == len(mixed)
    assert (fresh.learner.refused_chunks, fresh.learner.learned_chunks) == (len(bad), len(values))
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("partition 0 of the examples: the record at offset 1, and 3 more up to offset 8")
    assert "no chunk of examples" in line


def test_an_hour_with_much_to_learn_is_cut_into_chunks_that_fit_into_messages(world: World) -> None:
    with patch("streams.core.shard.CHUNK_BYTES", 4_000):
        run_all(world, traffic(1_500), 500)
    sizes = [len(chunk.value) for chunk in world.chunks]
    assert max(sizes) < 4_000 * 2 + 5_000
    assert world.learner.learner.predictions[0].missed == 0
    assert world.learner.learner.predictions[0].learned > 500


def test_a_shard_that_another_owner_had_in_between_is_loaded_again(world: World) -> None:
    logs = traffic(600)
    run = world.shards[0]
    world.step(0, logs[0][:50])
    other = ShardRun(CATALOG, world.ports(0, SHARDS), shard=0, shards=SHARDS, source="events-0")
    loads = run.counts.loads
    other.assign()
    assert run.assign() == other.position
    assert run.counts.loads == loads + 1
    assert run.assign() == other.position
    assert run.counts.loads == loads + 1, "what nobody else had is kept"


def test_a_user_of_another_partition_is_a_dead_letter(world: World) -> None:
    user = "user-1"
    wrong = (shard_of(user, SHARDS) + 1) % SHARDS
    sent = event(user, "View", START_S, 1)[:-1] + b', "properties": {"unread": [1]}}'
    world.step(wrong, [b"{}", sent, b"no json"])
    assert [letter["reason"] for letter in world.letters[1:]] == ["wrong_partition", "unreadable_json"]
    assert [(letter["source"], letter["position"]) for letter in world.letters] == [
        (f"events-{wrong}", n) for n in range(3)
    ]
    assert world.letters[1]["raw"] == sent.decode(), "as it was sent"
    assert world.shards[wrong].counts.refused_by == {"unknown_type": 1, "wrong_partition": 1, "unreadable_json": 1}
    assert world.shards[wrong].users == 0
    world.step(shard_of(user, SHARDS), [event(user, "View", START_S, 1)])
    assert world.shards[shard_of(user, SHARDS)].users == 1
    assert len(world.letters) == 3


def test_what_could_not_be_used_is_told_once_in_a_while_with_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 1_000.0
    log, run = RefusalLog(lambda: now_s), world.shards[0]
    strays = [event(user, "View", START_S, n) for n, user in enumerate(["user-1", "user-2", "user-3", "user-4"])]
    strays = [stray for stray in strays if shard_of(json.loads(stray)["userId"], SHARDS) != 0]
    odd = event("user-1", "View", START_S, 9).replace(b'"track"', b'"\\u001b[2J"')
    for values, after_s in (([odd, *strays], 1.0), (strays, 1.0), ([], 300.0), ([], 0.0)):
        world.step(0, values)
        log.tell(run)
        now_s += after_s
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    n = len(strays)
    assert n > 1
    assert [line for line in lines if "unknown_type" in line] == [lines[0]]
    assert "\x1b" not in lines[0]
    assert lines[1].startswith(
        f"events-0: {n} records could not be used (wrong_partition), the last one at offset {n}: by its hash"
    )
    assert lines[1].endswith(
        "What to do: produce with the user id as the key, partitioned by murmur2 "
        "(librdkafka: partitioner=murmur2_random)"
    )
    assert lines[2].startswith(
        f"events-0: {n} records could not be used (wrong_partition), the last one at offset {2 * n}"
    )
    assert len(lines) == 3


def state_of(run: LearnerRun) -> dict[str, bytes]:
    """Without the warm-up, for which something simpler stands here."""
    return {name: data for name, data in run.learner.state().items() if ":warmup:" not in name}


def test_runs_that_were_dropped_come_back_the_same(world: World) -> None:
    run_all(world, traffic(1_500), 50)
    before = [run.shard.users.buffer[: run.users].copy() for run in world.shards]
    learned = state_of(world.learner)
    runs: tuple[ShardRun | LearnerRun, ...] = (*world.shards, world.learner)
    for run in runs:
        position = run.position
        run.drop()
        assert not run.is_loaded
        assert run.assign() == position
    for run, rows in zip(world.shards, before, strict=True):
        order = np.argsort(run.shard.users.users.order[: run.users])
        assert np.array_equal(run.shard.users.buffer[order], rows)
    assert state_of(world.learner) == learned


@pytest.mark.parametrize("server", [0, 1], ids=["shard", "learner"])
@pytest.mark.parametrize("lost", ["state", "meta"])
def test_a_run_of_which_a_part_is_gone_is_not_gone_on_with(server: int, lost: str) -> None:
    """Keys were deleted: from an empty state everybody would be scored anew, far behind in the log."""
    world = World()
    user = next(name for name in map(str, count()) if shard_of(name, SHARDS) == 0)
    hours = [event(user, "Order", START_S + 3_600.0 * n, n) for n in range(12)]
    world.step(0, hours)
    world.learn()
    stored = world.servers[server].shards[0]
    assert stored.number > 0
    assert stored.blobs
    if lost == "state":
        stored.blobs, stored.rows = {}, {}
    else:
        stored.number, stored.generation, stored.position = 0, "", None
    another: ShardRun | LearnerRun
    if server:
        another = LearnerRun(CATALOG, world.ports(1, 1), partition=0, every=SHARDS)
    else:
        another = ShardRun(CATALOG, world.ports(0, SHARDS), shard=0, shards=SHARDS, source="events-0")
    with pytest.raises(StoreIncompatible, match=r"only a part of shard 0.*TIDELINE_KEY_PREFIX"):
        another.assign()
    assert not another.is_loaded
