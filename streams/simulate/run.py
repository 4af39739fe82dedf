"""The whole of it: users, what goes wrong on the way, records, and the truth, slice by slice in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.simulate.drills import WHOLE, Drill, Sendings, Shares, broken
from streams.simulate.pacing import Pace
from streams.simulate.records import Clock, Record, Writer, user_id
from streams.simulate.shop import MARKS, ORDERED, build_shop
from streams.simulate.sinks import Sink
from streams.simulate.traffic import Rows, Traffic
from streams.simulate.truth import COLUMNS, Truth, WeeklyLooks, csv_lines

DAY_MS: Final = 86_400_000
_FIRST_SLICE_MS: Final = 1_000
_LEAST_SLICE_MS: Final = 20


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
    """About so many events are drawn at once, and in memory. It changes no event."""
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
    named: Callable[[int], str] = user_id,
) -> Counts:
    """Draw, write and send everything; the sink is not closed.

    `tell_truth` takes pieces of the CSV with the likelihoods. `progress` is called after each slice with what has been
    sent and the milliseconds of the traffic that are done. `named`: as in `Writer`; the truth has the usual ids.
    """
    traffic = Traffic(build_shop(), plan.users, seed=plan.seed, arrive_s=plan.arrive_s)
    writer = Writer(traffic, seed=plan.seed, start_ms=plan.start_ms, named=named)
    drill = Drill(plan.shares, traffic.keys)
    teller = None if tell_truth is None else _Teller(plan, traffic, tell_truth)
    counts = Counts()
    done_ms, slice_ms = 0, plan.slice_ms or _FIRST_SLICE_MS
    while done_ms < plan.end_ms:
        done_ms = min(done_ms + slice_ms, plan.end_ms)
        rows = traffic.until(done_ms)
        if plan.slice_ms is None:
            slice_ms = _next_slice_ms(slice_ms, len(rows), plan.slice_events)
        if teller is not None:
            counts.moments += teller.follow(rows, done_ms)
        due = drill.until(rows.take(rows.visible), None if done_ms == plan.end_ms else done_ms)
        order = np.arange(len(due))
        for at in range(0, len(due), plan.slice_events):
            part = due.take(order[at : at + plan.slice_events])
            records = _records(writer, part)
            # Nobody waits for what is late at the end.
            pace.send(sink, records, np.minimum(part.due_ms, plan.end_ms))
            _count(counts, part, records)
        if progress is not None:
            progress(counts, done_ms)
    return counts


def _next_slice_ms(slice_ms: int, rows: int, wanted: int) -> int:
    """The length of the next slice, so that it has about as many rows as wanted: sign-ups come in a rush."""
    return max(_LEAST_SLICE_MS, round(slice_ms * min(2.0, max(0.1, wanted / max(rows, 1)))))


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
