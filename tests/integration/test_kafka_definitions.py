"""Definitions reach all workers on a real Kafka; what is new learns from the events that Kafka has kept."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.stored import read_state
from streams.simulate.run import Plan
from tests.conftest import SLOWNESS
from tests.integration.definitions_world import (
    ADDED,
    ORDERED,
    catalogs,
    define,
    frozen,
    held_reading,
    is_complete,
    knows,
    members,
    phase,
    scores,
    told_once,
    took_s,
    who,
)
from tests.integration.kafka_world import KafkaWorld
from tests.integration.simulate_world import simulated
from tests.integration.worker_evidence import read_topic
from tests.integration.worker_world import (
    START_MS,
    Producer,
    Sent,
    WorkerProcess,
    WorkerWorld,
    await_until,
    emptied_world,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARDS = 6
WORKERS = 3
TWICE = {"event": "Order Completed", "count": {"min": 2}}


@pytest.fixture(scope="module")
def traffic() -> list[Sent]:
    """A shop's weeks."""
    return simulated(Plan(users=300, days=20, start_ms=START_MS, seed=11, arrive_days=5))


@pytest.fixture
def world(kafka_world: KafkaWorld, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[WorkerWorld]:
    with emptied_world(kafka_world.settings(shards=SHARDS, redis_url=valkey.url), tmp_path) as world:
        world.make_topics()
        yield world


def produce(world: WorkerWorld, records: list[Sent]) -> None:
    producer = Producer(world.settings, records)
    producer.start()
    producer.finish(seconds=120)


def start_all(world: WorkerWorld) -> list[WorkerProcess]:
    """Workers that share the partitions."""
    workers = [world.start(f"worker-{n}") for n in range(WORKERS)]

    def share() -> bool:
        assigned = [worker.health().get("assigned", []) for worker in workers]
        return all(assigned) and sorted(itertools.chain(*assigned)) == list(range(SHARDS))

    await_until(share, "all workers have partitions", seconds=240.0, watched=workers)
    await_until(lambda: all(w.is_working() for w in workers), "all is loaded", seconds=120.0, watched=workers)
    return workers


def test_what_is_made_edited_and_archived_reaches_all_workers_within_a_second_and_is_in_force(
    world: WorkerWorld, traffic: list[Sent]
) -> None:
    workers = start_all(world)
    half = traffic[: len(traffic) // 2]
    produce(world, half)
    world.await_end(seconds=240)
    times = []
    define(world, "segment", "ordered", {"name": "Has ordered", "filter": ORDERED})
    times.append(took_s(lambda: knows(world, "ordered"), workers))
    await_until(
        lambda: members(world, "ordered") == who(half, "Order Completed", 1), "members", seconds=90.0, watched=workers
    )
    define(world, "segment", "ordered", {"name": "Has ordered twice", "filter": TWICE})
    names = ["Has ordered twice"] * SHARDS
    times.append(took_s(lambda: [c["segments"]["ordered"]["name"] for c in catalogs(world)] == names, workers))
    produce(world, traffic[len(half) :])
    world.await_end(seconds=240)
    await_until(
        lambda: members(world, "ordered") == who(traffic, "Order Completed", 2), "others", seconds=90.0, watched=workers
    )
    define(world, "segment", "ordered", {"name": "Has ordered twice", "filter": TWICE, "archived": True})
    times.append(took_s(lambda: all(c["segments"]["ordered"].get("archived") for c in catalogs(world)), workers))
    await_until(lambda: not members(world, "ordered"), "nobody is left", seconds=90.0, watched=workers)
    for worker in workers:
        worker.stop()
    transitions = told_once(read_topic(world.settings, "segment-events"))
    ours = [body for body in transitions if body["segment_id"] == "ordered"]
    directions: dict[str, list[bool]] = {}
    for body in ours:
        directions.setdefault(body["user_id"], []).append(body["in_segment"])
    assert all(seen == [n % 2 == 0 for n in range(len(seen))] for seen in directions.values())
    assert {(body["origin"], body["in_segment"]) for body in ours} >= {
        ("backfill", True),
        ("definition_change", False),
        ("live", True),
    }
    sys.stderr.write(f"in force after {', '.join(f'{each:.2f}' for each in times)} s\n")
    assert min(times) < SLOWNESS, "where others use the machine, too, it takes longer now and then"


def test_a_prediction_learns_from_what_kafka_has_kept_though_the_worker_that_reads_it_is_killed(
    world: WorkerWorld, traffic: list[Sent]
) -> None:
    workers = start_all(world)
    produce(world, traffic[: 3 * len(traffic) // 4])
    world.await_end(seconds=240)
    goal = {"did": "Product Viewed"}
    define(world, "prediction", "again_1d", {"name": "Looks within a day", "goal": goal, "window": "24h"})
    define(world, "segment", "added", {"name": "Has added", "filter": ADDED})
    with held_reading(workers) as reader:
        await_until(lambda: phase(world) == "reading", "it says so", seconds=30.0, watched=workers)
        reader.kill()
    left = [worker for worker in workers if worker is not reader]
    assert not any(is_complete(world, "again_1d"))
    produce(world, traffic[3 * len(traffic) // 4 :])
    await_until(lambda: all(is_complete(world, "again_1d")), "all have joined", seconds=240.0, watched=left)
    await_until(lambda: phase(world) == "done", "it is told", seconds=30.0, watched=left)
    world.await_end(seconds=240)
    with closing(RedisReader(str(world.settings.redis_url))) as store:
        found = {one.spec.id: one for one in read_state(store).learner.predictions}
    late, always = found["again_1d"], found["views_1d"]
    assert (late.learned, late.goals) == (always.learned, always.goals), "both ask the same"
    assert late.learned > 1_000
    assert late.missed == 0
    assert late.warmup.left
    category = ("again_1d.low", "again_1d.medium", "again_1d.high")
    await_until(
        lambda: all(members(world, name) for name in category), "it is live in all shards", seconds=120.0, watched=left
    )
    await_until(lambda: members(world, "added") == who(traffic, "Product Added", 2), "members", seconds=90.0)
    assert not world.store.keys("tl:past:*")
    assert not world.store.keys("tl:{past}:offer")
    for worker in left:
        worker.stop()
    transitions = told_once(read_topic(world.settings, "segment-events"))
    entered = {body["origin"] for body in transitions if body["segment_id"] in category and body["in_segment"]}
    assert "backfill" in entered
    assert "Traceback" not in "".join(worker.words() for worker in left)


def test_a_preview_is_scored_once_in_every_shard_though_a_worker_is_killed_meanwhile(
    world: WorkerWorld, traffic: list[Sent]
) -> None:
    workers = start_all(world)
    produce(world, traffic[: 3 * len(traffic) // 4])
    world.await_end(seconds=240)
    shown = {"name": "Looks within a day", "goal": {"did": "Product Viewed"}, "window": "24h", "access": "preview"}
    define(world, "prediction", "again_1d", shown)
    await_until(lambda: any(frozen(world, "again_1d")), "a shard has scored all", seconds=240.0, watched=workers)
    workers.pop().kill()
    await_until(lambda: all(frozen(world, "again_1d")), "everybody is scored", seconds=240.0, watched=workers)
    said, others = scores(world, "again_1d"), scores(world, "views_1d")
    assert len(said) > 100
    assert not [text for text in said.values() if b"null" in text]
    produce(world, traffic[3 * len(traffic) // 4 :])
    world.await_end(seconds=240)
    assert scores(world, "views_1d") != others
    assert scores(world, "again_1d") == said
    for worker in workers:
        worker.stop()
    told = told_once(read_topic(world.settings, "segment-events"))
    assert "again_1d" not in {body["prediction_id"] for body in told}
    assert "Traceback" not in "".join(worker.words() for worker in workers)
