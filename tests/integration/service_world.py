"""A service of three shards with a learner in this process, on a real server, that has worked a month of a shop."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._warmup import short_warmup
from config.catalog import Catalog
from config.loader import loads
from models.layout import SCORED_T
from models.snapshot import Snapshot
from streams.adapters.embedded_log import LogSink
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.ledger import KEY_BYTES
from streams.core.partition import shard_of
from streams.ports import Message
from streams.runtime.learner_run import LearnerRun
from streams.runtime.place import Place
from streams.runtime.records import Record
from streams.runtime.shard_run import ShardRun
from streams.runtime.worker_stores import LedgerSource, WorkerStores

SHARDS = 3
LEDGER_SECRET = "under this one who was deleted is remembered"
LEDGER_KEY = blake2b(LEDGER_SECRET.encode(), digest_size=KEY_BYTES).digest()
"""As programs make it of the setting."""
USERS = 300
START_S = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
DAYS = 30
CATALOG = loads("""
version: 1
name: Service
features: {events: [View, Order], traits: {country: {values: [A, B, C]}}}
history: [View]
predictions:
  orders_2d: {name: Orders within two days, goal: {did: Order}, window: 2d, hysteresis: 0}
  loyal_2d:
    name: Orders again within two days
    goal: {did: Order}
    window: 2d
    audience: {event: Order, count: {min: 1}}
  shown_2d: {name: Only to be looked at, goal: {did: Order}, window: 2d, access: preview}
segments:
  upper: {name: From 62.5 up, filter: {prediction: orders_2d, score: {min: 62.5}}}
  middle: {name: A range, filter: {prediction: orders_2d, score: {min: 20, max: 40}}}
  likely: {name: By likelihood, filter: {prediction: orders_2d, likelihood: {min: 0.1}}}
  busy: {name: Looked twice within two days, filter: {event: View, count: {min: 2}, within: 48h}}
  week: {name: Looked within a week, filter: {event: View, count: {min: 1}, within: 7d}}
  away: {name: Has not looked for three days, filter: {event: View, since: {min: 3d}}}
  from_a: {name: Of A, filter: {trait: country, equals: A}}
  mixed:
    name: Layers
    filter:
      all:
        - {prediction: orders_2d, category: [medium, high]}
        - any: [{trait: country, in: [A, B]}, {segment: busy}]
        - not: {segment: away}
        - not: {prediction: loyal_2d, score: {max: 30}}
limits: {batch_events: 512}
""")


class ServiceWorld:
    """The runs, and where their store and log are. Nothing runs by itself."""

    def __init__(self, url: str, data_dir: Path, catalog: Catalog = CATALOG) -> None:
        self.url = url
        self.data_dir = data_dir
        self.folder = LogFolder.make(data_dir / LOG_FOLDER, SHARDS)
        self.models: dict[str, Snapshot] = {}
        self._chunks: list[Record] = []
        self._learned = 0
        self._numbers = count(1)
        ledger, place = LedgerSource(LEDGER_KEY), Place(data_dir, url, "tl")
        self._stores = WorkerStores(url, place, catalog, shards=SHARDS, learners=1, ledger=ledger)
        self._stores.check()
        self.sinks = [
            LogSink(folder, PartitionWriter(folder))
            for folder in (self.folder.partition("segment-events", n) for n in range(SHARDS))
        ]
        self.shards = [
            ShardRun(
                catalog,
                self._stores.ports(sink, self),
                shard=n,
                shards=SHARDS,
                source=f"events-{n}",
            )
            for n, sink in enumerate(self.sinks)
        ]
        ports = self._stores.ports(self.sinks[0], self, learners=True)
        self.learner = LearnerRun(catalog, ports, partition=0, every=SHARDS)
        runs: tuple[ShardRun | LearnerRun, ...] = (*self.shards, self.learner)
        for run in runs:
            run.assign()

    def send(self, messages: Sequence[Message]) -> None:
        """The courier of all runs."""
        for topic, key, data in messages:
            if topic == "examples":
                self._chunks.append(Record(len(self._chunks), 0.0, data))
            elif topic == "models":
                self.models[key] = Snapshot.from_bytes(data, self.shards[0].shard.definitions.layout.columns.features)

    def take(self, events: Sequence[dict[str, Any]]) -> None:
        """Work these, and learn what follows."""
        for shard in range(SHARDS):
            values = [msgspec.json.encode(e) for e in events if shard_of(e["userId"], SHARDS) == shard]
            at = self.shards[shard].position.offset
            records = [Record(at + n, START_S + 1e8, value) for n, value in enumerate(values)]
            self.shards[shard].step(records, self.models, None)
        records, self._learned = self._chunks[self._learned :], len(self._chunks)
        self.learner.step(records)

    def close(self) -> None:
        """Close stores and logs."""
        self._stores.close()
        for sink in self.sinks:
            sink.close()

    def everybody(self) -> Iterator[tuple[ShardRun, int, str]]:
        """(run, row, user) of all users, from memory, which is as of the last commit."""
        for run in self.shards:
            for row, user in enumerate(run.shard.users.ids):
                if user and not math.isnan(run.shard.users.rows.t[row, SCORED_T]):
                    yield run, row, user


def shop_month(seed: int = 5) -> list[dict[str, Any]]:
    """Visits and orders of users who differ in how keen they are, in order."""
    draw = random.Random(seed)
    numbers = count(1)
    found: list[tuple[float, dict[str, Any]]] = []
    for user in range(USERS):
        keen, time_s = draw.random() ** 2, START_S + draw.random() * 5 * 86_400
        traits = {"traits": {"country": draw.choice("ABC")}}
        found.append((time_s, {"type": "identify", "userId": f"user-{user}", **traits}))
        while (time_s := time_s + draw.expovariate(0.2 + 2.0 * keen) * 86_400) < START_S + DAYS * 86_400:
            name = "Order" if draw.random() < 0.05 + 0.5 * keen else "View"
            found.append((time_s, {"type": "track", "userId": f"user-{user}", "event": name}))
    found.sort(key=lambda pair: pair[0])
    return [
        {**event, "messageId": f"m{next(numbers)}", "timestamp": datetime.fromtimestamp(time_s, UTC).isoformat()}
        for time_s, event in found
    ]


def in_batches() -> list[list[dict[str, Any]]]:
    """The month as a service takes it. Between two batches models arrive, so what it comes to depends on these."""
    events = shop_month()
    return [events[first : first + 100] for first in range(0, len(events), 100)]


@contextmanager
def service(
    folder: Path, catalog: Catalog = CATALOG, batches: Sequence[Sequence[dict[str, Any]]] | None = None
) -> Iterator[ServiceWorld]:
    """A service that has worked its month, with a short warm-up, which readers in this process know as well."""
    with EmbeddedValkey(folder / "valkey") as server, short_warmup():
        world = ServiceWorld(server.url, folder / "data", catalog)
        for batch in in_batches() if batches is None else batches:
            world.take(batch)
        yield world
        world.close()
