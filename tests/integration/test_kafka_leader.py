"""A worker on a cluster of three brokers, each of which dies while it leads partitions: nothing is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import TopicKind, load_settings
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_server import QUICK_JVM, EmbeddedKafka
from streams.adapters.valkey_server import EmbeddedValkey
from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.integration.kafka_world import CACHE
from tests.integration.simulate_world import simulated
from tests.integration.worker_audit import audit
from tests.integration.worker_evidence import Evidence
from tests.integration.worker_world import START_MS, Producer, WorkerWorld, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARDS = 6
BROKERS = (1, 2, 3)
RATE = 300.0
KINDS: tuple[TopicKind, ...] = ("events", "segment-events", "examples", "models", "dead-letters", "deletions")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Each record on all three, two of which have to have it."""
    with EmbeddedKafka(tmp_path / "kafka", cache_dir=CACHE, nodes=len(BROKERS), jvm=QUICK_JVM) as cluster:
        yield cluster


@pytest.fixture
def world(cluster: EmbeddedKafka, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[WorkerWorld]:
    settings = load_settings(
        kafka_bootstrap_servers=cluster.bootstrap,
        kafka_replication=len(BROKERS),
        redis_url=valkey.url,
        shards=SHARDS,
        deletion_key="k" * 32,
    )
    world = WorkerWorld(settings, tmp_path)
    world.make_topics()
    yield world
    world.close()


class Leaders:
    """Who leads which partitions, as the brokers say."""

    def __init__(self, world: WorkerWorld) -> None:
        self.settings = world.settings

    def of_events(self) -> list[int]:
        """The broker of each partition of the events."""
        found = self._described("events")
        return [int(found[number]["leader_id"]) for number in range(SHARDS)]

    def have_all(self) -> bool:
        """Whether every partition of every topic is on all brokers, so that another one may die."""
        described = [found for kind in KINDS for found in self._described(kind).values()]
        return all(len(found["isr_nodes"]) == len(BROKERS) for found in described)

    def _described(self, kind: TopicKind) -> dict[int, dict[str, Any]]:
        kafka = kafka_python()
        with kafka.KafkaAdminClient(**kafka_python_arguments(self.settings)) as admin:
            (topic,) = admin.describe_topics([self.settings.topic(kind)])
        return {found["partition_index"]: found for found in topic["partitions"]}


def test_every_broker_dies_in_its_turn_while_it_leads(world: WorkerWorld, cluster: EmbeddedKafka) -> None:
    """What it had of the partitions, of the group and of the controllers goes to the others, under load."""
    shares = Shares(duplicates=0.03, late=0.03, bad=0.02)
    records = simulated(Plan(users=250, days=20, start_ms=START_MS, seed=9, shares=shares, arrive_days=5))
    leaders = Leaders(world)
    worker = world.start_working("worker")
    for at, broker in enumerate(BROKERS):
        part = records[at * len(records) // len(BROKERS) : (at + 1) * len(records) // len(BROKERS)]
        await_until(leaders.have_all, "all brokers have all", seconds=120.0, watched=[worker])
        before, producer = world.done(), Producer(world.settings, part, rate=RATE)
        producer.start()
        try:
            worked = before + len(part) // 5
            await_until(lambda n=worked: world.done() > n, "events are worked", seconds=120.0, watched=[worker])  # type: ignore[misc]
            led = leaders.of_events()
            assert broker in led
            cluster.kill(broker)
            sys.stderr.write(f"broker {broker} dies, of {led}; {producer.sent} of {len(part)} are sent\n")
            producer.finish(seconds=120.0)
        finally:
            producer.close()
        world.await_end(seconds=240.0)
        assert broker not in leaders.of_events()
        cluster.start_node(broker)
    worker.stop()
    figures = audit(Evidence.read(world.settings, world.store))
    sys.stderr.write(f"at the end {figures}\n")
    assert figures.events == len(records)
    assert figures.set_back == 0
    assert figures.transitions > 500
    assert figures.models > 10
    assert figures.dead_letters > 50
    assert "Traceback" not in worker.words()
