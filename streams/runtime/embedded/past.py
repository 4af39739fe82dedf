"""New definitions learn from the log: it is read from its beginning, beside the live stream, and joined to it.

A process of its own reads (`read_past.py`), so that scoring goes on. What it found is offered first to the learner,
then to every shard. A worker that is stopped meanwhile begins anew: the store says what of each shard is not complete.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from config.catalog import Catalog
from config.errors import Fenced
from models.snapshot import ModelCodec
from streams.adapters.definition_store import Past
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.core.shard import Shard
from streams.runtime.definitions import Wanted
from streams.runtime.embedded.read_past import Task, read
from streams.runtime.history import PastLearner, PastShard, all_of
from streams.runtime.joining import JoiningLearner, JoiningShard
from streams.runtime.past_reading import Progress, ReadingProcess
from streams.runtime.past_thread import PastThread
from streams.runtime.records import Record
from streams.runtime.shard_run import ShardRun

_LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 0.3
ATTEMPTS: Final = 3
FOLDER: Final = "past"
_READER: Final = "streams.runtime.embedded.read_past"


@dataclass(frozen=True, slots=True)
class PastJob:
    """`folder` is where results lie meanwhile; `key` signs models; `tell` shows how far it is;
    `ledger_key` is the secret under which deleted users are known.
    """

    log: LogFolder
    folder: Path
    wanted: Wanted
    codec: ModelCodec | None
    key: bytes | None
    tell: Callable[[Past], None]
    ledger_key: bytes


@dataclass(slots=True)
class _Found:
    """What was read under one catalog."""

    catalog: Catalog
    joining: JoiningLearner
    offsets: list[int]
    version: int | None = None
    """That the learner's models had when it took over; None before."""
    begun_s: float = 0.0
    """When that learner began."""


class EmbeddedPasts(PastThread):
    """Reads when something is not complete, and offers what was read (`streams.runtime.joining.Pasts`)."""

    def __init__(self, job: PastJob, runs: Callable[[], Mapping[int, object]]) -> None:
        """`runs`: the shards' runs of this worker, which has all."""
        super().__init__()
        self._job = job
        self._runs = runs
        self._found: _Found | None = None
        self._failed: Catalog | None = None
        """The catalog under which it cannot be read."""
        self._attempts = 0

    # --- what is offered ----------------------------------------------------------------------------------------------

    @property
    def are_coming(self) -> bool:
        """See `Pasts`."""
        return self._failed is not self._job.wanted.catalog

    def of_shard(self, shard: int, catalog: Catalog) -> JoiningShard | None:
        """See `Pasts`."""
        found = self._found
        if found is None or found.catalog is not catalog or found.version is None:
            return None
        predictions = found.joining.predictions
        return JoiningShard(
            found.offsets[shard],
            partial(self._load, shard, catalog),
            partial(self._records, shard),
            predictions,
            dict.fromkeys(predictions, found.version),
            dict.fromkeys(predictions, found.begun_s),
        )

    def of_learner(self, partition: int, catalog: Catalog) -> JoiningLearner | None:  # noqa: ARG002  there is one
        """See `Pasts`."""
        found = self._found
        return None if found is None or found.catalog is not catalog else found.joining

    def learner_joined(self, partition: int, reading: str, version: int, begun_s: float) -> None:  # noqa: ARG002
        """See `Pasts`."""
        found = self._found
        if found is not None and found.joining.id == reading:
            found.begun_s = begun_s
            found.version = version  # last: shards may join from here on

    def _load(self, shard: int, catalog: Catalog) -> Shard:
        try:
            data = (self._job.folder / f"shard-{shard}").read_bytes()
        except FileNotFoundError as error:
            raise Fenced(f"shard {shard}: what was read of the past is not wanted any more") from error
        state = msgspec.msgpack.decode(data, type=PastShard)
        shards, codec, key = self._job.log.shards, self._job.codec, self._job.ledger_key
        return state.load(catalog, shard=shard, shards=shards, codec=codec, ledger_key=key)

    def _records(self, shard: int, start: int, end: int) -> Iterator[Sequence[Record]]:
        reader = PartitionReader(self._job.log.partition("events", shard))
        try:
            yield from all_of(lambda _, offset, most: read(reader, offset, most), shard, start, end)
        finally:
            reader.close()

    # --- reading ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._withdraw()  # what a kill has left: nobody may ever read again
        while not self._stopping.wait(LOOK_S):
            self._look()
        self._withdraw()

    def _look(self) -> None:
        catalog = self._job.wanted.catalog
        if self._found is not None and self._found.catalog is not catalog:
            self._withdraw()
        runs = [run for run in self._runs().values() if isinstance(run, ShardRun) and run.is_loaded]
        if len(runs) < self._job.log.shards or any(run.catalog is not catalog for run in runs):
            return
        waiting = [run.since for run in runs if not run.since.is_complete]
        if not waiting:
            if self._found is not None:
                self._tell("done", self._found.joining.predictions)
                self._withdraw()
        elif self._found is None and self.are_coming:
            wanted = frozenset(name for since in waiting for name in since.predictions)
            try:
                deleted = [run.shard.ledger.copy() for run in sorted(runs, key=lambda run: run.number)]
            except RuntimeError:  # it is being loaded, or changed: the next look finds it
                return
            self._read(catalog, frozenset(name for name in wanted if name in catalog.predictions), deleted)

    def _withdraw(self) -> None:
        self._found = None
        shutil.rmtree(self._job.folder, ignore_errors=True)

    def _tell(self, phase: str, predictions: frozenset[str], progress: Progress | None = None) -> None:
        progress = progress or Progress(0, 0)
        self._job.tell(Past(phase, sorted(predictions), progress.done, progress.of, time.time()))

    def _read(self, catalog: Catalog, predictions: frozenset[str], deleted: list[list[tuple[str, bytes]]]) -> None:
        """In a process, until it has ended or is not wanted any more."""
        job = self._job
        self._withdraw()
        job.folder.mkdir(parents=True, mode=0o700)
        task = Task(
            catalog=catalog.model_dump_json(by_alias=True).encode(),
            log=str(job.log.path),
            shards=job.log.shards,
            folder=str(job.folder),
            key=job.key,
            ledger_key=job.ledger_key,
            deleted=deleted,
        )
        _LOG.info("the log is read from its beginning for %s", ", ".join(sorted(predictions)) or "new event names")
        log = job.folder.parent / "past.log"
        process = ReadingProcess(_READER, msgspec.msgpack.encode(task), folder=job.folder, log=log)
        status = process.wait(
            LOOK_S,
            lambda: not self._stopping.is_set() and job.wanted.catalog is catalog,
            lambda progress: self._tell("reading", predictions, progress),
        )
        if status is None:
            self._withdraw()
            return
        if status != 0:
            self._note_failure(catalog, predictions, process.last_words())
            return
        learned = msgspec.msgpack.decode((job.folder / "learner").read_bytes(), type=PastLearner)
        offsets = msgspec.msgpack.decode((job.folder / "offsets").read_bytes(), type=list[int])
        self._attempts = 0
        self._found = _Found(catalog, JoiningLearner(secrets.token_hex(8), predictions, learned), offsets)
        self._tell("joining", predictions, process.progress())

    def _note_failure(self, catalog: Catalog, predictions: frozenset[str], words: str) -> None:
        """After some attempts what is new learns from now on."""
        self._withdraw()
        self._attempts += 1
        _LOG.error("the log could not be read from its beginning: %s", words)
        if self._attempts >= ATTEMPTS:
            self._attempts, self._failed = 0, catalog
            self._tell("failed", predictions)
