"""The service for the benchmark on Kafka, as `tideline up` runs it: store, Kafka, one worker.

And what can be read of it from outside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._awaiting import Watched, await_events
from benchmarks._live_traffic import CATALOG, Place, live_catalog
from benchmarks._ports import free_port
from benchmarks._process_figures import cpu_s
from config.loader import load_catalog
from config.settings import Settings, load_settings
from models.snapshot import Snapshot, Status
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS
from streams.adapters.redis_keys import LEARNERS
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_wire import Wire
from streams.core.saving import SHARD_BLOB, SNAPSHOT_BLOB
from streams.core.shard import Shard
from streams.core.state import COUNTERS
from streams.runtime.records import Position
from streams.runtime.up import cache_folder
from streams.runtime.up_parts import KafkaPart, StorePart, UpJob, WorkerPart

_POLL_S = 0.05
_NEVER = threading.Event()


class Worker(WorkerPart):
    """A worker whose processor time can be read."""

    @property
    def pid(self) -> int:
        """Process id. Only after `start`."""
        assert self._process is not None, "start comes first"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Between `start` and `stop`."""
        return self._process is not None

    def cpu_s(self) -> float | None:
        """Of all its threads since its start, in seconds; None where there is no /proc."""
        return cpu_s(self.pid)

    def check(self) -> None:
        """Raises RuntimeError with its last words if it has ended."""
        if (words := self.ended()) is not None:
            raise RuntimeError(f"the worker has ended{words}")


@dataclass(frozen=True, slots=True)
class Standing:
    """Counters of all shards together, as of their last commits."""

    counts: dict[str, int]
    waiting: int
    """Predictions that are not live in some shard."""
    users: int
    dead_letters: int


