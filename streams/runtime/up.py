"""The whole service on one machine: store, log and a worker, with all that they keep in one directory."""

from __future__ import annotations

import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import BrokerError, StoreError, TidelineError
from config.settings import Settings
from streams.adapters.kafka_server import EmbeddedKafka
from streams.adapters.kafka_topics import require_topics
from streams.adapters.log_folder import LOG_FOLDER
from streams.adapters.owned_process import OwnedProcess
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.precompile import Steps, get_ready
from streams.runtime.supervisor import Part, Supervisor

_STOP_S: Final = 30.0
_START_S: Final = 120.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class UpJob:
    """What to run. `catalog` is its file; settings name shards, topics and the worker's port."""

    settings: Settings
    catalog: Path
    data_dir: Path
    cache_dir: Path
    """Where Kafka's program is kept."""
    with_kafka: bool = False
    """A Kafka is the log; else files in the data directory."""
    kafka_port: int | None = None


def run_up(job: UpJob, watcher: Steps, say: Callable[[str], None], stopping: threading.Event) -> None:
    """Run everything until `stopping` is set, then stop it in order.

    Raises what a first start raises: BrokerError, StoreError, ModelError, TopicsDiffer, each with what to do.
    """
    get_ready(watcher)
    store, kafka = StorePart(job.data_dir), KafkaPart(job, say) if job.with_kafka else None
    worker = WorkerPart(job, store, kafka)
    parts: tuple[Part, ...] = (store, worker) if kafka is None else (store, kafka, worker)
    supervisor = Supervisor(parts, say)
    with watcher.step(f"Starting store{'' if kafka is None else ', Kafka'} and worker"):
        supervisor.start(stopping)
    try:
        if not stopping.is_set():
            say(_where(job, kafka))
        supervisor.run(stopping)
    finally:
        with watcher.step("Stopping"):
            supervisor.stop()


def _where(job: UpJob, kafka: KafkaPart | None) -> str:
    shards = job.settings.shards
    events = f"events in {shards} partition{'' if shards == 1 else 's'}"
    web = _web(job.settings)
    address = (
        f"  Kafka    {kafka.address} ({events})" if kafka else f"  log      {job.data_dir / LOG_FOLDER} ({events})"
    )
    return "\n".join(
        [
            "Running; Ctrl-C ends it, and what it holds stays.",
            address,
            f"  worker   {web}/readyz, {web}/metrics; what it says is in {job.data_dir / 'worker.log'}",
            f"  store    {job.data_dir}",
            "Try, in another terminal:",
            *(_kafka_commands(job, kafka.address) if kafka else _log_commands(job)),
        ]
    )


def _kafka_commands(job: UpJob, address: str) -> list[str]:
    return [
        f"  export TIDELINE_KAFKA_BOOTSTRAP_SERVERS={address} TIDELINE_SHARDS={job.settings.shards}",
        f"  tideline produce FILE -c {shlex.quote(str(job.catalog))}    (your events; or those of a simulated shop:)",
        "  tideline simulate --users 2000 --days 60 --out kafka",
        "  tideline lag",
        "  tideline tail segment-events --from-start",
    ]


def _log_commands(job: UpJob) -> list[str]:
    where = f"--data-dir {shlex.quote(str(job.data_dir))}"
    return [
        f"  tideline simulate --users 2000 --days 60 --out log {where}",
        f"  tideline produce FILE -c {shlex.quote(str(job.catalog))} {where}",
        f"  tideline keys create --role ingest --name shop {where}; tideline api {where}",
        f"  tideline lag {where}",
        f"  tideline tail segment-events --from-start {where}",
    ]


class StorePart:
    """The Valkey server."""

    name = "The store"

    def __init__(self, data_dir: Path) -> None:
        self._server = EmbeddedValkey(data_dir)

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def start(self, stopping: threading.Event) -> None:  # noqa: ARG002  it takes a moment
        """See `Part`."""
        self._server.start()

    def ended(self) -> str | None:
        """See `Part`."""
        try:
            self._server.check()
        except StoreError as error:
            return f": {error}"
        return None

    def stop(self) -> None:
        """See `Part`."""
        self._server.stop()


