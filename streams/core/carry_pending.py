"""The pending examples of a shard under another catalog (`streams.core.redefine`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.jit import F32, F64, I64, U8, U64
from models.labels import CROSSING, DROPPED, KINDS, NEXT, NOBODY, SAVED, tail_of
from streams.core.pending_log import link_examples
from streams.core.shard import Shard
from streams.core.state import GOALS


@dataclass(slots=True)
class _Examples:
    """Examples in the order in which they were made, in the columns of the new catalog.

    `due` [predictions]: how many of them each prediction has had; `rates` [kinds]; `known` [features]: which
    features the source has.
    """

    row: I64
    time_s: F64
    kind: U8
    halvings: U8
    rate: F32
    x: F32
    served: F32
    category: U8
    seen: U64
    sent: U64
    withheld: U64
    crossed: U64
    by_goals: U64
    by_an_event: U8
    due: I64
    rates: F64
    known: NDArray[np.bool_]

    def take(self, chosen: Any) -> _Examples:
        """Those at the given places, or where the flags are set."""
        flags = np.zeros(len(self.row), np.bool_)
        flags[chosen] = True
        before = np.concatenate([[0], np.cumsum(flags)])
        fields = {name: getattr(self, name)[flags] for name in _PER_EXAMPLE}
        return _Examples(**fields, due=before[self.due], rates=self.rates, known=self.known)


_PER_EXAMPLE = tuple(name for name in _Examples.__slots__ if name not in ("due", "rates", "known"))
_BITS = ("seen", "sent", "withheld", "crossed", "by_goals")


def carry_pending(old: Shard, new: Shard, past: Shard | None, kept: Collection[str]) -> None:
    """Fill the empty ring of `new`: from `old` what the predictions `kept` wait for, from `past` the others."""
    examples = _examples_of(old, new, kept)
    if past is not None:
        examples = _merged(examples, _examples_of(past, new, set(new.definitions.prediction_ids) - set(kept)))
    dropped = int(old.pending.n[DROPPED])
    waiting = len(examples.row)
    examples = _fitting(examples, new)
    _put(examples, new, dropped + waiting - len(examples.row))


def _examples_of(source: Shard, new: Shard, predictions: Collection[str]) -> _Examples:
    """What `source` holds, of these predictions; of users that `new` knows."""
    q, capacity = source.pending, len(source.pending.time_s)
    tail = int(tail_of(source.sealed["pending"]))
    at = np.arange(tail, int(q.n[NEXT])) % capacity
    found = [NOBODY if (row := new.users.find(user)) is None else row for user in source.users.ids]
    rows = np.array([*found, NOBODY], np.int64)  # the last one for examples that were emptied: NOBODY finds it
    theirs, ours = source.definitions.prediction_ids, new.definitions.prediction_ids
    pairs = [(theirs.index(name), p) for p, name in enumerate(ours) if name in predictions and name in theirs]
    served = np.full((len(at), 3, len(ours)), np.nan, np.float32)
    category = np.full((len(at), len(ours)), 255, np.uint8)
    due: I64 = np.full(len(ours), len(at), np.int64)
    for their, our in pairs:
        served[:, :, our] = q.served[at, :, their]
        category[:, our] = q.category[at, their]
        due[our] = int(q.due[their]) - tail
    bits = {1 << their: 1 << our for their, our in pairs}
    examples = _Examples(
        row=rows[q.row[at]],
        time_s=q.time_s[at],
        kind=q.kind[at],
        halvings=q.halvings[at],
        rate=q.rate[at],
        x=_features(source, new, at),
        served=served,
        category=category,
        seen=_moved_bits(q.seen[at], _goal_bits(source, new, pairs)),
        sent=_moved_bits(q.sent[at].astype(np.uint64), bits),
        withheld=_moved_bits(q.withheld[at].astype(np.uint64), bits),
        crossed=_moved_bits(q.crossed[at].astype(np.uint64), bits),
        by_goals=_moved_bits(q.by_goals[at].astype(np.uint64), bits),
        by_an_event=q.by_an_event[at],
        due=due,
        rates=q.rates.copy(),
        known=np.isin(new.vocabulary.feature_names(), source.vocabulary.feature_names()),
    )
    silent_of_these = (examples.kind == CROSSING) & (examples.crossed == 0)
    return examples.take((examples.row >= 0) & ~silent_of_these)


def _features(source: Shard, new: Shard, at: I64) -> F32:
    """Features by their names; 0 in columns that `source` does not have."""
    place = {name: j for j, name in enumerate(source.vocabulary.feature_names())}
    x = np.zeros((len(at), new.definitions.layout.columns.features), np.float32)
    for j, name in enumerate(new.vocabulary.feature_names()):
        if name in place:
            x[:, j] = source.pending.x[at, place[name]]
    return x


def _goal_bits(source: Shard, new: Shard, pairs: list[tuple[int, int]]) -> dict[int, int]:
    theirs, ours = source.definitions.labels, new.definitions.labels
    return {
        1 << int(theirs.first_bit[their] + j): 1 << int(ours.first_bit[our] + j)
        for their, our in pairs
        for j in range(int(ours.bits[our]))
    }


def _moved_bits(values: U64, places: dict[int, int]) -> U64:
    moved = np.zeros(len(values), np.uint64)
    for their, our in places.items():
        moved[values & np.uint64(their) != 0] |= np.uint64(our)
    return moved


def _merged(a: _Examples, b: _Examples) -> _Examples:
    """Both as one: the same moment of a user is one example, the others keep their places among those.

    Each side was thinned by the same hashes, so what both would have kept is what hashes below the lower rate.
    """
    rates = np.minimum(a.rates, b.rates)
    a, b = _thinned(a, rates), _thinned(b, rates)
    place_in_b = {key: j for j, key in enumerate(_keys(b))}
    pairs: list[tuple[int, int]] = []
    next_b = 0
    for i, key in enumerate(_keys(a)):
        j = place_in_b.get(key, -1)
        while next_b < j:
            pairs.append((-1, next_b))
            next_b += 1
        pairs.append((i, j))
        next_b = max(next_b, j + 1)
    pairs += [(-1, j) for j in range(next_b, len(b.row))]
    return _joined(a, b, np.array(pairs, np.int64).reshape(-1, 2), rates)


def _keys(examples: _Examples) -> list[tuple[int, float, int]]:
    return list(zip(examples.row.tolist(), examples.time_s.tolist(), examples.kind.tolist(), strict=True))


def _joined(a: _Examples, b: _Examples, pairs: I64, rates: F64) -> _Examples:
    in_a, in_b = pairs[:, 0] >= 0, pairs[:, 1] >= 0
    fields: dict[str, Any] = {}
    for name in _PER_EXAMPLE:
        one, other = getattr(a, name), getattr(b, name)
        whole = np.zeros((len(pairs), *one.shape[1:]), one.dtype)
        whole[in_a] = one[pairs[in_a, 0]]
        only_b = in_b & ~in_a
        whole[only_b] = other[pairs[only_b, 1]]
        both = in_a & in_b
        mine, theirs = whole[both], other[pairs[both, 1]]
        if name == "x":
            whole[both] = np.where(a.known, mine, theirs)
        elif name == "served":
            whole[both] = np.where(np.isnan(mine), theirs, mine)
        elif name == "category":
            whole[both] = np.minimum(mine, theirs)  # 255 is none
        elif name in _BITS:
            whole[both] = mine | theirs
        fields[name] = whole
    due = np.minimum(_due_in(a.due, pairs[:, 0]), _due_in(b.due, pairs[:, 1]))
    return _Examples(**fields, due=due, rates=rates, known=a.known | b.known)


def _due_in(due: I64, places: I64) -> I64:
    """The first merged place of what each prediction waits for; the end for one that this side knows nothing of."""
    result = np.full(len(due), len(places), np.int64)
    for p, first in enumerate(due.tolist()):
        waiting = np.flatnonzero(places >= first)
        if len(waiting):
            result[p] = waiting[0]
    return result


def _thinned(examples: _Examples, rates: F64) -> _Examples:
    """Only what hashes below the rates of its kind, at those rates."""
    lower = examples.rate > rates[examples.kind]
    gone = lower & (0.5 ** examples.halvings.astype(np.float64) > rates[examples.kind])
    examples.rate = np.where(lower, rates[examples.kind], examples.rate).astype(np.float32)
    examples.rates = rates
    return examples.take(~gone)


def _fitting(examples: _Examples, new: Shard) -> _Examples:
    """As many as the ring of `new` takes, thinned as the ring itself would be."""
    while len(examples.row) > len(new.pending.time_s):
        rates = examples.rates.copy()
        rates[np.bincount(examples.kind, minlength=KINDS).argmax()] *= 0.5
        examples = _thinned(examples, rates)
    return examples


def _put(examples: _Examples, new: Shard, dropped: int) -> None:
    q, n = new.pending, len(examples.row)
    for name in _PER_EXAMPLE:
        getattr(q, name)[:n] = getattr(examples, name)
    q.due[:] = examples.due
    q.rates[:] = examples.rates
    q.n[NEXT], q.n[SAVED], q.n[DROPPED] = n, 0, dropped
    new.si[GOALS] = 0
    new.rebind()
    link_examples(new.sealed["pending"], new.users.users.head, 0, n)
