"""Matured examples of one prediction, taken out of the ring as columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from models.examples import TOUCH_NONE, TOUCH_SENT, TOUCH_WITHHELD, ExampleChunk
from models.handles import handle_type
from models.jit import F32, F64, I64, U8, U64, jit
from models.labels import CROSSING, LabelSpec, Pending, label_of
from streams.core.sealing import Sealed
from streams.core.state import BY_EVENT, BY_GOAL, BY_SILENCE, JUDGED, REACHED


class Gathered(NamedTuple):
    """Columns that matured examples are copied into; [n] but `x` [n, features]."""

    x: F32
    y: U8
    time_s: F64
    user: U64
    kind: U8
    weight: F32
    logit: F32
    heuristic: F32
    score: F32
    category: U8
    touch: U8


GatheredType, GatheredHandle = handle_type(Gathered, __name__)


@jit
def seal_gathered(n: Any) -> Any:
    """The columns as a handle."""
    return GatheredHandle(*n)


@jit
def _gather(q: Pending, s: LabelSpec, clusters: U64, crossings: I64, p: int, until: int, out: Gathered) -> int:
    """Copy what is due into `out`, judge crossings on the way; the number of examples copied."""
    capacity = q.time_s.shape[0]
    n = 0
    for seq in range(q.due[p], until):
        at = seq % capacity
        label = label_of(s, p, q.seen[at])
        if q.kind[at] == CROSSING:
            if not (q.crossed[at] >> p) & 1:
                continue
            cause = BY_SILENCE
            if q.by_an_event[at]:
                cause = BY_GOAL if (q.by_goals[at] >> p) & 1 else BY_EVENT
            crossings[p, q.category[at, p], cause, JUDGED] += 1
            crossings[p, q.category[at, p], cause, REACHED] += label
        if np.isnan(q.served[at, 0, p]):
            continue
        for j in range(q.x.shape[1]):
            out.x[n, j] = q.x[at, j]
        out.y[n] = label
        out.time_s[n] = q.time_s[at]
        out.user[n] = clusters[q.row[at]]
        out.kind[n] = q.kind[at]
        out.weight[n] = 1.0 / q.rate[at]
        out.logit[n] = q.served[at, 0, p]
        out.heuristic[n] = q.served[at, 1, p]
        out.score[n] = q.served[at, 2, p]
        out.category[n] = q.category[at, p]
        out.touch[n] = TOUCH_NONE
        if (q.sent[at] >> p) & 1:
            out.touch[n] = TOUCH_SENT
        elif (q.withheld[at] >> p) & 1:
            out.touch[n] = TOUCH_WITHHELD
        n += 1
    q.due[p] = until
    return n


def gather_chunk(
    sealed: Sealed,
    q: Pending,
    clusters: U64,
    crossings: I64,
    p: int,
    until: int,
    *,
    number: int,
    previous: int,
    shard: int,
) -> ExampleChunk:
    """The examples of prediction `p` before sequence `until` as chunk `number` of `shard` (possibly empty).

    `clusters`: by row, what stands for the user in them.
    """
    size = until - int(q.due[p])
    out = Gathered(
        x=np.empty((size, q.x.shape[1]), np.float32),
        y=np.empty(size, np.uint8),
        time_s=np.empty(size),
        user=np.empty(size, np.uint64),
        kind=np.empty(size, np.uint8),
        weight=np.empty(size, np.float32),
        logit=np.empty(size, np.float32),
        heuristic=np.empty(size, np.float32),
        score=np.empty(size, np.float32),
        category=np.empty(size, np.uint8),
        touch=np.empty(size, np.uint8),
    )
    n = int(_gather(sealed["pending"], sealed["labels"], clusters, crossings, p, until, seal_gathered(out)))
    likelihood = expit(out.logit[:n].astype(np.float64)).astype(np.float32)
    return ExampleChunk(
        prediction=p,
        number=number,
        previous=previous,
        shard=shard,
        x=out.x[:n],
        y=out.y[:n],
        time_s=out.time_s[:n],
        user=out.user[:n],
        kind=out.kind[:n],
        weight=out.weight[:n],
        likelihood=likelihood,
        heuristic=out.heuristic[:n],
        score=out.score[:n],
        category=out.category[:n],
        touch=out.touch[:n],
    )
