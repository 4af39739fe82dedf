"""The worker of the embedded log: a thread for each shard, one for the learner, and web views that say how it is."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from config.errors import BrokerError
from config.settings import TopicKind
from streams.adapters.definition_store import Past
from streams.adapters.embedded_log import LogCourier, LogSink
from streams.adapters.file_lock import ProcessLock
from streams.adapters.log_folder import LOG_FOLDER, SINGLE, LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.log_writer import SEGMENT_BYTES, PartitionWriter
from streams.adapters.memory_sinks import NullSink
from streams.runtime.aof_rewriting import rewrite_after_deletions
from streams.runtime.behind_log import BehindLog
from streams.runtime.definitions import DefinitionsFollower, follow_definitions
from streams.runtime.deletion_log import KnownDeletions, mark_of, shard_deletions
from streams.runtime.embedded.models import ModelsFollower
from streams.runtime.embedded.past import FOLDER, EmbeddedPasts, PastJob
from streams.runtime.embedded.retention import trim_topics
from streams.runtime.embedded.work import PartitionWork, Step
from streams.runtime.latest_models import LatestModels
from streams.runtime.learner_run import LearnerRun
from streams.runtime.ledger_key import ledger_key
from streams.runtime.past_reading import signing_key
from streams.runtime.past_status import StatusTeller
from streams.runtime.place import open_place
from streams.runtime.precompile import Steps, get_ready
from streams.runtime.records import Record, Run
from streams.runtime.refusal_log import RefusalLog
from streams.runtime.shard_run import ShardRun
from streams.runtime.shard_traces import traced_by_events
from streams.runtime.traces import open_traces
from streams.runtime.turns import take_turns_often
from streams.runtime.up_log import refuse_other_log
from streams.runtime.web_views import serve_views
from streams.runtime.worker_health import health, registry
from streams.runtime.worker_stores import LedgerSource, WorkerJob, WorkerStores, words_about_names

BATCH_CHUNKS: Final = 64
MODELS_SEGMENT_BYTES: Final = 8 << 20
"""Segments of models are small: only the latest of each prediction is needed."""
TRIM_S: Final = 60.0
DELETIONS_READ: Final = 10_000


def run_embedded_worker(job: WorkerJob, watcher: Steps, say: Callable[[str], None]) -> None:
    """Work until SIGTERM or SIGINT; the batch in hand is finished.

    `say` is told what an operator has to know at the start. Raises TopicsDiffer, BrokerError, StoreError, ModelError,
    SettingsError: with each, starting again is safe.
    """
    data_dir, settings = job.place.data_dir, job.settings
    refuse_other_log(data_dir, with_kafka=False)
    get_ready(watcher)
    take_turns_often()
    with (
        open_traces(settings, "worker") as traces,
        open_place(job.place) as url,
        _worked_by_us(data_dir / LOG_FOLDER, settings.shards) as folder,
        follow_definitions(url, job.place.prefix, job.catalog) as wanted,
    ):
        _work(replace(job, traces=traces), url, folder, wanted, say)


def _work(job: WorkerJob, url: str, folder: LogFolder, wanted: DefinitionsFollower, say: Callable[[str], None]) -> None:
    settings = job.settings
    key = ledger_key(job.place, has_log=True)
    ledger = LedgerSource(key, partial(_deletions_of, folder, mark_of(key)))
    stores = WorkerStores(
        url, job.place, job.catalog, shards=settings.shards, learners=1, catalog=wanted.catalog, ledger=ledger
    )
    if (words := words_about_names(wanted.catalog, settings.shards)) is not None:
        say(words)
    try:
        say(stores.check())
        with closing(StatusTeller(url, job.place.prefix)) as teller:
            worker = EmbeddedWorker(job, folder, stores, wanted, teller.tell)
            try:
                asyncio.run(worker.run(say))
            finally:
                worker.close()
    finally:
        stores.close()


@contextmanager
def _worked_by_us(path: Path, shards: int) -> Iterator[LogFolder]:
    """The log, which nobody else works meanwhile. Two workers would take every shard from each other all the time."""
    folder = LogFolder.make(path, shards)
    lock = ProcessLock(path / "worker.lock")
    if not lock.acquire():
        raise BrokerError(f"the log in {path} is worked by process {lock.holder()} already")
    try:
        yield folder
    finally:
        lock.release()


class _Works:
    """Works by their partition, as the web views see them (`worker_health.Working`)."""

    def __init__(self, works: Sequence[PartitionWork]) -> None:
        self.partitions: Mapping[int, PartitionWork] = dict(enumerate(works))

    @property
    def is_settled(self) -> bool:
        """Not while a step hangs."""
        now_s = time.monotonic()
        return all(work.is_ready and not work.hangs(now_s) for work in self.partitions.values())

    def known_runs(self) -> Mapping[int, Run]:
        return {number: work.run for number, work in self.partitions.items() if work.run is not None}


class EmbeddedWorker:
    """All threads of a worker on the log in `folder`. Makes sure first that the log is sound.

    Raises BrokerError for a log that is damaged or cannot be written.
    """

    def __init__(
        self,
        job: WorkerJob,
        folder: LogFolder,
        stores: WorkerStores,
        wanted: DefinitionsFollower,
        tell: Callable[[Past], None],
    ) -> None:
        self.job = job
        self._wanted = wanted
        place, key = job.place.data_dir / FOLDER, signing_key(job.settings)
        past_job = PastJob(folder, place, wanted, job.codec, key, tell, stores.ledger_key)
        self.pasts = EmbeddedPasts(past_job, self._shard_runs)
        self._folder = folder
        self._stores = stores
        self._writers = {place: self._writer(*place) for place in folder.all_partitions()}
        for writer in self._writers.values():
            writer.open()
        self._courier = LogCourier({topic: self._writers[topic, 0] for topic in SINGLE})
        self.models = LatestModels(wanted.catalog, job.codec)
        self._follower = ModelsFollower(folder.partition("models", 0), self.models)
        self._follower.catch_up()
        self.scoring = _Works([self._scoring_work(number) for number in range(folder.shards)])
        self.learning = _Works([self._learning_work()])
        self._works = (*self.scoring.partitions.values(), *self.learning.partitions.values())
        self._loop: asyncio.AbstractEventLoop
        self._is_frozen = False
        self._refusals, self._behind = RefusalLog(), BehindLog()

    def _writer(self, topic: TopicKind, number: int) -> PartitionWriter:
        folder = self._folder.partition(topic, number)
        return PartitionWriter(folder, segment_bytes=MODELS_SEGMENT_BYTES if topic == "models" else SEGMENT_BYTES)

    # --- the work of a partition --------------------------------------------------------------------------------------

    def _scoring_work(self, number: int) -> PartitionWork:
        return PartitionWork(
            f"events {number}",
            self._folder.partition("events", number),
            partial(self._make_shard, number),
            batch=self.job.catalog.limits.batch_events,
            on_ready=self._note_ready,
            is_due=self._is_due,
        )

    def _shard_runs(self) -> Mapping[int, Run]:
        return self.scoring.known_runs()

    def _is_due(self, run: Run) -> bool:
        """Whether a shard has to go on under another catalog, also while nothing comes."""
        return isinstance(run, ShardRun) and run.catalog is not self._wanted.catalog

    def _make_shard(self, number: int) -> tuple[Run, Step]:
        sink = LogSink(self._folder.partition("segment-events", number), self._writers["segment-events", number])
        run = ShardRun(
            self._wanted,
            replace(
                self._stores.ports(sink, self._courier),
                tell=self.scoring.partitions[number].tell,
                traces=self.job.traces,
            ),
            shard=number,
            shards=self._folder.shards,
            source=f"events-{number}",
            codec=self.job.codec,
            pasts=self.pasts,
        )

        def step(records: Sequence[Record], now_s: float | None) -> None:
            found = records if self.job.traces is None else traced_by_events(records)
            run.step(found, self.models.latest, now_s)
            self._refusals.tell(run)
            self._behind.tell(run.number, run.arrived, time.monotonic())

        return run, step

    def _learning_work(self) -> PartitionWork:
        return PartitionWork(
            "examples 0",
            self._folder.partition("examples", 0),
            self._make_learner,
            batch=BATCH_CHUNKS,
            on_ready=self._note_ready,
            accepts_gaps=True,  # a learner counts what it has missed, and learns on
        )

    def _make_learner(self) -> tuple[Run, Step]:
        run = LearnerRun(
            self._wanted,
            self._stores.ports(NullSink(), self._courier, learners=True),
            partition=0,
            every=self._folder.shards,  # about one snapshot an hour: every shard sends a chunk then
            codec=self.job.codec,
            source="examples 0",
            pasts=self.pasts,
        )

        def step(records: Sequence[Record], now_s: float | None) -> None:  # noqa: ARG001  time does not matter
            run.step(records)

        return run, step

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(self, say: Callable[[str], None]) -> None:
        """Start, work until a signal or a failure, stop. Raises what the work has failed by."""
        stopping = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        views = await self._show()
        tasks: list[asyncio.Future[None]] = [asyncio.wrap_future(future) for future in self._start()]
        rewriting = rewrite_after_deletions(self.job.place, self._shard_runs)
        own = [asyncio.create_task(each) for each in (self._trim_now_and_then(), rewriting, _until_set(stopping))]
        tasks += own
        try:
            at = f"http://{self.job.settings.web_host}:{self.job.settings.web_port}"
            say(f"Working. {at}/readyz says when all is caught up.")
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop()
            for task in own:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await views.cleanup()
        for found in ended:
            if isinstance(found, Exception):
                raise found

    async def _show(self) -> web.AppRunner:
        settings = self.job.settings

        def ready() -> dict[str, Any]:
            return health(self.scoring, self.models, ready_lag=settings.ready_lag)

        metrics = registry(self.scoring, self.learning, self.models, self._stores.watch, shards=self._folder.shards)
        return await serve_views(settings.web_host, settings.web_port, ready, metrics, "the worker")

    def _start(self) -> list[Future[None]]:
        looking = [self._wanted.start(self.models.use), self.pasts.start(), self._follower.start()]
        return [*looking, *(work.start() for work in self._works)]

    def _stop(self) -> None:
        self._stores.give_up()
        self._follower.stop()
        self._wanted.stop()
        self.pasts.stop()
        for work in self._works:
            work.stop()

    def close(self) -> None:
        """Close all files; every thread has ended."""
        self.pasts.close()
        for work in self._works:
            work.close()
        self._follower.close()
        for writer in self._writers.values():
            writer.close()

    def _note_ready(self) -> None:
        """In a thread: a partition is loaded."""
        self._loop.call_soon_threadsafe(self._freeze)

    def _freeze(self) -> None:
        """What the first loads hold lives long; walking over it in every collection costs tens of milliseconds."""
        if not self._is_frozen and self.scoring.is_settled and self.learning.is_settled:
            self._is_frozen = True
            gc.collect()
            gc.freeze()

    # --- retention ----------------------------------------------------------------------------------------------------

    async def _trim_now_and_then(self) -> None:
        while True:
            await asyncio.to_thread(trim_topics, self._folder, self.job.settings, self._needed, time.time())
            await asyncio.sleep(TRIM_S)

    def _needed(self, topic: TopicKind, number: int) -> int | None:
        """The offset from which on the records of a partition are still needed here; None for none of them."""
        if topic == "models":
            return min(self.models.offsets.values(), default=0)
        if topic == "deletions":
            return 0  # who was deleted must be known for ever
        works = {"events": self.scoring, "examples": self.learning}.get(topic)
        if works is None:
            return None
        run = works.known_runs().get(number)
        # The last one that was worked stays, too: by it the log is known again.
        return 0 if run is None else max(0, run.position.offset - 1)


def _deletions_of(folder: LogFolder, mark: str, shard: int) -> KnownDeletions:
    """Who was deleted of a shard, as the log has it. Raises BrokerError, StoreIncompatible."""
    with closing(_deletion_records(folder)) as records:
        return shard_deletions(records, shard, mark)


def _deletion_records(folder: LogFolder) -> Generator[tuple[bytes, bytes], None, None]:
    """Keys and values of the log of deletions, as they came."""
    reader = PartitionReader(folder.partition("deletions", 0))
    try:
        place = reader.begin
        while entries := reader.read(place, DELETIONS_READ):
            yield from ((entry.key, entry.value) for entry in entries)
            place = entries[-1].offset + 1
    finally:
        reader.close()


async def _until_set(stopping: asyncio.Event) -> None:
    await stopping.wait()
