"""`tideline worker --embedded` as a process, with a real Valkey: killed, stopped, and audited at the end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.loader import loads
from config.settings import Settings, TopicKind, load_settings
from streams.adapters.kafka_publisher import binary_mode
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.partition import shard_of
from streams.runtime.ledger_key import KEY_FILE
from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.conftest import ROOT
from tests.integration.simulate_world import simulated
from tests.integration.worker_audit import audit
from tests.integration.worker_evidence import Evidence, Logged, StoreImage
from tests.integration.worker_world import (
    CATALOG,
    START_MS,
    Sent,
    WorkerProcess,
    await_until,
    connect,
    environment,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SHARDS = 2
ALL = 10_000_000

PRODUCER = """
import asyncio, sys
from pathlib import Path
import msgspec
from streams.adapters.embedded_log import EmbeddedEventLog

async def main() -> None:
    folder, shards, records, first = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    sent = msgspec.msgpack.decode(records.read_bytes(), type=list[tuple[str, bytes]])
    log = EmbeddedEventLog(folder, shards)
    for at in range(first, len(sent), 80):
        await asyncio.gather(*(log.append(sent[n : n + 20]) for n in range(at, min(at + 80, len(sent)), 20)))
        print(min(at + 80, len(sent)), flush=True)
    await log.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def traffic() -> list[Sent]:
    """A shop's month, with records that come twice, late and broken."""
    shares = Shares(duplicates=0.03, late=0.03, bad=0.02)
    return simulated(Plan(users=250, days=20, start_ms=START_MS, seed=5, shares=shares, arrive_days=5))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@dataclass
