"""The hot loop: events, looks and hours of one shard, one after another, over arrays.

`run` takes a batch as far as it can and says why it came back: the batch is done, a whole hour has to be worked
(the caller matures examples, learns, brings a snapshot), the out buffer is full, a model outside this loop has to
give its logits, or so much has changed that it should be saved. Called again it goes on exactly there.
"""

from __future__ import annotations

import math

import numpy as np

from models.features import DAY_S, FeatureSpec, features_at, start_row, update_row
from models.jit import F64, I64, const, jit, wide
from models.labels import (
    EVENT,
    NEXT,
    NO_NOTE,
    REPLACED,
    SAVED,
    SILENT,
    append_example,
    mark_goals,
    mix64,
    tail_of,
    unit,
)
from models.layout import EPOCH, FIRST_T, LAST_T, SCORED_T, VERSION
from models.scales import bin_of
from streams.core.dedupe import known, remember
from streams.core.deletion import delete_user
from streams.core.free_numbers import take_smallest
from streams.core.history import DAY_BUCKETS, HOUR_BUCKETS, HOUR_S, HOURS, record_history
from streams.core.moment import (
    apply_step,
    awaits_review,
    decide_segments,
    fill_example,
    finish_moment,
    in_any_audience,
    judge_crossings,
    judged_until,
    moved_enough,
    review,
    score_step,
)
from streams.core.notes import take_note
from streams.core.queue import next_due, schedule
from streams.core.state import (
    ACCEPTED,
    ALL_SEGMENTS,
    BACKFILL,
    BACKFILL_RATE,
    BACKFILL_START,
    CHANGED,
    CLOCK,
    DECAY,
    DONE,
    EXTERNAL_ROW,
    FIRST_STEP,
    FREE,
    FRESH,
    GOALS,
    HOUR,
    HOUR_DUE,
    LABELLED_HOUR,
    LIVE,
    MAX_AHEAD_S,
    MAY_SAVE,
    MINUTE,
    MODEL,
    MODEL_NEEDED,
    MOMENT,
    N_AHEAD,
    N_DELETIONS_SKIPPED,
    N_DUPLICATES,
    N_EVENTS,
    N_LATE,
    N_LATE_GOALS,
    N_LOOKS,
    N_RECORDED,
    NEXT_EVENT,
    NO,
    NO_BITS,
    NO_EVENT,
    NO_ROOM,
    OF_DELETED,
    OUT,
    OUT_FULL,
    PHASE,
    REVIEW_CLOCK,
    REVIEW_EPOCH,
    REVIEW_NEXT,
    SAVE_DUE,
    SAVE_OUT,
    SAVE_ROWS,
    SECOND_STEP,
    TOUCHED,
    TURN_EPOCH,
    TWO_STEPS,
    UNSAVED_OUT,
    USERS,
    USERS_LIMIT,
    VERSION_NOW,
    YES,
    Events,
    State,
)

WEEK_MINUTES = 10_080
DAILY_LOOKS = 5  # looks a day apart before they spread out
SPREAD = 1.2  # each later look a fifth of the silence further
# Phases of a moment that waits for a model outside; 0 is none.
OF_FIRST_STEP, OF_EVENT, OF_LOOK = const(1), const(2), const(3)
LOOK_SALT = np.uint64(0xA24BAED4963EE407)
WEEK_SALT = np.uint64(0x9FB21C651E98DF25)


@jit
def look_phase(key: np.uint64) -> float:
    """The phase in [0, 1) days of a user's looks."""
    return unit(mix64(key ^ LOOK_SALT))


@jit
def week_minute(key: np.uint64) -> int:
    """The minute of the week (from 1970 on) of a user's silent examples."""
    return int(math.ceil(unit(mix64(key ^ WEEK_SALT)) * WEEK_MINUTES)) % WEEK_MINUTES


@jit
def _up_to_minute(time_s: float) -> int:
    return int(math.ceil(time_s / 60.0))


