"""One replay from start to end: store, log and sink opened, compared with what an earlier start left, run, summed up.

What `tideline replay` and `tideline demo` do, without a word about terminals. A job that is run again goes on where
it was; one that is complete is only summed up.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.catalog import Catalog
from config.errors import InputError, StoreIncompatible
from models.snapshot import ModelCodec
from streams.adapters.file_order import LATE_SHARE
from streams.adapters.files import FileInfo, FileLog, begins_with, open_log
from streams.adapters.redis_reader import RedisReader, holds_store
from streams.adapters.redis_store import RedisStore
from streams.adapters.transition_file import REMEMBERED_IDS, TransitionFile
from streams.commit import patiently
from streams.runtime.about import InputFile, Run, about_blobs, catalog_differences, stored_catalog, stored_run
from streams.runtime.going_on import why_not
from streams.runtime.hints import Refused
from streams.runtime.ledger_key import ledger_key
from streams.runtime.place import PATIENCE, Place, erase_place, is_empty, is_inside, make_folder, open_place
from streams.runtime.precompile import get_ready
from streams.runtime.refusals import refused_records
from streams.runtime.replay import Replay, ReplayResult, ReplayWatcher, Totals, catalog_digest
from streams.runtime.stored import read_state
from streams.runtime.summary import Summary, summarize
from streams.runtime.transition_log import count_lines

OUTBOX_KEEP = 1_000
"""Published transitions that stay in the store for readers."""


class Watcher(ReplayWatcher, Protocol):
    """Is told how a job goes."""

    def step(self, words: str) -> AbstractContextManager[None]:
        """Something that takes a while begins; it ends with the context."""

    def scanned(self, done_bytes: int, total_bytes: int) -> None:
        """So much of the files has been read in the first pass."""

    def covers(self, first_s: float, last_s: float) -> None:
        """The events lie between these times, seconds since 1970 UTC (NaN if none has one)."""

    def note(self, words: str) -> None:
        """Something worth knowing."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to run. `transitions` is the file that they are written to."""

    files: tuple[Path, ...]
    catalog: Catalog
    place: Place
    transitions: Path
    fresh: bool = False
    """Forget what was stored there before, and begin anew."""
    codec: ModelCodec | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job."""

    summary: Summary
    was_complete: bool
    """Nothing was left to do."""
    resumed_at: int
    """Records that an earlier start had done."""
    result: ReplayResult | None
    """Of this process; None when nothing was left to do."""
    seconds: float
    """Wall time of the run itself."""
    refused: tuple[Refused, ...]
    """What could not be used, the commonest reason first."""

    @property
    def refused_share(self) -> float:
        """Of all records."""
        return sum(self.summary.dead_letters.values()) / self.summary.rows

    @property
    def nothing_used(self) -> bool:
        """Every record was refused: the catalog does not fit the files."""
        return sum(self.summary.dead_letters.values()) == self.summary.rows


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What is stored of an earlier start."""

    totals: Totals
    run: Run | None


def run_job(job: Job, watcher: Watcher) -> Outcome:
    """Run a job to its end.

    Nothing is made or erased before the files have been read once, so a wrong file leaves everything as it was.
    Raises InputError for files that cannot be read or written, StoreIncompatible with what differs when the store was
    made of another catalog or other files, and every other StoreError and ModelError.
    """
    _check_folder(job)
    with ExitStack() as stack:
        begins = job.fresh or is_empty(job.place)
        if begins and not job.fresh:
            _check_transitions(Totals(), count_lines(job.transitions), job)
        log = stack.enter_context(_open_log(job, None, watcher)) if begins else None
        if job.fresh:
            _erase(job)
        url = stack.enter_context(open_place(job.place))
        earlier = _earlier(url, job)
        if log is None or earlier.run is not None:
            log = stack.enter_context(_open_log(job, earlier.run, watcher))
        return _run_log(job, url, log, earlier, watcher)


