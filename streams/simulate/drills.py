"""What goes wrong between a shop and its stream: records that come twice, late, or broken. For failure drills.

Broken records are copies: the event itself is sent as well, so that every event can be accounted for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from streams.simulate.draws import F64, I64, U64, uniform
from streams.simulate.records import Record
from streams.simulate.traffic import I8, Rows

WHOLE: Final = 0
CUT_OFF, NO_USER, YEAR_3000, A_PAGE, NOT_UTF8, A_LIST = range(1, 7)
FLAWS: Final = 6

_FIRST_DRAW: Final = 1 << 48
"""Far behind the draws of jumps."""
_DRAWS: Final = 8
_LATE, _DELAY, _TWICE, _AGAIN, _BAD, _FLAW = range(6)
_LATE_MEAN_MS: Final = 3 * 3_600_000.0
_LATE_LEAST_MS: Final = 60_000.0
_LATE_MOST_MS: Final = 48 * 3_600_000.0
_AGAIN_MEAN_MS: Final = 600_000.0
_AGAIN_MOST_MS: Final = 48 * 3_600_000.0


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of a hundred events are repeated, late, or have a broken copy, each from 0 to 1."""

    duplicates: float = 0.0
    late: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        if not all(0.0 <= share <= 1.0 for share in (self.duplicates, self.late, self.bad)):
            raise ValueError(f"shares are from 0 to 1, not {self}")


@dataclass(frozen=True, slots=True)
class Sendings:
    """`n` records to be sent, in the order in which they are due."""

    rows: Rows
    sent_ms: I64
    """[n] when the record says that it was sent; a repetition says what the first one said."""
    due_ms: I64
    """[n] when it is sent."""
    flaw: I8
    """[n] WHOLE, or how the record is broken."""
    repeated: npt.NDArray[np.bool_]
    """[n] whether it is a repetition."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: I64 | npt.NDArray[np.bool_]) -> Self:
        """Some of them."""
        return type(self)(
            self.rows.take(chosen),
            self.sent_ms[chosen],
            self.due_ms[chosen],
            self.flaw[chosen],
            self.repeated[chosen],
        )

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Several together, in the order in which they are due."""
        both = cls(
            Rows.joined([part.rows for part in parts]),
            np.concatenate([part.sent_ms for part in parts]),
            np.concatenate([part.due_ms for part in parts]),
            np.concatenate([part.flaw for part in parts]),
            np.concatenate([part.repeated for part in parts]),
        )
        rows = both.rows
        return both.take(np.lexsort((both.flaw, both.repeated, rows.number, rows.user, both.due_ms)))


class Drill:
    """Events in, records to be sent out; what is due later is kept until then (a share of two days at most)."""

    def __init__(self, shares: Shares, keys: U64) -> None:
        self._shares = shares
        self._keys = keys
        self._kept: list[Sendings] = []

    def until(self, rows: Rows, end_ms: int | None) -> Sendings:
        """Add these events; everything that is due before `end_ms` (None: all that is left)."""
        found = Sendings.joined([*self._kept, *self._sendings(rows)])
        if end_ms is None:
            self._kept = []
            return found
        due = int(np.searchsorted(found.due_ms, end_ms, side="left"))
        order = np.arange(len(found))
        self._kept = [found.take(order[due:])] if due < len(found) else []
        return found.take(order[:due])

    def _sendings(self, rows: Rows) -> list[Sendings]:
        shares = self._shares
        late = self._draw(rows, _LATE) < shares.late
        delay_ms = np.minimum(_LATE_LEAST_MS - np.log(self._draw(rows, _DELAY)) * _LATE_MEAN_MS, _LATE_MOST_MS)
        sent_ms = rows.ms + np.where(late, delay_ms, 0.0).astype(np.int64)
        whole = np.zeros(len(rows), np.int8)
        once = np.zeros(len(rows), np.bool_)
        found = [Sendings(rows, sent_ms, sent_ms, whole, once)]
        twice = np.flatnonzero(self._draw(rows, _TWICE) < shares.duplicates)
        if len(twice):
            copy = rows.take(twice)
            again_ms = np.minimum(-np.log(self._draw(copy, _AGAIN)) * _AGAIN_MEAN_MS, _AGAIN_MOST_MS)
            due_ms = sent_ms[twice] + again_ms.astype(np.int64)
            found.append(Sendings(copy, sent_ms[twice], due_ms, whole[twice], ~once[twice]))
        bad = np.flatnonzero(self._draw(rows, _BAD) < shares.bad)
        if len(bad):
            copy = rows.take(bad)
            flaw = (1 + np.floor(FLAWS * self._draw(copy, _FLAW))).astype(np.int8)
            found.append(Sendings(copy, sent_ms[bad], sent_ms[bad], flaw, once[bad]))
        return found

    def _draw(self, rows: Rows, what: int) -> F64:
        return uniform(self._keys[rows.user], _FIRST_DRAW + rows.number.astype(np.int64) * _DRAWS + what)


def broken(record: Record, flaw: int) -> Record:
    """The same record with a flaw, each of which is another reason in docs/input.md."""
    who, raw = record
    if flaw == CUT_OFF:
        return who, raw[: len(raw) * 2 // 3]
    if flaw == NO_USER:
        return who, raw.replace(f'"userId":"{who}",'.encode(), b"", 1)
    if flaw == YEAR_3000:
        at = raw.index(b'"timestamp":"') + len(b'"timestamp":"')
        return who, raw[:at] + b"3000" + raw[at + 4 :]
    if flaw == A_PAGE:
        return who, raw.replace(b'"type":"track"', b'"type":"page"', 1).replace(
            b'"type":"identify"', b'"type":"page"', 1
        )
    if flaw == NOT_UTF8:
        return who, raw.replace(b'"userId":"', b'"userId":"\xff', 1)
    if flaw == A_LIST:
        return who, b"[" + raw + b"]"
    raise ValueError(f"there is no flaw {flaw}")