@jit
def next_look(last_s: float, phase: float, minute: int) -> int:
    """The first minute of the look schedule after `minute`."""
    for k in range(1, DAILY_LOOKS):
        due = _up_to_minute(last_s + (k + phase) * DAY_S)
        if due > minute:
            return due
    base = DAILY_LOOKS + phase
    silence_days = (minute * 60.0 - last_s) / DAY_S
    j = 0
    if silence_days > base:
        j = max(0, int(math.log(silence_days / base) / math.log(SPREAD)) - 1)
    while True:
        due = _up_to_minute(last_s + base * SPREAD**j * DAY_S)
        if due > minute:
            return due
        j += 1


@jit
def next_week(last_s: float, own: int, minute: int) -> int:
    """The first weekly minute after `minute` at which the user has been silent for a day."""
    due = minute - minute % WEEK_MINUTES + own
    if due <= minute:
        due += WEEK_MINUTES
    while due * 60.0 - last_s < DAY_S:
        due += WEEK_MINUTES
    return due


@jit
def _next_change(s: State, i: int, minute: int, awaits: bool) -> int:
    """The first minute after `minute` at which a filter can change by time alone, or a very large number.

    `awaits`: a review of the row is still to come, and may begin a wish.
    """
    best = 1 << 60
    since = s.conditions.since
    for j in range(since.shape[0]):
        latest = s.rows.u[i, s.c.u_latest + int(since[j, 0])]
        if latest != 0:
            due = _up_to_minute(np.float64(latest) + since[j, 1])
            if minute < due < best:
                best = due
    within = s.conditions.within
    for j in range(within.shape[0]):
        best = min(best, _next_bucket_end(s, i, within[j, 0], within[j, 1], within[j, 2], minute))
    for g in range(s.c.segments):
        column = s.segments.dwell_column[g]
        if column < 0:
            continue
        since_s = s.rows.t[i, column]
        if np.isnan(since_s) and awaits and s.segments.epoch[g] == s.si[REVIEW_EPOCH]:
            since_s = s.sf[REVIEW_CLOCK]  # however late the review comes
        if not np.isnan(since_s):
            due = _up_to_minute(since_s + s.segments.dwell_s[g])
            if minute < due < best:
                best = due
    return best


@jit
def _next_bucket_end(s: State, i: int, name: int, unit_: int, buckets: int, minute: int) -> int:
    """When the oldest bucket of a window that holds something falls out of it."""
    slot = s.history.slot[i, name]
    best = 1 << 60
    if slot < 0:
        return best
    if unit_ == HOURS:
        newest, size, counts, bucket_s = s.history.newest_hour[slot], HOUR_BUCKETS, s.history.hours[slot], HOUR_S
    else:
        newest, size, counts, bucket_s = s.history.newest_day[slot], DAY_BUCKETS, s.history.days[slot], DAY_S
    for bucket in range(newest - size + 1, newest + 1):
        if counts[bucket % size] != 0:
            due = _up_to_minute((bucket + buckets) * bucket_s)
            if minute < due < best:
                best = due
    return best


@jit
def _due_after(s: State, i: int, minute: int, awaits: bool) -> int:
    """The first minute after `minute` at which row `i` is looked at; `awaits` as in `_next_change`."""
    last = s.rows.t[i, LAST_T]
    due = next_look(last, look_phase(s.users.key[i]), minute)
    due = min(due, next_week(last, week_minute(s.users.key[i]), minute))
    due = min(due, _next_change(s, i, minute, awaits))
    if s.rows.u[i, EPOCH] < s.si[TURN_EPOCH]:
        turn = s.si[BACKFILL_START] + s.users.order[i] // s.si[BACKFILL_RATE]
        if turn > minute:
            due = min(due, turn)
    return due


@jit
def reschedule(s: State, i: int) -> None:
    """Put row `i` into the queue at its next due minute after the current one."""
    schedule(s.queue, i, _due_after(s, i, s.si[MINUTE], awaits_review(s, i)))


