"""The worker: a Faust app that scores, learns, and shows how it is.

Faust runs the process, its services and its web views. What must not be lost is consumed by services of our own
(`partitions.py`), because Faust acknowledges an event whose processing failed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from config.catalog import Catalog, EventLimit
from config.errors import Stopped
from config.features import TraitLimit
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.kafka_errors import explained
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS, require_topics
from streams.adapters.redis_store import RedisStore
from streams.commit import Patience, patiently
from streams.ports import Identity, Store
from streams.runtime.about import about_blobs
from streams.runtime.kafka.learning import LearningService
from streams.runtime.kafka.metrics import WorkerCollector
from streams.runtime.kafka.models import ModelsService
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.kafka.scoring import ScoringService
from streams.runtime.place import Place, open_place
from streams.runtime.precompile import Steps, get_ready
from streams.runtime.replay import catalog_digest
from streams.runtime.shard_run import Ports

_LOG: Final = logging.getLogger(__name__)
LEARNERS: Final = ":learn"
"""What the key prefix of the learners' store ends with."""
GRACE_S: Final = 3.0
"""How long Kafka may take when the worker has to stop: to acknowledge what is under way, and to let it leave."""
CLOSE_LEAST_S: Final = 0.5
"""For closing the producer, which holds nothing any more, however long the rest has taken."""
START_GRACE_S: Final = 5.0


class _NoConsumer(BootStrategy):
    """Faust's own consumer and producer stay off: nothing is read by agents yet."""

    enable_kafka = False


class App(faust.App):
    """The Faust app of a worker."""

    BootStrategy = _NoConsumer

    async def _wait_for_table_recovery_completed(self) -> bool:
        return False  # there are no tables

    def _create_directories(self) -> None:
        """Nothing: without tables Faust has nothing to write, and the data directory may not exist."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker is started with."""

    settings: Settings
    catalog: Catalog
    place: Place
    codec: ModelCodec | None = None


def run_worker(job: WorkerJob, watcher: Steps, say: Callable[[str], None]) -> None:
    """Work until SIGTERM or SIGINT; the batch in hand is finished, and the partitions are handed over.

    `say` is told what an operator has to know at the start. Raises SettingsError, TopicsDiffer, BrokerError,
    StoreError, ModelError: with each, starting again is safe.
    """
    require_topics(job.settings)
    get_ready(watcher)
    with open_place(job.place) as url:
        worker = Worker(job, url)
        if job.settings.shards > 1 and _finds_names(job.catalog):
            say(
                "Event names and trait values that the catalog does not list have no features of their own with "
                "several shards; list those that matter under features."
            )
        say(f"Store: {worker.check_store()}.")
        try:
            asyncio.run(worker.run(say))
        finally:
            worker.close()


def _finds_names(catalog: Catalog) -> bool:
    """Whether the catalog leaves it to the stream which names and values become features."""
    by_limit = [kind for kind in catalog.trait_features.values() if isinstance(kind, TraitLimit)]
    return isinstance(catalog.features.events, EventLimit) or bool(by_limit)


