"""What an event costs when there are more users: a shard over the same span of event time. See `docs/benchmarks.md`.

With more users come more events, and more looks at the silent ones; each size has the same habits, so they grow alike,
and both are told. Each size is worked in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks._live_traffic import answer_of, live_catalog
from benchmarks._measure import Figures, Memory, Progress, show
from benchmarks._traffic import Day, Traffic, Writer
from benchmarks._warmup import short_warmup
from config.catalog import Catalog
from models.snapshot import Status
from streams.core.events import Event
from streams.runtime.allocation import return_large_blocks
from streams.runtime.lockstep import LockStep
from streams.runtime.precompile import precompile

WARM_DAYS = 2
"""On the first everybody comes; on the second labels come in, predictions go live, and everybody is scored by them."""
_REPEATED_USERS = 100_000
"""Below so many users a day has few events: it is repeated with other users until there were so many."""
_MOST_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many users, doing something so often while they are there."""

    users: int
    events_per_week: float
    seed: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the timed day. `cpu_s`: processor time inside the shard and its learner."""

    events: int
    looks: int
    cpu_s: float
    resident_bytes: int | None

    @property
    def cpu_us_per_event(self) -> float:
        """All of the day, by its events."""
        return 1e6 * self.cpu_s / self.events

    @property
    def cpu_us_per_moment(self) -> float:
        """All of the day, by its events and looks."""
        return 1e6 * self.cpu_s / (self.events + self.looks)


def work(connection: Connection, crowd: Crowd) -> None:
    """In a process of its own: the warm-up and the timed day; tells their `Cost`."""
    return_large_blocks()  # as the command line does
    catalog = live_catalog()
    limits = catalog.limits.model_copy(update={"users": max(catalog.limits.users, crowd.users)})
    catalog = catalog.model_copy(update={"limits": limits})
    traffic = Traffic(crowd.users, seed=crowd.seed, events_per_week=crowd.events_per_week, arrive_days=1)
    writer = Writer(traffic.country)
    with short_warmup():
        pair = LockStep(catalog)
    for _ in range(WARM_DAYS):
        work_day(pair, writer, next(traffic), catalog)
    waiting = [prediction.status is not Status.LIVE for prediction in pair.shard.snapshot.predictions]
    if any(waiting):
        raise RuntimeError(f"{sum(waiting)} predictions are not live after {WARM_DAYS} days of {crowd.users:,} users")
    gc.collect()
    gc.freeze()
    before = pair.shard.counters()
    cpu_s = work_day(pair, writer, next(traffic), catalog)
    after = pair.shard.counters()
    events, looks = after["events"] - before["events"], after["looks"] - before["looks"]
    connection.send(Cost(events, looks, cpu_s, Memory().resident_bytes()))


def work_day(pair: LockStep, writer: Writer, day: Day, catalog: Catalog) -> float:
    """Take a day in batches. Returns the processor seconds of it, without those of making its events."""
    spent_s = 0.0

    def save() -> None:
        """What a worker would store of the changes since the last time is made, and dropped."""
        pair.effects(1, b"")

    for items in day_batches(writer, day, catalog.limits.batch_events):
        mark = time.process_time()
        pair.take(items, save=save)
        save()
        spent_s += time.process_time() - mark
    return spent_s


def day_batches(writer: Writer, day: Day, size: int) -> Iterator[Sequence[Event]]:
    """A batch after another, so that not all events of a large crowd are there at once."""
    for first in range(0, len(day), size):
        part = slice(first, first + size)
        yield writer.events(Day(day.user[part], day.kind[part], day.time_s[part], day.value[part]))


def measure(users: int, events_per_week: float) -> dict[str, float | int | str | None]:
    """The figures of one size: medians, where it was repeated."""
    repeats = min(_MOST_REPEATS, max(1, _REPEATED_USERS // users))
    costs: list[Cost] = [answer_of(work, Crowd(users, events_per_week, seed)) for seed in range(1, repeats + 1)]
    events = sum(cost.events for cost in costs)
    return {
        "cpu_us_per_event": statistics.median(cost.cpu_us_per_event for cost in costs),
        "cpu_us_per_moment": statistics.median(cost.cpu_us_per_moment for cost in costs),
        "events": events,
        "looks_per_event": sum(cost.looks for cost in costs) / events,
        "runs": repeats,
        "process_bytes": costs[-1].resident_bytes,
    }


def run(sizes: Sequence[int], events_per_week: float, progress: Progress) -> Figures:
    """All sizes, and what the largest costs by the smallest."""
    precompile()
    figures: Figures = {}
    found: dict[int, dict[str, float | int | str | None]] = {}
    for users in sizes:
        progress.say(f"{users:,} users")
        found[users] = figures[f"users_{users}"] = measure(users, events_per_week)
    for name in ("cpu_us_per_event", "cpu_us_per_moment"):
        least, most = found[min(sizes)][name], found[max(sizes)][name]
        assert isinstance(least, float)
        assert isinstance(most, float)
        figures[f"{name}_largest_to_smallest"] = most / least
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    sizes = (10_000, 100_000, 1_000_000, 3_000_000)
    words = "sizes of the crowd (default 10000 100000 1000000 3000000)"
    parser.add_argument("--users", type=int, nargs="+", default=sizes, help=words)
    parser.add_argument("--events-per-week", type=float, default=3.0, help="of a user who is there (default 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = parser.parse_args(arguments)
    progress = Progress("growth")
    figures = run(given.users, given.events_per_week, progress)
    progress.done()
    show(figures, as_json=given.json)


if __name__ == "__main__":
    main()
