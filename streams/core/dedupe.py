"""Which message ids were accepted lately: the last so many 64-bit hashes, by count.

An open-addressing table with linear probing over a ring that says which hash is the oldest. Removal shifts
the run behind it back, so there are no tombstones and a lookup stays short.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.jit import I64, U64, jit


class Dedupe(NamedTuple):
    """`table` [power of two], 0 is empty; `ring` [bound] in order of arrival; `n` [2]: accepted, saved ever."""

    table: U64
    ring: U64
    n: I64


def allocate_dedupe(bound: int) -> Dedupe:
    """A memory of the last `bound` hashes (0 remembers none)."""
    size = 8
    while size < 2 * bound:
        size *= 2
    return Dedupe(np.zeros(size, np.uint64), np.zeros(bound, np.uint64), np.zeros(2, np.int64))


@jit
def _key(h: np.uint64) -> np.uint64:
    return h if h != np.uint64(0) else np.uint64(1)


@jit
def _home(table: U64, h: np.uint64) -> int:
    return int((h * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) & (table.shape[0] - 1)


@jit
def known(d: Dedupe, message: np.uint64) -> bool:
    """Whether this hash is among the last accepted ones."""
    h = _key(message)
    mask = d.table.shape[0] - 1
    at = _home(d.table, h)
    while d.table[at] != np.uint64(0):
        if d.table[at] == h:
            return True
        at = (at + 1) & mask
    return False


@jit
def _remove(table: U64, h: np.uint64) -> None:
    mask = table.shape[0] - 1
    at = _home(table, h)
    while table[at] != h:
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        if table[at] == np.uint64(0):
            break
        home = _home(table, table[at])
        if ((at - home) & mask) >= ((at - hole) & mask):
            table[hole] = table[at]
            hole = at
    table[hole] = np.uint64(0)


@jit
def remember(d: Dedupe, message: np.uint64) -> None:
    """Add a hash that is not known; the oldest goes when the bound is reached."""
    bound = d.ring.shape[0]
    if bound == 0:
        return
    h = _key(message)
    place = d.n[0] % bound
    if d.n[0] >= bound:
        _remove(d.table, d.ring[place])
    d.ring[place] = h
    mask = d.table.shape[0] - 1
    at = _home(d.table, h)
    while d.table[at] != np.uint64(0):
        at = (at + 1) & mask
    d.table[at] = h
    d.n[0] += 1


@jit
def remember_all(d: Dedupe, messages: U64) -> None:
    """Add many hashes, oldest first."""
    for j in range(messages.shape[0]):
        remember(d, messages[j])
