"""Tideline, and what people would use instead: the same job on the same machine. See `docs/benchmarks.md`.

Tideline with one worker and with two; the job of `_peer_job.py` by plain Faust, Quix Streams and Bytewax, each as its
own documentation recommends; and what nothing can beat: only consuming and decoding, only storing. `make peers`
installs what is compared with. A program that is missing or fails is named, and the others are measured; the status is
1 then.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from benchmarks._awaiting import Stuck, Watched, await_events
from benchmarks._command import Command
from benchmarks._latency import SETTLE_S, Stretch, measure_latency
from benchmarks._live_service import Service, open_service
from benchmarks._live_traffic import (
    EVENTS_PER_DAY,
    LiveScript,
    LiveShop,
    Place,
    answer_of,
    consume_and_decode,
    produce_days,
)
from benchmarks._measure import Figures, Progress
from benchmarks._measured import STRETCHES, Backlog, Measured, half_load_figures
from benchmarks._peers import PEERS, Job, Peer, PeerFailed, PeerMissing, Running, check_same, create_topics, running
from benchmarks._store_limit import measure_store_limit
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.precompile import precompile

TIDELINE = {1: "tideline", 2: "tideline_two_workers"}
LIMITS = ("consume_and_decode", "store_alone")
_NO_FIGURES = ("missing", "failed")
"""What stands instead of the figures of a program that could not be measured."""
_STUCK_S = 120.0
_LIVE_S = 15.0
_QUIET_S = 3.0
_ALL = 1 << 40


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    users: int
    warm_days: int
    events: int
    peer_users: int
    peer_events: int
    check_events: int
    seconds: float
    partitions: int

    @property
    def days(self) -> int:
        """Whole days of Tideline's shop that hold about `events`."""
        return _days(self.events, self.users)

    @property
    def peer_days(self) -> int:
        """Whole days of the other shop that hold about `peer_events`."""
        return _days(self.peer_events, self.peer_users)

    def script(self, now_s: float) -> LiveScript:
        """Tideline's shop: warm-up, and a backlog for each number of workers, before now."""
        return LiveScript(self.users, self.warm_days + len(TIDELINE) * self.days, now_s)

    def peer_script(self, now_s: float) -> LiveScript:
        """The shop of the others: a day that is not timed, and those that are, before now."""
        return LiveScript(self.peer_users, 1 + self.peer_days, now_s)


def _days(events: float, users: int) -> int:
    return max(1, round(events / (users * EVENTS_PER_DAY)))


# --- Tideline -----------------------------------------------------------------------------------------------------


@dataclass
class Tideline:
    """Its measurements one after another, on one service."""

    service: Service
    size: Size
    script: LiveScript
    progress: Progress
    sent: int = 0
    day: int = 0

    def warm_up(self) -> None:
        """A day at a time, until everything is learned and every prediction is live; see `benchmarks.kafka`."""
        self.service.start_worker()
        for day in range(self.size.warm_days):
            self._send(days=1)
            self.progress.say(f"tideline: warming up, day {day + 1} of {self.size.warm_days}")
            self.service.await_worked(self.sent, seconds=_STUCK_S, say=lambda _: None)
            self.service.await_learned(seconds=_STUCK_S)
        self.service.await_live(seconds=_LIVE_S)
        self.service.stop_workers()

    def backlog(self, workers: int) -> Measured:
        """The next days have waited. All of them come before the first `half_load`, whose events happen now."""
        before = self.sent
        events = self._send(days=self.size.days)
        self._start(workers)
        watched = self._watched(workers)
        store = self.service.store_url
        learned = partial(self.service.await_learned, seconds=_STUCK_S)
        found = Backlog(
            watched, before, events, self._pids, store, self.progress, is_at_work=False, await_learned=learned
        ).measure()
        self.service.stop_workers()
        return found

    def half_load(self, workers: int, rate: float) -> dict[str, Any]:
        """A live stretch with so many events a second."""
        self._start(workers)
        watched = self._watched(workers)
        self.progress.say(f"{watched.name}: live, {rate:,.0f} events/s for {self.size.seconds:g} s")
        stretch = Stretch(self.script, self.day, rate, self.size.seconds)
        place, crossings = self.service.place(), self.service.place("segment-events")
        found = measure_latency(place, crossings, stretch, watched.done)
        watched.check()
        self.service.stop_workers()
        assert found.pace is not None, "it was sent"
        self.sent += found.pace.events
        self.day += int(found.pace.events / (self.size.users * EVENTS_PER_DAY)) + 2
        return half_load_figures(found, watched.name)

    def _watched(self, workers: int) -> Watched:
        return Watched(TIDELINE[workers], lambda: sum(self.service.worked()), self.service.check)

    def _start(self, workers: int) -> None:
        if workers == 1:
            self.service.start_worker()
        else:
            self.service.start_both_workers()

    def _pids(self) -> list[int]:
        return [worker.pid for worker in (self.service.worker, self.service.second_worker) if worker.is_running]

    def _send(self, *, days: int) -> int:
        events, _ = answer_of(produce_days, self.service.place(), self.script, self.day, days, _ALL)
        self.day += days
        self.sent += events
        return int(events)


