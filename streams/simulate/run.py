"""The whole of it: users, what goes wrong on the way, records, and the truth, slice by slice in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.simulate.drills import WHOLE, Drill, Sendings, Shares, broken
from streams.simulate.pacing import Pace
from streams.simulate.records import Clock, Record, Writer
from streams.simulate.shop import MARKS, ORDERED, build_shop
from streams.simulate.sinks import Sink
from streams.simulate.traffic import Rows, Traffic
from streams.simulate.truth import COLUMNS, Truth, WeeklyLooks, csv_lines

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate. The same plan gives the same bytes."""

    users: int
    days: float
    start_ms: int
    """Milliseconds since 1970 UTC."""
    seed: int = 1
    shares: Shares = field(default_factory=Shares)
    arrive_days: float | None = None
    """Users sign up evenly over so many days; None: over a third of the days, 30 at most."""
    window_days: float = 7.0
    """Of the goal whose likelihood is told."""
    slice_events: int = 40_000
    """About so many events are drawn at once, and in memory; more in a rush. It changes no event."""
    slice_ms: int | None = None
    """Or so much time."""

    @property
    def arrive_s(self) -> float:
        """Seconds over which users sign up."""
        days = min(30.0, self.days / 3.0) if self.arrive_days is None else self.arrive_days
        return days * DAY_MS / 1_000.0

    @property
    def end_ms(self) -> int:
        """When it ends, in milliseconds since the start."""
        return round(self.days * DAY_MS)


@dataclass(slots=True)
class Counts:
    """What has been sent so far."""

    records: int = 0
    bytes: int = 0
    users: int = 0
    """Users who have signed up."""
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MARKS, 0))
    duplicates: int = 0
    late: int = 0
    bad: int = 0
    moments: int = 0
    """Lines of the truth."""


def run_simulation(
    plan: Plan,
    sink: Sink,
    pace: Pace,
    *,
    tell_truth: Callable[[str], object] | None = None,
    progress: Callable[[Counts, int], None] | None = None,
) -> Counts:
    """Draw, write and send everything; the sink is not closed.

    `tell_truth` takes pieces of the CSV with the likelihoods. `progress` is called after each slice with what has been
    sent and the milliseconds of the traffic that are done.
    """
    shop = build_shop()
    traffic = Traffic(shop, plan.users, seed=plan.seed, arrive_s=plan.arrive_s)
    writer = Writer(traffic, seed=plan.seed, start_ms=plan.start_ms)
    drill = Drill(plan.shares, traffic.keys)
    teller = None if tell_truth is None else _Teller(plan, traffic, tell_truth)
    counts = Counts()
    slice_ms = plan.slice_ms or _slice_ms(plan, shop.events_per_user_s)
    for start in range(0, plan.end_ms, slice_ms):
        end_ms = min(start + slice_ms, plan.end_ms)
        rows = traffic.until(end_ms)
        if teller is not None:
            counts.moments += teller.follow(rows, end_ms)
        due = drill.until(rows.take(rows.visible), None if end_ms == plan.end_ms else end_ms)
        records = _records(writer, due)
        pace.send(sink, records, np.minimum(due.due_ms, plan.end_ms))  # nobody waits for what is late at the end
        _count(counts, due, records)
        if progress is not None:
            progress(counts, end_ms)
    return counts


def _slice_ms(plan: Plan, events_per_user_s: float) -> int:
    """Time in which about `slice_events` events happen, if users do twice as much at first as in the long run."""
    return max(1_000, round(1_000.0 * plan.slice_events / (2.0 * events_per_user_s * plan.users)))


def _records(writer: Writer, due: Sendings) -> list[Record]:
    records = writer.records(due.rows, due.sent_ms)
    for row in np.flatnonzero(due.flaw != WHOLE).tolist():
        records[row] = broken(records[row], int(due.flaw[row]))
    return records


def _count(counts: Counts, due: Sendings, records: list[Record]) -> None:
    bad = due.flaw != WHOLE
    first = ~bad & ~due.repeated
    counts.records += len(records)
    counts.bytes += sum(len(raw) for _, raw in records) + len(records)
    for mark, number in enumerate(np.bincount(due.rows.mark[first], minlength=len(MARKS)).tolist()):
        counts.events[MARKS[mark]] += number
    counts.users = counts.events[MARKS[0]]
    counts.duplicates += int(due.repeated.sum())
    counts.late += int((first & (due.sent_ms > due.rows.ms)).sum())
    counts.bad += int(bad.sum())


class _Teller:
    """Writes the truth as CSV."""

    def __init__(self, plan: Plan, traffic: Traffic, tell: Callable[[str], object]) -> None:
        self._truth = Truth(traffic, ORDERED, plan.window_days * DAY_MS / 1_000.0)
        self._looks = WeeklyLooks(traffic)
        self._clock = Clock(plan.start_ms)
        self._tell = tell
        tell(",".join(COLUMNS) + "\n")

    def follow(self, rows: Rows, end_ms: int) -> int:
        """Write the moments of a slice; how many there were."""
        moments = self._truth.follow(rows, *self._looks.until(end_ms))
        self._tell("".join(csv_lines(moments, self._clock)))
        return len(moments)
