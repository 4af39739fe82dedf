"""The queue of due looks: a binary heap in which every user stands at most once.

`place[i]` is where row `i` stands in the heap (-1: not at all), `due[i]` its minute. They come by due minute, then by
the order of the users, so looks do not depend on how the heap came to be and a save need not hold it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.jit import I32, I64, jit, wide


class DueQueue(NamedTuple):
    """`heap` of rows, with the `place` of each, its `due` minute and the user's `order`, [capacity]; `size` [1]."""

    heap: I32
    place: I32
    due: I64
    order: I64
    size: I64


def allocate_queue(capacity: int, order: I64) -> DueQueue:
    """An empty queue for `capacity` rows; `order` is shared with whoever keeps it."""
    return DueQueue(
        heap=np.zeros(capacity, np.int32),
        place=np.full(capacity, -1, np.int32),
        due=np.zeros(capacity, np.int64),
        order=order,
        size=np.zeros(1, np.int64),
    )


@jit
def _before(q: DueQueue, a: int, b: int) -> bool:
    return q.due[a] < q.due[b] or (q.due[a] == q.due[b] and q.order[a] < q.order[b])


@jit
def _rise(q: DueQueue, at: int) -> None:
    row = wide(q.heap[at])
    while at > 0:
        parent = (at - 1) // 2
        above = wide(q.heap[parent])
        if not _before(q, row, above):
            break
        q.heap[at] = above
        q.place[above] = at
        at = parent
    q.heap[at] = row
    q.place[row] = at


@jit
def _sink(q: DueQueue, at: int) -> None:
    row = wide(q.heap[at])
    size = q.size[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(q, wide(q.heap[child + 1]), wide(q.heap[child])):
            child += 1
        below = wide(q.heap[child])
        if not _before(q, below, row):
            break
        q.heap[at] = below
        q.place[below] = at
        at = child
    q.heap[at] = row
    q.place[row] = at


@jit
def schedule(q: DueQueue, row: int, minute: int) -> None:
    """Make `row` due at `minute`, wherever it stood before."""
    if q.place[row] < 0:
        at = q.size[0]
        q.heap[at] = row
        q.place[row] = at
        q.size[0] = at + 1
        q.due[row] = minute
        _rise(q, at)
        return
    earlier = minute < q.due[row]
    q.due[row] = minute
    if earlier:
        _rise(q, wide(q.place[row]))
    else:
        _sink(q, wide(q.place[row]))


@jit
def unschedule(q: DueQueue, row: int) -> None:
    """Take `row` out, if it is there."""
    at = wide(q.place[row])
    if at < 0:
        return
    q.place[row] = -1
    q.size[0] -= 1
    last = wide(q.heap[q.size[0]])
    if last == row:
        return
    q.heap[at] = last
    q.place[last] = at
    _rise(q, at)
    _sink(q, wide(q.place[last]))


@jit
def next_due(q: DueQueue) -> int:
    """The earliest minute, or a very large number when the queue is empty."""
    if q.size[0] == 0:
        return 1 << 60
    return int(q.due[q.heap[0]])
