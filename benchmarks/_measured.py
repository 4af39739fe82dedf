"""What is measured of a program that works off a topic: how fast, what it costs, and how soon a crossing is out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import redis

from benchmarks._awaiting import Watched, await_events
from benchmarks._latency import Arrivals
from benchmarks._live_traffic import rates_of
from benchmarks._measure import Progress
from benchmarks._process_figures import cpu_s, peak_bytes, resident_bytes

STRETCHES = 10
"""Of the timed events; of their rates the median without the first and the last counts."""
_LEAST_STEPS = 3
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one program. docs/benchmarks.md explains them."""

    events_per_s: float
    events_per_s_learned: float
    """Behind the first stretch, until the last event is scored and the last example learned."""
    learned_after_s: float
    """From the last scored to the last learned."""
    events_per_s_slowest: float
    events_per_s_fastest: float
    events: int
    cpu_s_per_million_events: float | None
    store_cpu_s_per_million_events: float
    memory_peak_bytes: int | None
    memory_growth_bytes_per_million_events: float | None
    half_load_rate: float | None = None
    half_load_p50_ms: float | None = None
    half_load_p99_ms: float | None = None
    half_load_crossings: int | None = None

    def figures(self) -> dict[str, float | int | str | None]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of some processes together, as of a moment."""

    cpu_s: float | None
    resident_bytes: int | None
    store_cpu_s: float


def used(pids: Sequence[int], store: str) -> Usage:
    """What the processes and the server at `store` have used so far."""
    with redis.Redis.from_url(store) as client:
        info: Any = client.info("cpu")
    store_cpu_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
    return Usage(_sum([cpu_s(pid) for pid in pids]), _sum([resident_bytes(pid) for pid in pids]), store_cpu_s)


def _sum(values: Sequence[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


@dataclass
class Backlog:
    """Events that have waited for a program. `before`: those that it has done by then; `events`: those to be timed."""

    watched: Watched
    before: int
    events: int
    pids: Callable[[], Sequence[int]]
    """Asked when it has begun."""
    store: str
    progress: Progress
    is_at_work: bool
    """It has just done others: time runs from the beginning. Else from its first step, as it has to start first."""
    await_learned: Callable[[], float] | None = None
    """Waits until everything is learned, and tells when it was (monotonic seconds). None: it learns as it scores."""
    stuck_s: float = 120.0
    _begun: tuple[int, Usage] | None = field(default=None, init=False)

    def measure(self) -> Measured:
        """Wait until all are scored and learned.

        Raises as `await_events` and `await_learned`, and RuntimeError where nothing is left to be timed.
        """
        if self.is_at_work:
            self._begun = (self.watched.done(), used(self.pids(), self.store))
        marks = await_events(self.watched, self.before + self.events, seconds=self.stuck_s, say=self._say)
        marks = [mark for mark in marks if mark[0] >= self.before]
        if self.is_at_work:
            marks = first_reached(marks)
        if len({count for count, _ in marks}) < _LEAST_STEPS:
            raise RuntimeError(f"{self.watched.name} counts in steps too large for so few events")
        scored_s = marks[-1][1]
        learned_s = scored_s if self.await_learned is None else max(scored_s, self.await_learned())
        end = used(self.pids(), self.store)
        rates = rates_of(marks, STRETCHES)[1:-1]
        assert self._begun is not None, "it has come on, or there would be no rates"
        first, start = self._begun
        share = (self.before + self.events - first) / _MILLION
        return Measured(
            events_per_s=statistics.median(rates),
            events_per_s_learned=rate_until(marks, learned_s, STRETCHES),
            learned_after_s=learned_s - scored_s,
            events_per_s_slowest=min(rates),
            events_per_s_fastest=max(rates),
            events=self.events,
            cpu_s_per_million_events=_per(start.cpu_s, end.cpu_s, share),
            store_cpu_s_per_million_events=(end.store_cpu_s - start.store_cpu_s) / share,
            memory_peak_bytes=_sum([peak_bytes(pid) for pid in self.pids()]),
            memory_growth_bytes_per_million_events=_per(start.resident_bytes, end.resident_bytes, share),
        )

    def _say(self, events: int) -> None:
        if events > self.before and self._begun is None:
            self._begun = (events, used(self.pids(), self.store))
        done = max(0, events - self.before)
        self.progress.say(f"{self.watched.name}: {done:,} of {self.events:,} events")


def rate_until(marks: Sequence[tuple[float, float]], learned_s: float, stretches: int) -> float:
    """Events a second behind the first of so many stretches, in which a program gets going, until all is learned.

    `marks`: (events, monotonic seconds) of scoring, `learned_s`: when the last example was learned.
    """
    begun = max(n for n, (count, _) in enumerate(marks) if count == marks[0][0])
    counts, at_s = zip(*first_reached(marks[begun:]), strict=True)
    first = counts[0] + (counts[-1] - counts[0]) / stretches
    return float((counts[-1] - first) / (learned_s - np.interp(first, counts, at_s)))


def first_reached(marks: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """When each count was there for the first time. Of a program that counts in large steps, a step took all the time
    since the one before.
    """
    return [marks[0], *(now for before, now in pairwise(marks) if now[0] > before[0])]


def _per(start: float | None, end: float | None, share: float) -> float | None:
    return None if start is None or end is None else (end - start) / share


def half_load_figures(found: Arrivals, name: str) -> dict[str, Any]:
    """The fields of `Measured` that come of a live stretch. Raises RuntimeError when no crossing has arrived."""
    ms = found.latencies_ms()
    if not len(ms):
        raise RuntimeError(f"{name}: no crossing has arrived; give it more --seconds")
    assert found.pace is not None, "it was sent"
    p50, p99 = (float(value) for value in np.percentile(ms, [50.0, 99.0]))
    return {
        "half_load_rate": found.pace.rate,
        "half_load_p50_ms": p50,
        "half_load_p99_ms": p99,
        "half_load_crossings": len(ms),
    }
