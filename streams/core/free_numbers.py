"""Numbers of deleted users, for the next new ones: the smallest first, so that they follow from those in use alone."""

from __future__ import annotations

import numpy as np

from models.jit import I32, I64, jit


@jit
def give_back(heap: I64, size: int, number: int) -> None:
    """Put `number` into the binary heap of the first `size` places; it has one more then."""
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if heap[parent] <= number:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = number


@jit
def take_smallest(heap: I64, size: int) -> int:
    """Take the smallest number out of the heap of the first `size` places, one at least; it has one less then."""
    smallest = heap[0]
    last, left, at = heap[size - 1], size - 1, 0
    while True:
        child = 2 * at + 1
        if child >= left:
            break
        if child + 1 < left and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = last
    return int(smallest)


def unused(numbers: I32 | I64, end: int) -> I64:
    """The numbers below `end` that are not among `numbers`, rising; such a list is a heap."""
    is_used = np.zeros(end, np.bool_)
    is_used[numbers] = True
    return np.flatnonzero(~is_used)
