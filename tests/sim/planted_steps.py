"""Planted bugs within a step: of time, of models and distributions, of examples. Each is entered around a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np

from models.examples import ExampleChunk
from models.labels import NO_NOTE, NOBODY
from models.layout import SENT_T, WITHHELD_T
from models.quality import Quality
from streams.core.events import BadEvent, Event
from streams.core.pending_log import take_chunk
from streams.core.saving import SHARD_BLOB, Saver
from streams.core.shard import Shard, Stop
from streams.core.state import LABELLED_HOUR, Marks
from streams.runtime.records import Position
from streams.runtime.shard_run import ShardRun


def _instead(place: str, function: Callable[..., Any]) -> AbstractContextManager[Any]:
    return patch(place, function)


def no_time() -> AbstractContextManager[Any]:
    """Nothing ever happens while nothing comes."""
    return _instead("streams.runtime.shard_run.ShardRun._time_now", lambda *_: math.nan)


def double_time() -> AbstractContextManager[Any]:
    """An hour of silence is two."""
    time_now = ShardRun._time_now

    def twice(run: ShardRun, position: Position, now_s: float) -> float:
        until_s = time_now(run, position, now_s)
        return until_s + now_s - position.log_time_s

    return _instead("streams.runtime.shard_run.ShardRun._time_now", twice)


def late_clock() -> AbstractContextManager[Any]:
    """Found by these checks: the silence was measured from the last record of the batch."""
    wall_clock = ShardRun._wall_clock

    def of_the_last(run: ShardRun, before_s: float) -> float:
        return max([wall_clock(run, before_s)] + [record.log_time_s for record in run._records[-1:]])

    return _instead("streams.runtime.shard_run.ShardRun._wall_clock", of_the_last)


def slow_clock() -> AbstractContextManager[Any]:
    """Found by reading: the silence was measured from the record that has moved the clock, however late it came."""

    def of_the_batch(run: ShardRun, before_s: float) -> float:
        clock_s = run.shard.clock_s
        moved = clock_s != before_s and not math.isnan(clock_s)
        return clock_s - run.shard.lead_s if moved else run._reached.log_time_s

    return _instead("streams.runtime.shard_run.ShardRun._wall_clock", of_the_batch)


def no_models() -> AbstractContextManager[Any]:
    """What arrives is left alone."""
    return _instead("streams.core.shard.Shard.take_models", lambda *_: False)


def no_counts() -> AbstractContextManager[Any]:
    """Ranks are among nobody."""
    return _instead("streams.runtime.learner_run.LearnerRun._take_counts", lambda *_: None)


def no_labels() -> AbstractContextManager[Any]:
    """Examples wait for ever."""
    return _instead("streams.core.shard.Shard.matured", lambda *_, **__: [])


def lost_examples() -> AbstractContextManager[Any]:
    """The numbers of chunks are right, and something is missing in each."""
    matured = Shard.matured

    def fewer(shard: Shard, *, every: bool = False) -> list[ExampleChunk]:
        return [replace(chunk, **_without_first(chunk)) for chunk in matured(shard, every=every)]

    return _instead("streams.core.shard.Shard.matured", fewer)


def _without_first(chunk: ExampleChunk) -> dict[str, Any]:
    columns = {field.name: getattr(chunk, field.name) for field in fields(chunk)}
    return {name: column[1:] for name, column in columns.items() if isinstance(column, np.ndarray)}


def late_goals() -> AbstractContextManager[Any]:
    """What comes after its labels is neither counted nor anything else."""
    return _goals_not_seen(lambda shard, time_s: time_s + shard.catalog.time.lateness_s < _labelled_s(shard))


def delayed_goals() -> AbstractContextManager[Any]:
    """What comes late, but before its labels, does not reach the examples that wait for it."""
    return _goals_not_seen(lambda shard, time_s: _labelled_s(shard) < time_s < shard.clock_s)


def _labelled_s(shard: Shard) -> float:
    return float(shard.si[LABELLED_HOUR]) * 3_600.0


def _goals_not_seen(is_not_seen: Callable[[Shard, float], bool]) -> AbstractContextManager[Any]:
    feed = Shard.feed

    def blind(shard: Shard, items: Sequence[Event | BadEvent]) -> None:
        feed(shard, items)
        events = shard._batch.events
        for e, time_s in enumerate(events.time_s.tolist()):
            if is_not_seen(shard, time_s):
                events.bits[e] = 0

    return _instead("streams.core.shard.Shard.feed", blind)


def kept_examples() -> AbstractContextManager[Any]:
    """What waits of a user stays as it was when the user is deleted."""
    run = Shard.run

    def keeping(shard: Shard, until_s: float = math.nan, *, may_save: bool = False) -> Stop:
        q = shard.pending
        columns = [getattr(q, name) for name in ("row", "x", "served", "category", "crossed", "by_goals", "seen")]
        before = [column.copy() for column in columns]
        stop = run(shard, until_s, may_save=may_save)
        emptied = (q.row == NOBODY) & (before[0] != NOBODY)
        for column, was in zip(columns, before, strict=True):
            column[emptied] = was[emptied]
        return stop

    return _instead("streams.core.shard.Shard.run", keeping)


def kept_users() -> AbstractContextManager[Any]:
    """A load does not know who was deleted."""
    load = Saver.load

    def forgetful(saver: Saver, *saved: Any) -> None:
        blobs, rows, appended, remembered, _ = saved
        small = msgspec.msgpack.decode(blobs[SHARD_BLOB]) | {"ledger": ""}
        load(saver, {**blobs, SHARD_BLOB: msgspec.msgpack.encode(small)}, rows, appended, remembered)

    return _instead("streams.core.saving.Saver.load", forgetful)


def lost_goals() -> AbstractContextManager[Any]:
    """What was saved of a pending example is what it was at its moment."""
    load = Saver._load_appended

    def forgetful(saver: Saver, appended: Iterable[tuple[str, bytes]]) -> None:
        load(saver, appended)
        saver.shard.pending.seen[:] = 0

    return _instead("streams.core.saving.Saver._load_appended", forgetful)


# --- notes of campaigns ----------------------------------------------------------------------------------------------


def unsaved_marks() -> AbstractContextManager[Any]:
    """What is saved of a mark does not say that it is one of a note."""

    def plain(marks: Marks) -> Marks:
        return marks._replace(note=np.full_like(marks.note, NO_NOTE))

    def saving(q: Any, tail: int, order: Any, marks: Marks, marks_n: int, earlier: list[Marks], *more: Any) -> Any:
        return take_chunk(q, tail, order, plain(marks), marks_n, [plain(one) for one in earlier], *more)

    return _instead("streams.core.saving.take_chunk", saving)


def lost_marks() -> AbstractContextManager[Any]:
    """A load brings the examples that wait without the marks that they were saved with."""
    load = Saver._load_appended

    def forgetful(saver: Saver, appended: Iterable[tuple[str, bytes]]) -> None:
        load(saver, appended)
        saver.shard.pending.sent[:] = 0
        saver.shard.pending.withheld[:] = 0

    return _instead("streams.core.saving.Saver._load_appended", forgetful)


def forgotten_notes() -> AbstractContextManager[Any]:
    """A load forgets the latest notes of users: an event that was under way is not marked."""
    load = Saver.load

    def forgetful(saver: Saver, *saved: Any) -> None:
        load(saver, *saved)
        saver.shard.users.rows.t[:, [SENT_T, WITHHELD_T]] = 0.0

    return _instead("streams.core.saving.Saver.load", forgetful)


def notes_as_events() -> AbstractContextManager[Any]:
    """A note is a moment like any other."""
    feed = Shard.feed

    def taking(shard: Shard, items: Sequence[Event | BadEvent]) -> None:
        feed(shard, items)
        shard._batch.events.note[:] = NO_NOTE

    return _instead("streams.core.shard.Shard.feed", taking)


def all_untouched() -> AbstractContextManager[Any]:
    """The learner judges all alike."""
    add = Quality.add

    def blind(quality: Quality, chunk: ExampleChunk, served_from_s: float = -math.inf) -> None:
        add(quality, replace(chunk, touch=np.zeros_like(chunk.touch)), served_from_s)

    return _instead("models.quality.Quality.add", blind)