class Worker:
    """One worker process. `url`: of the store."""

    def __init__(self, job: WorkerJob, url: str) -> None:
        self.job = job
        self.settings = job.settings
        self._url = url
        self._digest = catalog_digest(job.catalog)
        self._stores: list[Store] = []
        self._leaving = threading.Event()
        self._patience = Patience(self._rest)
        self.publisher: KafkaPublisher

    # --- stores ------------------------------------------------------------------------------------------------------

    def _rest(self, seconds: float) -> None:
        """A pause in a wait for store or Kafka. Raises Stopped when the worker has to stop."""
        if self._leaving.wait(seconds):
            raise Stopped("the store or Kafka did not answer when the worker had to stop")

    def _open_store(self, patience: Patience, *, learners: bool = False) -> Store:
        place, catalog = self.job.place, self.job.catalog
        store = RedisStore(
            self._url,
            patience=patience,
            prefix=place.prefix + (LEARNERS if learners else ""),
            dead_letters=catalog.limits.dead_letters,
            wait_for=place.wait_for,
        )
        self._stores.append(store)
        identity = Identity(
            catalog=self._digest,
            predictions=tuple(catalog.predictions),
            segments=tuple(segment for segment in self._segments),
        )
        shards = EXAMPLES_PARTITIONS if learners else self.settings.shards
        patiently(patience, lambda: store.prepare(shards, identity))
        return store

    def check_store(self) -> str:
        """Prepare the store; what its settings promise. Raises StoreError."""
        from streams.core.shard import Shard

        fresh = Shard(self.job.catalog)
        self._segments = fresh.definitions.segment_ids
        self._features = fresh.definitions.layout.columns.features
        return self._open_store(self.job.place.patience).promises()

    def _ports(self, *, learners: bool = False) -> Ports:
        return Ports(
            store=self._open_store(self._patience, learners=learners),
            sink=self.publisher,
            courier=self.publisher,
            patience=self._patience,
            new_generation=lambda: secrets.token_hex(8),
        )

    def close(self) -> None:
        """Give the connections back."""
        for store in self._stores:
            store.close()

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self, say: Callable[[str], None]) -> None:
        """Start, work until a signal or a failure, stop."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        self.publisher = KafkaPublisher(self.settings)
        app = self._make_app()
        failed: list[BaseException] = []

        def note_failure(error: BaseException) -> None:
            failed.append(explained(error, self.settings) if isinstance(error, KafkaError) else error)
            stopping.set()

        for service in self.services:
            service.on_failure = note_failure
        freezing = asyncio.create_task(self._freeze())
        try:
            await _until(stopping, app.start())
            if not stopping.is_set():
                web = f"http://{self.settings.web_host}:{self.settings.web_port}"
                say(f"Working. {web}/readyz says when all is caught up.")
            await stopping.wait()
        except KafkaError as error:
            note_failure(error)
        finally:
            freezing.cancel()
            await self._stop(app)
        if failed:
            raise failed[0]

    async def _freeze(self) -> None:
        """What the first shards hold lives long; walking over it in every collection costs tens of milliseconds."""
        await self.scoring.first_loads.wait()
        gc.collect()
        gc.freeze()

    async def _stop(self, app: Any) -> None:
        """The batches in hand are finished, except where the store or Kafka do not answer."""
        self._leaving.set()
        until_s = time.monotonic() + GRACE_S
        giving_up = asyncio.get_running_loop().call_later(GRACE_S, self.publisher.give_up)
        with suppress(asyncio.CancelledError):
            # Both groups at once: Faust stops one service after the other, and each would wait for a Kafka that hangs.
            await asyncio.gather(self.scoring.leave(until_s), self.learning.leave(until_s))
            await app.stop()
        giving_up.cancel()
        await self.publisher.aclose(max(CLOSE_LEAST_S, until_s - time.monotonic()))

    def _make_app(self) -> Any:
        settings, catalog, codec = self.settings, self.job.catalog, self.job.codec
        app = App(
            "tideline",
            broker="kafka://" + settings.kafka_bootstrap_servers.replace(",", ";kafka://"),
            web_bind=settings.web_host,
            web_port=settings.web_port,
            autodiscover=False,
        )
        self.models = ModelsService(
            settings,
            digest=self._digest,
            predictions=tuple(catalog.predictions),
            features=self._features,
            codec=codec,
        )
        self.scoring = ScoringService(
            settings,
            catalog,
            make_ports=self._ports,
            models=self.models,
            codec=codec,
            digest=self._digest,
            about=about_blobs(catalog),
        )
        self.learning = LearningService(
            settings, catalog, make_ports=lambda: self._ports(learners=True), digest=self._digest, codec=codec
        )
        self.services: tuple[ReportingService, ...] = (self.models, self.learning, self.scoring)
        for service in self.services:
            app.service(service)  # type: ignore[arg-type]  # it takes instances as well
        _add_views(app, self)
        return app

    def health(self) -> dict[str, Any]:
        """How the worker is, as `/readyz` tells it."""
        partitions = self.scoring.partitions
        lag = sum(p.lag for p in partitions.values())
        ready = self.scoring.is_settled and lag <= self.settings.ready_lag
        return {
            "ready": ready,
            "assigned": sorted(partitions),
            "loading": sorted(n for n, p in partitions.items() if not p.is_ready),
            "lag": lag,
            "models": {self.models.names[p]: s.version for p, s in sorted(self.models.latest.items())},
        }


async def _until(stopping: asyncio.Event, starting: Coroutine[Any, Any, Any]) -> None:
    """Start, unless it has to stop first."""
    start, stop = asyncio.create_task(starting), asyncio.create_task(stopping.wait())
    await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait({start}, timeout=START_GRACE_S)
    if start.done() and not start.cancelled():
        start.result()


def _add_views(app: Any, worker: Worker) -> None:
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker.scoring, worker.learning, worker.models))

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(view: Any, request: Any) -> Any:  # noqa: ARG001  what Faust gives
        """The process is alive."""
        return view.json({"alive": True})

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def readyz(view: Any, request: Any) -> Any:  # noqa: ARG001
        """Assigned, loaded and caught up."""
        health = worker.health()
        return view.json(health, status=200 if health["ready"] else 503)

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def metrics(view: Any, request: Any) -> Any:  # noqa: ARG001
        """For Prometheus."""
        return view.bytes(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