def measure_tideline(tideline: Tideline, programs: Sequence[str]) -> Figures:
    """With as many workers as are asked for; or under `failed` why there are no figures."""
    try:
        return _measure_tideline(tideline, programs)
    except (Stuck, RuntimeError) as failure:
        tideline.service.stop_workers()
        return {name: {"failed": str(failure)} for name in TIDELINE.values() if name in programs}


def _measure_tideline(tideline: Tideline, programs: Sequence[str]) -> Figures:
    tideline.warm_up()
    asked = [workers for workers, name in TIDELINE.items() if name in programs]
    backlogs = {workers: tideline.backlog(workers) for workers in asked}
    return {
        TIDELINE[workers]: dataclasses.replace(found, **tideline.half_load(workers, found.events_per_s / 2.0)).figures()
        for workers, found in backlogs.items()
    }


# --- the others -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Others:
    """Programs of other frameworks, one after another on the same Kafka. `store`: a server of theirs."""

    service: Service
    size: Size
    script: LiveScript
    store: str
    folder: Path
    progress: Progress

    def measure(self, peer: Peer) -> dict[str, float | int | str | None]:
        """Check one, then measure it. Raises PeerMissing, PeerFailed, Stuck, RuntimeError."""
        peer.python()
        self.progress.say(f"{peer.name}: the same scores?")
        compared = self._check(peer)
        events, crossings = self._places(peer.key, self.size.partitions)
        warm, _ = answer_of(produce_days, events, self.script, 0, 1, _ALL)
        timed, _ = answer_of(produce_days, events, self.script, 1, self.size.peer_days, _ALL)
        job = Job(events, crossings, self.store)
        with running(peer, job, self.folder / peer.key) as program:
            found = self._backlog(program, warm, timed)
            half = self._half_load(program, job, found.events_per_s / 2.0)
        return dataclasses.replace(found, **half).figures() | {"version": peer.version(), "crossings_checked": compared}

    def _check(self, peer: Peer) -> int:
        events, crossings = self._places(f"{peer.key}-check", 1)
        script = LiveScript(max(50, self.size.check_events // 12), 1, self.script.now_s)
        answer_of(produce_days, events, script, 0, 99, self.size.check_events)
        records = first_records(script, self.size.check_events)
        job = Job(events, crossings, self.store)
        return check_same(peer, job, records, self.folder / f"{peer.key}-check", self.service.settings)

    def _places(self, name: str, partitions: int) -> tuple[Place, Place]:
        """Topics of its own, and a store with nothing in it."""
        with redis.Redis.from_url(self.store) as client:
            client.flushall()
        bootstrap = self.service.settings.kafka_bootstrap_servers
        places = (Place(bootstrap, f"peer-{name}", partitions), Place(bootstrap, f"peer-{name}-crossings", partitions))
        create_topics(self.service.settings, places)
        return places

    def _backlog(self, program: Running, warm: int, timed: int) -> Measured:
        def say(events: int) -> None:
            self.progress.say(f"{program.peer.name}: {events:,} of {warm:,} events that are not timed")

        await_events(program.watched(), warm, seconds=_STUCK_S, say=say)
        pids = [program.pid]
        watched = program.watched()
        return Backlog(watched, warm, timed, lambda: pids, self.store, self.progress, is_at_work=True).measure()

    def _half_load(self, program: Running, job: Job, rate: float) -> dict[str, Any]:
        self.progress.say(f"{program.peer.name}: live, {rate:,.0f} events/s for {self.size.seconds:g} s")
        stretch = Stretch(self.script, self.script.now_day, rate, self.size.seconds)
        # What is counted is stored, and may be on its way to Kafka still.
        found = measure_latency(job.events, job.crossings, stretch, program.done, quiet_s=_QUIET_S)
        program.check()
        return half_load_figures(found, program.peer.name)


def first_records(script: LiveScript, events: int) -> list[bytes]:
    """The first records of a shop, in their order."""
    shop = LiveShop(script, 1)
    found: list[bytes] = []
    while len(found) < events:
        found += [record for _, _, record in shop.keyed(shop.next_day())]
    return found[:events]


@contextmanager
def open_others(service: Service, size: Size, folder: Path, progress: Progress) -> Iterator[Others]:
    """With a server that writes nothing to disk: kinder than what a worker has."""
    with EmbeddedValkey(folder / "peers-store") as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("appendonly", "no")
        yield Others(service, size, size.peer_script(time.time()), server.url, folder, progress)


# --- the command --------------------------------------------------------------------------------------------------


def run(size: Size, programs: Sequence[str], folder: Path, progress: Progress) -> Figures:
    """Those of the programs and limits that are asked for, by their keys."""
    precompile()
    figures: Figures = {"cores": os.cpu_count() or 0}
    with open_service(folder, size.partitions, progress.say) as service:
        if any(name in programs for name in (*TIDELINE.values(), "consume_and_decode")):
            tideline = Tideline(service, size, size.script(time.time()), progress)
            figures |= measure_tideline(tideline, programs)
            if "consume_and_decode" in programs and tideline.sent:
                progress.say("only consuming and decoding")
                rates = answer_of(consume_and_decode, service.place(), tideline.sent, STRETCHES)
                figures["consume_and_decode"] = {"events_per_s": statistics.median(rates), "events": tideline.sent}
        with open_others(service, size, folder, progress) as others:
            for peer in PEERS:
                if peer.key in programs:
                    figures[peer.key] = measure_or_tell(others, peer)
    if "store_alone" in programs:
        script = LiveScript(min(size.users, 5_000), 2, time.time())
        figures["store_alone"] = measure_store_limit(script, size.partitions, folder / "store-alone", progress)
    return figures | ratios(figures)


def measure_or_tell(others: Others, peer: Peer) -> dict[str, float | int | str | None]:
    """The figures of a program, or under `missing` or `failed` why there are none: the others are measured still."""
    try:
        return others.measure(peer)
    except PeerMissing as missing:
        return {"missing": str(missing)}
    except (PeerFailed, Stuck, RuntimeError) as failure:
        return {"failed": str(failure)}


def is_incomplete(figures: Figures) -> bool:
    """A program is missing or has failed."""
    return any(isinstance(found, dict) and not found.keys().isdisjoint(_NO_FIGURES) for found in figures.values())


def ratios(figures: Figures) -> Figures:
    """Of Tideline's rate with one worker to each other rate, learning included; of both workers to one.

    A limit learns nothing: its rate is what it is.
    """
    one = _rate(figures, TIDELINE[1])
    found: Figures = {}
    for name in (*(peer.key for peer in PEERS), *LIMITS):
        other = _rate(figures, name)
        found[f"ratio_to_{name}"] = None if one is None or other is None else one / other
    both = _rate(figures, TIDELINE[2])
    found["ratio_of_two_workers"] = None if one is None or both is None else both / one
    return found


def _rate(figures: Figures, name: str) -> float | None:
    found = figures.get(name)
    rate = found.get("events_per_s_learned", found.get("events_per_s")) if isinstance(found, dict) else None
    return rate if isinstance(rate, float) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print; status 1 where a program is missing or has failed."""
    command = Command("peers", __doc__)
    command.numbers(
        {
            "users": (20_000, "users of Tideline's shop"),
            "warm-days": (4, "days before anything is timed, so that predictions are live; few users need more"),
            "events": (400_000, "events that wait for Tideline's workers, and are timed"),
            "peer-users": (1_500, "users in the shop of the other programs"),
            "peer-events": (30_000, "events that wait for each other program, and are timed"),
            "check-events": (2_000, "events with which each other program is checked before"),
            "partitions": (4, "of the events"),
            "seconds": (20.0, "of each live stretch"),
        }
    )
    every = [*TIDELINE.values(), *(peer.key for peer in PEERS), *LIMITS]
    command.parser.add_argument("--programs", nargs="+", choices=every, default=every, help="only these (default: all)")

    def work(given: dict[str, Any], folder: Path, progress: Progress) -> Figures:
        if given["seconds"] <= SETTLE_S:
            command.parser.error(f"--seconds must be more than {SETTLE_S:g}: the first of them are left out")
        programs = given.pop("programs")
        return run(Size(**given), programs, folder, progress)

    figures = command.run(arguments, work)
    for word in _NO_FIGURES:
        for name, found in figures.items():
            if isinstance(found, dict) and word in found:
                print(f"peers: {name} {word}: {found[word]}", file=sys.stderr)
    if is_incomplete(figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
