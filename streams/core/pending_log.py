"""How pending examples are saved: appended chunks, replayed at load.

A chunk holds, in this order: thinnings and deletions since the last save, examples that were replaced, new examples,
marks of goals and notes. Chunks are appended to parts of a bounded size; a part is dropped once all its examples were
handed out. Many events within a window leave far more marks than there are examples: then all examples are saved anew,
with what has marked them, and the parts of before are dropped. Loading replays the parts into flat arrays, chunk by
chunk. Marks are put back by the same functions that the loop uses, in the examples of earlier chunks: those of their
own were saved with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from models.jit import F64, I64, U8, U64, jit
from models.labels import (
    EMPTIED,
    NEXT,
    NO_NOTE,
    NOBODY,
    REPLACED,
    SAVED,
    LabelSpec,
    Pending,
    empty_chain,
    is_kept,
    mark_goals,
    mark_notes,
    move_example,
    tail_of,
)
from streams.core.state import Marks, Users

PART_BYTES = 4 << 20
SPARE_BYTES = 1 << 20
OVERGROWN = 4
"""`SPARE_BYTES`, and so many times what the examples take by themselves, may be stored. So of four bytes that are
appended at most one was appended before."""
PREFIX = "pending:"
_STORED = (
    *("x", "time_s", "rate", "row", "kind", "halvings"),
    *("crossed", "by_goals", "by_an_event", "seen", "sent", "withheld", "served", "category"),
)


@dataclass(slots=True)
class Part:
    """One appended value: its number, its size, and the sequence behind its last example."""

    number: int
    size: int
    end: int


@dataclass(slots=True)
class PendingLog:
    """What is stored of the ring: the parts, oldest first."""

    parts: list[Part] = field(default_factory=list)
    next_number: int = 0

    def append(self, chunk: bytes, end: int, thinned: bool) -> str:
        """Choose the part for `chunk`, whose last example ends at `end`, and return its name."""
        if thinned:  # survivors have got higher numbers than those written down
            for part in self.parts:
                part.end = max(part.end, end)
        if not self.parts or self.parts[-1].size >= PART_BYTES:
            self.parts.append(Part(self.next_number, 0, end))
            self.next_number += 1
        last = self.parts[-1]
        last.size += len(chunk)
        last.end = max(last.end, end)
        return f"{PREFIX}{last.number}"

    def drop_all(self) -> list[str]:
        """Forget all parts, and return their names."""
        gone = [f"{PREFIX}{part.number}" for part in self.parts]
        self.parts = []
        return gone

    def drop_before(self, tail: int) -> list[str]:
        """Forget parts of which every example was handed out, and return their names."""
        gone: list[str] = []
        while len(self.parts) > 1 and self.parts[0].end <= tail:
            gone.append(f"{PREFIX}{self.parts.pop(0).number}")
        return gone

    def is_overgrown(self, ring_bytes: int) -> bool:
        """Whether most of what is stored is no example that still waits; these take `ring_bytes`."""
        return sum(part.size for part in self.parts) > SPARE_BYTES + OVERGROWN * ring_bytes

    def save(self) -> list[list[int]]:
        """The parts as plain data."""
        return [[p.number, p.size, p.end] for p in self.parts]

    def load(self, saved: list[list[int]], next_number: int) -> None:
        """Take back what `save` gave."""
        self.parts = [Part(*part) for part in saved]
        self.next_number = next_number


def _pack(q: Pending, seqs: I64, order: I64) -> dict[str, Any]:
    """Examples as stored, by the names of the ring's columns. A user is named by the order, the row after a load."""
    at = seqs % q.time_s.shape[0]
    stored = {name: getattr(q, name)[at].tobytes() for name in _STORED}
    row = q.row[at]
    named = np.where(row == NOBODY, NOBODY, order[row]).astype(np.int32)
    return stored | {"seq": seqs.tobytes(), "row": named.tobytes()}


def bytes_per_example(q: Pending) -> int:
    """As stored, but for the lengths and names of a chunk."""
    of_columns = sum(int(getattr(q, name)[0].nbytes) for name in _STORED)
    return of_columns + np.dtype(np.int64).itemsize  # its number


def wants_whole_ring(q: Pending) -> bool:
    """Whether more thinnings happened since the last save than were noted, so that every example is saved anew."""
    return bool(q.thinned_n[0] > len(q.thinned))


def save_anew(q: Pending, tail: int) -> None:
    """Nothing counts as saved any more; what was stored must be dropped. `tail` as in `take_chunk`."""
    q.n[SAVED] = tail
    q.n[REPLACED] = 0
    q.dirty[:] = 0
    q.thinned_n[0] = 0


