"""One of the workers on Kafka has the past read, and deletes what was read when all have taken it over."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from config.catalog import Catalog
from config.errors import StoreUnavailable
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.definition_store import Past
from streams.adapters.past_store import Board, PastStore
from streams.runtime.about import CATALOG_BLOB
from streams.runtime.definitions import Wanted
from streams.runtime.kafka.read_past import AWAY, Task
from streams.runtime.past_reading import Progress, ReadingProcess
from streams.runtime.shard_run import ShardRun
from streams.runtime.since import SINCE_BLOB, Since, catalog_of

_LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 0.3
AGAIN_S: Final = 5.0
"""After a reading that Kafka or the store has ended by being away."""
ATTEMPTS: Final = 3
_READER: Final = "streams.runtime.kafka.read_past"


@dataclass(frozen=True, slots=True)
class PastJob:
    """What a worker follows. `url` and `prefix`: of the store; `tell` shows how far the past is;
    `ledger_key` is the secret under which deleted users are known.
    """

    settings: Settings
    url: str
    prefix: str
    wanted: Wanted
    codec: ModelCodec | None
    tell: Callable[[Past], None]
    ledger_key: bytes


class PastLead:
    """Holds the lease if nobody else does. Used by one thread; `stopping` ends what it waits for."""

    def __init__(self, job: PastJob, stopping: threading.Event) -> None:
        self._job = job
        self._stopping = stopping
        self._me = secrets.token_hex(8)
        self._attempts: tuple[str, int] = "", 0
        """Under which catalog it could not be read, and how often."""

    def release(self, store: PastStore) -> None:
        """Another worker may lead at once. Raises StoreError."""
        store.release(self._me)

    def look(self, store: PastStore, board: Board, catalog: Catalog, digest: str, runs: Sequence[ShardRun]) -> None:
        """Lead if nobody does and there is something to lead: have it read what is not complete, tidy up when all is.

        `runs`: shards that are loaded here; without any, this worker may have another catalog file. Raises StoreError.
        """
        offer = board.offer
        if board.holder not in (None, self._me):
            return
        is_wanted = board.failed != digest and any(is_waiting(run) for run in runs)
        if not (is_wanted or (runs and offer is not None) or board.holder == self._me):
            return
        epoch = store.take(self._me)
        if epoch is None:
            return
        if offer is not None and offer.catalog != digest:
            store.withdraw(epoch, offer)
            return
        waiting = self._waiting(store, catalog)
        if waiting is None:
            return  # some shard stands under another catalog still
        if offer is not None and any(not since.gains(offer.predictions) for since in waiting):
            store.withdraw(epoch, offer)  # somebody waits for what was not asked for when it was read
            return
        if not waiting:
            if offer is not None and store.withdraw(epoch, offer):
                self._tell("done", offer.predictions)
            store.release(self._me)
        elif offer is None and is_wanted:
            names = sorted({name for since in waiting for name in since.predictions} & catalog.predictions.keys())
            self._read(store, catalog, digest, epoch, names)
        elif offer is None:
            store.release(self._me)

    def _waiting(self, store: PastStore, catalog: Catalog) -> list[Since] | None:
        """What of every shard is not complete; None while one of them stands under another catalog."""
        found = []
        for standing in store.standings(self._job.settings.shards):
            blobs = {CATALOG_BLOB: standing.catalog, SINCE_BLOB: standing.since}
            known = {name: data for name, data in blobs.items() if data is not None}
            if catalog_of(known, catalog) is not catalog:
                return None
            found.append(Since.of(known))
        return [since for since in found if not since.is_complete]

    def _tell(self, phase: str, predictions: Sequence[str], progress: Progress | None = None) -> None:
        progress = progress or Progress(0, 0)
        self._job.tell(Past(phase, list(predictions), progress.done, progress.of, time.time()))

    def _read(self, store: PastStore, catalog: Catalog, digest: str, epoch: int, predictions: list[str]) -> None:
        """In a process, until it has ended or is not wanted any more."""
        _LOG.info("Kafka's events are read from their beginning for %s", ", ".join(predictions) or "new event names")
        with TemporaryDirectory(prefix="tideline-past-") as name:
            folder = Path(name)
            task = self._task(catalog, digest, epoch, predictions, folder)
            process = ReadingProcess(_READER, task, folder=folder, log=folder / "past.log")
            status = process.wait(
                LOOK_S,
                lambda: self._keeps(store, epoch) and self._job.wanted.catalog is catalog,
                lambda progress: self._tell("reading", predictions, progress),
            )
            if status == 0:
                self._tell("joining", predictions, process.progress())
            elif status == AWAY:
                _LOG.warning("Kafka's events will be read again: %s", process.last_words())
                self._stopping.wait(AGAIN_S)
            elif status is not None:
                self._note_failure(store, epoch, digest, predictions, process.last_words())

    def _task(self, catalog: Catalog, digest: str, epoch: int, predictions: list[str], folder: Path) -> bytes:
        job = self._job
        return msgspec.msgpack.encode(
            Task(
                catalog=catalog.model_dump_json(by_alias=True).encode(),
                digest=digest,
                settings=msgspec.json.decode(job.settings.to_json()),
                store=job.url,
                prefix=job.prefix,
                id=secrets.token_hex(8),
                epoch=epoch,
                predictions=predictions,
                folder=str(folder),
                ledger_key=job.ledger_key,
            )
        )

    def _keeps(self, store: PastStore, epoch: int) -> bool:
        """Whether it is still this worker that reads; a store that is away may come back."""
        if self._stopping.is_set():
            return False
        try:
            return store.take(self._me) == epoch
        except StoreUnavailable:
            return True

    def _note_failure(self, store: PastStore, epoch: int, digest: str, predictions: list[str], words: str) -> None:
        """After some attempts what is new learns from now on."""
        _LOG.error("Kafka's events could not be read from their beginning: %s", words)
        attempts = self._attempts[1] + 1 if self._attempts[0] == digest else 1
        self._attempts = digest, attempts
        if attempts >= ATTEMPTS and store.fail(epoch, digest):
            self._attempts = digest, 0
            self._tell("failed", predictions)


def is_waiting(run: ShardRun) -> bool:
    """Whether something of a shard is not complete."""
    return run.is_loaded and not run.since.is_complete