@jit
def _is_due(s: State, i: int, minute: int) -> bool:
    """Whether row `i`, which stands in the queue for `minute`, has a look then; it is reviewed first.

    While it awaited its review, it stood there for every change that the review may begin or end. A look more than the
    user would have had after a review at once could record a score that nobody else has seen.
    """
    if s.si[PHASE] != 0 or not awaits_review(s, i):
        return True
    review(s, i)
    return _due_after(s, i, minute - 1, NO) <= minute


@jit
def _is_behind(s: State, i: int) -> bool:
    """Whether a newer snapshot or prediction is in force than when row `i` was scored last."""
    return s.rows.u[i, VERSION] != s.si[VERSION_NOW] or s.rows.u[i, EPOCH] < s.si[TURN_EPOCH]


@jit
def _first_origin(s: State, i: int) -> int:
    return MODEL if s.rows.u[i, EPOCH] >= s.si[TURN_EPOCH] else BACKFILL


@jit
def _needs_outside(s: State) -> bool:
    for p in range(s.c.predictions):
        if s.predictions.external[p]:
            return True
    return False


@jit
def _wait_for_model(s: State, i: int, phase: int) -> bool:
    """Ask the caller for logits once per phase; true when it has to come back first."""
    if not _needs_outside(s) or s.si[PHASE] == phase:
        return False
    s.si[PHASE] = phase
    s.si[EXTERNAL_ROW] = i
    return True


@jit
def look(s: State, i: int, minute: int) -> bool:
    """Visit a silent user at a whole minute; false when a model outside has to answer first."""
    time_s = minute * 60.0
    two = _is_behind(s, i)
    scored = s.rows.t[i, SCORED_T]
    if s.si[PHASE] == 0:
        if two:
            features_at(s.rows, s.c, s.features, i, scored, s.scratch.x[0])
        features_at(s.rows, s.c, s.features, i, time_s, s.scratch.x[1])
    s.si[TWO_STEPS] = two
    if _wait_for_model(s, i, OF_LOOK):
        return False
    s.si[PHASE] = 0
    s.si[N_LOOKS] += 1
    weekly = minute % WEEK_MINUTES == week_minute(s.users.key[i]) and time_s - s.rows.t[i, LAST_T] >= DAY_S
    first_changes = False
    judged, origin = judged_until(s, i), _first_origin(s, i)
    if two:
        score_step(s, i, FIRST_STEP, scored, NO)
        first_changes = decide_segments(s, i, FIRST_STEP, judged, time_s, origin, NO, ALL_SEGMENTS)
    score_step(s, i, SECOND_STEP, time_s, two)
    # After a first step that changes nothing the second one decides from the same memberships now and when applied.
    changes = first_changes or decide_segments(s, i, SECOND_STEP, time_s, time_s, DECAY, NO, ALL_SEGMENTS)
    if weekly or changes or s.rows.u[i, EPOCH] < s.si[TURN_EPOCH] or moved_enough(s, i):
        s.si[N_RECORDED] += 1
        if two:
            apply_step(s, i, FIRST_STEP, judged, time_s, origin, NO_BITS, NO_EVENT, first_changes, ALL_SEGMENTS)
        apply_step(s, i, SECOND_STEP, time_s, time_s, DECAY, NO_BITS, NO_EVENT, changes, ALL_SEGMENTS)
        finish_moment(s, i, time_s)
        if weekly and in_any_audience(s, SECOND_STEP):
            at = append_example(s.pending, s.users.head, s.users.key, i, SILENT, time_s)
            if at >= 0:
                fill_example(s, i, at, time_s)
        judge_crossings(s, i, time_s, NO, NO_BITS)
    return True


@jit
def has_room(s: State) -> bool:
    """Whether the buffers hold what one more moment can give, with a review before it."""
    return s.si[OUT] + 3 * s.c.segments <= s.out.whole.shape[0] and s.si[GOALS] < s.marks.row.shape[0]


