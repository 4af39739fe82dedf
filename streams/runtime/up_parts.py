"""The parts of `tideline up`: the store, Kafka, and processes of Tideline that answer at a port."""

from __future__ import annotations

import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import BrokerError, ConfigError, InputError, ModelError, Stopped, StoreError, TidelineError
from config.settings import Settings
from streams.adapters.kafka_server import EmbeddedKafka
from streams.adapters.kafka_topics import require_topics
from streams.adapters.owned_process import OwnedProcess
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.ledger_key import ledger_key
from streams.runtime.place import Place
from streams.runtime.up_log import KAFKA_FOLDER

_STOP_S: Final = 30.0
_START_S: Final = 120.0
_POLL_S: Final = 0.1
_EXIT_CODES: Final = frozenset(
    kind.exit_code for kind in (ConfigError, InputError, StoreError, ModelError, BrokerError)
)


FirstKey = Callable[[str], str | None]
"""From the store's address: a key for the API, made if there was none; None if there were keys."""


@dataclass(frozen=True, slots=True)
class UpJob:
    """What to run. `catalog` is its file; settings name shards, topics, and the ports of worker and API."""

    settings: Settings
    catalog: Path
    data_dir: Path
    cache_dir: Path
    """Where Kafka's program is kept."""
    with_kafka: bool = False
    """A Kafka is the log; else files in the data directory."""
    kafka_port: int | None = None


class StorePart:
    """The Valkey server."""

    name = "The store"

    def __init__(self, data_dir: Path) -> None:
        self._server = EmbeddedValkey(data_dir)

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def claim(self) -> None:
        """Take the data directory, before all else, and for as long as this process keeps it. Raises StoreError."""
        self._server.own()

    def give_back(self) -> None:
        """What `claim` has taken; when nothing runs any more."""
        self._server.disown()

    def start(self, stopping: threading.Event) -> None:
        """See `Part`."""
        with suppress(Stopped):
            self._server.start(stopping)

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
        self._data_dir = job.data_dir
        self._server = EmbeddedKafka(job.data_dir / KAFKA_FOLDER, cache_dir=job.cache_dir, port=job.kafka_port, say=say)
        self.address = ""

    def start(self, stopping: threading.Event) -> None:
        """See `Part`; topics that are missing are made. Kafka itself takes some seconds, which are waited for.

        So is the key of who was deleted: worker and API get the store's address, and would refuse without it.
        """
        if self._settings.deletion_key is None:
            ledger_key(Place(self._data_dir))
        try:
            self.address = self._server.start(stopping)
        except Stopped:
            return
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


@dataclass(frozen=True, slots=True)
class Served:
    """A process of Tideline that answers at a port."""

    word: str
    """What it is called: `worker`."""
    host: str
    port: int
    option: str
    """Of `tideline up`, for another port."""

    @property
    def web(self) -> str:
        """Where it is asked from this machine."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  it is asked there, not bound
        host = everywhere.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def refuse_taken_port(self) -> None:
        """What has the port already would be taken for it. Raises TidelineError."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                where = f"{self.host}:{self.port}"
                words = f"the {self.word} cannot listen at {where} ({error}). Choose another {self.option}."
                raise TidelineError(words) from error

    def answers(self) -> bool:
        """Whether it does, at `/healthz`."""
        try:
            with urllib.request.urlopen(f"{self.web}/healthz", timeout=2.0) as answer:  # noqa: S310  always http
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class ServedPart:
    """A command of Tideline in a process of its own; what it says goes to the end of `log`."""

    def __init__(self, served: Served, log: Path) -> None:
        self.served = served
        self.log = log
        self.name = f"The {served.word}"
        self._process: OwnedProcess | None = None

    def command(self) -> Sequence[str]:
        """The words behind `tideline`; asked for at each start, when what it needs has its address."""
        raise NotImplementedError

    def start(self, stopping: threading.Event) -> None:
        """See `Part`. Returns when it answers."""
        word = self.served.word
        self.served.refuse_taken_port()
        command = [sys.executable, "-m", "streams", *self.command()]
        root = Path(__file__).resolve().parents[2]
        self._process = OwnedProcess(word, command, log=self.log)
        try:
            self._process.start(folder=root)
        except OSError as error:
            raise TidelineError(f"the {word} cannot be run: {error}") from error
        self._wait_until_it_answers(self._process, stopping)

    def _wait_until_it_answers(self, process: OwnedProcess, stopping: threading.Event) -> None:
        word, deadline_s = self.served.word, time.monotonic() + _START_S
        while not stopping.is_set() and not self.served.answers():
            if time.monotonic() > deadline_s:
                process.stop(_STOP_S)
                raise TidelineError(f"the {word} does not answer at {self.served.web}{process.last_words()}")
            if process.ended.wait(_POLL_S):
                break
        if process.ended.is_set():
            raise _ended(f"the {word} has ended (status {process.status}){process.last_words()}", process.status)

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


