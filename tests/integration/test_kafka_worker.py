"""`tideline worker` as a process, with a real broker and a real Valkey: one worker, its ends, and its mistakes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from config.loader import load_catalog
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.saving import Saver
from streams.core.shard import Shard
from streams.ports import Identity
from streams.runtime.lookup import look_up
from streams.runtime.place import PATIENCE
from streams.runtime.records import Position
from streams.runtime.replay import catalog_digest
from streams.runtime.stored import read_state
from streams.runtime.summary import summarize
from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.conftest import SLOWNESS
from tests.integration.kafka_world import KafkaWorld
from tests.integration.simulate_world import simulated
from tests.integration.worker_audit import audit
from tests.integration.worker_evidence import Evidence
from tests.integration.worker_world import (
    START_MS,
    Producer,
    Sent,
    WorkerProcess,
    WorkerWorld,
    await_until,
    emptied_world,
    with_strays,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARDS = 3
RATE = 500.0


@pytest.fixture(scope="module")
def traffic() -> list[Sent]:
    """A shop's month, with records that come twice, late and broken."""
    shares = Shares(duplicates=0.03, late=0.03, bad=0.02)
    found = simulated(Plan(users=250, days=20, start_ms=START_MS, seed=5, shares=shares, arrive_days=5))
    return with_strays(found, SHARDS, every=97)


