"""Examples that wait for their label: one ring for all predictions of a shard.

An example is written when its moment happens and is handed out once per prediction when that
prediction's window has closed. Its features are stored once. Each goal atom of each prediction has a bit;
a matching event sets it in the user's examples whose window it falls into, so both classes are known at
the end of the window without looking anything up.

Sequence numbers grow for ever, the place in the ring is sequence % capacity. `due[p]` is the next sequence
to hand out for prediction p; the smallest of them is the tail. When the ring is full it is thinned: the
keep rate of the more numerous kind halves, the survivors move to the newest end. Newest numbers stay, so
that a log of saved examples can be replayed without knowing where the tail was.

Examples of a user who is deleted are emptied where they lie: their places go on to their turn or to the bound, and
nobody learns them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.jit import F32, F64, I32, I64, U8, U32, U64, const, jit

EVENT, SILENT, CROSSING = const(0), const(1), const(2)
KINDS = 3
NO_NOTE, SENT, WITHHELD, OTHER_NOTE = (const(n) for n in range(4))
"""What an event is a note of, if of anything: events of users, and notes of campaigns that mark examples or do not."""

# Places of `Pending.n`; REPLACED counts saved examples that were replaced since the last save.
NEXT, SAVED, DROPPED, REPLACED, N_SIZE = range(5)

MAX_THINNING_OPS = 4096
NOBODY = const(-1)
"""The row of an example that was emptied."""
EMPTIED, CLEARED = const(-1), const(-2)
"""In the place of the kind among the thinnings: examples of one user were emptied; all that are empty have gone."""
CLEARS_AT = const(8)
"""At the bound, one part in so many that is empty is room enough."""
MOST_HALVINGS = 60


class Pending(NamedTuple):
    """The ring; first axis = capacity.

    `x` [capacity, features]; `time_s`, `rate`, `row` of the user, `previous` sequence of the same user, `kind`,
    `halvings` of the keep rate that it outlasts, `dirty` 1 when it was replaced after a save, `seen` goal bits
    [capacity]; bits of the predictions in whose window a message was `sent` or `withheld` [capacity]; of crossings:
    `crossed` bits of the predictions
    that crossed, `by_goals` of those whose goal caused it, `by_an_event` [capacity]; `served` [capacity, 3,
    predictions]: model logit (NaN outside the audience), heuristic, score; `category` [capacity, predictions].
    `due` [predictions]; `n` counters; `rates` [kinds]; `thinned` [ops, 3]: kind (or CLEARED), rate and the sequence at
    which the saved part then ended; or EMPTIED, the user's order and that sequence.
    """

    x: F32
    time_s: F64
    rate: F32
    row: I32
    previous: I64
    kind: U8
    halvings: U8
    dirty: U8
    crossed: U32
    by_goals: U32
    by_an_event: U8
    seen: U64
    sent: U32
    withheld: U32
    served: F32
    category: U8
    due: I64
    n: I64
    rates: F64
    thinned: F64
    thinned_n: I64


class LabelSpec(NamedTuple):
    """Windows and goals.

    Per prediction: `window_s`, `first_bit`, `bits`, `any_of`; per bit: `negated`, `bit_window_s`.
    """

    window_s: F64
    first_bit: I64
    bits: I64
    any_of: U8
    negated: U8
    bit_window_s: F64
    lateness_s: float
    longest_s: float


def allocate_pending(capacity: int, features: int, predictions: int) -> Pending:
    """An empty ring; memory is touched only as it fills."""
    return Pending(
        x=np.zeros((capacity, features), np.float32),
        time_s=np.zeros(capacity),
        rate=np.zeros(capacity, np.float32),
        row=np.zeros(capacity, np.int32),
        previous=np.zeros(capacity, np.int64),
        kind=np.zeros(capacity, np.uint8),
        halvings=np.zeros(capacity, np.uint8),
        dirty=np.zeros(capacity, np.uint8),
        crossed=np.zeros(capacity, np.uint32),
        by_goals=np.zeros(capacity, np.uint32),
        by_an_event=np.zeros(capacity, np.uint8),
        seen=np.zeros(capacity, np.uint64),
        sent=np.zeros(capacity, np.uint32),
        withheld=np.zeros(capacity, np.uint32),
        served=np.zeros((capacity, 3, predictions), np.float32),
        category=np.zeros((capacity, predictions), np.uint8),
        due=np.zeros(predictions, np.int64),
        n=np.zeros(N_SIZE, np.int64),
        rates=np.ones(KINDS),
        thinned=np.zeros((MAX_THINNING_OPS, 3)),
        thinned_n=np.zeros(1, np.int64),
    )


@jit
def mix64(v: np.uint64) -> np.uint64:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014): 64 bits well stirred."""
    v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return v ^ (v >> np.uint64(31))