def _open_log(job: Job, run: Run | None, watcher: Watcher) -> FileLog:
    """The first pass over the files; those that a run has read keep their clocks."""
    clocks_s = () if run is None else tuple(file.now_s for file in run.files)
    with watcher.step("Reading the files"):
        return open_log(
            job.files,
            job.catalog,
            time.time(),
            clocks_s=clocks_s,
            late_share=LATE_SHARE,
            progress=watcher.scanned,
        )


def _run_log(job: Job, url: str, log: FileLog, earlier: _Earlier, watcher: Watcher) -> Outcome:
    """The rest, with everything opened."""
    _check_input(earlier.run, log, job)
    _tell_about(log, earlier, watcher)
    watcher.covers(log.first_time_s, log.last_time_s)
    make_folder(job.place, job.transitions)
    lines = count_lines(job.transitions)
    _check_transitions(earlier.totals, lines, job)
    started = time.perf_counter()
    result = None
    if earlier.totals.position < log.rows or earlier.totals.transitions != lines:
        # A store that was put back to an earlier copy publishes its last commit again, and makes all lines since then
        # again, with the same ids.
        repeated = max(0, lines - earlier.totals.transitions) + job.catalog.limits.commit_transitions
        result = _run(job, url, log, REMEMBERED_IDS + repeated, watcher)
    seconds = time.perf_counter() - started
    with closing(RedisReader(url, prefix=job.place.prefix)) as reader:
        state = read_state(reader, job.codec)
        refused = refused_records(reader, state.totals, state.catalog)
    summary = summarize(state)
    if result is not None:
        _check_after(result, summary, job, watcher)
    return Outcome(summary, result is None, earlier.totals.position, result, seconds, refused)


def _run(job: Job, url: str, log: FileLog, remembered_ids: int, watcher: Watcher) -> ReplayResult:
    get_ready(watcher)
    store = RedisStore(
        url,
        patience=PATIENCE,
        prefix=job.place.prefix,
        dead_letters=job.catalog.limits.dead_letters,
        outbox_keep=OUTBOX_KEEP,
        wait_for=job.place.wait_for,
    )
    with closing(store), closing(TransitionFile(job.transitions, remembered_ids=remembered_ids)) as sink:
        _check_replicas(store, job.place)
        if job.place.url is not None:
            watcher.note(store.promises())
        about = about_blobs(job.catalog)
        replay = Replay(
            job.catalog,
            log,
            store,
            sink,
            patience=PATIENCE,
            codec=job.codec,
            about=about,
            watcher=watcher,
            ledger_key=lambda: ledger_key(job.place, has_log=True),
        )
        return replay.run()


def _check_replicas(store: RedisStore, place: Place) -> None:
    """Raises StoreIncompatible when every commit would wait for replicas that are not there."""
    wanted = 0 if place.wait_for is None else place.wait_for.replicas
    if wanted <= store.replicas:
        return
    if place.url is None:
        advice = "the embedded server has none; name a server that has with --store, or unset TIDELINE_WAIT_REPLICAS"
    else:
        advice = f"{store.replicas} are connected to {place.name}; connect more, or lower TIDELINE_WAIT_REPLICAS"
    raise StoreIncompatible(f"commits are to wait for replicas (TIDELINE_WAIT_REPLICAS={wanted}), but {advice}")


# --- what an earlier start left ----------------------------------------------------------------------------------


def _earlier(url: str, job: Job) -> _Earlier:
    """Raises StoreIncompatible when the store was made with another catalog."""
    prefix = job.place.prefix
    if not patiently(job.place.patience, lambda: holds_store(url, prefix=prefix)):
        return _Earlier(Totals(), None)
    with closing(RedisReader(url, prefix=prefix)) as reader:
        info = reader.info
        if all(shard.number == 0 for shard in reader.shard_infos()):
            # Stopped before its first commit: `Store.prepare` lets another run take its place.
            return _Earlier(Totals(), None)
        blobs = reader.blobs(0)
    if info.catalog != catalog_digest(job.catalog):
        old = stored_catalog(blobs)
        lines = catalog_differences(old, job.catalog)
        raise StoreIncompatible(_explain(job.place, f"a run with another catalog ({old.name!r}). What differs:", lines))
    return _Earlier(Totals.of(blobs), stored_run(blobs))


