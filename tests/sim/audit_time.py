"""Time: a shard's clock is the latest time of its events, and goes on by the wall clock while nothing comes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.sim.evidence import read_event

SLACK_S = 1e-3


class Tick(NamedTuple):
    """Where a commit stands. Times in seconds."""

    offset: int = 0
    clock_s: float = math.nan
    """The shard's own; NaN before its first event."""
    log_time_s: float = 0.0
    """What its position says: the wall clock of which the shard's clock is the image."""
    latest_now_s: float = math.inf
    """The highest wall clock that a worker has had until then."""
    started_s: float = math.nan
    """The shard's clock at the beginning of the batch: time may have passed since the commit before."""


class Taken(NamedTuple):
    """A record that is accepted."""

    user: str
    name: str | None
    time_s: float
    """By which the shard goes."""
    log_time_s: float
    price: float = 0.0
    deletes: bool = False


class Seen(NamedTuple):
    """An accepted record of a commit that stands."""

    record: Taken
    clock_s: float
    """The shard's, when it had taken the record."""
    has_moved: bool
    """Whether that was this record: nothing that the shard knew of was later."""


def read_taken(value: bytes, log_time_s: float, max_ahead_s: float) -> Taken | None:
    """A record of the events; one from too far ahead is of the moment at which it came."""
    told = read_event(value)
    if told is None:
        return None
    time_s = told.time_s if told.time_s <= log_time_s + max_ahead_s else log_time_s
    return Taken(told.user, told.name, time_s, log_time_s, told.price, told.deletes)


def step_problem(before: Tick, after: Tick, accepted: Sequence[Taken]) -> str | None:
    """What is wrong with the clock of a commit that took the `accepted` records, and possibly let time pass.

    How far the clock is ahead of the wall clock, its lead, is the largest of all records that were ever accepted:
    neither less, because one came late, nor more, and 0 at most. It is behind none of them, and silence takes it no
    further than the wall clock.
    """
    began = not math.isnan(before.clock_s)
    leads_s = [record.time_s - record.log_time_s for record in accepted]
    leads_s += [before.clock_s - before.log_time_s] if began else []
    if not leads_s or math.isnan(after.clock_s):
        return f"the clock stands at {after.clock_s} after {len(accepted)} events" if began or accepted else None
    wrong_s = after.clock_s - after.log_time_s - min(max(leads_s), 0.0)
    if abs(wrong_s) > SLACK_S:
        return f"the clock went from {before} to {after}: its lead is {wrong_s} s from that of the events"
    reached_s = max([before.clock_s] * began + [record.time_s for record in accepted])
    if after.clock_s < reached_s - SLACK_S:
        return f"the clock went from {before} to {after}: it is {reached_s - after.clock_s} s behind its events"
    if after.clock_s > reached_s + SLACK_S and after.log_time_s > after.latest_now_s + SLACK_S:
        return f"the clock went from {before} to {after}: it is ahead of the wall clock"
    return None


def end_problem(last: Tick, clock_s: float, now_s: float, latest_now_s: float) -> str | None:
    """What is wrong with a clock after the last silence. `now_s`: the wall clock; `latest_now_s`: its highest ever."""
    if math.isnan(last.clock_s):
        return None
    least_s, most_s = (last.clock_s + max(0.0, now - last.log_time_s) for now in (now_s, latest_now_s))
    if clock_s < least_s - 1.0:
        return f"time does not pass: the clock stands at {clock_s}, {least_s - clock_s:.0f} s behind"
    if clock_s > most_s + 1.0:
        return f"the clock stands at {clock_s}, {clock_s - most_s:.0f} s too far"
    return None


def seen(ticks: Sequence[Tick], records: Sequence[Taken | None]) -> Iterator[Seen]:
    """The accepted records, with what they found and made of the clock."""
    for offset, clock_s, has_moved in _clocks(ticks, records):
        record = records[offset]
        if record is not None:
            yield Seen(record, clock_s, has_moved)


def clocks_s(ticks: Sequence[Tick], records: Sequence[Taken | None]) -> list[float]:
    """By offset: the clock when a record had been taken, whatever became of it; -inf before the first event."""
    return [clock_s for _, clock_s, _ in _clocks(ticks, records)]


def _clocks(ticks: Sequence[Tick], records: Sequence[Taken | None]) -> Iterator[tuple[int, float, bool]]:
    """Of each offset: the clock when its record had been taken, and whether that has moved it."""
    before = Tick()
    for tick in ticks:
        latest_s = max(_known(tick.started_s), _known(before.clock_s))
        for offset in range(before.offset, tick.offset):
            record = records[offset]
            has_moved = record is not None and record.time_s > latest_s
            latest_s = record.time_s if record is not None and has_moved else latest_s
            yield offset, latest_s, has_moved
        before = tick


def _known(clock_s: float) -> float:
    return -math.inf if math.isnan(clock_s) else clock_s
