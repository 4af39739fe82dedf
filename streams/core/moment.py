"""One moment of one user: score, decide the segments, record what changed (docs/core.md, Moment and Segments).

A moment has up to two steps: step 0 puts a newer snapshot on the features as they were when the user was scored
last, step 1 is the event or look itself. Scoring and deciding write to scratch only, so that a look which
changes nothing leaves no trace; `apply_step` writes.
"""

from __future__ import annotations

import numpy as np

from models.features import DAY_S, features_at, heuristic_at
from models.jit import jit, wide
from models.labels import CROSSING, SENT, WITHHELD, append_example, note_example
from models.layout import EPOCH, FIRST_T, LIFE, SCORED_T, SENT_T, VERSION, WITHHELD_T
from models.scales import NONE, bin_of, likelihood_of, next_category, plain_category
from streams.core.filters import holds
from streams.core.state import (
    ALL_SEGMENTS,
    AUDIENCE,
    BACKFILL,
    BY_EVENT,
    BY_GOAL,
    BY_OTHER,
    BY_SILENCE,
    CHANGED,
    DECAY,
    DEFINITION_CHANGE,
    ENTERED,
    EPOCH_NOW,
    EVERYBODY,
    FIRST_STEP,
    LIFE_STEP,
    LIVE,
    MODEL,
    N_CROSSINGS,
    NO,
    NO_BITS,
    NO_EVENT,
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
    REVIEW_CLOCK,
    REVIEW_END,
    REVIEW_EPOCH,
    REVIEW_MINUTE,
    REVIEW_NEXT,
    SECOND_STEP,
    TARGETS,
    TOUCHED,
    UNDONE_DAY,
    UNDONE_WEEK,
    UNKNOWN,
    UNSAVED_OUT,
    VERSION_NOW,
    WAITS,
    YES,
    State,
)


@jit
def score_step(s: State, i: int, step: int, time_s: float, after_first: bool) -> None:
    """Score row `i` at `time_s` from `scratch.x[step]`; categories follow from step 0 when there was one."""
    for p in range(s.c.predictions):
        if s.predictions.frozen[p]:
            _take_frozen(s, i, p, step)
        else:
            before = s.scratch.category[0, p] if after_first else s.rows.b[i, s.c.b_category + p]
            score_one(s, i, p, step, time_s, before)


@jit
def score_one(s: State, i: int, p: int, step: int, time_s: float, before: int) -> None:
    """The same of prediction `p` alone; `before`: the category until then."""
    k = s.scratch
    inside = s.predictions.audience[p] == EVERYBODY or _in_audience(s, i, p, step, time_s)
    k.audience[step, p] = inside
    k.z[step, p] = np.nan
    k.logit[step, p] = np.nan
    k.score[step, p] = np.nan
    k.likelihood[step, p] = np.nan
    k.category[step, p] = NONE
    if inside:
        _score_inside(s, i, p, step, time_s, before)


@jit
def _take_frozen(s: State, i: int, p: int, step: int) -> None:
    """Whatever has happened since: what is recorded of row `i`, and nothing of a user who came later."""
    k = s.scratch
    inside = s.rows.b[i, s.c.b_audience + p] != 0
    k.audience[step, p] = inside
    k.z[step, p] = np.float64(s.rows.f[i, s.c.f_z + p])
    k.logit[step, p] = np.nan  # nothing is learned of it
    k.score[step, p] = np.float64(s.rows.f[i, s.c.f_score + p])
    k.likelihood[step, p] = likelihood_of(k.z[step, p]) if inside else np.nan
    k.category[step, p] = s.rows.b[i, s.c.b_category + p]


@jit
def _in_audience(s: State, i: int, p: int, step: int, time_s: float) -> bool:
    k = s.scratch
    return holds(
        s.programs,
        s.predictions.audience[p],
        s.rows,
        s.c,
        s.history,
        i,
        time_s,
        k.score[step],
        k.likelihood[step],
        k.category[step],
        k.member,
        k.widen[0],
        k.stack,
    )


