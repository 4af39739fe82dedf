"""The arrays a shard consists of, grouped by subject, as compiled code takes them.

Only arrays that the loop changes or reads live here; names, ids and text stay in `streams.core.shard`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.features import FeatureSpec
from models.jit import F32, F64, I32, I64, U8, U64, const, flag
from models.labels import LabelSpec, Pending
from models.layout import Columns, Rows
from models.snapshot import BINS
from streams.core.dedupe import Dedupe
from streams.core.filters import STACK, Programs
from streams.core.history import History
from streams.core.queue import DueQueue

# What a transition came from, in the order of `ORIGINS`.
LIVE, DECAY, MODEL, AUDIENCE, DEFINITION_CHANGE, BACKFILL, DELETED = (const(n) for n in range(7))
ORIGINS = ("live", "decay", "model", "audience", "definition_change", "backfill", "deleted")

# Why a category was crossed.
BY_GOAL, BY_EVENT, BY_SILENCE, BY_OTHER = (const(n) for n in range(4))

# The steps of a moment, and what stands for no event.
FIRST_STEP, SECOND_STEP = const(0), const(1)
NO_EVENT = const(-1)
NO_BITS = np.uint64(0)
YES, NO = flag(True), flag(False)
UNKNOWN = const(-1)
EVERYBODY = const(-1)
ALL_SEGMENTS = const(-1)
CAUSES = ("goal", "event", "silence", "other")
WAITS = const(254)
"""In place of the cause of an entry: who fulfils a segment that counts crossings only, and was not told to enter."""

# Why the loop came back.
DONE, HOUR_DUE, OUT_FULL, MODEL_NEEDED, SAVE_DUE = range(5)

LIFE_STEP = const(10**10)
"""What is published as a sequence is more by so much for every life that a deletion has ended."""

# What became of an event.
DUPLICATE, ACCEPTED, NOTED, PASSED_OVER, NO_ROOM, OF_DELETED, DELETION, END_OF_LIFE = (const(n) for n in range(8))
"""NOTED: a note of a campaign, PASSED_OVER: one about nobody.