@jit
def unit(v: np.uint64) -> float:
    """A hash as a number in [0, 1)."""
    return np.float64(v >> np.uint64(11)) / 9007199254740992.0


@jit
def example_hash(user: np.uint64, time_s: float) -> float:
    """The number in [0, 1) that decides whether an example is kept at a rate."""
    whole_ms = np.uint64(np.int64(time_s * 1000.0))
    return unit(mix64(user ^ mix64(whole_ms + np.uint64(0x9E3779B97F4A7C15))))


@jit
def halvings_of(kept: float) -> int:
    """How often a keep rate of 1 can halve before it is no more than the hash `kept` of an example.

    It lies beside the example, as who thins may not know the user any more.
    """
    n = 0
    rate = 0.5
    while n < MOST_HALVINGS and kept < rate:
        n += 1
        rate *= 0.5
    return n


@jit
def outlasts(halvings: int, rate: float) -> bool:
    """Whether an example of so many halvings is kept at a rate, a power of two."""
    return bool(0.5 ** np.float64(halvings) <= rate)


@jit
def tail_of(q: Pending) -> int:
    """The oldest sequence that some prediction still waits for."""
    tail = q.n[NEXT]
    for p in range(q.due.shape[0]):
        tail = min(tail, q.due[p])
    return tail


@jit
def mark_goals(q: Pending, s: LabelSpec, head: I64, i: int, time_s: float, bits: np.uint64, in_order: bool) -> None:
    """Set the goal bits of an event in the user's examples e with e.t < t <= e.t + window."""
    capacity = q.time_s.shape[0]
    tail = tail_of(q)
    seq = head[i]
    while seq >= tail:
        at = seq % capacity
        elapsed = time_s - q.time_s[at]
        if elapsed > s.longest_s:
            break
        if elapsed > 0.0:
            wanted = np.uint64(0)
            for b in range(s.bit_window_s.shape[0]):
                bit = np.uint64(1) << np.uint64(b)
                if bits & bit and elapsed <= s.bit_window_s[b]:
                    wanted |= bit
            if in_order and (q.seen[at] & wanted) == wanted and wanted == bits:
                break  # an earlier goal in the window of this example marked all older ones too
            q.seen[at] |= wanted
        seq = q.previous[at]


@jit
def note_example(q: Pending, s: LabelSpec, at: int, note: int, elapsed_s: float) -> None:
    """Mark the example at a place of the ring for a note `elapsed_s` after it, of the kind SENT or WITHHELD."""
    noted = 0
    for p in range(s.window_s.shape[0]):
        if 0.0 < elapsed_s <= s.window_s[p]:
            noted |= 1 << p
    if note == SENT:
        q.sent[at] |= np.uint32(noted)
    else:
        q.withheld[at] |= np.uint32(noted)


@jit
def mark_notes(q: Pending, s: LabelSpec, head: I64, i: int, time_s: float, note: int) -> None:
    """Mark the user's examples e with e.t < t <= e.t + window for a note at t, whenever it comes and however often."""
    capacity = q.time_s.shape[0]
    tail = tail_of(q)
    seq = head[i]
    while seq >= tail:
        at = seq % capacity
        elapsed_s = time_s - q.time_s[at]
        if elapsed_s > s.longest_s:
            break
        note_example(q, s, at, note, elapsed_s)
        seq = q.previous[at]


