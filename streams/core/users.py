"""The users of a shard: ids, rows, and the arrays that grow with them.

A row is given to a user when an event of theirs is decoded, and stays theirs once an event is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from models.jit import I32, U64
from models.layout import FIRST_T, LIFE, Layout
from streams.core.free_numbers import unused
from streams.core.history import DAY_BUCKETS, HOUR_BUCKETS, NO_BUCKET, History
from streams.core.ledger import Ledger, cluster_id
from streams.core.queue import allocate_queue
from streams.core.state import Users

_USER_SEED = 0x7573_6572  # user ids are hashed with a salt of their own
_FIRST_ROWS = 1024
BUCKETS = np.dtype(  # the buckets of one name, as stored behind the row
    [
        ("name", np.int64),
        ("newest_hour", np.int64),
        ("newest_day", np.int64),
        ("hours", np.uint16, HOUR_BUCKETS),
        ("days", np.uint16, DAY_BUCKETS),
    ]
)


def user_key(user: str) -> int:
    """The 64-bit hash of a user id from which phases and sampling follow; it is told to nobody."""
    return xxh3_64_intdigest(user.encode("utf-8", "surrogatepass"), seed=_USER_SEED)


class UserTable:
    """Rows by user id. Arrays double as users come; views are renewed, so callers fetch them anew after `grown`."""

    def __init__(self, layout: Layout, history_names: int, ledger: Ledger) -> None:
        self._layout = layout
        self.ledger = ledger
        self._row_of: dict[str, int] = {}
        self.ids: list[str] = []
        self.buffer, self.rows = layout.allocate(_FIRST_ROWS)
        self.users = _allocate_users(_FIRST_ROWS)
        self.clusters: U64 = np.zeros(_FIRST_ROWS, np.uint64)  # 0 for what was not asked for yet
        self.queue = allocate_queue(_FIRST_ROWS, self.users.order)
        self.history = _allocate_history(_FIRST_ROWS, history_names, 1)
        self.slots = 0
        self._free_slots: list[int] = []
        self._new: list[int] = []  # rows that may belong to nobody when a batch is done
        self._free: list[int] = []
        self._known_to_ledger: set[int] = set()  # rows
        self.grown = False

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, user: str) -> int:
        """The row of a user, a new one if need be: it stays theirs only if an event of theirs is accepted."""
        row = self._row_of.get(user)
        if row is None:
            row = self._free.pop() if self._free else len(self.ids)
            self.place(user, row)
            self._new.append(row)
        return row

    def release_unused(self) -> None:
        """Take back rows given since the last call to users of whom no event was accepted, and those of deleted users.

        A row of which something is to be saved stays until the next call.
        """
        unsaved: list[int] = []
        for row in self._new:
            if self.rows.t[row, FIRST_T] != 0.0 or not self.ids[row]:
                continue
            if self.users.dirty[row] & np.uint64(1):
                unsaved.append(row)
                continue
            del self._row_of[self.ids[row]]
            self.ids[row] = ""
            self._known_to_ledger.discard(row)
            self.clusters[row] = 0
            self.buffer[row] = 0
            slots = self.history.slot[row]
            self._free_slots += slots[slots >= 0].tolist()
            slots[:] = -1
            self._free.append(row)
        self._new = unsaved

    def note_deleted(self, row: int) -> None:
        """The user of this row was deleted, as the ledger knows: it is taken back once that is saved."""
        self._new.append(row)
        self._known_to_ledger.add(row)

    def reserve(self, rows: int) -> None:
        """Have room for so many rows, and give those that belong to nobody to the next new users."""
        while len(self.buffer) < rows:
            self._grow()
        self._free = [row for row, user in enumerate(self.ids) if not user][::-1]

    def give_free_numbers(self, end: int) -> int:
        """Note which of the orders below `end`, all that were ever given, nobody has; how many."""
        rows = np.flatnonzero(self.rows.t[: len(self.ids), FIRST_T] != 0.0)
        free = unused(self.users.order[rows], end)
        self.users.free[: len(free)] = free
        return len(free)

    def find(self, user: str) -> int | None:
        """The row of a known user."""
        return self._row_of.get(user)

    def place(self, user: str, row: int) -> None:
        """Give `user` the row `row`; rows left out on the way belong to nobody."""
        while row >= len(self.buffer):
            self._grow()
        while len(self.ids) <= row:
            self.ids.append("")
        self.ids[row] = user
        self._row_of[user] = row
        self.users.key[row] = user_key(user)
        self._look_up(row)

    def _look_up(self, row: int) -> None:
        """What the ledger knows of the row's user. Who is there goes on with the life that it is."""
        deleted = self.ledger.find(self.ids[row])
        self.users.deleted_at[row] = -np.inf if deleted is None else deleted.at_s
        self.users.deleted_until[row] = -np.inf if deleted is None else deleted.until_s
        if self.rows.t[row, FIRST_T] == 0.0:
            self.rows.u[row, LIFE] = self.ledger.lives_before(deleted)
        if deleted is not None:
            self._known_to_ledger.add(row)
        else:
            self._known_to_ledger.discard(row)

    def look_up_deleted(self) -> None:
        """To be called when the ledger has forgotten somebody: rows that were given before are as those given now."""
        for row in self._known_to_ledger | set(self._new):
            if self.ids[row]:
                self._look_up(row)

    def name_clusters(self, rows: I32) -> None:
        """Have `clusters` of these rows; a negative one is nobody's."""
        unnamed = rows[rows >= 0]
        unnamed = unnamed[self.clusters[unnamed] == 0]
        for row in np.unique(unnamed).tolist():
            self.clusters[row] = cluster_id(self.ledger.key, self.ids[row])

    def _grow(self) -> None:
        old = len(self.buffer)
        self.clusters = np.concatenate([self.clusters, np.zeros(old, np.uint64)])
        buffer, self.rows = self._layout.allocate(2 * old)
        buffer[:old] = self.buffer
        self.buffer = buffer
        users = _allocate_users(2 * old)
        queue = allocate_queue(2 * old, users.order)
        _copy_into(users, self.users, old)
        _copy_into(queue, self.queue, old)
        queue.size[0] = self.queue.size[0]
        self.users, self.queue = users, queue
        slot = np.full((2 * old, self.history.slot.shape[1]), -1, np.int32)
        slot[:old] = self.history.slot
        self.history = self.history._replace(slot=slot)
        self.grown = True

    def need_slot(self, row: int, name: int) -> int:
        """The place of a user's buckets for a name under `history`, made at first use."""
        slot = int(self.history.slot[row, name])
        if slot >= 0:
            return slot
        if self._free_slots:
            slot = self._free_slots.pop()  # nothing is in it: it was cleared, or never used
        else:
            slot = self.slots
            if slot >= len(self.history.hours):
                self._grow_history()
            self.slots += 1
        self.history.slot[row, name] = slot
        return slot

    def use_slots(self, slots: int) -> None:
        """`slots` places of `history` are somebody's, or were: those that are not are free, with nothing in them."""
        h = self.history
        free = unused(h.slot[h.slot >= 0], slots)
        h.newest_hour[free] = h.newest_day[free] = NO_BUCKET
        h.hours[free] = h.days[free] = 0
        self.slots, self._free_slots = slots, free.tolist()

    def _grow_history(self) -> None:
        old = self.history
        size = len(old.hours)
        new = _allocate_history(1, 0, 2 * size)
        _copy_into(new[1:], old[1:], size)
        self.history = new._replace(slot=old.slot)
        self.grown = True

    def row_bytes(self, rows: list[int]) -> list[bytes]:
        """The stored form of rows: the user's order, the row, then the buckets that the user has."""
        raw = np.ascontiguousarray(self.buffer[rows]).tobytes()
        width = self._layout.row_bytes
        heads = [order.to_bytes(8, "little") for order in self.users.order[rows].tolist()]
        stored = [heads[n] + raw[n * width : (n + 1) * width] for n in range(len(rows))]
        if self.history.slot.shape[1] == 0:
            return stored
        return [data + buckets for data, buckets in zip(stored, self._history_bytes(rows), strict=True)]

    def _history_bytes(self, rows: list[int]) -> list[bytes]:
        """Per row: the buckets of each name that it has any of."""
        h = self.history
        slot = h.slot[rows]
        used = (slot >= 0) & (h.newest_hour[slot] != NO_BUCKET)  # one that only a duplicate asked for stays empty
        slots = slot[used]
        packed = np.empty(len(slots), BUCKETS)
        packed["name"] = np.nonzero(used)[1]
        packed["newest_hour"], packed["newest_day"] = h.newest_hour[slots], h.newest_day[slots]
        packed["hours"], packed["days"] = h.hours[slots], h.days[slots]
        data, width = packed.tobytes(), BUCKETS.itemsize
        ends = [0, *(width * np.cumsum(used.sum(axis=1))).tolist()]
        return [data[start:end] for start, end in pairwise(ends)]

    def load_row(self, user: str, stored: bytes) -> int:
        """Put back what `row_bytes` gave."""
        row = int.from_bytes(stored[:8], "little")
        self.place(user, row)
        self.users.order[row] = row
        width = self._layout.row_bytes
        self.buffer[row] = np.frombuffer(stored, np.uint8, width, 8)
        at = 8 + width
        while at < len(stored):
            buckets = np.frombuffer(stored, BUCKETS, 1, at)[0]
            slot = self.need_slot(row, int(buckets["name"]))
            h = self.history
            h.newest_hour[slot], h.newest_day[slot] = buckets["newest_hour"], buckets["newest_day"]
            h.hours[slot], h.days[slot] = buckets["hours"], buckets["days"]
            at += BUCKETS.itemsize
        return row


def _copy_into(target: Sequence[Any], source: Sequence[Any], size: int) -> None:
    """Copy arrays of `size` rows into longer ones; arrays of another length are left alone."""
    for longer, array in zip(target, source, strict=True):
        if len(array) == size:
            longer[:size] = array


def _allocate_users(capacity: int) -> Users:
    return Users(
        key=np.zeros(capacity, np.uint64),
        order=np.zeros(capacity, np.int64),
        head=np.full(capacity, -1, np.int64),
        dirty=np.zeros(capacity, np.uint64),
        touched=np.zeros(capacity, np.int32),
        deleted_at=np.full(capacity, -np.inf),
        deleted_until=np.full(capacity, -np.inf),
        free=np.zeros(capacity, np.int64),
    )


def _allocate_history(capacity: int, names: int, slots: int) -> History:
    return History(
        slot=np.full((capacity, names), -1, np.int32),
        hours=np.zeros((slots, HOUR_BUCKETS), np.uint16),
        days=np.zeros((slots, DAY_BUCKETS), np.uint16),
        newest_hour=np.full(slots, NO_BUCKET, np.int64),
        newest_day=np.full(slots, NO_BUCKET, np.int64),
    )