def _ended(words: str, status: int | None) -> TidelineError:
    """The error of a part that did not start: its own exit code says what is wrong, where it is one of ours."""
    error = TidelineError(words)
    if status in _EXIT_CODES:
        error.exit_code = status
    return error


def _log_words(kafka: KafkaPart | None) -> tuple[str, ...]:
    """Said in both cases: nothing in the environment may send one part to another log than the others."""
    return ("--embedded",) if kafka is None else ("--kafka", kafka.address)


class WorkerPart(ServedPart):
    """`tideline worker`."""

    def __init__(self, job: UpJob, store: StorePart, kafka: KafkaPart | None) -> None:
        settings = job.settings
        super().__init__(Served("worker", settings.web_host, settings.web_port, "--port"), job.data_dir / "worker.log")
        self._job = job
        self._store = store
        self._kafka = kafka

    def command(self) -> Sequence[str]:
        """See `ServedPart`."""
        job = self._job
        return [
            *("worker", "--catalog", str(job.catalog.resolve())),
            *("--store", self._store.url),
            *_log_words(self._kafka),
            *("--shards", str(job.settings.shards), "--port", str(job.settings.web_port)),
            *("--data-dir", str(job.data_dir.resolve())),
        ]


class ApiPart(ServedPart):
    """`tideline api`. A first key is made before its first start, or it would say that nobody is let in."""

    def __init__(
        self, job: UpJob, store: StorePart, kafka: KafkaPart | None, first_key: FirstKey = lambda _: None
    ) -> None:
        """`first_key`: makes one where there is none; else none is made here."""
        settings = job.settings
        super().__init__(Served("API", settings.api_host, settings.api_port, "--api-port"), job.data_dir / "api.log")
        self._job = job
        self._store = store
        self._kafka = kafka
        self._first_key = first_key
        self._has_asked = False
        self.key: str | None = None
        """That was made at the first start; None before it, and if there were keys."""

    def start(self, stopping: threading.Event) -> None:
        """See `Part`. Raises StoreError where the store has no answer to whether there are keys."""
        if not self._has_asked:
            self.served.refuse_taken_port()  # who is told of that is not shown a key
            self.key, self._has_asked = self._first_key(self._store.url), True
        super().start(stopping)

    def command(self) -> Sequence[str]:
        """See `ServedPart`."""
        settings = self._job.settings
        return [
            *("api", "--store", self._store.url),
            *_log_words(self._kafka),
            *("--shards", str(settings.shards), "--host", settings.api_host, "--port", str(settings.api_port)),
            *("--data-dir", str(self._job.data_dir.resolve())),
        ]


class DeliverPart(ServedPart):
    """`tideline deliver`."""

    def __init__(self, job: UpJob, store: StorePart, kafka: KafkaPart | None) -> None:
        settings = job.settings
        served = Served("sender of webhooks", settings.web_host, settings.webhooks_port, "--webhooks-port")
        super().__init__(served, job.data_dir / "webhooks.log")
        self._job = job
        self._store = store
        self._kafka = kafka

    def command(self) -> Sequence[str]:
        """See `ServedPart`."""
        return [
            *("deliver", "--store", self._store.url),
            *_log_words(self._kafka),
            *("--port", str(self._job.settings.webhooks_port)),
            *("--data-dir", str(self._job.data_dir.resolve())),
        ]


class CampaignsPart(ServedPart):
    """`tideline campaigns`. Where it refuses to work, the others work: what people wrote of messages stops no score."""

    def __init__(self, job: UpJob, store: StorePart, kafka: KafkaPart | None) -> None:
        settings = job.settings
        served = Served("service of campaigns", settings.web_host, settings.campaigns_port, "--campaigns-port")
        super().__init__(served, job.data_dir / "campaigns.log")
        self._job = job
        self._store = store
        self._kafka = kafka
        self._was_started = False

    def start(self, stopping: threading.Event) -> None:
        """See `Part`. At first an end of the process is left to `ended`, as if it had come later."""
        is_first, self._was_started = not self._was_started, True
        try:
            super().start(stopping)
        except TidelineError:
            if not is_first or self.ended() is None:
                raise

    def command(self) -> Sequence[str]:
        """See `ServedPart`. On Kafka it has to know how many partitions there are."""
        return [
            *("campaigns", "--store", self._store.url),
            *_log_words(self._kafka),
            *("--shards", str(self._job.settings.shards), "--port", str(self._job.settings.campaigns_port)),
            *("--data-dir", str(self._job.data_dir.resolve())),
        ]