@jit
def _score_inside(s: State, i: int, p: int, step: int, time_s: float, before: int) -> None:
    k = s.scratch
    if s.predictions.external[p]:
        logit = k.given[step, p]
    else:
        logit = s.model.bias[p]
        weights, x = s.model.weights, k.x
        for j in range(s.c.features):
            logit += weights[p, j] * np.float64(x[step, j])
    logit = np.float64(np.float32(logit))
    k.logit[step, p] = logit
    live = s.model.live[p] != 0
    z = logit if live else _heuristic(s, i, p, time_s)
    k.z[step, p] = z
    score = s.model.table[p, bin_of(z)]
    if live:
        k.likelihood[step, p] = likelihood_of(logit)
        if not s.predictions.percentile[p]:
            score = 100.0 * k.likelihood[step, p]
    score = np.float64(np.float32(score))
    k.score[step, p] = score
    k.category[step, p] = next_category(before, score, s.predictions.edges[p], s.predictions.hysteresis[p])


@jit
def _heuristic(s: State, i: int, p: int, time_s: float) -> float:
    names = s.predictions.names[s.predictions.first_name[p] : s.predictions.first_name[p + 1]]
    return np.float64(np.float32(s.predictions.sign[p] * heuristic_at(s.rows, s.c, i, time_s, names)))


@jit
def _wanted(s: State, i: int, g: int, step: int, time_s: float, inside: bool) -> bool:
    """Whether row `i` fulfils segment `g`, min_dwell left aside; `inside`: it did so before, so hysteresis counts."""
    k = s.scratch
    if s.segments.uses[g] & ~np.uint64(s.si[TARGETS]):
        return False
    if s.segments.prediction[g] >= 0:
        return k.category[step, s.segments.prediction[g]] == s.segments.category[g]
    if _is_outside(s, g, step):
        return False
    widen = k.widen[1] if inside else k.widen[0]
    return holds(
        s.programs,
        s.segments.program[g],
        s.rows,
        s.c,
        s.history,
        i,
        time_s,
        k.score[step],
        k.likelihood[step],
        k.category[step],
        k.member,
        widen,
        k.stack,
    )


@jit
def _is_outside(s: State, g: int, step: int) -> bool:
    """Whether the user is outside the audience of a prediction that segment `g` uses."""
    for p in range(s.c.predictions):
        if (s.segments.uses[g] >> np.uint64(p)) & np.uint64(1) and not s.scratch.audience[step, p]:
            return True
    return False


@jit
def _hold_back(
    s: State, i: int, g: int, want: bool, inside: bool, time_s: float, stamp_s: float, write: bool
) -> tuple[bool, bool]:
    """Whether row `i` is to be in segment `g` by its `min_dwell`, and whether a held-back wish begins or ends."""
    column = s.segments.dwell_column[g]
    if column < 0:
        return want, False
    since = s.rows.t[i, column]
    held = not np.isnan(since)
    if want == inside or (held and time_s - since >= s.segments.dwell_s[g]):
        if write:
            s.rows.t[i, column] = np.nan
        return want, held
    if not held and write:
        s.rows.t[i, column] = stamp_s
    return inside, not held