def take_chunk(
    q: Pending, tail: int, order: I64, marks: Marks, marks_n: int, earlier: list[Marks], most: int | None = None
) -> bytes | None:
    """What happened to the ring since the last save, and note that it is saved; None when nothing did.

    `tail` is the oldest sequence still waited for; `order` that of the users; `marks` holds `marks_n` marks,
    `earlier` those that had to leave the buffer before. With `most`, so many new examples at most: to be called again
    until `n[SAVED]` is `n[NEXT]`. Not where `wants_whole_ring` says so: `save_anew` comes first then.
    """
    saved, end = int(q.n[SAVED]), int(q.n[NEXT])
    if most is not None:
        end = min(end, max(tail, saved) + most)
    thinned = q.thinned[: q.thinned_n[0]].tolist()
    seqs = np.arange(max(tail, saved), end, dtype=np.int64)
    old = np.arange(tail, min(saved, end) if q.n[REPLACED] else tail, dtype=np.int64)
    old = old[q.dirty[old % len(q.time_s)] != 0]
    rows = np.concatenate([m.row for m in earlier] + [marks.row[:marks_n]])
    if not (thinned or len(seqs) or len(old) or len(rows)):
        return None
    chunk = {
        "thinned": thinned,
        "replaced": _pack(q, old, order),
        "new": _pack(q, seqs, order),
        "mark_row": order[rows].tobytes(),
        "mark_t": np.concatenate([m.time_s for m in earlier] + [marks.time_s[:marks_n]]).tobytes(),
        "mark_bits": np.concatenate([m.bits for m in earlier] + [marks.bits[:marks_n]]).tobytes(),
        "mark_in_order": np.concatenate([m.in_order for m in earlier] + [marks.in_order[:marks_n]]).tobytes(),
        "mark_note": np.concatenate([m.note for m in earlier] + [marks.note[:marks_n]]).tobytes(),
    }
    q.dirty[old % len(q.time_s)] = 0
    q.thinned_n[0] = 0
    q.n[SAVED] = end
    q.n[REPLACED] = 0
    data = msgspec.msgpack.encode(chunk)
    return len(data).to_bytes(4, "big") + data


def _frames(part: bytes) -> Iterator[dict[str, Any]]:
    at = 0
    while at < len(part):
        size = int.from_bytes(part[at : at + 4], "big")
        yield msgspec.msgpack.decode(part[at + 4 : at + 4 + size])
        at += 4 + size


class PendingReplay:
    """Fills the ring from the saved parts, oldest first. `due`, `n` and `rates` must have been put back before.

    `handle` and `labels` are the handles of the ring and of the label definitions. Examples that were handed out
    meanwhile stand in the parts as well. In the ring all lie where their numbers say, and whatever overwrites one is
    newer: of numbers that are still waited for there are never more than places.
    """

    def __init__(self, q: Pending, handle: Any, labels: Any, users: Users) -> None:
        self._q, self._handle, self._labels, self._users = q, handle, labels, users
        self._due: I64 = q.due.copy()
        self._end = 0

    def take(self, part: bytes) -> None:
        """The next part."""
        for frame in _frames(part):
            self._take_frame(frame)

    def _take_frame(self, frame: dict[str, Any]) -> None:
        # Thinning gives new numbers, so how far each prediction has come says nothing before the last of them.
        self._q.due[:] = max(0, self._end - len(self._q.time_s))
        for kind, what, end in frame["thinned"]:
            if kind == EMPTIED:
                empty_chain(self._handle, self._users.head, int(what))
                continue
            _thin_saved(self._handle, int(kind), what, self._end, int(end))
            self._end = int(end)
            self._q.due[:] = first = max(0, self._end - len(self._q.time_s))
            self._users.head[:] = -1
            link_examples(self._handle, self._users.head, first, self._end)
        marks = Marks(
            np.frombuffer(frame["mark_row"], np.int64),
            np.frombuffer(frame["mark_t"], np.float64),
            np.frombuffer(frame["mark_bits"], np.uint64),
            np.frombuffer(frame["mark_in_order"], np.uint8),
            np.frombuffer(frame["mark_note"], np.uint8),
        )
        # Before what this chunk saved is put in: that has these marks already, and would end the walk too early.
        _mark_all(self._handle, self._labels, self._users.head, *marks)
        self._put(frame["replaced"])
        seqs = self._put(frame["new"])
        if len(seqs):
            self._end = int(seqs[-1]) + 1
            link_examples(self._handle, self._users.head, int(seqs[0]), self._end)

    def finish(self) -> None:
        """Put back how far each prediction has come, and link what is still waited for."""
        self._q.due[:] = self._due
        self._users.head[:] = -1
        link_examples(self._handle, self._users.head, int(tail_of(self._handle)), int(self._q.n[NEXT]))

    def _put(self, packed: dict[str, Any]) -> I64:
        q = self._q
        seqs: I64 = np.frombuffer(packed["seq"], np.int64)
        at = seqs % len(q.time_s)
        for name in _STORED:
            array = getattr(q, name)
            array[at] = np.frombuffer(packed[name], array.dtype).reshape(len(seqs), *array.shape[1:])
        return seqs


@jit
def _thin_saved(q: Pending, kind: int, rate: float, old_end: int, end: int) -> None:
    """What `models.labels.thin` did to the examples that were saved by then; they ended at `old_end`, now at `end`."""
    capacity = q.time_s.shape[0]
    put = end - 1
    for seq in range(old_end - 1, max(-1, old_end - 1 - capacity), -1):
        at = seq % capacity
        if not is_kept(q, at, kind, rate):
            continue
        if q.kind[at] == kind and q.rate[at] > rate:
            q.rate[at] = rate
        move_example(q, at, put % capacity)
        put -= 1


@jit
def link_examples(q: Pending, head: I64, first: int, end: int) -> None:
    """Put examples before those that their users have in the chains from the newest to the older ones."""
    for seq in range(first, end):
        at = seq % q.time_s.shape[0]
        i = q.row[at]
        q.dirty[at] = 0
        if i != NOBODY:
            q.previous[at] = head[i]
            head[i] = seq


@jit
def _mark_all(
    q: Pending, labels: LabelSpec, head: I64, row: I64, time_s: F64, bits: U64, in_order: U8, note: U8
) -> None:
    for j in range(row.shape[0]):
        if note[j] != NO_NOTE:
            mark_notes(q, labels, head, row[j], time_s[j], note[j])
        else:
            mark_goals(q, labels, head, row[j], time_s[j], bits[j], in_order[j] != 0)
