"""A store that was made anew: its learner begins with the events, whatever an earlier one has left in the examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from benchmarks._warmup import ShortWarmup
from config.errors import StoreUnavailable
from models.learner import PredictionLearner
from streams.runtime.births import MOST_KEPT, Followed, birth_of
from streams.runtime.learner_run import LearnerRun
from streams.runtime.records import Record
from streams.runtime.shard_run import ShardRun
from tests.unit.test_live_runs import MODELS, SHARDS, World, run_all, traffic

EVENTS = 1_500
BATCH = 50


@pytest.fixture
def world() -> Iterator[World]:
    """A service that has worked all events, with what it has put into the topic of examples."""
    with patch("models.learner.Warmup", ShortWarmup):
        world = World(asks=True)
        run_all(world, traffic(EVENTS), BATCH)
        yield world


def learner_of(world: World) -> PredictionLearner:
    return world.learner.learner.predictions[0]


def load_anew(world: World) -> None:
    """All runs, as after their partitions were away."""
    runs: tuple[ShardRun | LearnerRun, ...] = (*world.shards, world.learner)
    for run in runs:
        run.drop()
        run.assign()


def new_store(world: World) -> World:
    """Another key prefix, on the same topics. What was kept of the examples has the offsets that it had."""
    return World(asks=True, chunks=list(world.chunks))


def cut(world: World, share: float) -> None:
    """Retention: the first part of the examples is gone. Whoever begins reads on from the oldest."""
    world.learned = int(share * len(world.chunks))


def test_a_new_store_learns_all_events_although_later_examples_of_the_old_one_are_there(world: World) -> None:
    again = new_store(world)
    cut(again, 0.7)
    run_all(again, traffic(EVENTS), BATCH)
    left = len(world.chunks) - int(0.7 * len(world.chunks))
    first, second = learner_of(world), learner_of(again)
    assert first.learned == second.learned > 500
    assert (second.missed, again.learner.replaced_chunks) == (0, left)
    models = [w.models[MODELS].predictions[0] for w in (world, again)]
    assert np.array_equal(models[0].weights, models[1].weights), "bit for bit as at a first start"
    assert models[1].age > models[0].age, "it takes the place of the one before"


def test_it_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    again = new_store(world)
    with caplog.at_level(logging.INFO, "streams.runtime.learner_run"):
        run_all(again, traffic(EVENTS), BATCH)
    lines = [r.getMessage() for r in caplog.records if "has taken the place" in r.getMessage()]
    assert lines == ["partition 0 of the examples: chunks of a store that another has taken the place of are left out"]


def test_models_of_the_new_store_are_newer_whatever_the_clock_of_the_log_does(world: World) -> None:
    again = new_store(world)
    times_s = {False: 100.0, True: 250.0}  # the clock of the log is set back behind the tenth
    again.chunks = [Record(c.offset, times_s[c.offset == 10], c.value) for c in again.chunks]
    again.learn()
    again.learner.drop()
    again.learner.assign()
    for shard, log in enumerate(traffic(300)):
        again.step(shard, log)
    old = len(world.chunks)
    again.chunks[old:] = [Record(chunk.offset, 200.0, chunk.value) for chunk in again.chunks[old:]]
    again.learn()
    assert 250.0 < again.models[MODELS].predictions[0].begun_s < 250.001, "later than all that it has passed over"


def test_an_emptied_store_is_born_anew_while_its_runs_go_on(world: World) -> None:
    """FLUSHALL: both stores are empty, and the processes are the same."""
    before = world.servers[0].shards[0].blobs["birth"]
    for server in world.servers:
        server.shards.clear()
    load_anew(world)
    assert {world.learner.position.offset, *(run.position.offset for run in world.shards)} == {0}
    world.learned = 0
    old = len(world.chunks)
    run_all(world, traffic(EVENTS), BATCH)
    assert world.servers[0].shards[0].blobs["birth"] != before
    assert world.learner.replaced_chunks == old
    assert learner_of(world).learned > 500


def test_shards_that_lose_their_store_alone_are_not_learned_from_twice(world: World) -> None:
    """A node of a cluster is gone, and the learner is on another one."""
    learned = learner_of(world).learned
    world.servers[0].shards.clear()
    for run in world.shards:
        run.drop()
        run.assign()
    run_all(world, traffic(EVENTS), BATCH)
    assert (learner_of(world).learned, world.learner.replaced_chunks) == (learned, 0)
    more = [log[len(old) :] for log, old in zip(traffic(2 * EVENTS), traffic(EVENTS), strict=True)]
    run_all(world, more, BATCH)
    assert learner_of(world).learned > learned, "what is new is learned"
    births = [world.servers[0].shards[n].blobs["birth"].decode() for n in range(SHARDS)]
    followed = msgspec.msgpack.decode(world.servers[1].shards[0].blobs["marks"])["births"]
    assert {shard: names[-1] for shard, names in followed.items()} == dict(enumerate(births))
    assert {len(names) for names in followed.values()} == {2}


def test_a_worker_of_the_old_store_that_wakes_up_late_is_not_listened_to(world: World) -> None:
    again = new_store(world)
    again.learned = len(world.chunks)
    run_all(again, traffic(EVENTS), BATCH)
    before = learner_of(again).learned, list(learner_of(again)._seen.items())
    more = [log[len(old) :] for log, old in zip(traffic(2 * EVENTS), traffic(EVENTS), strict=True)]
    old = len(world.chunks)
    run_all(world, more, BATCH)
    at = len(again.chunks)
    again.chunks += [Record(at + n, 0.0, chunk.value) for n, chunk in enumerate(world.chunks[old:])]
    again.learn()
    assert (learner_of(again).learned, list(learner_of(again)._seen.items())) == before


def test_a_learner_that_is_loaded_again_goes_on(world: World) -> None:
    world.learner.drop()
    world.learner.assign()
    learned = learner_of(world).learned
    more = [log[len(old) :] for log, old in zip(traffic(2 * EVENTS), traffic(EVENTS), strict=True)]
    run_all(world, more, BATCH)
    assert learner_of(world).learned > learned
    assert world.learner.replaced_chunks == 0


def test_a_store_of_before_there_were_births_goes_on_as_it_was(world: World) -> None:
    """Its chunks are those that its release has written, so workers of both may run beside each other."""
    for shard in world.servers[0].shards.values():
        del shard.blobs["birth"]
    marks = msgspec.msgpack.decode(world.servers[1].shards[0].blobs["marks"])
    del marks["births"]
    world.servers[1].shards[0].blobs["marks"] = msgspec.msgpack.encode(marks)
    load_anew(world)
    world.learned = len(world.chunks)  # what a load publishes again is of the birth that was taken away here
    learned, old = learner_of(world).learned, len(world.chunks)
    more = [log[len(old) :] for log, old in zip(traffic(2 * EVENTS), traffic(EVENTS), strict=True)]
    run_all(world, more, BATCH)
    assert learner_of(world).learned > learned
    assert world.learner.replaced_chunks == 0
    fields = [msgspec.msgpack.decode(chunk.value) for chunk in world.chunks[old:]]
    assert {(each[0], len(each)) for each in fields} == {(3, 12)}
    again = new_store(world)
    again.learned = old
    run_all(again, traffic(EVENTS), BATCH)
    assert again.learner.replaced_chunks == len(world.chunks) - old, "for a new store they are those of another one"


def test_a_store_that_does_not_say_leaves_the_chunks_to_the_next_attempt(world: World) -> None:
    again = new_store(world)

    def away(shard: int) -> str | None:
        raise StoreUnavailable(f"scripted: {shard}")

    ports = replace(again.learner._ports, birth_of=away)
    patience = replace(ports.patience, attempts=2)
    again.learner._ports = replace(ports, patience=patience)
    again.learner.assign()
    with pytest.raises(StoreUnavailable):
        again.learn()
    assert (again.servers[1].shards[0].number, again.learner.is_loaded) == (0, False)


def test_the_birth_of_a_store_is_its_first_generation() -> None:
    assert birth_of({}, "g1") == "g1"
    assert birth_of({"birth": b"g1", "shard": b""}, "g2") == "g1"
    assert birth_of({"shard": b""}, "g2") == "", "made before there were births"


def test_a_shard_is_asked_about_once_in_a_batch() -> None:
    asked: list[int] = []
    now: dict[int, str | None] = {0: "new", 1: None}

    def ask(shard: int) -> str | None:
        asked.append(shard)
        return now[shard]

    stored: dict[int, list[str]] = {}
    followed = Followed(stored, ask)
    followed.begin_batch()
    taken = [birth for birth in ("old", "old", "new", "old", "new") if followed.takes(0, birth)]
    assert taken == ["new", "new"]
    assert not followed.takes(1, "")
    assert asked == [0, 1]
    assert stored == {0: ["new"]}
    followed.begin_batch()
    assert followed.takes(0, "new")
    assert asked == [0, 1], "nobody is asked for what is known"
    for n in range(2 * MOST_KEPT):
        now[0] = f"n{n}"
        followed.begin_batch()
        assert followed.takes(0, f"n{n}")
    assert stored[0] == [f"n{n}" for n in range(MOST_KEPT, 2 * MOST_KEPT)]
