"""A worker whose shards and learners are spread over a cluster: slots move, a node fails, and every event is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.contract.redis_servers import Cluster, await_true, has_all, raw_info, slot_of_shard
from tests.integration.kafka_world import KafkaWorld
from tests.integration.simulate_world import simulated
from tests.integration.worker_audit import audit
from tests.integration.worker_evidence import Evidence
from tests.integration.worker_world import START_MS, Producer, WorkerWorld, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARDS = 6
RATE = 250.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three primaries, the first with a replica."""
    with Cluster(tmp_path / "cluster", replicas=1, settings="cluster-replica-validity-factor 0\n") as cluster:
        yield cluster


@pytest.fixture
def world(kafka_world: KafkaWorld, cluster: Cluster, tmp_path: Path) -> Iterator[WorkerWorld]:
    world = WorkerWorld(kafka_world.settings(shards=SHARDS, redis_url=cluster.url), tmp_path)
    yield world
    world.close()


def test_slots_move_and_a_node_fails_under_a_worker(world: WorkerWorld, cluster: Cluster) -> None:
    shares = Shares(duplicates=0.03, late=0.03, bad=0.02)
    traffic = simulated(Plan(users=250, days=15, start_ms=START_MS, seed=6, shares=shares, arrive_days=5))
    half = len(traffic) // 2
    slots = [slot_of_shard("tl", shard) for shard in range(SHARDS)]
    world.make_topics()
    worker = world.start_working("worker")
    assert len({cluster.owner(slot).port for slot in slots}) == 3
    producer = Producer(world.settings, traffic[:half], rate=RATE)
    producer.start()
    for target in (*cluster.nodes[1:3], cluster.nodes[0]):
        seen = world.done()
        await_until(lambda seen=seen: world.done() > seen, "events are worked", seconds=120, watched=[worker])  # type: ignore[misc]
        for slot in slots:
            cluster.move(slot, target)
    producer.finish(seconds=120)
    world.await_end(seconds=240)
    first = cluster.nodes[0]  # it has all shards now
    await_true(lambda: has_all(first, cluster.nodes[3]), "a replica that has all")
    first.process.kill()
    producer = Producer(world.settings, traffic[half:])
    producer.start()
    producer.finish(seconds=120)
    await_true(lambda: b"role:master" in raw_info(cluster.nodes[3]), "a failover")
    await_until(lambda: world.done() == len(traffic), "the rest is worked", seconds=120, watched=[worker])
    world.await_end(seconds=240)
    worker.stop()
    figures = audit(Evidence.read(world.settings, world.store))
    sys.stderr.write(f"at the end {figures}\n")
    assert figures.events == len(traffic)
    assert figures.transitions > 300
    assert figures.models > 10
    assert "Traceback" not in worker.words()
