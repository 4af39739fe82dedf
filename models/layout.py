"""Where each number of a user lies: the row, and the names of the features.

A user is one row of bytes, so that a save is a copy. Four views of different types lie over the same
buffer: `t` float64, `u` uint32, `f` float32, `b` uint8; every section starts at a multiple of 8 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.jit import F32, F64, U8, U32

# Columns of the `t` view (float64).
FIRST_T, LAST_T, SCORED_T, SENT_T, WITHHELD_T, T_HEAD = 0, 1, 2, 3, 4, 5
"""SENT_T, WITHHELD_T: of the latest note of a campaign that a message was sent, or withheld; 0 for none."""
# Columns of the `u` view (uint32).
VERSION, EPOCH, LIFE, U_HEAD = 0, 1, 2, 3
"""LIFE: how many lives of the user a deletion has ended (`streams.core.ledger`)."""
# Fixed columns of the `f` view (float32), behind the counts and values.
SESSIONS, GAP_LAST, INSTANTS, F_HEAD = 0, 1, 2, 3
VALUE_LAST, VALUE_SUM, VALUE_N = 0, 1, 2

NO_CATEGORY = 255
TEXT_BASE = 1e15  # a textual trait is stored as TEXT_BASE + code, out of the range of real numbers


class Rows(NamedTuple):
    """Typed views over the rows of all users; shape [capacity, columns of the type]."""

    t: F64
    u: U32
    f: F32
    b: U8


class Columns(NamedTuple):
    """Offsets into the views, as plain integers that compiled code takes as they are.

    Sizes: names (with the shared bucket), half-lives, predictions, segments, traits, features, kept reasons.
    """

    names: int
    halves: int
    predictions: int
    segments: int
    traits: int
    features: int
    reasons: int
    t_entered: int  # t: entered_at per segment
    t_wanted: int  # t: since when a held-back change is wanted, per segment with min_dwell
    t_trait: int  # t: one number per trait
    u_sequence: int  # u: sequence per segment
    u_latest: int  # u: latest whole second per name, 0 never
    u_reason: int  # u: code of a feature per kept reason, 0 for none
    f_count: int  # f: names x halves decayed counts
    f_total: int  # f: names totals
    f_value: int  # f: halves decayed sums
    f_money: int  # f: VALUE_LAST, VALUE_SUM, VALUE_N
    f_z: int  # f: rank value per prediction
    f_score: int  # f: score per prediction
    f_reason: int  # f: contribution per kept reason
    b_category: int  # b: category per prediction
    b_audience: int  # b: 1 inside the audience
    b_cause: int  # b: cause of the last entry per segment
    has_value: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The row of one catalog: offsets, bytes per row and the four sections."""

    columns: Columns
    t_width: int
    u_width: int
    f_width: int
    b_width: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return 8 * self.t_width + _pad(4 * self.u_width) + _pad(4 * self.f_width) + _pad(self.b_width)

    def allocate(self, capacity: int) -> tuple[U8, Rows]:
        """A zeroed buffer of `capacity` rows and the views over it."""
        buffer = np.zeros((capacity, self.row_bytes), dtype=np.uint8)
        return buffer, self.views(buffer)

    def views(self, buffer: U8) -> Rows:
        """Views over `buffer`, shape [rows, row_bytes]."""
        u_start = 8 * self.t_width
        f_start = u_start + _pad(4 * self.u_width)
        b_start = f_start + _pad(4 * self.f_width)
        return Rows(
            t=buffer[:, :u_start].view(np.float64),
            u=buffer[:, u_start : u_start + 4 * self.u_width].view(np.uint32),
            f=buffer[:, f_start : f_start + 4 * self.f_width].view(np.float32),
            b=buffer[:, b_start : b_start + self.b_width],
        )


def _pad(size: int) -> int:
    return (size + 7) // 8 * 8


def build_layout(
    names: int,
    halves: int,
    predictions: int,
    segments: int,
    dwelling: int,
    traits: int,
    features: int,
    has_value: bool,
    reasons: int = 0,
) -> Layout:
    """Lay out a row for the given sizes; `dwelling` is the number of segments with a `min_dwell`, `reasons` how many a
    row keeps (`streams.core.frozen`).
    """
    t_entered = T_HEAD
    t_wanted = t_entered + segments
    t_trait = t_wanted + dwelling
    u_sequence = U_HEAD
    u_latest = u_sequence + segments
    f_count = F_HEAD
    f_total = f_count + names * halves
    f_value = f_total + names
    f_money = f_value + (halves if has_value else 0)
    f_z = f_money + (3 if has_value else 0)
    f_score = f_z + predictions
    columns = Columns(
        names=names,
        halves=halves,
        predictions=predictions,
        segments=segments,
        traits=traits,
        features=features,
        reasons=reasons,
        t_entered=t_entered,
        t_wanted=t_wanted,
        t_trait=t_trait,
        u_sequence=u_sequence,
        u_latest=u_latest,
        u_reason=u_latest + names,
        f_count=f_count,
        f_total=f_total,
        f_value=f_value,
        f_money=f_money,
        f_z=f_z,
        f_score=f_score,
        f_reason=f_score + predictions,
        b_category=0,
        b_audience=predictions,
        b_cause=2 * predictions,
        has_value=int(has_value),
    )
    return Layout(
        columns,
        t_width=t_trait + traits,
        u_width=u_latest + names + reasons,
        f_width=f_score + predictions + reasons,
        b_width=2 * predictions + segments,
    )


def feature_names(
    names: list[str], half_lives_days: list[float], has_value: bool, traits: list[tuple[str, str | None]]
) -> list[str]:
    """Readable, stable names of the features, in column order (docs/core.md, Features).

    `traits` holds (trait, value) for a 0/1 feature and (trait, None) for a number.
    """
    days = [f"{h:g}d" for h in half_lives_days]
    result: list[str] = []
    for name in names:
        result += [f"count:{name}:{d}" for d in days]
        result += [f"total:{name}", f"since:{name}"]
    if has_value:
        result += [f"value:{d}" for d in days] + ["value:last", "value:mean"]
    result += ["sessions", "age", "gap:mean", "gap:last", "recency", "recency/gap"]
    result += [trait if value is None else f"{trait}={value}" for trait, value in _prefixed(traits)]
    return result


def _prefixed(traits: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    return [(f"trait:{trait}", value) for trait, value in traits]
