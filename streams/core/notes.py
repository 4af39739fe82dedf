"""Notes of campaigns in a shard: they mark the examples in whose window a message was sent or withheld, and do no more.

A note is no moment: it changes nothing in a row but the time of the latest one, makes no user and moves no clock. So a
stream with notes gives what the stream without them gives, but for the marks (docs/core.md, Notes of campaigns).
"""

from __future__ import annotations

from models.jit import jit
from models.labels import OTHER_NOTE, SENT, mark_notes
from models.layout import FIRST_T, SENT_T, WITHHELD_T
from streams.core.dedupe import known, remember
from streams.core.history import HOUR_S
from streams.core.moment import touch
from streams.core.state import (
    DUPLICATE,
    GOALS,
    LABELLED_HOUR,
    N_AHEAD,
    N_DUPLICATES,
    N_LATE_NOTES,
    N_NOTES,
    N_NOTES_PASSED_OVER,
    NO_BITS,
    NOTED,
    PASSED_OVER,
    Events,
    State,
)


@jit
def take_note(s: State, batch: Events, e: int, time_s: float) -> int:
    """Take event `e`, a note at `time_s`; what became of it. There must be room for one more mark."""
    i = batch.row[e]
    if s.rows.t[i, FIRST_T] == 0.0 or time_s <= s.users.deleted_until[i]:
        s.si[N_NOTES_PASSED_OVER] += 1
        return PASSED_OVER
    if known(s.dedupe, batch.message[e]):
        s.si[N_DUPLICATES] += 1
        return DUPLICATE
    remember(s.dedupe, batch.message[e])
    s.si[N_NOTES] += 1
    s.si[N_AHEAD] += time_s != batch.time_s[e]
    if batch.note[e] != OTHER_NOTE:
        _mark(s, i, time_s, batch.note[e])
    return NOTED


@jit
def _mark(s: State, i: int, time_s: float, note: int) -> None:
    """Mark the examples that wait, those of an event that is still under way, and those that are stored."""
    latest = SENT_T if note == SENT else WITHHELD_T
    if time_s > s.rows.t[i, latest]:
        s.rows.t[i, latest] = time_s
        touch(s, i)
    if time_s + s.labels.lateness_s < s.si[LABELLED_HOUR] * HOUR_S:
        s.si[N_LATE_NOTES] += 1
    mark_notes(s.pending, s.labels, s.users.head, i, time_s, note)
    n = s.si[GOALS]
    s.marks.row[n] = i
    s.marks.time_s[n] = time_s
    s.marks.bits[n] = NO_BITS
    s.marks.in_order[n] = 0
    s.marks.note[n] = note
    s.si[GOALS] = n + 1