@pytest.fixture
def world(kafka_world: KafkaWorld, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[WorkerWorld]:
    with emptied_world(kafka_world.settings(shards=SHARDS, redis_url=valkey.url), tmp_path) as world:
        yield world


def test_every_event_is_accounted_for_over_kill_9_and_sigterm(world: WorkerWorld, traffic: list[Sent]) -> None:
    world.make_topics()
    first = world.start_working("first")
    with sending(world, traffic, 0):
        some = len(traffic) // 8
        await_until(lambda: world.done() > some, "the first events are worked", seconds=120, watched=[first])
        first.kill()
    second = world.start_working("second")
    before = world.done()
    with sending(world, traffic, 1):
        await_until(lambda: world.done() > before + some, "more events are worked", seconds=120, watched=[second])
        took_s = _stopped_with_everything_out(world, second)
    halfway = audit(Evidence.read(world.settings, world.store).until_stored())
    assert 0 < halfway.events < len(traffic)
    third = world.start_working("third")
    with sending(world, traffic, 2):
        pass
    world.await_end(seconds=240)
    await_until(lambda: _is_at_rest(third), "it says that it has caught up", seconds=60, watched=[third])
    _check_views(third)
    third.stop()
    figures = audit(Evidence.read(world.settings, world.store))
    sys.stderr.write(f"stopped in {took_s:.2f} s with {halfway}; at the end {figures}\n")
    assert figures.events == len(traffic)
    assert figures.duplicates > 50
    assert figures.dead_letters > 50
    assert figures.transitions > 500
    assert figures.chunks > 500
    assert figures.examples > 1_000
    assert figures.models > 10
    _check_what_is_shown(world)
    assert "Traceback" not in "".join(worker.words() for worker in world.workers.values())


@contextmanager
def sending(world: WorkerWorld, traffic: list[Sent], part: int) -> Iterator[None]:
    """A third of the traffic is on its way meanwhile, and has arrived in the end."""
    size = -(-len(traffic) // 3)
    producer = Producer(world.settings, traffic[part * size : (part + 1) * size], rate=RATE)
    producer.start()
    try:
        yield
        producer.finish(seconds=120)
    finally:
        producer.close()


def _stopped_with_everything_out(world: WorkerWorld, worker: WorkerProcess) -> float:
    """How long the stop took. Where Kafka is too slow for it, on a busy machine, the next worker publishes the rest."""
    took_s = worker.stop()
    for attempt in range(5):
        if "had not acknowledged everything" not in worker.words():
            return took_s
        worker = world.start_working(f"again {attempt}")
        worker.stop()
    pytest.fail("five workers could not publish what was stored")


def _check_what_is_shown(world: WorkerWorld) -> None:
    """The looking commands add up all shards, with what the learners know."""
    with closing(RedisReader(str(world.settings.redis_url), prefix=world.settings.key_prefix)) as reader:
        users = sum(shard.users for shard in reader.shard_infos())
        members = {name: set(reader.members(name)) for name in reader.info.segments}
        summary = summarize(read_state(reader))
        details = [look_up(reader, read_state(reader), user) for user in sorted(members["busy"])[:5]]
    assert summary.users == users
    assert {one.id: one.members for one in summary.segments} == {name: len(some) for name, some in members.items()}
    for prediction in summary.predictions:
        assert prediction.learned > 100
        assert sum(category.users for category in prediction.categories) == prediction.audience > 0
    assert sum(summary.dead_letters.values()) > 50
    assert all(detail is not None and "busy" in {one.id for one in detail.segments} for detail in details)


def _is_at_rest(worker: WorkerProcess) -> bool:
    """Whether it says so, which it may do a moment after its last commit."""
    health = worker.health()
    return bool(health.get("ready") and health["lag"] == 0 and len(health["models"]) == 3) and (
        b'tideline_learner_lag_chunks{partition="0"} 0.0' in worker.get("/metrics")[1]
    )


def _check_views(worker: WorkerProcess) -> None:
    """Of a worker that has everything, and has caught up."""
    assert worker.get("/healthz") == (200, b'{"alive":true}')
    assert [worker.get(path)[0] for path in ("/", "/router/", "/table/", "/graph", "/nothing")] == [404] * 5
    assert worker.get("/readyz")[0] == 200
    health = worker.health()
    assert health["assigned"] == list(range(SHARDS))
    assert (health["lag"], health["loading"]) == (0, [])
    assert set(health["models"]) == {"views_1d", "orders_2d", "gone_1d"}
    metrics = worker.get("/metrics")[1].decode()
    assert 'tideline_lag_records{partition="0"} 0.0' in metrics
    assert 'tideline_users{partition="2"}' in metrics
    assert re.search(r'tideline_dead_letters_total\{partition="\d",reason="wrong_partition"\} \d', metrics)
    assert "(wrong_partition), the last one at offset" in worker.words()
    assert "produce with the user id as the key, partitioned by murmur2" in worker.words()
    assert 'tideline_learner_lag_chunks{partition="0"} 0.0' in metrics


def test_a_stop_while_kafka_hangs_is_short(world: WorkerWorld, kafka_world: KafkaWorld) -> None:
    if kafka_world.server is None:
        pytest.skip("the Kafka of TIDELINE_TEST_KAFKA is not ours to stop")
    world.make_topics()
    worker = world.start_working("stops")
    broker = int((kafka_world.server.data_dir / "1" / "kafka.pid").read_text())
    os.kill(broker, signal.SIGSTOP)
    try:
        took_s = worker.stop()
    finally:
        os.kill(broker, signal.SIGCONT)
    sys.stderr.write(f"stopped in {took_s:.2f} s\n")
    assert took_s < 10.0 * SLOWNESS, "Kafka's own patience is longer"
    assert "Traceback" not in worker.words()


# --- what an operator meets ------------------------------------------------------------------------------------------


def ends(world: WorkerWorld, **settings: object) -> tuple[int, str]:
    """Exit code and words of a worker that ends by itself."""
    changed = world.settings.model_copy(update=settings)
    worker = WorkerProcess(changed, world.catalog, world.folder, "ends")
    try:
        return worker.process.wait(180), worker.words()
    finally:
        worker.kill()


def test_a_broker_that_is_not_there(world: WorkerWorld) -> None:
    code, words = ends(world, kafka_bootstrap_servers="127.0.0.1:1")
    assert code == 6
    assert "No Kafka answers at 127.0.0.1:1" in words
    assert "TIDELINE_KAFKA_BOOTSTRAP_SERVERS" in words
    assert "Traceback" not in words


def test_topics_that_are_missing_and_then_others_than_wanted(world: WorkerWorld) -> None:
    code, words = ends(world)
    assert code == 6
    assert f"{world.settings.topic('events')} does not exist" in words
    assert "tideline topics --create" in words
    world.make_topics()
    code, words = ends(world, shards=SHARDS + 1)
    assert code == 6
    assert f"has {SHARDS} partitions, and {SHARDS + 1} are wanted" in words
    assert f"TIDELINE_SHARDS={SHARDS}" in words
    assert "Traceback" not in words


def commit_as(world: WorkerWorld, shards: int, catalog: str, offset: int) -> None:
    """What a worker of another time has left: one commit of shard 0."""
    store = RedisStore(str(world.settings.redis_url), patience=PATIENCE)
    store.prepare(shards, Identity(catalog=catalog))
    claim = store.claim(0, new_generation="earlier")
    shard = Shard(load_catalog(world.catalog), shards=shards, generation=claim.generation)
    store.commit(claim, Saver(shard).take_effects(1, Position(offset).to_bytes()), None)
    store.close()


def test_a_store_of_another_number_of_shards(world: WorkerWorld) -> None:
    world.make_topics()
    own = catalog_digest(load_catalog(world.catalog))
    commit_as(world, SHARDS + 2, own, 0)
    code, words = ends(world)
    assert code == 4
    assert f"was made for {SHARDS + 2} partitions of the events (shards), not {SHARDS}" in words
    assert f"set TIDELINE_SHARDS={SHARDS + 2}" in words
    assert "Traceback" not in words


def test_of_two_workers_with_two_catalogs_the_one_that_was_started_last_goes_on(world: WorkerWorld) -> None:
    world.make_topics()
    first = world.start_working("first")
    _refuse_its_port(world, first)
    own = world.catalog
    world.catalog = world.folder / "other.yaml"
    world.catalog.write_text(own.read_text().replace("{min: 2}, within: 24h", "{min: 3}, within: 24h"))
    second = world.start("second")
    assert first.process.wait(120) == 4
    assert f"another worker was started later, with another catalog: {world.catalog}" in first.words()
    assert f"this worker has {own}" in first.words()
    await_until(
        lambda: second.is_working() and second.health()["assigned"] == list(range(SHARDS)),
        "the second one has all partitions",
        seconds=120,
        watched=[second],
    )
    assert f"The catalog of {world.catalog}" in second.words()
    assert f"(the last one was {own}" in second.words()
    second.stop()
    assert "Traceback" not in first.words() + second.words()


def _refuse_its_port(world: WorkerWorld, first: WorkerProcess) -> None:
    """A second worker on the machine, with the same --port: it takes no partition before it sees that."""
    second = WorkerProcess(world.settings, world.catalog, world.folder, "same port", "--port", str(first.port))
    try:
        assert second.process.wait(120) == 2
    finally:
        second.kill()
    assert f"the worker cannot listen at 127.0.0.1:{first.port} (Address already in use)" in second.words()
    assert "Choose another --port" in second.words()
    assert "Traceback" not in second.words()
    assert first.health()["assigned"] == list(range(SHARDS))


def test_a_store_that_is_not_there(world: WorkerWorld) -> None:
    world.make_topics()
    code, words = ends(world, redis_url="redis://127.0.0.1:1/0")
    assert code == 4
    assert "redis://127.0.0.1:1/0 does not answer" in words
    assert "Traceback" not in words


def test_a_topic_that_was_made_anew_is_not_read_from_its_beginning(world: WorkerWorld) -> None:
    world.make_topics()
    commit_as(world, SHARDS, catalog_digest(load_catalog(world.catalog)), 1_000_000)
    code, words = ends(world)
    assert code == 6
    assert "the store stands at offset 1000000, and the topic ends at 0" in words
    assert "Traceback" not in words