class EmbeddedWorld:
    """A data directory with a log, a store, workers and producers as processes."""

    settings: Settings
    folder: Path
    acknowledged: int = 0
    """So many of the records that were given to producers are durable, as they have said."""
    processes: list[WorkerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalog = self.folder / "catalog.yaml"
        self.catalog.write_text(CATALOG)
        self.data_dir = self.folder / "data"
        self.store: Any = connect(str(self.settings.redis_url))
        self.store.flushall()

    def start(self, *, data_dir: Path | None = None) -> WorkerProcess:
        name = f"worker-{len(self.processes)}"
        where = data_dir or self.data_dir
        worker = WorkerProcess(self.settings, self.catalog, self.folder, name, "--embedded", data_dir=where)
        self.processes.append(worker)
        return worker

    def start_working(self) -> WorkerProcess:
        worker = self.start()
        await_until(worker.is_working, "it works", seconds=180.0, watched=[worker])
        return worker

    def produce(self, records: Sequence[Sent], *, until: int | None = None) -> None:
        """In a process that is killed when it has said that so many are durable; the next one goes on behind them."""
        path = self.folder / "records"
        path.write_bytes(msgspec.msgpack.encode(records))
        command = [sys.executable, "-c", PRODUCER, self.data_dir / LOG_FOLDER, SHARDS, path, self.acknowledged]
        words = [str(word) for word in command]
        process = subprocess.Popen(words, cwd=ROOT, env=environment(self.settings), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.acknowledged = int(line)
                if until is not None and self.acknowledged >= until:
                    process.send_signal(signal.SIGKILL)
        assert process.wait() == (0 if until is None else -signal.SIGKILL)

    def done(self) -> list[int]:
        """Where every shard stands."""
        places = [self.store.hget(f"tl:{{{shard}}}:meta", "position") for shard in range(SHARDS)]
        return [0 if data is None else msgspec.msgpack.decode(data)[0] for data in places]

    def await_done(self, records: int, worker: WorkerProcess) -> None:
        await_until(lambda: sum(self.done()) >= records, f"{records} are worked", seconds=180.0, watched=[worker])

    def await_end(self, worker: WorkerProcess) -> None:
        """Everything is worked and learned."""

        def is_over() -> bool:
            learned = self.store.hget("tl:learn:{0}:meta", "position")
            until = 0 if learned is None else msgspec.msgpack.decode(learned)[0]
            return self.done() == self.ends("events") and [until] == self.ends("examples")

        await_until(is_over, "all is worked and learned", seconds=240.0, watched=[worker])

    def ends(self, topic: TopicKind) -> list[int]:
        return [len(records) for records in self.read(topic)]

    def read(self, topic: TopicKind) -> list[list[Logged]]:
        """Every record, by partition; transitions as Kafka has them."""
        log, found = LogFolder.find(self.data_dir), []
        for number in range(log.partitions(topic)):
            reader = PartitionReader(log.partition(topic, number))
            first = reader.begin if topic == "models" else 0  # of models only what is needed stays
            records = [Logged(*entry, ()) for entry in reader.read(first, ALL, 1 << 40)]
            reader.close()
            if topic == "segment-events":
                records = [in_binary_mode(record) for record in records]
            found.append(records)
        return found

    def evidence(self) -> Evidence:
        return Evidence(
            events=self.read("events"),
            transitions=self.read("segment-events"),
            examples=self.read("examples"),
            models=self.read("models")[0],
            dead_letters=self.read("dead-letters")[0],
            store=StoreImage.read(self.store),
        )

    def close(self) -> None:
        for worker in self.processes:
            worker.kill()
        self.store.close()


def in_binary_mode(record: Logged) -> Logged:
    """A transition with its attributes as headers, as the audit wants it."""
    key, value, headers = binary_mode(record.value)
    assert record.key == key
    return Logged(record.offset, record.time_s, key, value, tuple(headers))


@pytest.fixture
def world(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[EmbeddedWorld]:
    world = EmbeddedWorld(load_settings(redis_url=valkey.url, shards=SHARDS), tmp_path)
    yield world
    world.close()


def test_worker_and_producers_are_killed_and_every_acknowledged_event_is_scored_once(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    parts = len(traffic) // 5
    worker = world.start_working()
    for round_ in (1, 2, 3):
        world.produce(traffic, until=round_ * parts)
        world.await_done(world.acknowledged - parts // 2, worker)
        worker.kill()
        world.produce(traffic, until=world.acknowledged + parts // 4)
        worker = world.start_working()
    world.produce(traffic)
    world.await_end(worker)
    status, metrics = worker.get("/metrics")
    assert status == 200
    assert b"tideline_learner_lag_chunks" in metrics
    await_until(lambda: bool(worker.health().get("ready")), "it is ready", seconds=30.0, watched=[worker])
    worker.stop()

    evidence = world.evidence()
    logged = {(record.key, record.value) for records in evidence.events for record in records}
    assert {(user.encode(), value) for user, value in traffic} <= logged, "what was acknowledged is in the log"
    figures = audit(evidence)
    assert figures.accepted > 5_000
    assert figures.dead_letters > 50
    assert figures.transitions > 500
    assert figures.repeated == 0
    assert figures.examples > 1_000
    assert figures.models >= len(loads(CATALOG).predictions)  # of models only what is needed stays


def test_a_second_worker_on_the_log_is_refused(world: EmbeddedWorld, traffic: list[Sent]) -> None:
    worker = world.start_working()
    world.produce(traffic[:200])
    second = world.start()
    assert second.process.wait(120.0) == 6
    assert f"is worked by process {worker.process.pid} already" in second.words()
    world.await_end(worker)
    worker.stop()


def test_a_log_that_is_another_one_is_refused(world: EmbeddedWorld, traffic: list[Sent]) -> None:
    worker = world.start_working()
    world.produce(traffic[:500])
    world.await_end(worker)
    worker.stop()
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    shutil.copy2(world.data_dir / KEY_FILE, elsewhere)  # without it that is what is told
    other = world.start(data_dir=elsewhere)
    assert other.process.wait(120.0) == 6
    assert "the topic ends at 0: it is another topic than the one that was read" in other.words()


def test_time_goes_on_while_nothing_comes(world: EmbeddedWorld) -> None:
    """A user who looked at something almost 48 hours ago is `away` soon, and nothing but time says so."""
    first, *_, other = [user for user in map(str, range(20)) if shard_of(user, SHARDS) == 0]
    now = datetime.now(UTC)
    almost = now - timedelta(hours=48) + timedelta(seconds=5)
    sent = [(first, "Product Viewed", almost), (other, "Order Completed", now)]  # the second one moves the clock to now
    records = [
        {"type": "track", "userId": user, "event": name, "messageId": user, "timestamp": when.isoformat()}
        for user, name, when in sent
    ]
    worker = world.start_working()
    world.produce([(record["userId"], json.dumps(record).encode()) for record in records])
    world.await_end(worker)

    def says_away() -> bool:
        told = [json.loads(record.value) for records in world.read("segment-events") for record in records]
        return (first, "away", "decay") in {(each["user_id"], each["segment_id"], each["origin"]) for each in told}

    await_until(says_away, "the user is away", seconds=150.0, watched=[worker])
    worker.stop()
