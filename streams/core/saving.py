"""What a shard saves with each commit, and how it comes back: rows, appended chunks and a few small blobs.

Arrays that derive from others (queue, dedupe table, links between examples, score tables) are not saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from config.errors import StoreIncompatible
from models.jit import I32
from models.labels import EMPTIED, NEXT, SAVED, tail_of
from models.layout import FIRST_T
from models.snapshot import ModelCodec, Snapshot
from streams.core.dead_letters import id_fields
from streams.core.dedupe import remember_all
from streams.core.live_scores import take_scores
from streams.core.pending_log import PREFIX as PENDING_PREFIX
from streams.core.pending_log import (
    PendingLog,
    PendingReplay,
    bytes_per_example,
    save_anew,
    take_chunk,
    wants_whole_ring,
)
from streams.core.shard import Shard, WentLive
from streams.core.state import FREE, GOALS, TOUCHED, UNSAVED_OUT, USERS, Population
from streams.ports import CommitBatch

SHARD_BLOB, VOCABULARY_BLOB, POPULATION_BLOB, SNAPSHOT_BLOB = "shard", "vocabulary", "population", "snapshot"
WENT_LIVE_BLOB = "went_live"
DEDUPE_PREFIX = "dedupe:"
DEDUPE_PART = 65_536  # hashes in one appended part
PART_USERS, PART_MEMBERS, PART_BYTES = 2_000, 20_000, 2 << 20  # of `Saver.take_everything`


class _WentLive(msgspec.Struct, array_like=True):
    """`streams.core.shard.WentLive` as stored."""

    epoch: int
    weights: bytes
    bias: float
    named: bytes


class Saver:
    """Keeps track of what is stored of one shard, and writes the difference."""

    def __init__(self, shard: Shard, codec: ModelCodec | None = None) -> None:
        self.shard = shard
        self._codec = codec
        self._log = PendingLog()
        self._dedupe_parts: list[list[int]] = []  # [number, hashes]
        self._dedupe_number = 0
        # As of the last save; of no vocabulary.
        self._vocabulary = (-1, -1)
        self._population = b""

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
        shard.si[UNSAVED_OUT] = 0
        batch.dead_letters = [bad.to_json() for bad in shard.dead]
        shard.dead = []
        batch.remembered = shard.remembered.drain()
        batch.deleted, batch.merged, batch.deletions_said = shard.ledger.drain()
        batch.deleted_users, shard.deleted_users = shard.deleted_users, []
        batch.id_fields = id_fields(shard.catalog)
        batch.blobs[SHARD_BLOB] = msgspec.msgpack.encode(self._small_state())
        population = b"".join(array.tobytes() for array in shard.population)
        if population != self._population:
            batch.blobs[POPULATION_BLOB] = self._population = population
        if shard.went_live_is_new:
            went_live = {
                p: _WentLive(w.epoch, w.weights.tobytes(), w.bias, w.named.tobytes())
                for p, w in shard.went_live.items()
            }
            batch.blobs[WENT_LIVE_BLOB] = msgspec.msgpack.encode(went_live)
            shard.went_live_is_new = False
        if self._vocabulary != shard.vocabulary.revision:
            self._vocabulary = shard.vocabulary.revision
            batch.blobs[VOCABULARY_BLOB] = msgspec.msgpack.encode(shard.vocabulary.save())
        if shard.snapshot_is_new:
            batch.blobs[SNAPSHOT_BLOB] = shard.snapshot.to_bytes(self._codec)
            shard.snapshot_is_new = False
        return batch

    def take_everything(self) -> Iterator[CommitBatch]:
        """What is large of a shard of which nothing is stored where it goes, in parts of a bounded size.

        The rest comes with the next `take_effects`. Parts have no number and no position.
        """
        shard, q = self.shard, self.shard.pending
        touched = shard.users.users.touched[: shard.si[TOUCHED]].copy()
        for first in range(0, len(touched), PART_USERS):
            part = CommitBatch(number=0, position=b"")
            self._take_users(part, touched[first : first + PART_USERS])
            yield part
        shard.si[TOUCHED] = 0
        members, shard.changed_members = list(shard.changed_members), {}
        for first in range(0, len(members), PART_MEMBERS):
            part = CommitBatch(number=0, position=b"")
            self._add_members(part, members[first : first + PART_MEMBERS])
            yield part
        while q.n[SAVED] < q.n[NEXT]:
            part = CommitBatch(number=0, position=b"")
            self._take_pending(part, most=max(1, PART_BYTES // bytes_per_example(q)))
            yield part
        while shard.dedupe.n[1] < shard.dedupe.n[0]:
            part = CommitBatch(number=0, position=b"")
            self._take_dedupe(part, most=DEDUPE_PART)
            yield part
        remembered = shard.remembered.drain()
        for first in range(0, len(remembered), PART_USERS):
            yield CommitBatch(number=0, position=b"", remembered=remembered[first : first + PART_USERS])

    def _take_rows(self, batch: CommitBatch) -> None:
        shard = self.shard
        touched = shard.users.users.touched[: shard.si[TOUCHED]]
        if len(touched):
            self._take_users(batch, touched)
            shard.si[TOUCHED] = 0

    def _take_users(self, batch: CommitBatch, touched: I32) -> None:
        shard = self.shard
        users = [shard.users.ids[row] for row in touched.tolist()]
        is_there = shard.users.rows.t[touched, FIRST_T] != 0.0
        rows = touched[is_there].tolist()
        batch.rows = list(zip([shard.users.ids[row] for row in rows], shard.users.row_bytes(rows), strict=True))
        batch.removed_users = [user for user, there in zip(users, is_there.tolist(), strict=True) if not there]
        take_scores(shard, batch, touched, users, shard.users.users.dirty[touched])
        shard.users.users.dirty[touched] = 0

    def _take_members(self, batch: CommitBatch) -> None:
        self._add_members(batch, self.shard.changed_members)
        self.shard.changed_members = {}

    def _add_members(self, batch: CommitBatch, changed: Iterable[tuple[int, int]]) -> None:
        shard = self.shard
        sequence = shard.users.rows.u[:, shard.definitions.layout.columns.u_sequence :]
        for row, g in changed:
            into = batch.members_added if sequence[row, g] & 1 else batch.members_removed
            into.setdefault(shard.definitions.segment_ids[g], []).append(shard.users.ids[row])

    def _take_pending(self, batch: CommitBatch, most: int | None = None) -> None:
        q, tail = self.shard.pending, self._tail()
        size = bytes_per_example(q)
        if wants_whole_ring(q) or self._log.is_overgrown(size * (int(q.n[NEXT]) - tail)):
            batch.drops += self._log.drop_all()
            save_anew(q, tail)
            most = most or max(1, PART_BYTES // size)
            while q.n[NEXT] - q.n[SAVED] > most:  # all of it in this commit, in chunks of a bounded size
                self._append_pending(batch, tail, most)
        self._append_pending(batch, tail, most)
        batch.drops += self._log.drop_before(tail)

    def _append_pending(self, batch: CommitBatch, tail: int, most: int | None) -> None:
        shard, q = self.shard, self.shard.pending
        thinned = bool((q.thinned[: q.thinned_n[0], 0] != EMPTIED).any())
        marks = shard.marks, int(shard.si[GOALS]), shard.marks_before
        chunk = take_chunk(q, tail, shard.users.users.order, *marks, most)
        shard.si[GOALS] = 0
        shard.marks_before = []
        if chunk is not None:
            batch.appends.append((self._log.append(chunk, int(q.n[SAVED]), thinned), chunk))

    def _take_dedupe(self, batch: CommitBatch, most: int | None = None) -> None:
        d = self.shard.dedupe
        bound = len(d.ring)
        first = max(int(d.n[1]), int(d.n[0]) - bound)
        if bound == 0 or first == d.n[0]:
            return
        end = int(d.n[0]) if most is None else min(int(d.n[0]), first + most)
        hashes = d.ring[np.arange(first, end) % bound]
        d.n[1] = end
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
            "due": q.due.tolist(),
            "n": q.n.tolist(),
            "rates": q.rates.tolist(),
            "log": self._log.save(),
            "log_next": self._log.next_number,
            "dedupe": self._dedupe_parts,
            "dedupe_next": self._dedupe_number,
            "chunks": shard.chunk_numbers.tolist(),
            "user_days": shard.user_days.tolist(),
            "frozen": shard.frozen_at_s.tolist(),
            "ledger": shard.ledger.mark,
            "forgotten": [shard.ledger.forgotten, shard.ledger.forgotten_lives],
            "announced": [
                part.tolist() for part in (shard.definitions.segments.epoch, shard.definitions.segments.announced)
            ],
            "judged_anew": shard.definitions.segments.judged_anew.tolist(),
            "remembered_too_large": shard.remembered.too_large,
        }

    # --- load -------------------------------------------------------------------------------------------------------

    def load(
        self,
        blobs: dict[str, bytes],
        rows: Iterable[list[tuple[str, bytes]]],
        appended: Iterable[tuple[str, bytes]],
        remembered: Iterable[list[tuple[str, bytes]]],
        deleted: Iterable[list[tuple[str, bytes]]] = (),
    ) -> None:
        """Fill a fresh shard with what was saved. The iterators are read one after another, `deleted` first.

        Raises StoreIncompatible when an appended part is missing, or the ledger has another key.
        """
        shard = self.shard
        small = msgspec.msgpack.decode(blobs[SHARD_BLOB])
        shard.vocabulary.load(msgspec.msgpack.decode(blobs[VOCABULARY_BLOB]))
        self._vocabulary, self._population = shard.vocabulary.revision, blobs[POPULATION_BLOB]
        for some in deleted:  # first: the users of the rows are looked up in it
            for name, data in some:
                shard.ledger.load(name, data)
        if small["ledger"] != shard.ledger.mark:
            raise StoreIncompatible(
                "the ledger of deleted users was written under another key. "
                "Set TIDELINE_DELETION_KEY to the first one, or put its file deletion.key back."
            )
        shard.ledger.forgotten, shard.ledger.forgotten_lives = small["forgotten"]
        for chunk in rows:
            for user, data in chunk:
                shard.users.load_row(user, data)
        self._load_small_state(small)
        read_population(blobs[POPULATION_BLOB], shard.population)
        if SNAPSHOT_BLOB in blobs:
            features = shard.definitions.layout.columns.features
            shard.snapshot = Snapshot.from_bytes(blobs[SNAPSHOT_BLOB], features, self._codec)
        shard.rebind()
        self._load_went_live(blobs.get(WENT_LIVE_BLOB))
        self._load_appended(appended)
        for some in remembered:
            for user, data in some:
                shard.remembered.load(user, data)
        shard.reschedule_all()

    def _load_small_state(self, small: dict[str, Any]) -> None:
        shard, q = self.shard, self.shard.pending
        si, sf = small["si"], np.frombuffer(small["sf"])
        shard.si[: len(si)], shard.sf[: len(sf)] = si, sf
        shard.use_limits()
        # Parts of pending examples name users by their order, also those who are not there any more.
        ever = int(shard.si[USERS] + shard.si[FREE])
        shard.users.reserve(ever)
        if shard.users.give_free_numbers(ever) != shard.si[FREE]:
            raise StoreIncompatible(
                f"{int(shard.si[USERS]):,} users are counted, but there are other rows. Rebuild the store."
            )
        shard.chunk_numbers[:] = small["chunks"]
        shard.user_days[:] = small["user_days"]
        for p, at_s in enumerate(small.get("frozen", ())):  # without it: stored before there was such a thing
            if not math.isnan(at_s):
                shard.note_frozen(p, at_s)
        segments = shard.definitions.segments
        segments.epoch[:], segments.announced[:] = small["announced"]
        segments.judged_anew[:] = small.get("judged_anew", 0)  # without it: stored before there was such a thing
        shard.remembered.too_large = small["remembered_too_large"]
        q.due[:], q.n[:], q.rates[:] = small["due"], small["n"], small["rates"]
        self._log.load(small["log"], small["log_next"])
        self._dedupe_parts = [list(part) for part in small["dedupe"]]
        self._dedupe_number = small["dedupe_next"]

    def _load_went_live(self, data: bytes | None) -> None:
        """Rank values of users who have not been scored since a prediction went live were not saved."""
        shard = self.shard
        for p, saved in msgspec.msgpack.decode(data, type=dict[int, _WentLive]).items() if data else ():
            # Copies, because compiled code takes an array that cannot be written as another type.
            weights, named = np.frombuffer(saved.weights).copy(), np.frombuffer(saved.named, np.uint8).copy()
            shard.note_went_live(p, WentLive(saved.epoch, weights, saved.bias, named))

    def _load_appended(self, appended: Iterable[tuple[str, bytes]]) -> None:
        """Dedupe hashes and pending examples; part by part, because together they are as large as the shard itself."""
        shard, q = self.shard, self.shard.pending
        expected = {f"{DEDUPE_PREFIX}{number}" for number, _ in self._dedupe_parts}
        expected |= {f"{PENDING_PREFIX}{part.number}" for part in self._log.parts}
        pending = PendingReplay(q, shard.sealed["pending"], shard.sealed["labels"], shard.users.users)
        for name, data in appended:
            expected.discard(name)
            if name.startswith(DEDUPE_PREFIX):
                remember_all(shard.sealed["dedupe"], np.frombuffer(data, np.uint64))
            else:
                pending.take(data)
        if expected:
            raise StoreIncompatible(f"stored parts are missing: {', '.join(sorted(expected))}. Rebuild the store.")
        pending.finish()
        q.n[SAVED] = q.n[NEXT]
        shard.dedupe.n[1] = shard.dedupe.n[0]


def read_population(data: bytes, population: Population) -> None:
    """Fill the arrays of `population` from how they were saved."""
    at = 0
    for array in population:
        array[:] = np.frombuffer(data, array.dtype, array.size, at).reshape(array.shape)
        at += array.nbytes
