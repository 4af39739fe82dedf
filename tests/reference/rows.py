"""A user's row: every counter in a dictionary, changed by one event at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from streams.core.events import Event, Scalar

DAY_S = 86_400.0


def f32(value: float) -> float:
    """The value after being kept as a 32-bit float."""
    return float(np.float32(value))


def faded(elapsed_s: float, half_life_days: float) -> float:
    """What is left of 1 after so many seconds."""
    return float(2.0 ** (-(elapsed_s / DAY_S) / half_life_days))


@dataclass(slots=True)
class Row:
    """Everything known about a user. `index` is the order of the first events; `log` holds all accepted events."""

    user: str
    index: int
    half_lives: tuple[float, ...]
    first_t: float = math.nan
    last_t: float = math.nan
    counts: dict[str, list[float]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    value_decayed: list[float] = field(default_factory=list)
    value_last: float = 0.0
    value_sum: float = 0.0
    value_n: float = 0.0
    sessions: float = 0.0
    later_instants: int = 0
    gap_last_s: float = 0.0
    traits: dict[str, Scalar] = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)

    def mean_gap_s(self) -> float:
        """Mean time between distinct instants; 0 before there are two."""
        return (self.last_t - self.first_t) / self.later_instants if self.later_instants else 0.0

    def total(self) -> float:
        """All events of the user, whatever their name."""
        return sum(self.totals.values())


def update(row: Row, event: Event, column: str | None, session_gap_s: float, kept_traits: frozenset[str]) -> None:
    """Take one event (its time already right). `column` is the tracked name it counts for, None for an identify."""
    t = event.time_s
    if math.isnan(row.last_t):
        row.first_t = row.last_t = t
        row.value_decayed = [0.0] * len(row.half_lives)
    if column is not None:
        _count_session_and_gap(row, t, session_gap_s)
    was_last_t = row.last_t
    if t > row.last_t:
        _fade_to(row, t)
    if column is not None:
        _count(row, column, t)
        _add_value(row, event.value, t, late=t < was_last_t)
    for name, value in (event.traits or {}).items():
        if name in kept_traits:
            row.traits[name] = value
    row.log.append(event)


def _count_session_and_gap(row: Row, t: float, session_gap_s: float) -> None:
    if row.sessions == 0.0 or t - row.last_t > session_gap_s:
        row.sessions = f32(row.sessions + 1.0)
    if t > row.last_t:
        row.gap_last_s = t - row.last_t
        row.later_instants += 1


def _fade_to(row: Row, t: float) -> None:
    elapsed_s = t - row.last_t
    for counts in [*row.counts.values(), row.value_decayed]:
        for i, half_life in enumerate(row.half_lives):
            counts[i] = f32(counts[i] * faded(elapsed_s, half_life))
    row.last_t = t


def _count(row: Row, column: str, t: float) -> None:
    counts = row.counts.setdefault(column, [0.0] * len(row.half_lives))
    for i, half_life in enumerate(row.half_lives):
        counts[i] = f32(counts[i] + faded(row.last_t - t, half_life))
    row.totals[column] = f32(row.totals.get(column, 0.0) + 1.0)
    row.latest[column] = max(row.latest.get(column, -math.inf), math.floor(t))


def _add_value(row: Row, value: float, t: float, late: bool) -> None:
    if math.isnan(value):
        return
    for i, half_life in enumerate(row.half_lives):
        row.value_decayed[i] = f32(row.value_decayed[i] + value * faded(row.last_t - t, half_life))
    row.value_sum = f32(row.value_sum + value)
    row.value_n = f32(row.value_n + 1.0)
    if not late or row.value_n == 1.0:
        row.value_last = f32(value)
