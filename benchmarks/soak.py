"""A worker on a real Kafka at half of what it can do, for half an hour: does it stay as it is? See docs/benchmarks.md.

Store, Kafka and one worker run as `tideline up` runs them, on this machine, with predictions that are live. The first
third of the time counts for nothing: what has a bound (ids of events, examples that wait) fills up in it. Ends with
status 1 where a figure is past its limit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks._command import Command
from benchmarks._live_service import Service, open_service
from benchmarks._live_traffic import EVENTS_PER_DAY, LiveScript, answer_of, in_process, produce_days, produce_steadily
from benchmarks._measure import Figures, Progress
from benchmarks._measured import STRETCHES, rate_until
from benchmarks._soaking import MB, Sample, complaints, growth, growth_percent, look
from streams.runtime.precompile import precompile

CATALOG: Final = Path(__file__).with_name("soak_shop.yaml")
SETTLE_SHARE: Final = 1 / 3
"""Of the time, at its beginning, that is not judged."""
_STUCK_S: Final = 120.0
_SAMPLES: Final = 400
"""About so many looks, however long it takes; one a second at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    minutes: float
    users: int
    warm_days: int
    events: int
    rate: float | None
    partitions: int

    @property
    def seconds(self) -> float:
        """Of the soak itself."""
        return self.minutes * 60.0

    def days(self, events: float) -> int:
        """Days of the shop that hold so many events, and one more: days differ."""
        return int(events / (self.users * EVENTS_PER_DAY)) + 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a figure may be at most."""

    memory_growth_percent: float
    """Of the median, over the time that is judged; of the worker, and of the store."""
    lag_growth_s: float = 1.0
    """In seconds of events, over the same time."""
    lag_p95_s: float = 10.0
    """A worker that fell behind before it was judged, and stays so, is no worker that keeps up."""
    drain_s: float = 15.0
    """From the last event until all are worked."""

    def broken(self, figures: Figures) -> list[str]:
        """Names of figures that are past theirs; NaN is, too."""
        most = {
            "worker_growth_percent": self.memory_growth_percent,
            "store_growth_percent": self.memory_growth_percent,
            "lag_growth_s": self.lag_growth_s,
            "lag_p95_s": self.lag_p95_s,
            "drain_s": self.drain_s,
            "events_missing": 0,
            "log_errors": 0,
            "client_errors": 0,
            "dead_letters": 0,
        }
        values = {name: figures[name] for name in most}
        return [name for name, value in values.items() if not (isinstance(value, int | float) and value <= most[name])]


def warm_up(service: Service, script: LiveScript, size: Size, progress: Progress) -> int:
    """Days one after another, until everything is learned. Returns the events."""
    service.start_worker()
    events = 0
    for day in range(size.warm_days):
        sent, _ = answer_of(produce_days, service.place(), script, day, 1, 1 << 40)
        events += sent
        words = f"of {events:,} events (warming up, day {day + 1} of {size.warm_days})"
        service.await_worked(events, seconds=_STUCK_S, say=partial(_tell, progress, words))
        service.await_learned(seconds=_STUCK_S)
    return events


def _tell(progress: Progress, words: str, events: int) -> None:
    progress.say(f"{events:,} {words}")


def most_per_s(service: Service, script: LiveScript, size: Size, warm: int, progress: Progress) -> float:
    """Events a second of a worker that finds so many waiting, learning included."""
    service.worker.stop()
    sent, _ = answer_of(produce_days, service.place(), script, size.warm_days, size.days(size.events), size.events)
    service.start_worker()
    words = f"of {warm + sent:,} events (what has waited)"
    marks = service.await_worked(warm + sent, seconds=_STUCK_S, say=partial(_tell, progress, words))
    learned_s = max(marks[-1][1], service.await_learned(seconds=_STUCK_S))
    return rate_until(marks, learned_s, STRETCHES)


def soak(
    service: Service, script: LiveScript, day: int, rate: float, size: Size, progress: Progress
) -> tuple[list[Sample], int, float]:
    """Send from day `day` on. Returns what was seen, the events, and how long the last took to be worked (seconds)."""
    before, url = sum(service.worked()), f"{service.worker.served.web}/metrics"
    samples = [look(url, time.monotonic())]
    every_s = max(1.0, size.seconds / _SAMPLES)
    arguments = (service.place(), script, day, rate, size.seconds)
    process, connection = in_process(produce_steadily, *arguments)
    try:
        while not connection.poll(every_s):
            service.worker.check()
            samples.append(look(url, time.monotonic()))
            left = size.seconds - (samples[-1].at_s - samples[0].at_s)
            progress.say(f"{rate:,.0f} events/s, {left / 60:.1f} minutes left, {samples[-1].rss_bytes / MB:,.0f} MB")
        sent = connection.recv()
    except EOFError:
        raise RuntimeError("the producer has ended before its time; see above") from None
    finally:
        connection.close()
        process.join()
    ended_s = time.monotonic()
    service.await_worked(before + sent, seconds=_STUCK_S, say=lambda _: None)
    drained_s = time.monotonic() - ended_s
    samples.append(look(url, time.monotonic()))
    return samples, sent, drained_s


def judged(samples: Sequence[Sample], settle_s: float) -> list[Sample]:
    """Those behind the time in which bounds fill up, without the last, when nothing comes any more."""
    return [each for each in samples[:-1] if each.at_s >= samples[0].at_s + settle_s]


def figures_of(samples: Sequence[Sample], seconds: float, rate: float) -> Figures:
    """Memory and lag over the time that is judged, and what has gone wrong in all of it."""
    kept = judged(samples, seconds * SETTLE_SHARE)
    at_s = [each.at_s for each in kept]
    rss, store = [each.rss_bytes for each in kept], [each.store_bytes for each in kept]
    lag = [each.lag_records for each in kept]
    return {
        "samples": len(kept),
        "worker_mb": float(np.median(rss)) / MB,
        "worker_growth_percent": growth_percent(at_s, rss),
        "store_mb": float(np.median(store)) / MB,
        "store_growth_percent": growth_percent(at_s, store),
        "lag_median_s": float(np.median(lag)) / rate,
        "lag_p95_s": float(np.percentile(lag, 95.0)) / rate,
        "lag_growth_s": growth(at_s, lag) / rate,
        "client_errors": samples[-1].client_errors - samples[0].client_errors,
        "dead_letters": samples[-1].dead_letters - samples[0].dead_letters,
    }


def run(size: Size, limits: Limits, folder: Path, progress: Progress) -> Figures:
    """All of it."""
    precompile()
    script = LiveScript(size.users, size.warm_days + size.days(size.events), time.time())
    with open_service(folder, size.partitions, progress.say, CATALOG) as service:
        warm = warm_up(service, script, size, progress)
        most = most_per_s(service, script, size, warm, progress) if size.rate is None else None
        rate = size.rate if most is None else most / 2.0
        assert rate is not None, "it is given or measured"
        said_before = service.log.stat().st_size  # of a Kafka that has only just begun, clients complain
        samples, sent, drained_s = soak(service, script, script.now_day, rate, size, progress)
        standing, said = service.standing(), complaints(service.log, said_before)
        figures: Figures = {
            "minutes": size.minutes,
            "events_per_s_at_most": most,
            "rate": rate,
            "events": sent,
            "events_missing": sent - round(samples[-1].records - samples[0].records),
            "users": standing.users,
            "predictions_not_live": standing.waiting,
            **figures_of(samples, size.seconds, rate),
            "drain_s": drained_s,
            "log_errors": said["ERROR"] + said["CRITICAL"] + said["traceback"],
            "log_warnings": said["WARNING"],
        }
        broken = limits.broken(figures)
        return {**figures, "broken": ", ".join(broken)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print; status 1 where a limit is broken."""
    command = Command("soak", __doc__)
    command.numbers(
        {
            "minutes": (30.0, "how long"),
            "users": (20_000, "users of the shop"),
            "warm-days": (4, "days before it, so that predictions are live; few users need more of them"),
            "events": (400_000, "events that wait for the worker, to measure what it can do; not with --rate"),
            "partitions": (4, "of the events, all of them the one worker's"),
            "growth": (2.0, "percent by which memory may grow while it is judged"),
        }
    )
    command.parser.add_argument("--rate", type=float, help="events a second (default: half of what is measured first)")

    def work(given: dict[str, Any], folder: Path, progress: Progress) -> Figures:
        limits = Limits(given.pop("growth"))
        return run(Size(**given), limits, folder, progress)

    figures = command.run(arguments, work)
    if figures["broken"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
