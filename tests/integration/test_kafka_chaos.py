"""Three workers on twelve partitions while everything dies that can die; and a rolling restart under load.

`TIDELINE_TEST_CHAOS_EVENTS` is how many events there are: 300,000 with `make chaos`, fewer in CI.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load_settings
from streams.adapters.kafka_server import QUICK_JVM, EmbeddedKafka
from streams.adapters.valkey_server import EmbeddedValkey
from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.conftest import SLOWNESS
from tests.integration.kafka_world import CACHE
from tests.integration.simulate_world import simulated
from tests.integration.worker_audit import SetBack, audit
from tests.integration.worker_evidence import Evidence, StoreImage
from tests.integration.worker_faults import Watch, describe, kill_store, published_after, set_store_back
from tests.integration.worker_world import (
    START_MS,
    Producer,
    Sent,
    WorkerProcess,
    WorkerWorld,
    await_until,
    with_strays,
)

EVENTS = int(os.environ.get("TIDELINE_TEST_CHAOS_EVENTS", "20000"))
RATE = float(os.environ.get("TIDELINE_TEST_CHAOS_RATE", "400"))
SHARDS = 12
PATIENCE_S = 240.0 + EVENTS / 100
CUT_COMMITS = 20
ASLEEP_S = 14.0
"""Longer than the session timeout."""
EVENTS_PER_USER = 10
PROGRAM = "streams" if EVENTS >= 100_000 else "tests.integration.short_warmup"
"""Of few events it depends on the machine whether a model gets better than the simple rule before they end."""
LONGEST_PAUSE_S = 10.0 * SLOWNESS
"""`make chaos`, on a machine that has nothing else to do, is where ten seconds are shown."""
BETWEEN_S = 5.0 if "TIDELINE_TEST_CHAOS_EVENTS" in os.environ else 2.0
"""So long each process of a rolling restart works before the next one is restarted."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + EVENTS // 20)]


def traffic(events: int, seed: int) -> list[Sent]:
    """About so many events of twelve days, with records that come twice, late and broken."""
    shares = Shares(duplicates=0.03, late=0.03, bad=0.01)
    users = events // EVENTS_PER_USER
    found = simulated(Plan(users=users, days=12, start_ms=START_MS, seed=seed, shares=shares, arrive_days=3))
    return with_strays(found[:events], SHARDS, every=97)