@jit
def decide_segments(
    s: State, i: int, step: int, time_s: float, stamp_s: float, origin: int, write: bool, epoch: int
) -> bool:
    """Decide all memberships of row `i` into `scratch.member`; true when any of them or a held-back wish changes.

    `time_s` is when filters are evaluated and up to when a wish must have lasted, `stamp_s` when a new wish is noticed:
    so a held-back change falls due by time, not by a snapshot. With `write`, wishes are stored. `epoch`: only segments
    of that change of definitions, by what was published; ALL_SEGMENTS otherwise. Where that change was one of the
    filter, members are judged by it like everybody, and who does not fulfil it has left, whatever `min_dwell` says.

    Where only crossings count, nobody enters by a step of `origin` BACKFILL or DEFINITION_CHANGE: such a user waits, as
    a member of whom nobody is told, and has left as a member does before entering counts.
    """
    k = s.scratch
    changed = False
    for g in range(s.c.segments):
        k.before[g] = s.rows.u[i, s.c.u_sequence + g] & np.uint32(1)
        waits = s.segments.crossings[g] != 0 and s.rows.b[i, s.c.b_cause + g] == WAITS
        inside = k.before[g] != 0 or waits
        if epoch != ALL_SEGMENTS and s.segments.epoch[g] != epoch:
            k.member[g] = k.before[g]
            continue
        anew = epoch != ALL_SEGMENTS and s.segments.judged_anew[g] != 0
        want = _wanted(s, i, g, step, time_s, inside and not anew)
        want = want and (epoch == ALL_SEGMENTS or not _awaits_turn(s, i, g))
        silent = want and not inside and _begins_to_wait(s, i, g, origin)
        stays = (inside or silent) and (want or not anew)
        want, wishes = _hold_back(s, i, g, want, stays, time_s, stamp_s, write)
        changed = changed or wishes or want != inside
        if waits or silent:
            if write:
                s.rows.b[i, s.c.b_cause + g] = WAITS if want else NONE
            want = False
        k.member[g] = want
    return changed


@jit
def apply_step(
    s: State,
    i: int,
    step: int,
    time_s: float,
    stamp_s: float,
    origin: int,
    bits: np.uint64,
    event: int,
    may_change: bool,
    epoch: int,
) -> None:
    """Record a step: transitions (exits, then entries), then scores, categories, audience and F.

    `may_change` false: `decide_segments` has said that this step changes nothing. `epoch` as there.
    """
    k = s.scratch
    for p in range(s.c.predictions):
        k.previous[p] = s.rows.b[i, s.c.b_category + p]
    if may_change:
        decide_segments(s, i, step, time_s, stamp_s, origin, YES, epoch)
        for entering in range(2):
            for g in range(s.c.segments):
                if k.member[g] != k.before[g] and k.member[g] == entering:
                    _transition(s, i, g, step, stamp_s, origin, bits, event)
    for p in range(s.c.predictions):
        if not s.predictions.frozen[p]:
            record_score(s, i, p, step)


@jit
def _cause(s: State, g: int, origin: int, bits: np.uint64) -> int:
    if origin == LIVE:
        return BY_GOAL if s.segments.bits[g] & bits else BY_EVENT
    return BY_SILENCE if origin == DECAY else BY_OTHER


@jit
def _left_audience(s: State, i: int, g: int, step: int) -> bool:
    for p in range(s.c.predictions):
        used = (s.segments.uses[g] >> np.uint64(p)) & np.uint64(1)
        if used and s.rows.b[i, s.c.b_audience + p] and not s.scratch.audience[step, p]:
            return True
    return False


@jit
def _awaits_turn(s: State, i: int, g: int) -> bool:
    """Whether nothing was published of row `i` since a prediction that segment `g` uses went live."""
    for p in range(s.c.predictions):
        if (s.segments.uses[g] >> np.uint64(p)) & np.uint64(1) and s.rows.u[i, EPOCH] < s.model.epoch[p]:
            return True
    return False


@jit
def _begins_to_wait(s: State, i: int, g: int, origin: int) -> bool:
    """Whether row `i`, which fulfils segment `g` now, is not told to enter it, because that would be no crossing."""
    if not s.segments.crossings[g]:
        return False
    return origin == DEFINITION_CHANGE or (origin == BACKFILL and _awaits_turn(s, i, g))