class Service:
    """What runs. `start_worker` and `stop_worker` as often as needed."""

    def __init__(self, settings: Settings, folder: Path, store: StorePart, kafka: KafkaPart, catalog: Path) -> None:
        self.settings = settings.model_copy(update={"kafka_bootstrap_servers": kafka.address})
        self.store_url = store.url
        self._catalog = catalog
        self.worker = self._worker(folder, store, kafka)
        other = self.settings.model_copy(update={"web_port": free_port()})
        self.second_worker = self._worker(folder, store, kafka, other)
        self.second_worker.log = folder / "second-worker.log"
        self._wire = Wire(store.url, timeout_s=30.0)
        self._ends_reader: Any = None
        self.log = self.worker.log
        self._features = Shard(load_catalog(catalog)).definitions.layout.columns.features

    def _worker(self, folder: Path, store: StorePart, kafka: KafkaPart, settings: Settings | None = None) -> Worker:
        job = UpJob(settings or self.settings, self._catalog, folder, cache_folder(), with_kafka=True)
        return Worker(job, store, kafka)

    def place(self, kind: str = "events") -> Place:
        """A topic of the service."""
        topic = self.settings.topic(kind)  # type: ignore[arg-type]  # one of its kinds
        return Place(self.settings.kafka_bootstrap_servers, topic, self.settings.shards)

    def start_worker(self) -> None:
        """Returns when it answers, which is before it has loaded its shards."""
        self.worker.start(_NEVER)

    def start_both_workers(self) -> None:
        """At once, so that they share the partitions from the beginning. Returns when both answer."""
        with ThreadPoolExecutor(2) as pool:
            started = [pool.submit(worker.start, _NEVER) for worker in (self.worker, self.second_worker)]
            for each in started:
                each.result()

    def stop_workers(self) -> None:
        """Those that run."""
        self.second_worker.stop()
        self.worker.stop()

    # --- how far it is -----------------------------------------------------------------------------------------------

    def worked(self, prefix: str | None = None, shards: int | None = None) -> list[int]:
        """Where every shard stands in its partition, by the store: what is before it is scored and stored."""
        wanted = range(self.settings.shards if shards is None else shards)
        data = [
            self._wire.ask("HGET", f"{prefix or self.settings.key_prefix}:{{{n}}}:meta", "position") for n in wanted
        ]
        return [Position.from_bytes(each).offset for each in data]

    def check(self) -> None:
        """Raises RuntimeError with the last words of a worker that has ended."""
        self.worker.check()
        self.second_worker.check()

    def await_worked(self, events: int, *, seconds: float, say: Callable[[int], None]) -> list[tuple[float, float]]:
        """Wait until so many events are worked. Returns (events, monotonic seconds) as it went on.

        Raises RuntimeError when a worker ends, Stuck when they do not come on for `seconds`.
        """
        watched = Watched("the worker", lambda: sum(self.worked()), self.check)
        return await_events(watched, events, seconds=seconds, say=say)

    def await_learned(self, *, seconds: float) -> float:
        """Wait until every example is learned that was handed out. Returns when it was first seen (monotonic seconds).

        It has to be so at two looks: what a commit hands out is stored first, and in the topic a moment later.
        Raises RuntimeError after `seconds`.
        """
        deadline_s = time.monotonic() + seconds
        while True:
            if self._is_learned():
                learned_s = time.monotonic()
                time.sleep(_POLL_S)
                if self._is_learned():
                    return learned_s
            self.check()
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the learners are not done after {seconds:g} s")
            time.sleep(_POLL_S)

    def _is_learned(self) -> bool:
        """The ends are asked for first: what comes later is for the next look."""
        ends = self._example_ends()
        worked = self.worked(self.settings.key_prefix + LEARNERS, EXAMPLES_PARTITIONS)
        return all(at >= end for at, end in zip(worked, ends, strict=True))

    def _example_ends(self) -> list[int]:
        kafka, topic = kafka_python(), self.settings.topic("examples")
        if self._ends_reader is None:  # kept, because to make one takes a tenth of a second, which would be timed
            self._ends_reader = kafka.KafkaConsumer(**kafka_python_arguments(self.settings), group_id=None)
        places = [kafka.TopicPartition(topic, n) for n in range(EXAMPLES_PARTITIONS)]
        ends = self._ends_reader.end_offsets(places)
        return [ends[place] for place in places]

    def standing(self) -> Standing:
        """What the shards have counted."""
        reader = RedisReader(self.store_url, prefix=self.settings.key_prefix)
        counts = dict.fromkeys(COUNTERS, 0)
        waiting = users = 0
        try:
            for shard in reader.shard_infos():
                blobs = reader.blobs(shard.shard)
                numbers = msgspec.msgpack.decode(blobs[SHARD_BLOB])["si"]
                for name, at in COUNTERS.items():
                    counts[name] += numbers[at]
                snapshot = Snapshot.from_bytes(blobs[SNAPSHOT_BLOB], self._features) if SNAPSHOT_BLOB in blobs else None
                predictions = () if snapshot is None else snapshot.predictions
                live = sum(prediction.status is not Status.WARMING for prediction in predictions)
                waiting += len(live_catalog().predictions) - live
                users += shard.users
            return Standing(counts, waiting, users, reader.dead_letter_count())
        finally:
            reader.close()

    def await_live(self, *, seconds: float) -> None:
        """Wait until every prediction is live in every shard: models come some time after what they learned.

        Raises RuntimeError after `seconds`.
        """
        deadline_s = time.monotonic() + seconds
        while waiting := self.standing().waiting:
            self.worker.check()
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"of all shards, {waiting} predictions are not live after the warm-up; more --users or --warm-days"
                )
            time.sleep(1.0)

    def close(self) -> None:
        """The workers end, and our connections."""
        self.stop_workers()
        self._wire.close()
        if self._ends_reader is not None:
            self._ends_reader.close()


@contextmanager
def open_service(folder: Path, shards: int, say: Callable[[str], None], catalog: Path = CATALOG) -> Iterator[Service]:
    """Store, Kafka with its topics; no worker yet. Raises BrokerError and StoreError, which say what to do.

    `catalog`: that of the live shop, or one with the same predictions.
    """
    settings = load_settings(shards=shards, web_port=free_port())
    store = StorePart(folder / "store")
    kafka = KafkaPart(UpJob(settings, catalog, folder, cache_folder(), with_kafka=True), say)
    store.start(_NEVER)
    try:
        kafka.start(_NEVER)
        service = Service(settings, folder, store, kafka, catalog)
        try:
            yield service
        finally:
            service.close()
    finally:
        kafka.stop()
        store.stop()
