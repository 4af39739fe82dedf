"""Many stored rows at once, as arrays: for questions about everybody that no index answers.

A row is what `UserTable.row_bytes` gave: the user's number, the row, then the buckets of names under `history`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from config.errors import CatalogMoved
from models.features import DAY_S
from models.jit import F64, I64
from models.layout import EPOCH, SCORED_T, Layout, Rows
from streams.core.history import DAY_BUCKETS, DAYS, HOUR_BUCKETS, HOUR_S
from streams.core.users import BUCKETS
from streams.runtime.stored import StoredState

_NUMBER_BYTES = 8


def number_of(stored: bytes) -> int:
    """The number of a user in the shard, from the stored row: whatever catalog that is of."""
    return int.from_bytes(stored[:_NUMBER_BYTES], "little")


def check_sizes(layout: Layout, stored: Sequence[bytes]) -> None:
    """Raises CatalogMoved for rows of another catalog, whose columns would be read as something else."""
    width = _NUMBER_BYTES + layout.row_bytes
    behind = np.array([len(data) for data in stored], np.int64) - width
    if ((behind < 0) | (behind % BUCKETS.itemsize != 0)).any():
        raise CatalogMoved("definitions are changing, and rows of users are of others than those known; ask again")


@dataclass(frozen=True, slots=True)
class StoredRows:
    """`n` users of one shard, in the columns of `models.layout.Columns`."""

    numbers: I64
    """[n] of the users in their shard: each has one of its own."""
    rows: Rows
    """[n, columns of the type]"""
    _owner: I64
    """[buckets] which of the users each of these is of"""
    _buckets: npt.NDArray[np.void]

    @classmethod
    def of(cls, layout: Layout, stored: Sequence[bytes]) -> StoredRows:
        """The arrays of stored rows, at least one. Raises CatalogMoved for those of another catalog."""
        check_sizes(layout, stored)
        width = _NUMBER_BYTES + layout.row_bytes
        heads = b"".join([data[:width] for data in stored])
        raw = np.frombuffer(heads, np.uint8).reshape(len(stored), width)
        tails = np.array([len(data) - width for data in stored], np.int64) // BUCKETS.itemsize
        return cls(
            numbers=raw[:, :_NUMBER_BYTES].copy().view(np.int64)[:, 0],
            rows=layout.views(np.ascontiguousarray(raw[:, _NUMBER_BYTES:])),
            _owner=np.repeat(np.arange(len(stored)), tails),
            _buckets=np.frombuffer(b"".join([data[width:] for data in stored]), BUCKETS),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def count_within(self, name: int, unit: int, buckets: int, time_s: F64) -> I64:
        """Per user: events of history name `name` in the last whole buckets up to the one of `time_s` [n].

        As `streams.core.history.count_within` counts for one user.
        """
        counts: I64 = np.zeros(len(self), np.int64)
        of_name = self._buckets["name"] == name
        owner = self._owner[of_name]
        rings = self._buckets["days" if unit == DAYS else "hours"][of_name].astype(np.int64)
        newest = self._buckets["newest_day" if unit == DAYS else "newest_hour"][of_name][:, None]
        size, bucket_s = (DAY_BUCKETS, DAY_S) if unit == DAYS else (HOUR_BUCKETS, HOUR_S)
        now = (time_s[owner] // bucket_s).astype(np.int64)[:, None]
        # A place in the ring holds the latest bucket of its number that is not newer than the newest.
        bucket = newest - (newest - np.arange(size)) % size
        counts[owner] = (rings * ((bucket > now - buckets) & (bucket <= now))).sum(axis=1)
        return counts


@dataclass(frozen=True, slots=True)
class Said:
    """What predictions say of `n` users, as it was recorded; [n, predictions]."""

    score: F64
    """NaN outside of the audience."""
    likelihood: F64
    """NaN without a score, while a prediction warms up, and until a user's turn after it went live."""
    category: I64
    """255 for none"""
    inside: npt.NDArray[np.bool_]
    """Whether the user is in the audience."""
    waiting: npt.NDArray[np.bool_]
    """Whether the user's turn since the prediction went live is still to come: the score is the heuristic's."""

    @classmethod
    def of(cls, state: StoredState, users: StoredRows) -> Said:
        """From rows of the shard whose state this is."""
        c, rows = state.definitions.layout.columns, users.rows
        p = c.predictions
        z = rows.f[:, c.f_z : c.f_z + p].astype(np.float64)
        score = rows.f[:, c.f_score : c.f_score + p].astype(np.float64)
        inside = rows.b[:, c.b_audience : c.b_audience + p] != 0
        is_live = np.array([epoch is not None for epoch in state.served_epochs])
        epochs = np.array([epoch or 0 for epoch in state.served_epochs], np.int64)
        waiting = inside & is_live & (rows.u[:, EPOCH].astype(np.int64)[:, None] < epochs)
        with np.errstate(over="ignore"):  # for a model that is so sure, or a rank value that is no logit: 0
            likelihood = np.where(inside & is_live & ~waiting, 1.0 / (1.0 + np.exp(-z)), np.nan)
        category = rows.b[:, c.b_category : c.b_category + p].astype(np.int64)
        return cls(score, likelihood, category, inside, waiting)


def decided_at(state: StoredState, users: StoredRows) -> F64:
    """[n] up to when the memberships of users hold: all that time alone changes was noticed at a look until then."""
    return np.fmax(users.rows.t[:, SCORED_T], state.looked_s)
