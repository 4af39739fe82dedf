"""The worker: a Faust app that scores, learns, and shows how it is.

Faust runs the process, its services and its web views. What must not be lost is consumed by services of our own
(`partitions.py`), because Faust acknowledges an event whose processing failed.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.web.base import BlueprintManager
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.adapters.kafka_errors import explained
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS, require_topics
from streams.ports import Message
from streams.runtime.aof_rewriting import rewrite_after_deletions
from streams.runtime.definitions import DefinitionsFollower, follow_definitions
from streams.runtime.deletion_log import mark_of
from streams.runtime.kafka.deletions import DeletionsReader
from streams.runtime.kafka.learning import LearningService
from streams.runtime.kafka.models import ModelsService
from streams.runtime.kafka.past import KafkaPasts
from streams.runtime.kafka.past_lead import PastJob
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.kafka.scoring import ScoringService
from streams.runtime.latest_models import LatestModels
from streams.runtime.ledger_key import ledger_key
from streams.runtime.past_status import StatusTeller
from streams.runtime.place import open_place
from streams.runtime.precompile import Steps, get_ready
from streams.runtime.records import Run
from streams.runtime.shard_run import Ports
from streams.runtime.traces import open_traces
from streams.runtime.turns import take_turns_often
from streams.runtime.web_views import cannot_listen, refuse_taken_port
from streams.runtime.worker_health import health, registry
from streams.runtime.worker_stores import LedgerSource, WorkerJob, WorkerStores, words_about_names

_LOG: Final = logging.getLogger(__name__)
GRACE_S: Final = 3.0
"""How long Kafka may take when the worker has to stop: to acknowledge what is under way, and to let it leave."""
CLOSE_LEAST_S: Final = 0.5
"""For closing the producer, which holds nothing any more, however long the rest has taken."""
START_GRACE_S: Final = 5.0
_NO_LISTENING: Final = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


class _NoConsumer(BootStrategy):
    """Faust's own consumer and producer stay off: nothing is read by agents (docs/adr/0016-no-agents.md)."""

    enable_kafka = False


class App(faust.App):
    """The Faust app of a worker."""

    BootStrategy = _NoConsumer

    async def _wait_for_table_recovery_completed(self) -> bool:
        return False  # there are no tables

    def _create_directories(self) -> None:
        """Nothing: without tables Faust has nothing to write, and the data directory may not exist."""


def run_worker(job: WorkerJob, watcher: Steps, say: Callable[[str], None]) -> None:
    """Work until SIGTERM or SIGINT; the batch in hand is finished, and the partitions are handed over.

    `say` is told what an operator has to know at the start. Raises SettingsError, TopicsDiffer, BrokerError,
    StoreError, ModelError: with each, starting again is safe.
    """
    require_topics(job.settings)
    refuse_taken_port(job.settings.web_host, job.settings.web_port, "the worker")  # before the group is joined
    key = ledger_key(job.place)  # behind Kafka's answer: a start that fails leaves no key that a later one would use
    get_ready(watcher)
    take_turns_often()
    with (
        open_traces(job.settings, "worker") as traces,
        open_place(job.place) as url,
        follow_definitions(url, job.place.prefix, job.catalog) as wanted,
    ):
        worker = Worker(replace(job, traces=traces), url, key, wanted)
        if (words := words_about_names(wanted.catalog, job.settings.shards)) is not None:
            say(words)
        try:
            say(worker.stores.check())
            asyncio.run(worker.run(say))
        finally:
            worker.close()