@jit
def _transition(s: State, i: int, g: int, step: int, stamp_s: float, cause: int, bits: np.uint64, event: int) -> None:
    k = s.scratch
    origin = cause
    if cause == DEFINITION_CHANGE:
        origin = s.segments.announced[g]
    elif cause == BACKFILL and not _awaits_turn(s, i, g):
        origin = MODEL
    entering = k.member[g] != 0
    shown = AUDIENCE if not entering and _left_audience(s, i, g, step) else origin
    sequence = s.rows.u[i, s.c.u_sequence + g] + np.uint32(1)
    s.rows.u[i, s.c.u_sequence + g] = sequence
    counted_as = _count_crossing(s, i, g, stamp_s, _cause(s, g, origin, bits))
    if entering:
        s.rows.t[i, s.c.t_entered + g] = stamp_s
        s.rows.b[i, s.c.b_cause + g] = counted_as
    n = s.si[OUT]
    whole, real = s.out.whole[n], s.out.real[n]
    whole[O_ROW] = i
    whole[O_SEGMENT] = g
    whole[O_SEQUENCE] = np.int64(s.rows.u[i, LIFE]) * LIFE_STEP + np.int64(sequence)
    whole[O_ORIGIN] = shown
    whole[O_GOAL] = 1 if origin == LIVE and s.segments.bits[g] & bits else 0
    whole[O_EVENT] = event
    whole[O_VERSION] = UNKNOWN
    real[O_TIME] = stamp_s
    real[O_ENTERED] = s.rows.t[i, s.c.t_entered + g]
    whole[O_CATEGORY] = NONE
    whole[O_PREVIOUS_CATEGORY] = NONE
    real[O_SCORE] = np.nan
    real[O_PREVIOUS_SCORE] = np.nan
    real[O_LIKELIHOOD] = np.nan
    p = s.segments.only[g]
    if p >= 0:
        whole[O_VERSION] = s.model.version[p]
        whole[O_CATEGORY] = k.category[step, p]
        real[O_SCORE] = k.score[step, p]
        if origin != BACKFILL:  # what was shown while warming up was said to nobody
            whole[O_PREVIOUS_CATEGORY] = s.rows.b[i, s.c.b_category + p]
            real[O_PREVIOUS_SCORE] = s.rows.f[i, s.c.f_score + p]
        real[O_LIKELIHOOD] = k.likelihood[step, p]
    for j in range(s.c.features):
        s.out.x[n, j] = k.x[step, j]
    s.si[OUT] = n + 1
    s.si[UNSAVED_OUT] += 1


@jit
def _count_crossing(s: State, i: int, g: int, stamp_s: float, cause: int) -> int:
    """Statistics of category segments: entries from another category, and how soon they were undone.

    Returns the cause under which an entry was counted, NONE if it was not: a first category is no crossing, so
    leaving it undoes none.
    """
    p = s.segments.prediction[g]
    if p < 0:
        return NONE
    category = s.segments.category[g]
    previous = s.rows.b[i, s.c.b_category + p]
    if s.scratch.member[g]:
        if previous == NONE:
            return NONE
        s.population.crossings[p, category, cause, ENTERED] += 1
        return cause
    stayed_s = stamp_s - s.rows.t[i, s.c.t_entered + g]
    entered_by = s.rows.b[i, s.c.b_cause + g]
    if entered_by == NONE:
        return NONE
    if stayed_s <= DAY_S:
        s.population.crossings[p, category, entered_by, UNDONE_DAY] += 1
    if stayed_s <= 7.0 * DAY_S:
        s.population.crossings[p, category, entered_by, UNDONE_WEEK] += 1
    return NONE