DELETION of somebody who was not there, END_OF_LIFE of one who was.
"""

# Integer scalars of the loop (`State.si`). They are stored: new ones come last.
(
    NEXT_EVENT,  # next event of the batch
    MINUTE,  # last whole minute whose looks have all happened
    HOUR,  # last whole hour that was worked or passed
    VERSION_NOW,  # version of the snapshot
    LABELLED_HOUR,  # hour up to which labels were handed out
    EPOCH_NOW,  # grows when a prediction goes live, and when definitions change
    CHANGED,  # 1 when anything was recorded since labels were handed out last
    PHASE,  # of the moment that waits for a model outside
    EXTERNAL_ROW,  # row of that moment
    TWO_STEPS,  # 1 when that moment has a first step
    FRESH,  # 1 when the event may become an example
    TOUCHED,  # rows in `touched`
    OUT,  # transitions in the out buffer
    UNSAVED_OUT,  # transitions since the last save
    SAVE_ROWS,  # rows in `touched` after which a save is due
    SAVE_OUT,  # the same for transitions
    MAY_SAVE,  # 1 when the caller can save between two minutes
    GOALS,  # goal marks since the last save
    BACKFILL_START,  # minute of the first turn
    BACKFILL_RATE,  # users a minute
    N_EVENTS,
    N_DUPLICATES,
    N_AHEAD,
    N_LATE,
    N_LATE_GOALS,
    N_LOOKS,
    N_RECORDED,
    N_CROSSINGS,
    USERS,  # users with an accepted event
    USERS_LIMIT,
    TARGETS,  # bits of the predictions that segments may use now: live in status and access
    TURN_EPOCH,  # users scored before it have their turn still to come: a prediction went live
    REVIEW_NEXT,  # order of the first user who has yet to be judged by changed definitions
    REVIEW_END,  # order behind the last one
    REVIEW_EPOCH,  # that the change has begun
    REVIEW_MINUTE,  # last whole minute at the change
    FREE,  # orders of deleted users, in `Users.free`, for the next new ones
    N_DELETED,
    N_DELETIONS_SKIPPED,
    N_NOTES,
    N_LATE_NOTES,
    N_NOTES_PASSED_OVER,
    SI_SIZE,
) = range(43)
COUNTERS = {
    "events": N_EVENTS,
    "duplicates": N_DUPLICATES,
    "moved_back": N_AHEAD,
    "late_events": N_LATE,
    "late_goals": N_LATE_GOALS,
    "looks": N_LOOKS,
    "looks_recorded": N_RECORDED,
    "crossings": N_CROSSINGS,
    "deleted_users": N_DELETED,
    "deletions_skipped": N_DELETIONS_SKIPPED,
    "notes": N_NOTES,
    "late_notes": N_LATE_NOTES,
    "notes_passed_over": N_NOTES_PASSED_OVER,
}

# Float scalars (`State.sf`).
# REVIEW_CLOCK: at the change of definitions.
CLOCK, MOMENT, MAX_AHEAD_S, REVIEW_CLOCK, SF_SIZE = range(5)

# Columns of the out buffer.
(O_ROW, O_SEGMENT, O_SEQUENCE, O_ORIGIN, O_GOAL, O_CATEGORY, O_PREVIOUS_CATEGORY, O_EVENT, O_VERSION, OI_SIZE) = range(
    10
)
O_TIME, O_SCORE, O_PREVIOUS_SCORE, O_LIKELIHOOD, O_ENTERED, OF_SIZE = range(6)

# Columns of the crossing statistics.
ENTERED, UNDONE_DAY, UNDONE_WEEK, JUDGED, REACHED, STATS_SIZE = range(6)


class Users(NamedTuple):
    """Per row, not saved with it: `key` hash of the id, `order` of the users' first accepted events, `head` newest
    pending example, `dirty` bits, `touched` rows; `deleted_at` and `deleted_until` as the ledger knows them (-inf:
    never). `free`: orders to be used again, a heap of FREE of them (`streams.core.free_numbers`).

    A row is given when a record is decoded, the order when its event is accepted: only the second is the same however
    the input is cut.
    """

    key: U64
    order: I64
    head: I64
    dirty: U64
    touched: I32
    deleted_at: F64
    deleted_until: F64
    free: I64


class PredictionTable(NamedTuple):
    """Definitions per prediction.

    `audience` is a program or EVERYBODY, `names` the heuristic's event columns from `first_name` on. `frozen`: 1 where
    scores stay as they are; `reason`: the first of the reasons that rows keep of it, -1 for none.
    """

    edges: F64
    hysteresis: F64
    percentile: U8
    targets: U8
    sign: F64
    external: U8
    frozen: U8
    reason: I64
    audience: I64
    first_name: I64
    names: I64
    bits: U64


class SegmentTable(NamedTuple):
    """Definitions per segment: a category of `prediction` (-1: a filter); `uses`: bits, `only`: the one or -1.

    At the change of definitions that began `epoch` it was new, or had changed; who is in it or out of it by that change
    is told with the origin `announced`. `judged_anew`: 1 where that change was one of its filter, or of a prediction
    that the filter names: members are judged like everybody then. `crossings`: 1 where nobody enters by a change or by
    going live.
    """

    prediction: I64
    category: I64
    program: I64
    uses: U64
    only: I64
    bits: U64
    dwell_s: F64
    dwell_column: I64
    crossings: U8
    epoch: I64
    announced: I64
    judged_anew: U8


class Conditions(NamedTuple):
    """When filters can change by time alone.

    `since` [n, 2]: name and bound in s; `within` [n, 3]: history name, unit, buckets.
    """

    since: F64
    within: I64


class Model(NamedTuple):
    """The snapshot in force: `weights` [P, F], `bias` [P], `live` [P], `table` [P, BINS] score of a bin.

    `epoch` [P]: users scored before it have not had their turn since the prediction went live. `version` [P].
    """

    weights: F64
    bias: F64
    live: U8
    table: F64
    epoch: I64
    version: I64


class Population(NamedTuple):
    """`counts` [P, BINS] of F; `categories` [P, 3] users per category; `crossings` [P, 3, causes, STATS_SIZE]."""

    counts: I64
    categories: I64
    crossings: I64


class Scratch(NamedTuple):
    """Of one moment; the leading 2 are its steps."""

    x: F32  # [2, F]
    given: F64  # [2, P] logits of models outside
    z: F64
    logit: F64
    heuristic: F64
    score: F64
    likelihood: F64
    category: I64
    audience: U8
    previous: I64  # [P] category before the step
    before: U8  # [S]
    member: U8  # [S]
    widen: F64  # [2, P]: zeros, and the hysteresis
    stack: U8


class Out(NamedTuple):
    """Transitions: `whole` [n, OI_SIZE], `real` [n, OF_SIZE], `x` [n, F]."""

    whole: I64
    real: F64
    x: F32


class Marks(NamedTuple):
    """What marks pending examples, since the last save: goal events with their `bits`, `in_order` 0 for one that came
    late; and notes of campaigns (`note`: SENT or WITHHELD, NO_NOTE for a goal). `row`, `time_s` of both.
    """

    row: I64
    time_s: F64
    bits: U64
    in_order: U8
    note: U8


class Events(NamedTuple):
    """A batch as columns; trait updates of event e are [trait_first[e], trait_first[e + 1])."""

    row: I64
    name: I64
    history: I64
    time_s: F64
    log_time_s: F64
    value: F64
    message: U64
    bits: U64
    trait_first: I64
    trait_column: I64
    trait_value: F64
    deletes: U8
    note: U8  # NO_NOTE, or what campaigns say of the user
    outcome: (
        U8  # set by the loop: ACCEPTED, NOTED, DUPLICATE, NO_ROOM for one user more, ..., or how a deletion was done
    )


class State(NamedTuple):
    """Everything the loop sees."""

    rows: Rows
    c: Columns
    features: FeatureSpec
    history: History
    users: Users
    queue: DueQueue
    pending: Pending
    labels: LabelSpec
    dedupe: Dedupe
    predictions: PredictionTable
    segments: SegmentTable
    conditions: Conditions
    programs: Programs
    model: Model
    population: Population
    scratch: Scratch
    out: Out
    marks: Marks
    si: I64
    sf: F64


def allocate_scratch(features: int, predictions: int, segments: int, hysteresis: F64) -> Scratch:
    """Scratch arrays for one moment."""

    def pair() -> F64:
        return np.full((2, predictions), np.nan)

    return Scratch(
        x=np.zeros((2, features), np.float32),
        given=pair(),
        z=pair(),
        logit=pair(),
        heuristic=pair(),
        score=pair(),
        likelihood=pair(),
        category=np.full((2, predictions), 255, np.int64),
        audience=np.zeros((2, predictions), np.uint8),
        previous=np.full(predictions, 255, np.int64),
        before=np.zeros(segments, np.uint8),
        member=np.zeros(segments, np.uint8),
        widen=np.stack([np.zeros(predictions), hysteresis]),
        stack=np.zeros(STACK, np.uint8),
    )


def allocate_out(capacity: int, features: int) -> Out:
    """An out buffer for `capacity` transitions."""
    return Out(
        np.zeros((capacity, OI_SIZE), np.int64),
        np.zeros((capacity, OF_SIZE)),
        np.zeros((capacity, features), np.float32),
    )


def allocate_marks(capacity: int) -> Marks:
    """Room for so many goal events and notes."""
    return Marks(
        row=np.zeros(capacity, np.int64),
        time_s=np.zeros(capacity),
        bits=np.zeros(capacity, np.uint64),
        in_order=np.zeros(capacity, np.uint8),
        note=np.zeros(capacity, np.uint8),
    )


def allocate_population(predictions: int) -> Population:
    """Nobody yet."""
    return Population(
        np.zeros((predictions, BINS), np.int64),
        np.zeros((predictions, 3), np.int64),
        np.zeros((predictions, 3, len(CAUSES), STATS_SIZE), np.int64),
    )


def replace_in_place(model: Model, other: Model) -> None:
    """Give `model` the numbers of `other`; the loop keeps its arrays."""
    for name in Model._fields:
        getattr(model, name)[:] = getattr(other, name)