def _check_input(run: Run | None, log: FileLog, job: Job) -> None:
    """Raises StoreIncompatible when the store was made of other files than the first ones given."""
    if run is None:
        return

    def has_grown(given: FileInfo, read: InputFile) -> bool:
        return begins_with(given.name, job.catalog, read.content_bytes, read.digest)

    lines = why_not(run, log, has_grown)
    if lines:
        raise StoreIncompatible(_explain(job.place, "a run over other files:", lines))


def _explain(place: Place, what: str, lines: list[str]) -> str:
    if place.url is None:
        options = [
            "to forget that run and start anew, add --fresh",
            "to keep it, choose another directory with --data-dir DIR",
        ]
    else:
        options = [
            f"to forget that run and start anew, add --fresh (deletes all keys that begin with {place.prefix}:)",
            "to keep it, choose other keys with the setting TIDELINE_KEY_PREFIX, or another server",
        ]
    return "\n".join(
        [
            f"{place.name} holds {what}",
            *(f"  {line}" for line in lines),
            "Scores and labels of the two cannot be mixed:",
            *(f"  - {option}" for option in options),
        ]
    )


# --- the file of transitions ---------------------------------------------------------------------------------------


def _check_folder(job: Job) -> None:
    """Raises InputError for a file of transitions in a folder that is not there."""
    folder = job.transitions.parent
    if not is_inside(job.place, job.transitions) and not folder.is_dir():
        raise InputError(str(job.transitions), f"the folder {folder} does not exist")


def _erase(job: Job) -> None:
    """Forget the run before: its store and its file of transitions.

    Raises InputError if the file holds something else than transitions, or another process writes to it, and what
    `erase_place` raises; then nothing is erased.
    """
    with ExitStack() as stack:
        if job.transitions.exists():
            stack.enter_context(closing(TransitionFile(job.transitions)))
        erase_place(job.place)
        job.transitions.unlink(missing_ok=True)


def _check_transitions(totals: Totals, lines: int, job: Job) -> None:
    """Raises InputError when the file cannot be the one that the run has written to so far."""
    path = job.transitions
    if lines and not totals.transitions:
        raise InputError(
            str(path),
            f"already holds {lines:,} transitions of another run. Choose another file with --transitions, or write it "
            "anew with --fresh.",
        )
    if totals.transitions and not lines:
        raise InputError(
            str(path),
            f"is empty or missing, but this run has written {totals.transitions:,} transitions before. Give the file "
            "that they were written to with --transitions, or start anew with --fresh.",
        )


def _check_after(result: ReplayResult, summary: Summary, job: Job, watcher: Watcher) -> None:
    if result.set_back:
        times = "once" if result.set_back == 1 else f"{result.set_back} times"
        watcher.note(
            f"The store was set back to an earlier copy, or taken by another process, {times} during the run. It was "
            "loaded again, and the run went on from there; transitions since then have ids of a new generation."
        )
    lines = count_lines(job.transitions)
    if lines != summary.transitions:
        watcher.note(f"{job.transitions} has {lines:,} transitions; the run has made {summary.transitions:,}.")


def _tell_about(log: FileLog, earlier: _Earlier, watcher: Watcher) -> None:
    for file in log.files:
        if file.damage is not None:
            watcher.note(f"{file.name}: {file.damage}. The {file.rows - 1:,} rows before that are used.")
    if log.sorted:
        watcher.note("The rows are not in the order of their times; they are read in that order.")
    for file in log.read_files:
        if file.late_rows:
            watcher.note(
                f"{file.name}: {file.late_rows:,} of {file.rows:,} rows are earlier than the end of the files before "
                "it; they are read as late events."
            )
    new = () if earlier.run is None else log.read_files[len(earlier.run.files) :]
    if new and earlier.totals.position:
        watcher.note(f"New since the last start: {', '.join(f'{file.name} ({file.rows:,} rows)' for file in new)}.")
