"""A worker on a real Kafka: how many events a second, and how soon a transition is out. See `docs/benchmarks.md`.

Store, Kafka and one worker run as `tideline up` runs them, on this machine, with three predictions that are live
(`benchmarks/live_shop.yaml`). In the same run: the same job the plain way with Faust, and only consuming and decoding.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis

from benchmarks._command import Command
from benchmarks._latency import SETTLE_S, Arrivals, Stretch, measure_latency
from benchmarks._live_service import Service, open_service
from benchmarks._live_traffic import (
    EVENTS_PER_DAY,
    LiveScript,
    Place,
    answer_of,
    consume_and_decode,
    produce_days,
    rates_of,
)
from benchmarks._measure import Figures, Progress
from benchmarks._measured import STRETCHES, rate_until
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.precompile import precompile

ROOT = Path(__file__).resolve().parent.parent
LIVE_RATE = 10_000.0
PLAIN_TOPIC = "plain"
_STUCK_S = 120.0
_LIVE_S = 15.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    users: int
    warm_days: int
    events: int
    plain_events: int
    seconds: float
    rate: float
    partitions: int

    def days(self, events: float) -> int:
        """Days of the shop that hold so many events, and one more: days differ."""
        return int(events / (self.users * EVENTS_PER_DAY)) + 2

    def script(self, now_s: float) -> LiveScript:
        """The shop whose timed days end now."""
        return LiveScript(self.users, self.warm_days + self.days(self.events) - 1, now_s)


@dataclass(frozen=True, slots=True)
class _Told:
    """Says how far it is."""

    progress: Progress
    words: str

    def say(self, events: int) -> None:
        self.progress.say(f"{events:,} {self.words}")


@dataclass(slots=True)
class _Backlog:
    """Says how far it is, and notes the processor time from when the first events were done."""

    progress: Progress
    service: Service
    before: int
    events: int
    begun: int | None = None
    cpu_s: float | None = None

    def say(self, events: int) -> None:
        done = events - self.before
        if done and self.begun is None:
            self.begun, self.cpu_s = done, self.service.worker.cpu_s()
        self.progress.say(f"{done:,} of {self.events:,} events")

    def events_per_cpu_s(self) -> float | None:
        """When all of them are scored and learned; None where it cannot be known."""
        cpu_s = self.service.worker.cpu_s()
        if cpu_s is None or self.cpu_s is None or self.begun in (None, self.events):
            return None
        return (self.events - self.begun) / max(cpu_s - self.cpu_s, 0.01)


# --- throughput ---------------------------------------------------------------------------------------------------


def warm_up(service: Service, script: LiveScript, size: Size, progress: Progress) -> int:
    """Days before anything is timed, until everything is learned and every prediction is live. Returns the events.

    A day at a time: a warm-up compares what the model said at a moment, and a worker that catches up on days within
    seconds has passed them before the first model is there. Raises RuntimeError if one is not live at the end.
    """
    service.start_worker()
    events = 0
    for day in range(size.warm_days):
        sent, _ = answer_of(produce_days, service.place(), script, day, 1, 1 << 40)
        events += sent
        told = _Told(progress, f"of {events:,} events (warming up, day {day + 1} of {size.warm_days})")
        service.await_worked(events, seconds=_STUCK_S, say=told.say)
        service.await_learned(seconds=_STUCK_S)
    service.await_live(seconds=_LIVE_S)
    return events


def measure_backlog(service: Service, script: LiveScript, size: Size, warm: int, progress: Progress) -> Figures:
    """Events that have waited for the worker: how many a second it takes, and what they were."""
    before = service.standing()
    progress.say("sending the timed days")
    events, span_s = answer_of(
        produce_days, service.place(), script, size.warm_days, script.now_day - size.warm_days, size.events
    )
    consumed = answer_of(consume_and_decode, service.place(), warm + events, STRETCHES)
    progress.say(f"only consuming and decoding: {statistics.median(consumed):,.0f} events/s")
    service.start_worker()
    told = _Backlog(progress, service, warm, events)
    marks = service.await_worked(warm + events, seconds=_STUCK_S, say=told.say)
    learned_s = max(marks[-1][1], service.await_learned(seconds=_STUCK_S))
    per_cpu_s = told.events_per_cpu_s()
    rates = rates_of(marks, STRETCHES)[1:-1]
    after = service.standing()
    learned, consume = rate_until(marks, learned_s, STRETCHES), statistics.median(consumed)
    grown = {name: after.counts[name] - before.counts[name] for name in after.counts}
    return {
        "events_per_s": statistics.median(rates),
        "events_per_s_learned": learned,
        "learned_after_s": learned_s - marks[-1][1],
        "events_per_s_slowest": min(rates),
        "events_per_s_fastest": max(rates),
        "events_per_worker_cpu_s": per_cpu_s,
        "consume_and_decode_events_per_s": consume,
        "ratio_to_consume_and_decode": learned / consume,
        "events": events,
        "events_scored": grown["events"],
        "dead_letters": after.dead_letters,
        "event_time_hours": span_s / 3_600.0,
        "looks": grown["looks"],
        "looks_recorded": grown["looks_recorded"],
        "looks_per_event": grown["looks"] / grown["events"],
        "users": after.users,
    }


# --- latency ------------------------------------------------------------------------------------------------------


def measure_live(
    service: Service, script: LiveScript, day: int, rate: float, size: Size, progress: Progress
) -> Arrivals:
    """One live stretch."""
    progress.say(f"live, {rate:,.0f} events/s for {size.seconds:g} s")
    stretch = Stretch(script, day, rate, size.seconds)
    found = measure_latency(service.place(), service.place("segment-events"), stretch, lambda: sum(service.worked()))
    service.worker.check()
    return found


def latency_figures(found: Arrivals, prefix: str) -> Figures:
    """Percentiles of one stretch."""
    ms = found.latencies_ms()
    if not len(ms):
        raise RuntimeError("no transition arrived; give it more --seconds or --users")
    assert found.pace is not None, "it was sent"
    p50, p99, worst = (float(value) for value in np.percentile(ms, [50.0, 99.0, 100.0]))
    return {
        f"{prefix}_p50_ms": p50,
        f"{prefix}_p99_ms": p99,
        f"{prefix}_worst_ms": worst,
        f"{prefix}_rate": found.pace.rate,
        f"{prefix}_events": found.pace.events,
        f"{prefix}_transitions": len(ms),
        f"{prefix}_producer_late_ms": found.late_s * 1000.0,
    }


# --- the plain way ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlainWay:
    """Both plain programs, each in a process of its own, on the same events."""

    script: LiveScript
    place: Place
    events: int
    folder: Path
    progress: Progress

    @classmethod
    def prepare(cls, service: Service, size: Size, folder: Path, progress: Progress) -> PlainWay:
        """Their topic, with the events that they take."""
        users = max(50, int(size.plain_events / EVENTS_PER_DAY * 1.25))
        script = LiveScript(users, 2, time.time())
        place = Place(service.settings.kafka_bootstrap_servers, PLAIN_TOPIC, service.settings.shards)
        with kafka_python().KafkaAdminClient(**kafka_python_arguments(service.settings)) as admin:
            admin.create_topics(
                {PLAIN_TOPIC: {"num_partitions": place.partitions, "replication_factor": -1, "configs": {}}}
            )
        events, _ = answer_of(produce_days, place, script, script.now_day, 1, size.plain_events)
        return cls(script, place, events, folder, progress)

    def events_per_s(self, kind: str, run: int) -> float:
        """Of one program from an empty store, for the `run`th time."""
        self.progress.say(f"the plain way, {kind} job")
        with EmbeddedValkey(self.folder / f"plain-store-{kind}-{run}") as server:
            # Kinder to the plain way than what a worker has: nothing is written to disk.
            with redis.Redis.from_url(server.url) as client:
                client.config_set("appendonly", "no")
            given = {"script": dataclasses.asdict(self.script), "place": dataclasses.asdict(self.place)}
            return _run_plain(kind, given | {"store": server.url, "events": self.events, "group": f"{kind}-{run}"})


def _run_plain(kind: str, given: dict[str, Any]) -> float:
    command = [sys.executable, "-m", "benchmarks._plain_faust", kind]
    done = subprocess.run(
        command, input=json.dumps(given) + "\n", cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False, timeout=1_800
    )
    if done.returncode:
        raise RuntimeError(f"the plain way ({kind}) has ended with status {done.returncode}; see above")
    return float(json.loads(done.stdout.splitlines()[-1]))


def plain_figures(rates: Sequence[float], simple: float, events: int) -> dict[str, float]:
    """The median of the runs, and how far they lie apart."""
    return {
        "plain_events": events,
        "plain_faust_events_per_s": statistics.median(rates),
        "plain_faust_events_per_s_slowest": min(rates),
        "plain_faust_events_per_s_fastest": max(rates),
        "simple_faust_events_per_s": simple,
    }


# --- the command --------------------------------------------------------------------------------------------------


def run(size: Size, folder: Path, progress: Progress) -> Figures:
    """All of it."""
    precompile()
    script = size.script(time.time())
    with open_service(folder, size.partitions, progress.say) as service:
        warm = warm_up(service, script, size, progress)
        service.worker.stop()
        plain_way = PlainWay.prepare(service, size, folder, progress)
        # Before and behind: a machine that is shared is faster at one time than at another.
        plain_rates = [plain_way.events_per_s("same", 1)]
        simple = plain_way.events_per_s("simple", 1)
        figures = measure_backlog(service, script, size, warm, progress)
        rate, learned = figures["events_per_s"], figures["events_per_s_learned"]
        assert isinstance(rate, float)
        assert isinstance(learned, float)
        day = script.now_day
        half = measure_live(service, script, day, rate / 2.0, size, progress)
        day += size.days(rate / 2.0 * size.seconds)
        full = measure_live(service, script, day, size.rate, size, progress)
        service.worker.stop()
        plain_rates += [plain_way.events_per_s("same", run) for run in (2, 3)]
        plain = plain_figures(plain_rates, simple, plain_way.events)
        return {
            **figures,
            "ratio_to_plain_faust": learned / plain["plain_faust_events_per_s"],
            "ratio_to_simple_faust": learned / plain["simple_faust_events_per_s"],
            **plain,
            **latency_figures(full, "latency"),
            **latency_figures(half, "latency_at_half"),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("kafka", __doc__)
    command.numbers(
        {
            "users": (20_000, "users of the shop"),
            "warm-days": (4, "days before anything is timed, so that predictions are live; few users need more"),
            "events": (400_000, "events that wait for the worker, and are timed"),
            "plain-events": (10_000, "events for each plain program"),
            "partitions": (4, "of the events, all of them the one worker's"),
            "seconds": (45.0, "of each live stretch"),
            "rate": (LIVE_RATE, "events a second of the faster one"),
        }
    )

    def work(given: dict[str, Any], folder: Path, progress: Progress) -> Figures:
        if given["seconds"] <= SETTLE_S:
            command.parser.error(f"--seconds must be more than {SETTLE_S:g}: the first of them are left out")
        return run(Size(**given), folder, progress)

    command.run(arguments, work)


if __name__ == "__main__":
    main()
