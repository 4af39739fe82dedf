"""Reading transitions back, from a file of them or one by one: counts over time, and the latest for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from config.errors import InputError
from models.quality import MONDAY_S, WEEK_S
from models.reasons import describe

CAUSES: Final = ("goal", "event", "silence", "model", "audience", "other")
"""Why somebody entered or left: by a goal of the prediction, by another event, by silence, by a new model or by going
live, by leaving the audience, by anything else (a definition changed, deleted)."""

SMALLEST_SHOWN: Final = 0.05
"""A contribution below this is shown as 0.0, so it is not shown."""

_BLOCK_BYTES = 1 << 20


ORIGINS: Final = ("live", "decay", "model", "audience", "definition_change", "backfill", "deleted")
"""What a transition says of where it came from (docs/glossary.md)."""


class Reason(msgspec.Struct, frozen=True):
    """One feature's part in a score."""

    feature: str
    contribution: float
    level: str = "high"

    @property
    def words(self) -> str:
        """For people: `Order Completed in about the last 7 days: many (+0.8)`."""
        return f"{describe(self.feature, high=self.level == 'high')} ({self.contribution:+.1f})"


class Data(msgspec.Struct, frozen=True):
    """The `data` of a transition, as far as people look at it (docs/events.md)."""

    user_id: str
    segment_id: str
    segment_name: str
    in_segment: bool
    prediction_id: str | None
    score: float | None
    previous_score: float | None
    likelihood: float | None
    category: str | None
    origin: str
    caused_by_goal: bool
    entry_count: int
    reasons: tuple[Reason, ...]

    def main_reasons(self, limit: int) -> tuple[Reason, ...]:
        """The strongest ones, without those that round to nothing."""
        return tuple(reason for reason in self.reasons[:limit] if abs(reason.contribution) >= SMALLEST_SHOWN)


class Transition(msgspec.Struct, frozen=True):
    """One transition."""

    id: str
    time: datetime
    data: Data

    @property
    def cause(self) -> str:
        """One of CAUSES."""
        return cause_of(self.data.origin, self.data.caused_by_goal)


def cause_of(origin: str, caused_by_goal: bool) -> str:
    """One of CAUSES."""
    if origin == "live":
        return "goal" if caused_by_goal else "event"
    return {"decay": "silence", "model": "model", "backfill": "model", "audience": "audience"}.get(origin, "other")


class _Short(msgspec.Struct, gc=False):
    """What counting needs."""

    segment_id: str
    in_segment: bool
    origin: str
    caused_by_goal: bool


class _Line(msgspec.Struct, gc=False):
    time: str
    data: _Short


@dataclass(frozen=True, slots=True)
class History:
    """All transitions of a file, counted. Weeks begin on Monday, 0:00 UTC, and are given by that time."""

    total: int
    entered: dict[str, dict[float, dict[str, int]]]
    """segment -> start of the week -> cause -> entries"""
    exited: dict[str, dict[float, int]]
    """segment -> start of the week -> exits"""

    @property
    def weeks(self) -> tuple[float, ...]:
        """Every week from the first to the last one with a transition, empty ones too."""
        starts = [start for of in (self.entered, self.exited) for weeks in of.values() for start in weeks]
        if not starts:
            return ()
        first, last = min(starts), max(starts)
        return tuple(first + n * WEEK_S for n in range(round((last - first) / WEEK_S) + 1))


def count_lines(path: Path) -> int:
    """Whole lines of a file; 0 if there is none."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
    except FileNotFoundError:
        return 0


def read_history(path: Path) -> History:
    """Count the transitions of a file. Raises InputError for a line that is no transition."""
    entered: dict[str, dict[float, dict[str, int]]] = {}
    exited: dict[str, dict[float, int]] = {}
    starts: dict[str, float] = {}
    decoder = msgspec.json.Decoder(_Line)
    total = 0
    with path.open("rb") as file:
        for line in file:
            try:
                found = decoder.decode(line)
                week = _week_of(found.time, starts)
            except (msgspec.DecodeError, ValueError) as error:
                raise InputError(str(path), f"is no file of transitions: {error}", total) from error
            total += 1
            data = found.data
            if data.in_segment:
                causes = entered.setdefault(data.segment_id, {}).setdefault(week, dict.fromkeys(CAUSES, 0))
                causes[cause_of(data.origin, data.caused_by_goal)] += 1
            else:
                weeks = exited.setdefault(data.segment_id, {})
                weeks[week] = weeks.get(week, 0) + 1
    return History(total, entered, exited)


def _week_of(text: str, starts: dict[str, float]) -> float:
    """Start of the week of a time as text; `starts` remembers it per day, which a run has far fewer of."""
    day = text[:10]
    start = starts.get(day)
    if start is None:
        time_s = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
        start = starts[day] = MONDAY_S + (time_s - MONDAY_S) // WEEK_S * WEEK_S
    return start


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which transitions are looked for; what is None or empty does not matter."""

    origins: frozenset[str] = frozenset()
    """Some of ORIGINS."""
    segment: str | None = None
    user: str | None = None

    def has(self, found: Transition) -> bool:
        data = found.data
        return (
            (not self.origins or data.origin in self.origins)
            and self.segment in (None, data.segment_id)
            and self.user in (None, data.user_id)
        )


_EVERY = Wanted()


def latest_transitions(path: Path, limit: int, wanted: Wanted = _EVERY) -> tuple[Transition, ...]:
    """The last `limit` transitions of a file that are wanted, newest first; none if there is no file.

    Reads from the end and no further than it takes. Raises InputError for a line that is no transition.
    """
    return tuple(transition for _, transition in islice(_latest(path, wanted), limit))


def latest_lines(path: Path, limit: int, wanted: Wanted = _EVERY) -> Iterator[str]:
    """The same as they stand in the file."""
    return (line.decode() for line, _ in islice(_latest(path, wanted), limit))


def _latest(path: Path, wanted: Wanted) -> Iterator[tuple[bytes, Transition]]:
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Transition)
    for line in _lines_from_end(path):
        try:
            transition = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise InputError(str(path), f"is no file of transitions: {error}") from error
        if wanted.has(transition):
            yield line, transition


def _lines_from_end(path: Path) -> Iterator[bytes]:
    """Whole lines of a file, the last one first; what follows the last line end is still being written."""
    with path.open("rb") as file:
        at = file.seek(0, 2)
        rest = b""
        whole = False
        while at:
            size = min(_BLOCK_BYTES, at)
            at = file.seek(at - size)
            first, *lines = (file.read(size) + rest).split(b"\n")
            if lines and not whole:
                lines.pop()
                whole = True
            yield from reversed(lines)
            rest = first
        if rest and whole:
            yield rest


def varied(transitions: Sequence[Transition], limit: int) -> tuple[Transition, ...]:
    """At most `limit` of them, and at most two alike (same segment and direction), in the same order.

    Who goes from one category into another leaves the first one; only the entry is shown then.
    """
    entered = {(t.data.user_id, t.time, t.data.prediction_id) for t in transitions if t.data.in_segment}
    alike: dict[tuple[str, bool], int] = {}
    chosen: list[Transition] = []
    for found in transitions:
        data = found.data
        if not data.in_segment and "." in data.segment_id and (data.user_id, found.time, data.prediction_id) in entered:
            continue
        key = (found.data.segment_id, found.data.in_segment)
        alike[key] = alike.get(key, 0) + 1
        if alike[key] <= 2:
            chosen.append(found)
        if len(chosen) == limit:
            break
    return tuple(chosen)
