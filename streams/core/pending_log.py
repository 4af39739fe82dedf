"""How pending examples are saved: appended chunks, replayed at load.

A chunk holds, in this order: thinnings since the last save, examples that were replaced, new examples, goal
marks. Chunks are appended to parts of a bounded size; a part is dropped once all its examples were
handed out. Loading replays the parts into flat arrays; goal marks are put back by the same function that the loop uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from models.jit import I64, U64, jit
from models.labels import (
    DIRTY,
    KIND,
    NEXT,
    PREVIOUS,
    REPLACED,
    ROW,
    SAVED,
    LabelSpec,
    Pending,
    example_hash,
    mark_goals,
    tail_of,
)
from streams.core.state import GoalMarks, Users

PART_BYTES = 4 << 20
PREFIX = "pending:"


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

    def drop_before(self, tail: int) -> list[str]:
        """Forget parts of which every example was handed out, and return their names."""
        gone: list[str] = []
        while len(self.parts) > 1 and self.parts[0].end <= tail:
            gone.append(f"{PREFIX}{self.parts.pop(0).number}")
        return gone

    def save(self) -> list[list[int]]:
        """The parts as plain data."""
        return [[p.number, p.size, p.end] for p in self.parts]

    def load(self, saved: list[list[int]], next_number: int) -> None:
        """Take back what `save` gave."""
        self.parts = [Part(*part) for part in saved]
        self.next_number = next_number


def _pack(q: Pending, seqs: I64, order: I64) -> dict[str, Any]:
    """Examples as stored. A user is named by the order, which is the row after the next load."""
    at = seqs % q.time_s.shape[0]
    whole = q.whole[at]
    whole[:, ROW] = order[whole[:, ROW]]
    return {
        "seq": seqs.tobytes(),
        "x": q.x[at].tobytes(),
        "t": q.time_s[at].tobytes(),
        "rate": q.rate[at].tobytes(),
        "whole": whole.tobytes(),
        "seen": q.seen[at].tobytes(),
        "served": q.served[at].tobytes(),
        "category": q.category[at].tobytes(),
    }


def take_chunk(
    q: Pending, tail: int, order: I64, marks: GoalMarks, marks_n: int, earlier: list[GoalMarks]
) -> bytes | None:
    """What happened to the ring since the last save, and note that it is saved; None when nothing did.

    `tail` is the oldest sequence still waited for; `order` that of the users; `marks` holds `marks_n` goal marks,
    `earlier` those that had to leave the buffer before.
    """
    saved, end = int(q.n[SAVED]), int(q.n[NEXT])
    thinned = q.thinned[: q.thinned_n[0]].tolist()
    seqs = np.arange(max(tail, saved), end, dtype=np.int64)
    old = np.arange(tail, min(saved, end) if q.n[REPLACED] else tail, dtype=np.int64)
    old = old[q.whole[old % q.time_s.shape[0], DIRTY] != 0]
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
    }
    q.whole[old % q.time_s.shape[0], DIRTY] = 0
    q.thinned_n[0] = 0
    q.n[SAVED] = end
    q.n[REPLACED] = 0
    data = msgspec.msgpack.encode(chunk)
    return len(data).to_bytes(4, "big") + data


def _frames(parts: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for part in parts:
        at = 0
        while at < len(part):
            size = int.from_bytes(part[at : at + 4], "big")
            yield msgspec.msgpack.decode(part[at + 4 : at + 4 + size])
            at += 4 + size


class _Flat:
    """Examples by sequence number, while the log is replayed."""

    def __init__(self, q: Pending) -> None:
        self._dtypes = {
            "seq": (np.int64, ()),
            "x": (np.float32, q.x.shape[1:]),
            "t": (np.float64, ()),
            "rate": (np.float64, ()),
            "whole": (np.int64, q.whole.shape[1:]),
            "seen": (np.uint64, ()),
            "served": (np.float32, q.served.shape[1:]),
            "category": (np.uint8, q.category.shape[1:]),
        }
        self.columns: dict[str, list[Any]] = {name: [] for name in self._dtypes}

    def unpack(self, packed: dict[str, Any]) -> dict[str, Any]:
        return {
            name: np.frombuffer(packed[name], dtype).reshape(-1, *shape)
            for name, (dtype, shape) in self._dtypes.items()
        }

    def merged(self) -> dict[str, Any]:
        """All examples so far as one array per column."""
        result: dict[str, Any] = {}
        for name, (dtype, shape) in self._dtypes.items():
            pieces = self.columns[name]
            result[name] = np.concatenate(pieces) if pieces else np.zeros((0, *shape), dtype)
            self.columns[name] = [result[name]]
        return result

    def add(self, examples: dict[str, Any]) -> None:
        for name, values in examples.items():
            self.columns[name].append(values)

    def keep(self, mask: Any) -> None:
        for name, values in self.merged().items():
            self.columns[name] = [values[mask]]


def _replay_thinning(flat: _Flat, key: U64, kind: int, rate: float, end: int) -> None:
    """What `models.labels.thin` did to the examples that were saved by then."""
    rows = flat.merged()
    hashes = np.array([example_hash(key[i], t) for i, t in zip(rows["whole"][:, ROW], rows["t"], strict=True)])
    is_kind = rows["whole"][:, KIND] == kind
    flat.keep(~is_kind | (rows["rate"] <= rate) | (hashes < rate))
    kept = flat.merged()
    lowered = (kept["whole"][:, KIND] == kind) & (kept["rate"] > rate)
    flat.columns["rate"] = [np.where(lowered, rate, kept["rate"])]
    n = len(kept["seq"])
    flat.columns["seq"] = [np.arange(end - n, end, dtype=np.int64)]


def _replace(flat: _Flat, replaced: dict[str, Any]) -> None:
    if not len(replaced["seq"]):
        return
    rows = flat.merged()
    at = np.searchsorted(rows["seq"], replaced["seq"])
    for name in rows:
        changed = rows[name].copy()
        changed[at] = replaced[name]
        flat.columns[name] = [changed]


def load_pending(q: Pending, handle: Any, labels: Any, users: Users, parts: Iterable[bytes]) -> None:
    """Fill the ring from the saved parts, oldest first. `due`, `n` and `rates` must have been put back before.

    `handle` and `labels` are the handles of the ring and of the label definitions.
    """
    tail = int(tail_of(handle))
    flat = _Flat(q)
    marks: list[tuple[I64, Any, U64]] = []
    for frame in _frames(parts):
        for kind, rate, end in frame["thinned"]:
            _replay_thinning(flat, users.key, int(kind), rate, int(end))
        _replace(flat, flat.unpack(frame["replaced"]))
        flat.add(flat.unpack(frame["new"]))
        marks.append(
            (
                np.frombuffer(frame["mark_row"], np.int64),
                np.frombuffer(frame["mark_t"], np.float64),
                np.frombuffer(frame["mark_bits"], np.uint64),
            )
        )
    rows = flat.merged()
    current = (rows["seq"] >= tail) & (rows["seq"] < q.n[NEXT])
    at = rows["seq"][current] % q.time_s.shape[0]
    for name, target in (("x", q.x), ("t", q.time_s), ("rate", q.rate), ("whole", q.whole), ("seen", q.seen)):
        target[at] = rows[name][current]
    q.whole[at, DIRTY] = 0
    q.served[at] = rows["served"][current]
    q.category[at] = rows["category"][current]
    _link(handle, users.head)
    for row, time_s, bits in marks:
        _mark_all(handle, labels, users.head, row, time_s, bits)


@jit
def _link(q: Pending, head: I64) -> None:
    """Renew the chains from each user's newest example to the older ones."""
    for seq in range(tail_of(q), q.n[NEXT]):
        at = seq % q.time_s.shape[0]
        i = q.whole[at, ROW]
        q.whole[at, PREVIOUS] = head[i]
        head[i] = seq


@jit
def _mark_all(q: Pending, labels: LabelSpec, head: I64, row: I64, time_s: np.ndarray, bits: U64) -> None:
    for j in range(row.shape[0]):
        mark_goals(q, labels, head, row[j], time_s[j], bits[j], False)