@jit
def label_of(s: LabelSpec, p: int, seen: np.uint64) -> int:
    """Whether the goal of prediction `p` happened, given the bits seen in its window."""
    wanted_any = s.any_of[p] != 0
    for j in range(s.bits[p]):
        b = s.first_bit[p] + j
        true = ((seen >> np.uint64(b)) & np.uint64(1)) != np.uint64(s.negated[b])
        if true == wanted_any:
            return 1 if wanted_any else 0
    return 0 if wanted_any else 1


@jit
def matured_until(q: Pending, s: LabelSpec, p: int, now_s: float) -> int:
    """The sequence up to which prediction `p` may be handed out at `now_s`.

    Strictly later than the end of the window: events of that very instant may still come.
    """
    capacity = q.time_s.shape[0]
    seq = q.due[p]
    while seq < q.n[NEXT] and q.time_s[seq % capacity] + s.window_s[p] + s.lateness_s < now_s:
        seq += 1
    return seq


@jit
def is_kept(q: Pending, at: int, kind: int, rate: float) -> bool:
    """Whether the example at a place of the ring outlasts a thinning."""
    if q.row[at] == NOBODY:
        return False
    return bool(q.kind[at] != kind or q.rate[at] <= rate or outlasts(q.halvings[at], rate))


@jit
def thin(q: Pending, head: I64, kind: int, rate: float) -> None:
    """Keep of `kind` only what hashes below `rate`, and nothing that was emptied (CLEARED: that alone goes); survivors
    move to the newest end, links are renewed.
    """
    capacity = q.time_s.shape[0]
    tail = tail_of(q)
    _unlink(q, head, tail)
    put = q.n[NEXT] - 1
    saved = q.n[SAVED]
    due = q.due.copy()
    saved_put = put + 1
    for p in range(due.shape[0]):
        q.due[p] = q.n[NEXT]
    for seq in range(q.n[NEXT] - 1, tail - 1, -1):
        at = seq % capacity
        if is_kept(q, at, kind, rate):
            if q.kind[at] == kind and q.rate[at] > rate:
                q.rate[at] = rate
            move_example(q, at, put % capacity)
            if seq >= saved:
                saved_put = put
            for p in range(due.shape[0]):
                if seq >= due[p]:
                    q.due[p] = put
            put -= 1
        elif q.row[at] != NOBODY:
            q.n[DROPPED] += 1
    q.n[SAVED] = saved_put
    for seq in range(put + 1, q.n[NEXT]):
        at = seq % capacity
        q.previous[at] = head[q.row[at]]
        head[q.row[at]] = seq


@jit
def _unlink(q: Pending, head: I64, tail: int) -> None:
    """Nobody has an example any more."""
    capacity = q.time_s.shape[0]
    for seq in range(tail, q.n[NEXT]):
        if q.row[seq % capacity] != NOBODY:
            head[q.row[seq % capacity]] = -1


@jit
def empty_example(q: Pending, at: int) -> None:
    """Leave nothing of an example but its place: its time, its kind and how likely it was kept."""
    for j in range(q.x.shape[1]):
        q.x[at, j] = np.float32(0.0)
    for p in range(q.category.shape[1]):
        q.category[at, p] = 255
        for j in range(q.served.shape[1]):
            q.served[at, j, p] = np.nan
    q.row[at] = NOBODY
    q.crossed[at] = 0
    q.by_goals[at] = 0
    q.by_an_event[at] = 0
    q.seen[at] = np.uint64(0)
    q.sent[at] = np.uint32(0)
    q.withheld[at] = np.uint32(0)


@jit
def empty_chain(q: Pending, head: I64, i: int) -> None:
    """Empty the waiting examples of row `i`."""
    capacity = q.time_s.shape[0]
    tail = tail_of(q)
    seq = head[i]
    while seq >= tail:
        at = seq % capacity
        seq_before = q.previous[at]
        empty_example(q, at)
        seq = seq_before
    head[i] = -1