@jit
def record_score(s: State, i: int, p: int, step: int) -> None:
    """Prediction `p` of a step: its score and all that follows from it, F among that."""
    k = s.scratch
    rows, c = s.rows, s.c
    if rows.b[i, c.b_audience + p]:
        s.population.counts[p, bin_of(np.float64(rows.f[i, c.f_z + p]))] -= 1
        if rows.b[i, c.b_category + p] != NONE:
            s.population.categories[p, rows.b[i, c.b_category + p]] -= 1
    if k.audience[step, p]:
        s.population.counts[p, bin_of(k.z[step, p])] += 1
        s.population.categories[p, k.category[step, p]] += 1
    old = rows.f[i, c.f_score + p]
    new = k.score[step, p]
    moved = np.isnan(old) != np.isnan(new)
    if not moved and not np.isnan(new):
        moved = np.floor(np.float64(old)) != np.floor(new)
    if moved:
        s.users.dirty[i] |= np.uint64(2) << np.uint64(p)
    rows.f[i, c.f_z + p] = k.z[step, p]
    rows.f[i, c.f_score + p] = new
    rows.b[i, c.b_category + p] = k.category[step, p]
    rows.b[i, c.b_audience + p] = k.audience[step, p]


@jit
def touch(s: State, i: int) -> None:
    """Note that row `i` must be saved with the next commit."""
    if not s.users.dirty[i] & np.uint64(1):
        s.users.dirty[i] |= np.uint64(1)
        s.users.touched[s.si[TOUCHED]] = i
        s.si[TOUCHED] += 1


@jit
def finish_moment(s: State, i: int, time_s: float) -> None:
    """The user is scored at `time_s` with the snapshot in force."""
    s.rows.t[i, SCORED_T] = time_s
    s.rows.u[i, VERSION] = s.si[VERSION_NOW]
    s.rows.u[i, EPOCH] = s.si[EPOCH_NOW]
    s.si[CHANGED] = 1
    touch(s, i)


@jit
def awaits_review(s: State, i: int) -> bool:
    """Whether a change of definitions has yet to be judged for row `i`: the user had no moment since then either."""
    order = s.users.order[i]
    is_there = s.rows.t[i, FIRST_T] != 0.0  # and was not deleted since
    return is_there and s.si[REVIEW_NEXT] <= order < s.si[REVIEW_END] and s.rows.u[i, EPOCH] < s.si[REVIEW_EPOCH]


@jit
def judged_until(s: State, i: int) -> float:
    """Up to when time has passed for the segments of row `i`: its last moment, or a change of definitions since.

    What a review has found is not taken back by judging once more as of before the change.
    """
    scored = s.rows.t[i, SCORED_T]
    if s.users.order[i] < s.si[REVIEW_END] and s.rows.u[i, EPOCH] < s.si[REVIEW_EPOCH]:
        return max(scored, s.si[REVIEW_MINUTE] * 60.0)
    return scored


@jit
def review(s: State, i: int) -> bool:
    """Judge the segments that a change of definitions has made or changed; true when anything changes.

    They are judged by what is served of row `i`, as of the change, whenever this is called: nothing is scored anew. To
    do it twice changes nothing the second time.
    """
    epoch = s.si[REVIEW_EPOCH]
    time_s = judged_until(s, i)
    moved = _take_served(s, i)
    changes = decide_segments(s, i, FIRST_STEP, time_s, s.sf[REVIEW_CLOCK], DEFINITION_CHANGE, NO, epoch)
    if not moved and not changes:
        return False
    features_at(s.rows, s.c, s.features, i, time_s, s.scratch.x[0])  # for the reasons
    apply_step(s, i, FIRST_STEP, time_s, s.sf[REVIEW_CLOCK], DEFINITION_CHANGE, NO_BITS, NO_EVENT, changes, epoch)
    touch(s, i)
    return True