class Worker:
    """One worker process. `url`: of the store; `key`: of who was deleted; `wanted` is followed as long as it runs."""

    def __init__(self, job: WorkerJob, url: str, key: bytes, wanted: DefinitionsFollower) -> None:
        self.job = job
        self.wanted = wanted
        self.settings = job.settings
        deletions = DeletionsReader.of_kafka(job.settings, mark_of(key), lambda: list(self._shard_runs()))
        self.stores = WorkerStores(
            url,
            job.place,
            job.catalog,
            shards=job.settings.shards,
            learners=EXAMPLES_PARTITIONS,
            catalog=wanted.catalog,
            file_name=job.catalog_file,
            ledger=LedgerSource(key, deletions.of_shard),
        )
        self.publisher: KafkaPublisher
        self._teller = StatusTeller(url, job.place.prefix)
        key = self.stores.ledger_key
        past_job = PastJob(job.settings, url, job.place.prefix, wanted, job.codec, self._teller.tell, key)
        self.pasts = KafkaPasts(past_job, self._shard_runs, self._learner_runs)

    def _shard_runs(self) -> Mapping[int, Run]:
        return self.scoring.known_runs()

    def _learner_runs(self) -> Mapping[int, Run]:
        return self.learning.known_runs()

    def close(self) -> None:
        """Give the connections back."""
        self.pasts.close()
        self._teller.close()
        self.stores.close()

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self, say: Callable[[str], None]) -> None:
        """Start, work until a signal or a failure, stop."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(tell_left_errors)
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
        rewriting = asyncio.create_task(rewrite_after_deletions(self.job.place, self._shard_runs))
        rewriting.add_done_callback(
            lambda done: note_failure(error) if not done.cancelled() and (error := done.exception()) else None
        )
        for looking in (self.wanted.start(self.models.use), self.pasts.start()):
            following = asyncio.wrap_future(looking)
            following.add_done_callback(lambda done: note_failure(error) if (error := done.exception()) else None)
        try:
            await self._start(app, stopping)
            if not stopping.is_set():
                web = f"http://{self.settings.web_host}:{self.settings.web_port}"
                say(f"Working. {web}/readyz says when all is caught up.")
            await stopping.wait()
        except KafkaError as error:
            note_failure(error)
        finally:
            freezing.cancel()
            rewriting.cancel()
            self.wanted.stop()
            self.pasts.stop()
            await self._stop(app)
        if failed:
            raise failed[0]

    async def _start(self, app: Any, stopping: asyncio.Event) -> None:
        """Raises SettingsError where its views cannot listen, although the port was free a moment ago."""
        host, port = self.settings.web_host, self.settings.web_port
        try:
            await _until(stopping, app.start())
        except OSError as error:
            if error.errno not in _NO_LISTENING:
                raise
            raise cannot_listen("the worker", host, port, error) from error

    async def _freeze(self) -> None:
        """What the first shards hold lives long; walking over it in every collection costs tens of milliseconds."""
        await self.scoring.first_loads.wait()
        gc.collect()
        gc.freeze()

    async def _stop(self, app: Any) -> None:
        """The batches in hand are finished, except where the store or Kafka do not answer."""
        self.stores.give_up()
        until_s = time.monotonic() + GRACE_S
        giving_up = asyncio.get_running_loop().call_later(GRACE_S, self.publisher.give_up)
        with suppress(asyncio.CancelledError):
            # Both groups at once: Faust stops one service after the other, and each would wait for a Kafka that hangs.
            await asyncio.gather(self.scoring.leave(until_s), self.learning.leave(until_s))
            await app.stop()
        giving_up.cancel()
        await self.publisher.aclose(max(CLOSE_LEAST_S, until_s - time.monotonic()))

    def _make_app(self) -> Any:
        settings, wanted, codec = self.settings, self.wanted, self.job.codec
        app = App(
            "tideline",
            broker="kafka://" + settings.kafka_bootstrap_servers.replace(",", ";kafka://"),
            web_bind=settings.web_host,
            web_port=settings.web_port,
            autodiscover=False,
        )
        # Faust's own views show what it knows of topics and tables to whoever may ask for metrics.
        app.web.blueprints = BlueprintManager()
        self.models = LatestModels(wanted.catalog, codec)
        self.scoring = ScoringService(
            settings,
            wanted,
            make_ports=self._ports,
            models=self.models,
            codec=codec,
            pasts=self.pasts,
            traces=self.job.traces,
        )
        self.learning = LearningService(
            settings, wanted, make_ports=lambda: self._ports(learners=True), codec=codec, pasts=self.pasts
        )
        self.services: tuple[ReportingService, ...] = (
            ModelsService(settings, self.models, self._send),
            self.learning,
            self.scoring,
        )
        for service in self.services:
            app.service(service)  # type: ignore[arg-type]  # it takes instances as well
        _add_views(app, self)
        return app

    def _send(self, messages: Sequence[Message]) -> None:
        """See `Courier`; the publisher is there as soon as anything runs."""
        self.publisher.send(messages)

    def _ports(self, *, learners: bool = False) -> Ports:
        return self.stores.ports(self.publisher, self.publisher, learners=learners)


def tell_left_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For the event loop: what nobody took note of.

    Kafka's client carries a request to its end even if we have stopped waiting for it. That it failed is one line and
    no traceback then: whoever gave it up has told that already, or asks again.
    """
    error = context.get("exception")
    if isinstance(error, KafkaError) and "never retrieved" in context.get("message", ""):
        _LOG.warning("Kafka's client: a request that nobody waits for any more has failed: %r", error)
    else:
        loop.default_exception_handler(context)


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
    metrics_of = registry(
        worker.scoring, worker.learning, worker.models, worker.stores.watch, shards=worker.settings.shards
    )

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(view: Any, request: Any) -> Any:  # noqa: ARG001  what Faust gives
        """The process is alive."""
        return view.json({"alive": True})

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def readyz(view: Any, request: Any) -> Any:  # noqa: ARG001
        """Assigned, loaded and caught up."""
        found = health(worker.scoring, worker.models, ready_lag=worker.settings.ready_lag)
        found["open_transactions"] = worker.scoring.open_transactions()
        return view.json(found, status=200 if found["ready"] else 503)

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def metrics(view: Any, request: Any) -> Any:  # noqa: ARG001
        """For Prometheus."""
        return view.bytes(generate_latest(metrics_of), headers={"Content-Type": CONTENT_TYPE_LATEST})