@jit
def empty_examples(q: Pending, head: I64, i: int, order: int) -> None:
    """Empty the waiting examples of row `i`, and note it for the log of what is saved, which names users by `order`.

    Also where none waits: the log still has those that were handed out, and the order will be somebody else's.
    """
    empty_chain(q, head, i)
    _note_op(q, EMPTIED, np.float64(order))


@jit
def _note_op(q: Pending, kind: int, what: float) -> None:
    op = q.thinned_n[0]
    if op < MAX_THINNING_OPS:
        q.thinned[op, 0] = kind
        q.thinned[op, 1] = what
        q.thinned[op, 2] = q.n[SAVED]
    q.thinned_n[0] = op + 1


@jit
def move_example(q: Pending, source: int, target: int) -> None:
    """Copy an example from one place of the ring to another."""
    if source == target:
        return
    for j in range(q.x.shape[1]):  # element by element: assigning whole slices compiles text handling for its errors
        q.x[target, j] = q.x[source, j]
    q.row[target] = q.row[source]
    q.previous[target] = q.previous[source]
    q.kind[target] = q.kind[source]
    q.halvings[target] = q.halvings[source]
    q.dirty[target] = q.dirty[source]
    q.crossed[target] = q.crossed[source]
    q.by_goals[target] = q.by_goals[source]
    q.by_an_event[target] = q.by_an_event[source]
    for p in range(q.category.shape[1]):
        q.category[target, p] = q.category[source, p]
        for j in range(q.served.shape[1]):
            q.served[target, j, p] = q.served[source, j, p]
    q.time_s[target] = q.time_s[source]
    q.rate[target] = q.rate[source]
    q.seen[target] = q.seen[source]
    q.sent[target] = q.sent[source]
    q.withheld[target] = q.withheld[source]


@jit
def make_room(q: Pending, head: I64) -> None:
    """Make room for one more where the ring is full: what was emptied goes, and the keep rate of the most numerous kind
    halves, unless enough was empty.
    """
    capacity = q.time_s.shape[0]
    while q.n[NEXT] - tail_of(q) >= capacity:
        counts = np.zeros(KINDS, np.int64)
        empty = 0
        for seq in range(tail_of(q), q.n[NEXT]):
            if q.row[seq % capacity] == NOBODY:
                empty += 1
            else:
                counts[q.kind[seq % capacity]] += 1
        if empty > 0 and empty * CLEARS_AT >= capacity:
            thin(q, head, CLEARED, 1.0)
            _note_op(q, CLEARED, 1.0)
            continue
        kind = 0
        for other in range(1, KINDS):
            if counts[other] > counts[kind]:
                kind = other
        q.rates[kind] *= 0.5
        thin(q, head, kind, q.rates[kind])
        _note_op(q, kind, q.rates[kind])


@jit
def append_example(q: Pending, head: I64, user: U64, i: int, kind: int, time_s: float) -> int:
    """Write an example of row `i` and return its place in the ring, or -1 when the rate leaves it out.

    The caller fills `x`, `served` and `category` at that place.
    """
    kept = example_hash(user[i], time_s)
    if kept >= q.rates[kind]:
        q.n[DROPPED] += 1
        return -1
    make_room(q, head)
    if kept >= q.rates[kind]:
        q.n[DROPPED] += 1
        return -1
    seq = q.n[NEXT]
    at = seq % q.time_s.shape[0]
    q.n[NEXT] = seq + 1
    q.time_s[at] = time_s
    q.rate[at] = q.rates[kind]
    q.row[at] = i
    q.previous[at] = head[i]
    q.kind[at] = kind
    q.halvings[at] = halvings_of(kept)
    q.dirty[at] = 0
    q.crossed[at] = 0
    q.by_goals[at] = 0
    q.by_an_event[at] = 0
    q.seen[at] = np.uint64(0)
    q.sent[at] = np.uint32(0)
    q.withheld[at] = np.uint32(0)
    head[i] = seq
    return at