def await_events(world: WorkerWorld, events: int) -> None:
    """Until so many more are worked."""
    wanted = world.done() + events
    await_until(lambda: world.done() >= wanted, f"{wanted} events are worked", seconds=60.0)


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker that may be killed, which says when it took a record."""
    properties = {"log.message.timestamp.type": "LogAppendTime"}
    with EmbeddedKafka(tmp_path / "kafka", cache_dir=CACHE, properties=properties, jvm=QUICK_JVM) as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def world(kafka: EmbeddedKafka, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[WorkerWorld]:
    settings = load_settings(
        kafka_bootstrap_servers=kafka.bootstrap, redis_url=valkey.url, shards=SHARDS, deletion_key="k" * 32
    )
    world = WorkerWorld(settings, tmp_path, PROGRAM)
    world.make_topics()
    yield world
    world.close()


class Drill:
    """What happens during the run, each when so much of the traffic is worked."""

    def __init__(self, world: WorkerWorld, kafka: EmbeddedKafka, valkey: EmbeddedValkey, folder: Path) -> None:
        self.world = world
        self.kafka = kafka
        self.valkey = valkey
        self.folder = folder
        self.set_back: StoreImage | None = None
        self.began_s = time.monotonic()

    def run(self, events: int) -> None:
        """All of it."""
        steps = (
            (0.05, self.kill_one),
            (0.15, self.add_one),
            (0.25, self.stop_one),
            (0.35, self.kill_the_store),
            (0.5, self.set_the_store_back),
            (0.60, self.kill_the_broker),
            (0.72, self.put_one_to_sleep),
            (0.85, self.kill_another),
        )
        for share, step in steps:
            self.await_share(share, events)
            self.say(f"{share:.0%} worked: {step.__name__.replace('_', ' ')}")
            step()

    def await_share(self, share: float, events: int) -> None:
        what = f"{share:.0%} of the events are worked"
        await_until(lambda: self.world.done() >= share * events, what, seconds=PATIENCE_S, watched=self.running())

    def running(self) -> list[WorkerProcess]:
        return [worker for worker in self.world.workers.values() if worker.process.poll() is None]

    def say(self, words: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self.began_s:7.1f} s  {words}\n")

    def await_all_working(self) -> None:
        """Until every partition is in the hands of one running worker, and loaded."""

        def holds() -> bool:
            healths = [worker.health() for worker in self.running()]
            assigned = sorted(n for health in healths for n in health.get("assigned", ()))
            return assigned == list(range(SHARDS)) and not any(health["loading"] for health in healths)

        await_until(holds, "all partitions are worked", seconds=180.0, watched=self.running())

    # --- what happens ------------------------------------------------------------------------------------------------

    def kill_one(self) -> None:
        self.world.workers["b"].kill()
        self.world.start("b2")

    def add_one(self) -> None:
        self.world.start_working("d")

    def stop_one(self) -> None:
        took_s = self.world.workers["c"].stop()
        self.say(f"it stopped in {took_s:.2f} s")

    def kill_the_store(self) -> None:
        kill_store(self.valkey)
        self.valkey.start()
        self.world.store.config_set("auto-aof-rewrite-percentage", 0)  # for the next step: commits stay in their file
        self.await_all_working()

    def set_the_store_back(self) -> None:
        kill_store(self.valkey)
        self.set_back = set_store_back(self.valkey, CUT_COMMITS, self.folder / "set-back")
        self.valkey.start()
        self.await_all_working()

    def kill_the_broker(self) -> None:
        self.kafka.kill()
        self.kafka.start_node()

    def put_one_to_sleep(self) -> None:
        self.await_all_working()
        sleeper = self.world.workers["a"]
        had = sleeper.health()["assigned"]
        sleeper.send(signal.SIGSTOP)
        threading.Event().wait(ASLEEP_S)  # nothing tells when a session timeout is over but the time

        def taken_over() -> bool:
            others = [worker.health() for worker in self.running() if worker is not sleeper]
            return set(had) <= {n for health in others for n in health.get("assigned", ())}

        await_until(taken_over, "the sleeper's partitions are taken over", seconds=60.0)
        sleeper.send(signal.SIGCONT)
        self.await_all_working()

    def kill_another(self) -> None:
        self.world.workers["d"].kill()
        self.world.start("e")


def test_nothing_is_lost_and_nothing_said_twice_with_two_meanings(
    world: WorkerWorld, kafka: EmbeddedKafka, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    records = traffic(EVENTS, seed=11)
    for name in "abc":
        world.start(name)
    for worker in world.workers.values():
        await_until(worker.is_working, f"{worker.name} works", seconds=240.0, watched=[worker])
    producer = Producer(world.settings, records, rate=RATE)
    producer.start()
    drill, watch = Drill(world, kafka, valkey, tmp_path), Watch(world)
    watch.start()
    try:
        drill.run(len(records))
        producer.finish(seconds=PATIENCE_S)
    finally:
        producer.close()
    drill.say("all is sent")
    world.await_end(seconds=PATIENCE_S)
    drill.say("all is worked")
    for worker in drill.running():
        await_until(worker.is_working, f"{worker.name} works", seconds=240.0, watched=[worker])
    for worker in drill.running():
        worker.stop()
    watch.stop()
    assert drill.set_back is not None
    figures = audit(Evidence.read(world.settings, world.store), SetBack(drill.set_back, watch.generations))
    drill.say(f"{figures}")
    assert figures.events == len(records)
    assert figures.set_back > 0
    assert figures.live
    told = "".join(worker.words() for worker in world.workers.values())
    assert told.count("was set back to an earlier copy") >= figures.set_back
    assert "Traceback" not in told


def test_a_rolling_restart_stops_no_partition_for_long(world: WorkerWorld) -> None:
    names = ["a", "b", "c"]
    for name in names:
        world.start(name)
    for worker in list(world.workers.values()):
        await_until(worker.is_working, f"{worker.name} works", seconds=240.0, watched=[worker])
    records = traffic(max(EVENTS, 40_000), seed=12)
    watch, producer = Watch(world), Producer(world.settings, records, rate=RATE)
    watch.start()
    producer.start()
    stops = []
    try:
        for name in names:
            await_events(world, round(BETWEEN_S * RATE))
            stops.append(world.workers[name].stop())
            world.start_working(f"{name}2")
        await_events(world, round(BETWEEN_S * RATE))
    finally:
        producer.close()
    world.await_end(seconds=120.0)
    watch.stop()
    for name in names:
        world.workers[f"{name}2"].stop()
    evidence = Evidence.read(world.settings, world.store)
    figures = audit(evidence)
    committed, published = watch.pauses(evidence.events), published_after(evidence.events, evidence.transitions)
    report = {
        "events": figures.events,
        "events_per_s": RATE,
        "stops_s": [round(each, 2) for each in stops],
        "event_to_commit": describe(committed),
        "event_to_transition": describe(published),
    }
    sys.stderr.write(f"rolling restart: {json.dumps(report)}\n")
    assert figures.set_back == 0
    assert max(*committed, *published) < LONGEST_PAUSE_S
