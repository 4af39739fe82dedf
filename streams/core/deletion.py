"""What a shard does when a user is deleted: exits go out, then nothing of the user is left in its arrays."""

from __future__ import annotations

import numpy as np

from models.jit import const, jit
from models.labels import empty_examples
from models.layout import FIRST_T, LAST_T, LIFE, SCORED_T
from models.scales import NONE, bin_of
from streams.core.free_numbers import give_back
from streams.core.history import NO_BUCKET
from streams.core.moment import touch
from streams.core.queue import unschedule
from streams.core.state import (
    CHANGED,
    DELETED,
    DELETION,
    END_OF_LIFE,
    FREE,
    LIFE_STEP,
    N_DELETED,
    O_CATEGORY,
    O_ENTERED,
    O_EVENT,
    O_GOAL,
    O_LIKELIHOOD,
    O_ORIGIN,
    O_PREVIOUS_CATEGORY,
    O_PREVIOUS_SCORE,
    O_ROW,
    O_SCORE,
    O_SEGMENT,
    O_SEQUENCE,
    O_TIME,
    O_VERSION,
    OUT,
    UNKNOWN,
    UNSAVED_OUT,
    USERS,
    State,
)

_INDEX_BITS = np.uint64(2)
_NO_CATEGORY = const(255)


@jit
def delete_user(s: State, i: int, time_s: float, event: int) -> int:
    """Delete the user of row `i` at `time_s`, as event `event` of the batch asks for; END_OF_LIFE or DELETION.

    The row stays the user's until that is saved. Of a user who is not there only the time is noted.
    """
    until_s = time_s
    is_there = s.rows.t[i, FIRST_T] != 0.0
    if is_there:
        until_s = max(until_s, s.rows.t[i, LAST_T])
        _exit_all(s, i, time_s, event)
        _leave_population(s, i)
        empty_examples(s.pending, s.users.head, i, s.users.order[i])
        unschedule(s.queue, i)
        _clear_history(s, i)
        _clear_row(s, i)
        give_back(s.users.free, s.si[FREE], s.users.order[i])
        s.si[FREE] += 1
        s.si[USERS] -= 1
        s.si[N_DELETED] += 1
        touch(s, i)
        for p in range(s.c.predictions):
            s.users.dirty[i] |= _INDEX_BITS << np.uint64(p)
    s.users.deleted_at[i] = max(s.users.deleted_at[i], time_s)
    s.users.deleted_until[i] = max(s.users.deleted_until[i], until_s)
    s.si[CHANGED] = 1  # the next whole hour is worked: the ledger keeps its bound then
    return END_OF_LIFE if is_there else DELETION


@jit
def _exit_all(s: State, i: int, time_s: float, event: int) -> None:
    """An exit of every membership, at the time of the moment that this would be. It says no score: nobody has one."""
    stamp_s = max(time_s, s.rows.t[i, LAST_T])
    if not np.isnan(s.rows.t[i, SCORED_T]):
        stamp_s = max(stamp_s, s.rows.t[i, SCORED_T])
    for g in range(s.c.segments):
        sequence = np.int64(s.rows.u[i, s.c.u_sequence + g])
        if not sequence & 1:
            continue
        n = s.si[OUT]
        whole, real = s.out.whole[n], s.out.real[n]
        whole[O_ROW] = i
        whole[O_SEGMENT] = g
        whole[O_SEQUENCE] = np.int64(s.rows.u[i, LIFE]) * LIFE_STEP + sequence + 1
        whole[O_ORIGIN] = DELETED
        whole[O_GOAL] = 0
        whole[O_EVENT] = event
        whole[O_VERSION] = UNKNOWN
        whole[O_CATEGORY] = NONE
        whole[O_PREVIOUS_CATEGORY] = NONE
        real[O_TIME] = stamp_s
        real[O_ENTERED] = s.rows.t[i, s.c.t_entered + g]
        real[O_SCORE] = np.nan
        real[O_PREVIOUS_SCORE] = np.nan
        real[O_LIKELIHOOD] = np.nan
        s.si[OUT] = n + 1
        s.si[UNSAVED_OUT] += 1


@jit
def _leave_population(s: State, i: int) -> None:
    rows, c = s.rows, s.c
    for p in range(c.predictions):
        if rows.b[i, c.b_audience + p]:
            s.population.counts[p, bin_of(np.float64(rows.f[i, c.f_z + p]))] -= 1
            if rows.b[i, c.b_category + p] != NONE:
                s.population.categories[p, rows.b[i, c.b_category + p]] -= 1


@jit
def _clear_history(s: State, i: int) -> None:
    h = s.history
    for j in range(h.slot.shape[1]):
        slot = h.slot[i, j]
        if slot >= 0:
            h.newest_hour[slot] = NO_BUCKET
            h.newest_day[slot] = NO_BUCKET
            for b in range(h.hours.shape[1]):
                h.hours[slot, b] = np.uint16(0)
            for b in range(h.days.shape[1]):
                h.days[slot, b] = np.uint16(0)


@jit
def _clear_row(s: State, i: int) -> None:
    """All of the row but how many lives there were, as a row is before its user's first event; without scores."""
    rows, c = s.rows, s.c
    life = rows.u[i, LIFE]
    for j in range(rows.t.shape[1]):
        rows.t[i, j] = 0.0
    for j in range(rows.u.shape[1]):
        rows.u[i, j] = np.uint32(0)
    for j in range(rows.f.shape[1]):
        rows.f[i, j] = np.float32(0.0)
    for j in range(rows.b.shape[1]):
        rows.b[i, j] = np.uint8(0)
    rows.u[i, LIFE] = life + np.uint32(1)
    for p in range(c.predictions):
        rows.f[i, c.f_score + p] = np.nan
        rows.b[i, c.b_category + p] = _NO_CATEGORY