class KafkaPart:
    """A Kafka of one node, with its topics."""

    name = "Kafka"

    def __init__(self, job: UpJob, say: Callable[[str], None]) -> None:
        self._settings = job.settings
        self._server = EmbeddedKafka(job.data_dir / "kafka", cache_dir=job.cache_dir, port=job.kafka_port, say=say)
        self.address = ""

    def start(self, stopping: threading.Event) -> None:
        """See `Part`; topics that are missing are made. Kafka itself takes some seconds, which are waited for."""
        self.address = self._server.start()
        if stopping.is_set():
            return
        settings = self._settings.model_copy(update={"kafka_bootstrap_servers": self.address})
        try:
            require_topics(settings, create=True)
        except BrokerError:
            self._server.stop()
            raise

    def ended(self) -> str | None:
        """See `Part`."""
        try:
            self._server.check()
        except BrokerError as error:
            return f": {error}"
        return None

    def stop(self) -> None:
        """See `Part`."""
        self._server.stop()


class WorkerPart:
    """`tideline worker` in a process of its own."""

    name = "The worker"

    def __init__(self, job: UpJob, store: StorePart, kafka: KafkaPart | None) -> None:
        self._job = job
        self._store = store
        self._kafka = kafka
        self._process: OwnedProcess | None = None

    def start(self, stopping: threading.Event) -> None:
        """See `Part`. Returns when it answers."""
        settings = self._job.settings
        _refuse_taken_port(settings)
        command = [
            *(sys.executable, "-m", "streams", "worker", "--catalog", str(self._job.catalog.resolve())),
            *("--store", self._store.url),
            *(("--embedded",) if self._kafka is None else ("--kafka", self._kafka.address)),
            *("--shards", str(settings.shards), "--port", str(settings.web_port)),
            *("--data-dir", str(self._job.data_dir.resolve())),
        ]
        root = Path(__file__).resolve().parents[2]
        self._process = OwnedProcess("worker", command, log=self._job.data_dir / "worker.log")
        try:
            self._process.start(folder=root)
        except OSError as error:
            raise TidelineError(f"the worker cannot be run: {error}") from error
        self._wait_until_it_answers(self._process, stopping)

    def _wait_until_it_answers(self, process: OwnedProcess, stopping: threading.Event) -> None:
        web, deadline_s = _web(self._job.settings), time.monotonic() + _START_S
        while not stopping.is_set() and not _answers(web):
            if time.monotonic() > deadline_s:
                process.stop(_STOP_S)
                raise TidelineError(f"the worker does not answer at {web}{process.last_words()}")
            if process.ended.wait(_POLL_S):
                break
        if process.ended.is_set():
            raise TidelineError(f"the worker has ended (status {process.status}){process.last_words()}")

    def ended(self) -> str | None:
        """See `Part`."""
        process = self._process
        if process is None or not process.ended.is_set():
            return None
        return f" (status {process.status}){process.last_words()}"

    def stop(self) -> None:
        """See `Part`."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(_STOP_S)


def _web(settings: Settings) -> str:
    """Where the worker's web view is asked from this machine."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  it is asked there, not bound
    host = everywhere.get(settings.web_host, settings.web_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.web_port}"


def _refuse_taken_port(settings: Settings) -> None:
    """What has the port already would be taken for the worker."""
    family = socket.AF_INET6 if ":" in settings.web_host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.web_host, settings.web_port))
        except OSError as error:
            where = f"{settings.web_host}:{settings.web_port}"
            raise TidelineError(f"the worker cannot listen at {where} ({error}). Choose another --port.") from error


def _answers(web: str) -> bool:
    try:
        with urllib.request.urlopen(f"{web}/healthz", timeout=2.0) as answer:  # noqa: S310  always http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cache_folder() -> Path:
    """Where programs are kept that are downloaded once for all data directories."""
    return Path("~/.cache/tideline").expanduser()
