"""What a shard saves with each commit, and how it comes back: rows, appended chunks and a few small blobs.

Arrays that derive from others (queue, dedupe table, links between examples, score tables) are not saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from scipy.special import expit

from models.labels import NEXT, SAVED, Pending, tail_of
from models.snapshot import ModelCodec, Snapshot
from streams.core.dedupe import Dedupe, remember_all
from streams.core.definitions import CATEGORIES
from streams.core.pending_log import PREFIX as PENDING_PREFIX
from streams.core.pending_log import PendingLog, load_pending, take_chunk
from streams.core.shard import Shard
from streams.core.state import GOALS, TOUCHED
from streams.ports import CommitBatch

SHARD_BLOB, SNAPSHOT_BLOB, POPULATION_BLOB = "shard", "snapshot", "population"
DEDUPE_PREFIX = "dedupe:"
DEDUPE_PART = 65_536  # hashes in one appended part


class Saver:
    """Keeps track of what is stored of one shard, and writes the difference."""

    def __init__(self, shard: Shard, codec: ModelCodec | None = None) -> None:
        self.shard = shard
        self._codec = codec
        self._log = PendingLog()
        self._dedupe_parts: list[list[int]] = []  # [number, hashes]
        self._dedupe_number = 0

    # --- save -------------------------------------------------------------------------------------------------------

    def take_effects(self, number: int, position: bytes) -> CommitBatch:
        """Everything that changed since the last call, as commit `number` standing at `position`."""
        shard = self.shard
        batch = CommitBatch(number=number, position=position)
        self._take_rows(batch)
        self._take_members(batch)
        self._take_pending(batch)
        self._take_dedupe(batch)
        batch.outbox, shard.transitions = shard.transitions, []
        batch.dead_letters = [bad.to_json() for bad in shard.dead]
        shard.dead = []
        batch.remembered = shard.remembered.drain()
        batch.blobs[SHARD_BLOB] = msgspec.msgpack.encode(self._small_state())
        batch.blobs[POPULATION_BLOB] = b"".join(array.tobytes() for array in shard.population)
        if shard.snapshot_is_new:
            batch.blobs[SNAPSHOT_BLOB] = shard.snapshot.to_bytes(self._codec)
            shard.snapshot_is_new = False
        return batch

    def _take_rows(self, batch: CommitBatch) -> None:
        shard = self.shard
        touched = shard.users.users.touched[: shard.si[TOUCHED]]
        if not len(touched):
            return
        rows = touched.tolist()
        users = [shard.users.ids[row] for row in rows]
        batch.rows = list(zip(users, shard.users.row_bytes(rows), strict=True))
        dirty = shard.users.users.dirty[touched]
        for p, prediction in enumerate(shard.definitions.prediction_ids):
            moved = (dirty >> np.uint64(1 + p)) & np.uint64(1)
            self._take_scores(batch, p, prediction, touched, users, moved.astype(bool))
        shard.users.users.dirty[touched] = 0
        shard.si[TOUCHED] = 0

    def _take_scores(
        self, batch: CommitBatch, p: int, prediction: str, rows: Any, users: list[str], moved: Any
    ) -> None:
        views, c = self.shard.users.rows, self.shard.definitions.layout.columns
        scores = views.f[rows, c.f_score + p]
        inside = ~np.isnan(scores)
        likelihood = expit(views.f[rows, c.f_z + p].astype(np.float64))
        live = self.shard.state.model.live[p] != 0
        categories = views.b[rows, c.b_category + p].tolist()
        written: list[tuple[str, bytes]] = []
        for user, score, chance, category, is_in in zip(
            users, scores.tolist(), likelihood.tolist(), categories, inside.tolist(), strict=True
        ):
            if is_in:
                shown = f"{chance:.6g}" if live else "null"
                written.append(
                    (
                        user,
                        b'{"score":%.2f,"likelihood":%s,"category":"%s"}' % (score, shown.encode(), _WORDS[category]),
                    )
                )
        batch.scores[prediction] = written
        gone = [users[k] for k in np.flatnonzero(moved & ~inside).tolist()]
        batch.scores_removed[prediction] = gone
        batch.index_removed[prediction] = gone
        batch.index[prediction] = [
            (users[k], round(float(scores[k]), 2)) for k in np.flatnonzero(moved & inside).tolist()
        ]

    def _take_members(self, batch: CommitBatch) -> None:
        shard = self.shard
        sequence = shard.users.rows.u[:, shard.definitions.layout.columns.u_sequence :]
        for row, g in shard.changed_members:
            into = batch.members_added if sequence[row, g] & 1 else batch.members_removed
            into.setdefault(shard.definitions.segment_ids[g], []).append(shard.users.ids[row])
        shard.changed_members = {}

    def _take_pending(self, batch: CommitBatch) -> None:
        shard, q = self.shard, self.shard.pending
        thinned = bool(q.thinned_n[0])
        if q.thinned_n[0] > len(q.thinned):
            raise RuntimeError("more thinnings of pending examples than one save can hold")
        chunk = take_chunk(
            q, self._tail(), shard.users.users.order, shard.marks, int(shard.si[GOALS]), shard.marks_before
        )
        shard.si[GOALS] = 0
        shard.marks_before = []
        if chunk is not None:
            batch.appends.append((self._log.append(chunk, int(q.n[NEXT]), thinned), chunk))
        dropped = self._log.drop_before(self._tail())
        batch.drops += [name for name in dropped if name not in {n for n, _ in batch.appends}]

    def _take_dedupe(self, batch: CommitBatch) -> None:
        d = self.shard.dedupe
        bound = len(d.ring)
        first = max(int(d.n[1]), int(d.n[0]) - bound)
        if bound == 0 or first == d.n[0]:
            return
        hashes = d.ring[np.arange(first, int(d.n[0])) % bound]
        d.n[1] = d.n[0]
        if not self._dedupe_parts or self._dedupe_parts[-1][1] >= DEDUPE_PART:
            self._dedupe_parts.append([self._dedupe_number, 0])
            self._dedupe_number += 1
        self._dedupe_parts[-1][1] += len(hashes)
        batch.appends.append((f"{DEDUPE_PREFIX}{self._dedupe_parts[-1][0]}", hashes.tobytes()))
        while sum(size for _, size in self._dedupe_parts[1:]) >= bound:
            batch.drops.append(f"{DEDUPE_PREFIX}{self._dedupe_parts.pop(0)[0]}")

    def _tail(self) -> int:
        return int(tail_of(self.shard.sealed["pending"]))

    def _small_state(self) -> dict[str, Any]:
        shard, q = self.shard, self.shard.pending
        return {
            "si": shard.si.tolist(),
            "sf": shard.sf.tobytes(),
            "vocabulary": shard.vocabulary.save(),
            "due": q.due.tolist(),
            "n": q.n.tolist(),
            "rates": q.rates.tolist(),
            "log": self._log.save(),
            "log_next": self._log.next_number,
            "dedupe": self._dedupe_parts,
            "dedupe_next": self._dedupe_number,
            "chunks": shard.chunk_numbers.tolist(),
            "user_days": shard.user_days.tolist(),
        }

    # --- load -------------------------------------------------------------------------------------------------------

    def load(
        self,
        blobs: dict[str, bytes],
        rows: Iterable[list[tuple[str, bytes]]],
        appended: Iterable[tuple[str, bytes]],
        remembered: Iterable[list[tuple[str, bytes]]],
    ) -> None:
        """Fill a fresh shard with what was saved."""
        shard = self.shard
        small = msgspec.msgpack.decode(blobs[SHARD_BLOB])
        shard.vocabulary.load(small["vocabulary"])
        for chunk in rows:
            for user, data in chunk:
                shard.users.load_row(user, data)
        shard.si[:] = small["si"]
        shard.sf[:] = np.frombuffer(small["sf"])
        shard.chunk_numbers[:] = small["chunks"]
        shard.user_days[:] = small["user_days"]
        self._load_population(blobs[POPULATION_BLOB])
        if SNAPSHOT_BLOB in blobs:
            features = shard.definitions.layout.columns.features
            shard.snapshot = Snapshot.from_bytes(blobs[SNAPSHOT_BLOB], features, self._codec)
        shard.rebind()
        parts = dict(appended)
        self._load_pending(small, parts)
        self._load_dedupe(small, parts)
        for some in remembered:
            for user, data in some:
                shard.remembered.load(user, data)
        shard.reschedule_all()

    def _load_population(self, data: bytes) -> None:
        at = 0
        for array in self.shard.population:
            array[:] = np.frombuffer(data, array.dtype, array.size, at).reshape(array.shape)
            at += array.nbytes

    def _load_pending(self, small: dict[str, Any], parts: dict[str, bytes]) -> None:
        shard = self.shard
        q: Pending = shard.pending
        q.due[:], q.n[:], q.rates[:] = small["due"], small["n"], small["rates"]
        self._log.load(small["log"], small["log_next"])
        stored = [parts[f"{PENDING_PREFIX}{part.number}"] for part in self._log.parts]
        load_pending(q, shard.sealed["pending"], shard.sealed["labels"], shard.users.users, stored)
        q.n[SAVED] = q.n[NEXT]

    def _load_dedupe(self, small: dict[str, Any], parts: dict[str, bytes]) -> None:
        d: Dedupe = self.shard.dedupe
        self._dedupe_parts = [list(part) for part in small["dedupe"]]
        self._dedupe_number = small["dedupe_next"]
        stored = [parts[f"{DEDUPE_PREFIX}{number}"] for number, _ in self._dedupe_parts]
        hashes = np.frombuffer(b"".join(stored), np.uint64)
        remember_all(self.shard.sealed["dedupe"], hashes[max(0, len(hashes) - len(d.ring)) :])
        d.n[1] = d.n[0]


_WORDS = tuple(word.encode() for word in CATEGORIES)
