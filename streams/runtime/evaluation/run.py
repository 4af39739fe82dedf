"""Run files through the engine for `tideline evaluate`: nothing is stored, and every matured example is collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from config.catalog import Catalog
from config.durations import DAY_S
from config.errors import InputError, SnapshotRefused
from models.examples import ExampleChunk
from models.jit import F64
from models.snapshot import Likelihood
from streams.adapters.files import FileLog
from streams.core.events import Event
from streams.core.ledger import NO_KEY, cluster_id
from streams.runtime.evaluation.bgnbd import GoalHistory
from streams.runtime.evaluation.compare import Progress, Report, evaluate
from streams.runtime.evaluation.peers import check_peers, history_event
from streams.runtime.evaluation.points import Collector, Points
from streams.runtime.job import Watcher
from streams.runtime.lockstep import LockStep
from streams.runtime.precompile import get_ready

MAX_PENDING: Final = 100_000_000
LOOK_EVERY_S: Final = 7 * DAY_S


class _NotStored:
    """The codec of a run of which nothing is kept: no model is pickled, so no key is needed to sign it."""

    def dumps(self, model: Likelihood) -> bytes:  # noqa: ARG002
        return b""

    def loads(self, data: bytes) -> Likelihood:  # noqa: ARG002
        raise SnapshotRefused("the models of an evaluation are not stored")


@dataclass(slots=True)
class _Seen:
    """What a first look at the events has found."""

    users: set[int] = field(default_factory=set)
    times_s: list[float] = field(default_factory=list)
    goals: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    """event name -> users and times of all its events"""


def run_evaluation(
    catalog: Catalog,
    log: FileLog,
    compare: Sequence[str],
    *,
    watcher: Watcher,
    only: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run all events, then judge the models in `compare` beside Tideline, on all predictions or `only` one.

    Raises SettingsError and ModelUnknown for models that cannot be compared, InputError for an input without events.
    """
    check_peers(compare)
    wanted = {
        name: (p, prediction)
        for p, (name, prediction) in enumerate(catalog.predictions.items())
        if only is None or name == only
    }
    names = {history_event(prediction) for _, prediction in wanted.values()} if "bgnbd" in compare else set()
    with watcher.step("Looking at the events"):
        seen = _look(log, catalog, {name for name in names if name is not None})
    if not seen.times_s:
        raise InputError(
            ", ".join(file.name for file in log.files),
            "has no event that can be used (tideline check CATALOG FILE says why)",
        )
    catalog = with_room(catalog, np.sort(np.array(seen.times_s)), len(seen.users))
    with ExitStack() as stack:
        collectors = {
            p: stack.enter_context(Collector(name, prediction, catalog.time.lateness_s))
            for name, (p, prediction) in wanted.items()
        }
        points = _run(catalog, log, collectors, (min(seen.times_s), max(seen.times_s)), watcher)
        histories = {
            name: GoalHistory.of(np.array(users, np.uint64), np.array(times_s, np.float64))
            for name, (users, times_s) in seen.goals.items()
        }
        return evaluate({found.prediction_id: found for found in points}, histories, compare, progress)


def _look(log: FileLog, catalog: Catalog, names: set[str]) -> _Seen:
    """Users, times, and the events that BG/NBD needs; engine and peers see the same users by the same hashes."""
    seen = _Seen(goals={name: ([], []) for name in names})
    for items in log.batches(0, catalog.limits.batch_events):
        for item in items:
            if isinstance(item, Event):
                key = cluster_id(NO_KEY, item.user)
                seen.users.add(key)
                seen.times_s.append(item.time_s)
                if item.name in names:
                    users, times_s = seen.goals[item.name]
                    users.append(key)
                    times_s.append(item.time_s)
    return seen


def with_room(catalog: Catalog, times_s: F64, users: int) -> Catalog:
    """The catalog with so much room for pending examples that none is left out.

    An example waits for the longest window (and an hour until it is handed out). In that time there is one for every
    event, one a week for every user, and one for every crossing, which is at most as many again.
    """
    longest_s = max(p.window_s for p in catalog.predictions.values()) + catalog.time.lateness_s + 3_600.0
    ends = np.searchsorted(times_s, times_s + longest_s, side="right")
    events = int(np.max(ends - np.arange(len(times_s)))) if len(times_s) else 0
    looks = users * (int(longest_s // LOOK_EVERY_S) + 2)
    room = min(MAX_PENDING, max(catalog.limits.pending_examples, 2 * (events + looks)))
    return catalog.model_copy(update={"limits": catalog.limits.model_copy(update={"pending_examples": room})})


def _run(
    catalog: Catalog,
    log: FileLog,
    collectors: Mapping[int, Collector],
    ends_s: tuple[float, float],
    watcher: Watcher,
) -> list[Points]:
    def collect(chunk: ExampleChunk) -> None:
        collector = collectors.get(chunk.prediction)
        if collector is not None:
            collector.collect(chunk)

    get_ready(watcher)
    engine = LockStep(catalog, codec=_NotStored(), on_chunk=collect)
    watcher.begin(0, log.rows)
    position = 0
    for number, items in enumerate(log.batches(0, catalog.limits.batch_events), start=1):
        engine.take(items)
        engine.effects(number, b"")  # nobody stores them; taking them keeps the buffers small
        position += len(items)
        watcher.advance(position, engine.shard.clock_s)
    dropped = engine.shard.counters()["dropped_examples"]
    if dropped:
        watcher.note(f"{dropped:,} examples did not fit into memory; the others stand for them with a higher weight.")
    names = engine.shard.vocabulary.feature_names()
    return [collector.points(*ends_s, names) for collector in collectors.values()]
