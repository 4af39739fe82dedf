"""Files through the whole path: decode, shard and learner in lock-step, commit, publish; resumable anywhere."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Protocol

import msgspec

from config.catalog import Catalog
from config.errors import Fenced, StoreIncompatible
from config.places import uses_of_events
from models.snapshot import ModelCodec
from streams.adapters.file_order import Stretch
from streams.adapters.files import FileInfo
from streams.commit import Patience, commit_batch, patiently, publish_outbox
from streams.core.events import BadEvent, Event
from streams.core.ledger import KeySource
from streams.ports import Claim, CommitBatch, Identity, Loaded, Sink, Store
from streams.runtime.about import InputFile, Run, run_blobs, stored_run
from streams.runtime.going_on import why_not
from streams.runtime.lockstep import LockStep
from streams.runtime.whole import check_whole

SHARDS = 1
TOTALS_BLOB = "totals"


class Log(Protocol):
    """What a replay reads: records by position, the same at every start, with more of them behind."""

    @property
    def rows(self) -> int: ...

    @property
    def digest(self) -> str:
        """Of its beginning, which does not change when more is put behind; ids of transitions follow from it."""

    @property
    def read_files(self) -> tuple[FileInfo, ...]:
        """The files with rows, in their order; none if it is not made of files."""

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """Which of them are read together."""

    def batches(self, start: int, size: int) -> Iterable[Sequence[Event | BadEvent]]: ...


class ReplayWatcher(Protocol):
    """Is told where a replay stands."""

    def begin(self, position: int, rows: int) -> None:
        """The state is loaded, and records are about to be taken from `position` on; again after a refusal."""

    def advance(self, position: int, clock_s: float) -> None:
        """Everything before `position` is committed; the latest event was at `clock_s`."""


def catalog_digest(catalog: Catalog) -> str:
    """What identifies a catalog: its meaning as loaded, not its layout or comments."""
    return blake2b(catalog.model_dump_json(by_alias=True).encode(), digest_size=16).hexdigest()


class Totals(msgspec.Struct):
    """What a run has done since its first start, stored with every commit."""

    position: int = 0
    """Records read."""
    transitions: int = 0
    dead_letters: dict[str, int] = msgspec.field(default_factory=dict)
    """reason -> how many"""
    unseen: list[str] | None = None
    """Event names that the catalog uses and no event had so far; None where nobody has looked."""

    @classmethod
    def of(cls, blobs: Mapping[str, bytes]) -> Totals:
        """As stored; all zero before the first commit."""
        data = blobs.get(TOTALS_BLOB)
        return cls() if data is None else msgspec.json.decode(data, type=cls)


class _Letter(msgspec.Struct):
    reason: str


_REASON = msgspec.json.Decoder(_Letter)


def _files_until(log: Log, position: int) -> int:
    """How many files the state at a position depends on: all of a stretch, once its first row was read."""
    return next((s.files for s in log.stretches if s.rows >= position), len(log.read_files))


def _check_files(run: Run | None, log: Log) -> None:
    """Raises StoreIncompatible if the log may give other events than those that the run has read so far."""
    if run is None:
        return
    lines = why_not(run, log)
    if lines:
        raise StoreIncompatible("\n".join(["the store was made of other files:", *lines]))
    for stored, given in zip(run.files, log.read_files, strict=False):
        if stored.now_s != given.now_s:
            raise StoreIncompatible(
                f"the run read {stored.name} with the clock at {stored.now_s!r} s, and it is read with "
                f"{given.now_s!r} s now, so other events would count as of the future: open it with the first one"
            )


def _generation_of(identity: Identity) -> str:
    """The first generation of a store: 64 bits of what is run in it, in hexadecimal.

    Of the files only the first counts: a run over all of them and one that others were put behind have the same ids.
    """
    return blake2b(f"{identity.catalog}:{identity.input}".encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class Times:
    """Seconds of wall time per step, for reports and benchmarks."""

    read_s: float = 0.0
    engine_s: float = 0.0
    effects_s: float = 0.0
    commit_s: float = 0.0


@dataclass(slots=True)
class ReplayResult:
    """What a replay did since it was started; `events` counts records read in this process."""

    engine: LockStep
    events: int = 0
    commits: int = 0
    transitions: int = 0
    dead_letters: int = 0
    resumed_at: int = 0
    set_back: int = 0
    times: Times = field(default_factory=Times)


class Replay:
    """Runs a log through one shard, into a store and a sink.

    `watcher` is told where the run stands. `about` holds named bytes that are stored with the first commit, for
    readers: what the run is of; `ledger_key` is the secret under which deleted users are remembered. Raises what the
    store raises, but goes on by itself after a refusal, at most `refusals` times: another owner's or an older copy's
    state is loaded again, and the run goes on from there.
    The files that are being read are stored too; a log of the same files, with others behind them or not, goes on.
    Raises StoreIncompatible for other files, or for files that were opened with another clock than at first.
    """

    def __init__(  # noqa: PLR0913  the parts of a run, most of them by name
        self,
        catalog: Catalog,
        log: Log,
        store: Store,
        sink: Sink,
        *,
        patience: Patience,
        codec: ModelCodec | None = None,
        watcher: ReplayWatcher | None = None,
        about: Mapping[str, bytes] | None = None,
        new_generation: Callable[[], str] = lambda: secrets.token_hex(8),
        refusals: int = 5,
        ledger_key: KeySource = b"",
    ) -> None:
        self._catalog = catalog
        self._log = log
        self._store = store
        self._sink = sink
        self._patience = patience
        self._codec = codec
        self._watcher = watcher
        self._about = dict(about or {})
        self._new_generation = new_generation
        self._refusals = refusals
        self._ledger_key = ledger_key
        self._last_number: int | None = None
        self._claim: Claim
        self._trim = 0
        self._totals = Totals()
        self._files_stored = 0
        self.result: ReplayResult

    def run(self) -> ReplayResult:
        """Go on from the checkpoint to the end of the log."""
        fresh = LockStep(self._catalog)
        identity = Identity(
            catalog=catalog_digest(self._catalog),
            input=self._log.digest,
            predictions=tuple(self._catalog.predictions),
            segments=fresh.shard.definitions.segment_ids,
        )
        self._first_generation = _generation_of(identity)
        self._store.prepare(SHARDS, identity)
        self.result = ReplayResult(fresh)
        started = False
        while True:
            try:
                start = self._load()
                if not started:
                    self.result.resumed_at, started = start, True
                self._run_from(start)
                return self.result
            except Fenced:  # while loading as well: another process may take the shard at any moment
                if self.result.set_back >= self._refusals:
                    raise
                self.result.set_back += 1

    def _load(self) -> int:
        """Claim the shard and load it; the position to go on from."""
        # Until a store is set back, ids follow from what is run: the same input gives the same ids in every store.
        generation = self._first_generation if self._last_number is None else self._new_generation()
        last = self._last_number
        claim, loaded, engine = patiently(self._patience, lambda: self._load_once(generation, last))
        self._totals = Totals.of(loaded.blobs)
        run = stored_run(loaded.blobs)
        self._files_stored = 0 if run is None else len(run.files)
        if not claim.number:
            self._totals.unseen = list(uses_of_events(self._catalog))
        self._trim = publish_outbox(self._sink, claim, loaded, self._patience)
        self._engine = engine
        self._claim = claim
        self._number = claim.number
        self._last_number = claim.number
        self.result.engine = self._engine
        return msgspec.msgpack.decode(claim.position, type=int) if claim.position else 0

    def _load_once(self, generation: str, last: int | None) -> tuple[Claim, Loaded, LockStep]:
        """One attempt from the claim to the last row.

        Rows come from the store while the engine takes them in, so an attempt that is cut there begins anew, with a
        claim of its own.
        """
        claim = self._store.claim(0, new_generation=generation, last_number=last)
        loaded = self._store.load(claim)
        check_whole(claim, loaded)
        _check_files(stored_run(loaded.blobs), self._log)
        engine = LockStep.load(
            self._catalog,
            loaded,
            generation=claim.generation,
            shard=claim.shard,
            codec=self._codec,
            ledger_key=self._ledger_key,
        )
        return claim, loaded, engine

    def _look_for_names(self, items: Sequence[Event | BadEvent]) -> None:
        """Strike out the names of the catalog that occur."""
        unseen = self._totals.unseen
        if unseen:
            found = {item.name for item in items if type(item) is Event}
            self._totals.unseen = [name for name in unseen if name not in found]

    def _run_from(self, start: int) -> None:
        if self._watcher is not None:
            self._watcher.begin(start, self._log.rows)
        size = self._catalog.limits.batch_events
        times = self.result.times
        position = start
        mark = time.perf_counter()
        for items in self._log.batches(start, size):
            times.read_s += time.perf_counter() - mark
            first = position
            mark = time.perf_counter()
            self._look_for_names(items)
            commit_before = times.commit_s + times.effects_s
            self._engine.take(items, save=partial(self._commit_within, first))
            times.engine_s += time.perf_counter() - mark - (times.commit_s + times.effects_s - commit_before)
            position = first + len(items)
            self.result.events += len(items)
            self._commit(position)
            if self._watcher is not None:
                self._watcher.advance(position, self._engine.shard.clock_s)
            mark = time.perf_counter()

    def _commit_within(self, first: int) -> None:
        """Commit in the middle of the batch that begins at `first`."""
        self._commit(first + self._engine.shard.next_item)

    def _commit(self, position: int) -> None:
        times = self.result.times
        mark = time.perf_counter()
        batch = self._engine.effects(self._number + 1, msgspec.msgpack.encode(position))
        self._count(batch, position)
        times.effects_s += time.perf_counter() - mark
        mark = time.perf_counter()
        self._trim = commit_batch(self._store, self._sink, self._claim, batch, trim=self._trim, patience=self._patience)
        times.commit_s += time.perf_counter() - mark
        self._number = batch.number
        self._last_number = batch.number
        self.result.commits += 1
        self.result.transitions += len(batch.outbox)
        self.result.dead_letters += len(batch.dead_letters)

    def _count(self, batch: CommitBatch, position: int) -> None:
        """What the totals are with this commit; they are stored with it."""
        totals = self._totals
        totals.position = position
        totals.transitions += len(batch.outbox)
        reasons = Counter(_REASON.decode(letter).reason for letter in batch.dead_letters)
        for reason, count in reasons.items():
            totals.dead_letters[reason] = totals.dead_letters.get(reason, 0) + count
        batch.blobs[TOTALS_BLOB] = msgspec.json.encode(totals)
        if batch.number == 1:
            batch.blobs.update(self._about)
        read = _files_until(self._log, position)
        if read > self._files_stored:
            batch.blobs.update(run_blobs(Run(tuple(map(InputFile.of, self._log.read_files[:read])))))
            self._files_stored = read