@jit
def next_hour(s: State) -> int:
    """The next whole hour that has work: after any record, the next one; else when an example matures."""
    base = s.si[HOUR] + 1
    if s.si[CHANGED]:
        return base
    best = 1 << 50
    q = s.pending
    for p in range(s.c.predictions):
        if q.due[p] < q.n[NEXT]:
            at = q.due[p] % q.time_s.shape[0]
            ready = q.time_s[at] + s.labels.window_s[p] + s.labels.lateness_s
            best = min(best, max(base, int(ready // HOUR_S) + 1))
    return best


@jit
def tick(s: State, time_s: float) -> int:
    """Let everything up to and including `time_s` happen that time causes."""
    target = int(time_s // 60.0)
    while True:
        hour_minute = next_hour(s) * 60
        minute = min(next_due(s.queue), hour_minute)
        if minute > target:
            s.si[MINUTE] = max(s.si[MINUTE], target)
            s.si[HOUR] = max(s.si[HOUR], int(time_s // HOUR_S))
            return DONE
        if hour_minute <= minute:
            s.si[MINUTE] = hour_minute - 1
            s.si[HOUR] = hour_minute // 60
            return HOUR_DUE
        s.si[HOUR] = max(s.si[HOUR], minute // 60)
        s.si[MINUTE] = minute
        while next_due(s.queue) <= minute:
            if not has_room(s):
                return OUT_FULL
            i = wide(s.queue.heap[0])
            if _is_due(s, i, minute) and not look(s, i, minute):
                return MODEL_NEEDED
            reschedule(s, i)
        if s.si[MAY_SAVE] and save_is_due(s):
            return SAVE_DUE


@jit
def save_is_due(s: State) -> bool:
    """Whether so much has changed since the last save that the next one should not wait for the end of the batch."""
    return s.si[TOUCHED] >= s.si[SAVE_ROWS] or s.si[UNSAVED_OUT] >= s.si[SAVE_OUT]


@jit
def _take_traits(s: State, batch: Events, e: int, i: int) -> None:
    for j in range(batch.trait_first[e], batch.trait_first[e + 1]):
        s.rows.t[i, s.c.t_trait + batch.trait_column[j]] = batch.trait_value[j]


@jit
def _update_user(s: State, batch: Events, e: int, i: int, time_s: float) -> None:
    """Bring the event into the user's row, history and pending examples."""
    last = s.rows.t[i, LAST_T]
    _take_traits(s, batch, e, i)
    update_row(s.rows, s.c, s.features, i, batch.name[e], time_s, batch.value[e])
    if batch.history[e] >= 0:
        record_history(s.history, s.history.slot[i, batch.history[e]], time_s)
    s.si[N_EVENTS] += 1
    if time_s < last:
        s.si[N_LATE] += 1
    bits = batch.bits[e]
    if bits:
        if time_s + s.labels.lateness_s < s.si[LABELLED_HOUR] * HOUR_S:
            s.si[N_LATE_GOALS] += 1
        mark_goals(s.pending, s.labels, s.users.head, i, time_s, bits, time_s >= last)
        n = s.si[GOALS]
        s.marks.row[n] = i
        s.marks.time_s[n] = time_s
        s.marks.bits[n] = bits
        s.marks.in_order[n] = time_s >= last
        s.marks.note[n] = NO_NOTE
        s.si[GOALS] = n + 1


@jit
def _keep_example(s: State, i: int, time_s: float) -> None:
    """Make the moment an example; events of a user in the same instant are one, the later replaces the earlier."""
    q = s.pending
    capacity = q.time_s.shape[0]
    seq = s.users.head[i]
    while seq >= tail_of(q) and q.time_s[seq % capacity] == time_s:
        at = seq % capacity
        if q.kind[at] == EVENT:
            fill_example(s, i, at, time_s)
            if seq < q.n[SAVED]:
                q.dirty[at] = 1
                q.n[REPLACED] += 1
            return
        seq = q.previous[at]
    if in_any_audience(s, SECOND_STEP):
        at = append_example(q, s.users.head, s.users.key, i, EVENT, time_s)
        if at >= 0:
            fill_example(s, i, at, time_s)


@jit
def _next_order(s: State) -> int:
    """The order of a new user: the smallest that nobody has, of a deleted user or the next one."""
    if s.si[FREE] == 0:
        return s.si[USERS]  # all that were ever given are in use
    s.si[FREE] -= 1
    return take_smallest(s.users.free, s.si[FREE] + 1)


@jit
def take_event(s: State, batch: Events, e: int, time_s: float) -> bool:
    """One accepted event; false when a model outside has to answer first."""
    i = batch.row[e]
    if s.si[PHASE] == 0:
        fresh_row = s.rows.t[i, FIRST_T] == 0.0
        if fresh_row:
            start_row(s.rows, s.c, i, time_s)
            s.users.order[i] = _next_order(s)
            s.si[USERS] += 1
        elif awaits_review(s, i):
            review(s, i)
        scored = s.rows.t[i, SCORED_T]
        known_before = not np.isnan(scored)
        newest = max(s.rows.t[i, LAST_T], scored) if known_before else s.rows.t[i, LAST_T]
        s.sf[MOMENT] = max(time_s, newest)
        s.si[FRESH] = time_s >= newest
        s.si[TWO_STEPS] = known_before and _is_behind(s, i)
        if s.si[TWO_STEPS]:
            features_at(s.rows, s.c, s.features, i, scored, s.scratch.x[0])
            if _wait_for_model(s, i, OF_FIRST_STEP):
                return False
    moment_s = s.sf[MOMENT]
    two = s.si[TWO_STEPS] != 0
    if s.si[PHASE] <= OF_FIRST_STEP:
        if two:
            scored = s.rows.t[i, SCORED_T]
            score_step(s, i, FIRST_STEP, scored, NO)
            judged, origin = judged_until(s, i), _first_origin(s, i)
            apply_step(s, i, FIRST_STEP, judged, moment_s, origin, NO_BITS, NO_EVENT, YES, ALL_SEGMENTS)
        _update_user(s, batch, e, i, time_s)
        features_at(s.rows, s.c, s.features, i, moment_s, s.scratch.x[1])
        if _wait_for_model(s, i, OF_EVENT):
            return False
    s.si[PHASE] = 0
    score_step(s, i, SECOND_STEP, moment_s, two)
    apply_step(s, i, SECOND_STEP, moment_s, moment_s, LIVE, batch.bits[e], e, YES, ALL_SEGMENTS)
    finish_moment(s, i, moment_s)
    if s.si[FRESH]:
        _keep_example(s, i, time_s)
    judge_crossings(s, i, moment_s, YES, batch.bits[e])
    return True


@jit
def _is_no_input(s: State, batch: Events, e: int) -> bool:
    """Whether nothing happens by event `e`: a note, which is taken here, or what is not for the shard (of a deleted
    user, of one user too many, or known already).
    """
    i = batch.row[e]
    time_s = _clocked(s, batch, e)
    if batch.note[e] != NO_NOTE:
        batch.outcome[e] = take_note(s, batch, e, time_s)
        return True
    if batch.deletes[e]:
        return _says_nothing_new(s, i, batch.message[e], time_s)
    if time_s <= s.users.deleted_until[i]:
        batch.outcome[e] = OF_DELETED
        return True
    if s.rows.t[i, FIRST_T] == 0.0 and s.si[USERS] >= s.si[USERS_LIMIT]:
        batch.outcome[e] = NO_ROOM
        return True
    if known(s.dedupe, batch.message[e]):
        s.si[N_DUPLICATES] += 1
        return True
    return False


@jit
def _says_nothing_new(s: State, i: int, message: np.uint64, time_s: float) -> bool:
    """Whether a deletion is known: itself, or one that is no earlier, which may not end the life that came after it."""
    if known(s.dedupe, message):
        s.si[N_DUPLICATES] += 1
        return True
    if time_s <= s.users.deleted_at[i]:
        s.si[N_DELETIONS_SKIPPED] += 1
        return True
    return False


@jit
def _clocked(s: State, batch: Events, e: int) -> float:
    """The event's time, moved back to its log time where it is too far ahead of that."""
    ahead = batch.time_s[e] > batch.log_time_s[e] + s.sf[MAX_AHEAD_S]
    return batch.log_time_s[e] if ahead else batch.time_s[e]


@jit
def run(s: State, batch: Events, until_s: float) -> int:
    """Go on with the batch, then let time pass up to `until_s` (NaN: not at all); why it came back."""
    while s.si[NEXT_EVENT] < batch.row.shape[0]:
        e = s.si[NEXT_EVENT]
        if s.si[PHASE] == 0 or s.si[PHASE] == OF_LOOK:
            if not has_room(s):
                return OUT_FULL
            if _is_no_input(s, batch, e):
                s.si[NEXT_EVENT] = e + 1
                continue
        time_s = _clocked(s, batch, e)
        code = advance(s, time_s)
        if code != DONE:
            return code
        if s.si[PHASE] == 0 and not has_room(s):  # the looks on the way may have filled the buffers
            return OUT_FULL
        if batch.deletes[e]:
            if awaits_review(s, batch.row[e]):  # first: what is told must not depend on how far the review is
                review(s, batch.row[e])
            batch.outcome[e] = delete_user(s, batch.row[e], time_s, e)
        else:
            if not take_event(s, batch, e, time_s):
                return MODEL_NEEDED
            batch.outcome[e] = ACCEPTED
            reschedule(s, batch.row[e])
        s.si[N_AHEAD] += time_s != batch.time_s[e]
        remember(s.dedupe, batch.message[e])
        s.si[NEXT_EVENT] = e + 1
    if not np.isnan(until_s):
        return advance(s, until_s)
    return DONE


@jit
def advance(s: State, time_s: float) -> int:
    """Move the clock to `time_s` unless it is there already; the first event starts it."""
    if np.isnan(s.sf[CLOCK]):
        s.sf[CLOCK] = time_s
        s.si[MINUTE] = int(time_s // 60.0)
        s.si[HOUR] = int(time_s // HOUR_S)
        return DONE
    if time_s <= s.sf[CLOCK]:
        return DONE
    code = tick(s, time_s)
    if code == DONE:
        s.sf[CLOCK] = time_s
    return code


@jit
def rescore_all(s: State, spec: FeatureSpec, p: int, weights: F64, bias: float, epoch: int, rows_n: int) -> None:
    """The rank value of prediction `p` becomes the model's, as of the last moment, for users scored before `epoch`."""
    for i in range(rows_n):
        before = s.rows.u[i, EPOCH] < epoch and s.rows.t[i, FIRST_T] != 0.0
        if before and s.rows.b[i, s.c.b_audience + p]:
            features_at(s.rows, s.c, spec, i, s.rows.t[i, SCORED_T], s.scratch.x[0])
            z = bias
            for j in range(s.c.features):
                z += weights[j] * np.float64(s.scratch.x[0, j])
            s.rows.f[i, s.c.f_z + p] = z


@jit
def count_ranks(s: State, p: int, rows_n: int) -> None:
    """Build F of prediction `p` from everybody's rank value."""
    for b in range(s.population.counts.shape[1]):
        s.population.counts[p, b] = 0
    for i in range(rows_n):
        if s.rows.t[i, FIRST_T] != 0.0 and s.rows.b[i, s.c.b_audience + p]:
            s.population.counts[p, bin_of(np.float64(s.rows.f[i, s.c.f_z + p]))] += 1


@jit
def review_until(s: State, by_order: I64, end: int) -> None:
    """Review users up to order `end`, as far as the buffers have room and no save is due; `by_order`: their rows."""
    while s.si[REVIEW_NEXT] < end and has_room(s) and not save_is_due(s):
        i = by_order[s.si[REVIEW_NEXT]]
        awaits = i >= 0 and awaits_review(s, i)
        if awaits:
            review(s, i)
        s.si[REVIEW_NEXT] += 1
        if awaits:
            reschedule(s, i)


@jit
def reschedule_all(s: State, rows_n: int) -> None:
    """Compute the next look of every user anew."""
    for i in range(rows_n):
        if s.rows.t[i, FIRST_T] != 0.0:
            reschedule(s, i)