@jit
def _take_served(s: State, i: int) -> bool:
    """What is recorded of row `i` as its first step; where a prediction was edited, by its new edges and audience.

    The audience is that of the last moment, as everything that is served; it is another one where it was archived.
    """
    k, rows, c = s.scratch, s.rows, s.c
    scored_s = s.rows.t[i, SCORED_T]
    moved = False
    for p in range(c.predictions):
        inside = rows.b[i, c.b_audience + p] != 0
        before = wide(rows.b[i, c.b_category + p])
        category = before
        score = np.float64(rows.f[i, c.f_score + p])
        if s.segments.epoch[3 * p] == s.si[REVIEW_EPOCH] and inside:
            inside = s.predictions.audience[p] == EVERYBODY or _in_audience(s, i, p, FIRST_STEP, scored_s)
            category = NONE
            if inside:
                category = plain_category(score, s.predictions.edges[p])  # `before` was one of other edges
            moved = moved or category != before
        k.audience[0, p] = inside
        k.category[0, p] = category
        k.score[0, p] = score if inside else np.nan
        k.z[0, p] = np.float64(rows.f[i, c.f_z + p]) if inside else np.nan
        k.likelihood[0, p] = np.nan
        if inside and s.model.live[p] and rows.u[i, EPOCH] >= s.model.epoch[p]:
            k.likelihood[0, p] = likelihood_of(k.z[0, p])
    return moved


@jit
def fill_example(s: State, i: int, at: int, time_s: float) -> None:
    """Copy features of row `i` and what was served at its second step, at `time_s`, into place `at` of the ring."""
    k, q = s.scratch, s.pending
    for j in range(s.c.features):
        q.x[at, j] = k.x[SECOND_STEP, j]
    for p in range(s.c.predictions):
        q.served[at, 0, p] = k.logit[SECOND_STEP, p]
        q.served[at, 1, p] = _heuristic(s, i, p, time_s) if k.audience[SECOND_STEP, p] else np.nan
        q.served[at, 2, p] = k.score[SECOND_STEP, p]
        q.category[at, p] = k.category[SECOND_STEP, p]
    _mark_by_latest(s, i, at)


@jit
def _mark_by_latest(s: State, i: int, at: int) -> None:
    """Mark a new example of row `i` for notes that were there before it: of an event that was long under way, or a look
    at a time that the clock had not reached. The latest one tells, unless the moment lies a window behind it.
    """
    time_s = s.pending.time_s[at]
    if s.rows.t[i, SENT_T] > time_s:
        note_example(s.pending, s.labels, at, SENT, s.rows.t[i, SENT_T] - time_s)
    if s.rows.t[i, WITHHELD_T] > time_s:
        note_example(s.pending, s.labels, at, WITHHELD, s.rows.t[i, WITHHELD_T] - time_s)


@jit
def in_any_audience(s: State, step: int) -> bool:
    """Whether the moment lies in the audience of at least one prediction that learns."""
    for p in range(s.c.predictions):
        if s.scratch.audience[step, p] and not s.predictions.frozen[p]:
            return True
    return False


@jit
def judge_crossings(s: State, i: int, time_s: float, is_event: bool, bits: np.uint64) -> None:
    """Leave an example of kind crossing when the category of live predictions changed in the second step."""
    crossed = np.int64(0)
    by_goal = np.int64(0)
    for p in range(s.c.predictions):
        now = s.scratch.category[1, p]
        before = s.scratch.previous[p]
        if not s.model.live[p] or before == NONE or now == NONE or before == now:
            continue
        s.si[N_CROSSINGS] += 1
        crossed |= np.int64(1) << p
        if s.predictions.bits[p] & bits:
            by_goal |= np.int64(1) << p
    if crossed == 0:
        return
    at = append_example(s.pending, s.users.head, s.users.key, i, CROSSING, time_s)
    if at >= 0:
        fill_example(s, i, at, time_s)
        s.pending.crossed[at] = crossed
        s.pending.by_goals[at] = by_goal
        s.pending.by_an_event[at] = is_event


@jit
def moved_enough(s: State, i: int) -> bool:
    """Whether step 1 differs from what is recorded: a whole point of score, an audience or a category."""
    k, rows, c = s.scratch, s.rows, s.c
    for p in range(c.predictions):
        if k.audience[1, p] != rows.b[i, c.b_audience + p]:
            return True
        if k.audience[1, p]:
            if k.category[1, p] != rows.b[i, c.b_category + p]:
                return True
            if abs(k.score[1, p] - np.float64(rows.f[i, c.f_score + p])) >= 1.0:
                return True
    return False
