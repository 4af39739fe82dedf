"""How fast a shard is: alone, against plain river one event at a time, and with the store. See `docs/benchmarks.md`.

A simulated shop with three predictions (`benchmarks/shop.yaml`) first runs until everything that happens in production
happens at its usual rate: predictions are live, labels of the longest window come in, silent users are looked at.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks._command import Command
from benchmarks._measure import Figures, Progress
from benchmarks._plain_reference import PlainShard
from benchmarks._traffic import Traffic, Writer, shop_catalog
from benchmarks._warmup import short_warmup
from config.catalog import Catalog
from models.examples import KIND_CROSSING, ExampleChunk
from models.learner import Learner, prediction_specs
from models.snapshot import Status
from streams.adapters.redis_store import RedisStore
from streams.adapters.transition_file import TransitionFile
from streams.commit import commit_batch
from streams.core.decode import Decoder, build_decoder
from streams.core.events import BadEvent, Event
from streams.ports import Identity, Sink
from streams.runtime.lockstep import LockStep
from streams.runtime.place import PATIENCE, Place, open_place
from streams.runtime.precompile import precompile

EXAMPLES_PER_USER = 60
"""Bound on pending examples, per user: so many that none is left out, as plain river would leave none out."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    users: int
    warm_days: int
    timed_days: int
    store_days: int
    reference_users: int
    reference_days: int
    events_per_week: float


class Stopwatch:
    """Seconds per step, and how often each was taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def around(self, owner: Any, method: str, step: str) -> None:
        """Time every call of a method of `owner` from now on."""
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **named: Any) -> Any:
            mark = time.perf_counter()
            try:
                return inner(*args, **named)
            finally:
                self.seconds[step] += time.perf_counter() - mark

        setattr(owner, method, timed)

    def take(self) -> dict[str, float]:
        """What was timed since the last call."""
        seconds = dict(self.seconds)
        self.seconds.clear()
        return seconds


def new_pair(catalog: Catalog, on_chunk: Callable[[ExampleChunk], None] | None = None) -> LockStep:
    """A shard and its learner, with a memory for ever, as river's own classes have it."""
    specs = tuple(dataclasses.replace(spec, memory_examples=None) for spec in prediction_specs(catalog))
    names = LockStep(catalog).shard.vocabulary.feature_names()
    with short_warmup():
        return LockStep(catalog, learner=Learner(specs, names), on_chunk=on_chunk)


def watch(pair: LockStep) -> Stopwatch:
    """Time the steps of a pair."""
    watch = Stopwatch()
    watch.around(pair.shard, "feed", "encode")
    watch.around(pair.shard, "run", "run")
    watch.around(pair.shard.writer, "write", "transitions")
    watch.around(pair.shard, "matured", "hand_out")
    watch.around(pair.learner, "learn", "learn")
    watch.around(pair.learner, "snapshot", "snapshot")
    watch.around(pair.shard, "apply", "snapshot")
    return watch


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a list."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def decode_all(decoder: Decoder, records: Sequence[bytes]) -> list[Event | BadEvent]:
    """Decode as a file's reader does: the log has no time of its own."""
    return [decoder.decode(raw, position, None, position) for position, raw in enumerate(records)]


@dataclass
class World:
    """Users and the pair that knows them, so far."""

    catalog: Catalog
    pair: LockStep
    traffic: Traffic
    writer: Writer
    progress: Progress
    size: Size
    watch: Stopwatch = field(default_factory=Stopwatch)

    @classmethod
    def begin(cls, size: Size, progress: Progress) -> World:
        """Nothing has happened yet."""
        catalog = shop_catalog(pending_examples=max(1_000, EXAMPLES_PER_USER * size.users))
        traffic = Traffic(size.users, events_per_week=size.events_per_week)
        return cls(catalog, new_pair(catalog), traffic, Writer(traffic.country), progress, size)

    def warm_up(self) -> None:
        """Until the first timed day. Raises RuntimeError if a prediction is not live by then."""
        for _ in range(self.size.warm_days):
            for items in batches(self.writer.events(next(self.traffic)), self.catalog.limits.batch_events):
                self.pair.take(items)
                self.pair.shard.transitions.clear()
            self.progress.say(f"warming up, day {self.traffic.days}: {self.writer.position:,} events")
        waiting = [p.status != Status.LIVE for p in self.pair.shard.snapshot.predictions]
        if any(waiting):
            raise RuntimeError(f"{sum(waiting)} predictions are not live after the warm-up; give it more days or users")
        gc.collect()
        gc.freeze()
        self.watch = watch(self.pair)

    def records(self) -> list[bytes]:
        """The next day as it comes from outside."""
        return self.writer.records(next(self.traffic))

    def counts(self) -> dict[str, int]:
        """Counters that grow."""
        learned = sum(p.learned for p in self.pair.learner.predictions)
        return {**self.pair.shard.counters(), "learned": learned}


# --- the shard alone ----------------------------------------------------------------------------------------------


def measure_shard(world: World) -> Figures:
    """Whole days, each timed for itself; the figure is their median."""
    decoder = build_decoder(world.catalog)
    rates, cpu_rates, moments = [], [], []
    before = world.counts()
    transitions = 0
    world.watch.take()
    total_s = 0.0
    for _ in range(world.size.timed_days):
        records = world.records()
        start = world.counts()
        mark, cpu_mark = time.perf_counter(), time.process_time()
        for some in batches(records, world.catalog.limits.batch_events):
            decoding = time.perf_counter()
            items = decode_all(decoder, some)
            world.watch.seconds["decode"] += time.perf_counter() - decoding
            world.pair.take(items)
            transitions += len(world.pair.shard.transitions)
            world.pair.shard.transitions.clear()
        seconds, cpu_s = time.perf_counter() - mark, time.process_time() - cpu_mark
        total_s += seconds
        rates.append(len(records) / seconds)
        cpu_rates.append(len(records) / cpu_s)
        recorded = world.counts()["looks_recorded"] - start["looks_recorded"]
        moments.append((len(records) + recorded) / seconds)
        world.progress.say(f"the shard alone: {rates[-1]:,.0f} events/s")
    grown = {name: count - before[name] for name, count in world.counts().items()}
    events = grown["events"]
    return {
        "events_per_s": statistics.median(rates),
        "events_per_cpu_s": statistics.median(cpu_rates),
        "moments_per_s": statistics.median(moments),
        "events": events,
        "looks": grown["looks"],
        "looks_recorded": grown["looks_recorded"],
        "looks_per_event": grown["looks"] / events,
        "transitions": transitions,
        "transitions_per_event": transitions / events,
        "examples_learned": grown["learned"],
        "examples_learned_per_event": grown["learned"] / events,
        "pending_examples": world.counts()["pending_examples"],
        "dropped_examples": world.counts()["dropped_examples"],
        "users": world.counts()["users"],
        "shares": shares(world.watch.take(), total_s),
    }


def shares(seconds: dict[str, float], total_s: float) -> dict[str, float]:
    """Of the whole time; writing transitions happens inside the run of the loop and is told apart from it."""
    parts = dict(seconds)
    if "run" in parts:
        parts["loop"] = parts.pop("run") - parts.get("transitions", 0.0)
    parts["other"] = total_s - sum(parts.values())
    return {name: round(part / total_s, 4) for name, part in sorted(parts.items(), key=lambda item: -item[1])}


# --- with the store -----------------------------------------------------------------------------------------------


class Committer:
    """Commits the effects of a pair as a replay does: after each batch, and within one when many users changed."""

    def __init__(self, pair: LockStep, store: RedisStore, sink: Sink, watch: Stopwatch) -> None:
        self._pair, self._store, self._sink, self._watch = pair, store, sink, watch
        store.prepare(1, Identity(catalog="benchmark", input="simulated"))
        self._claim = store.claim(0, new_generation="benchmark")
        self._trim = self._claim.number
        self.number = self._claim.number
        self.rows = 0
        self.nested_s = 0.0

    def commit_within(self) -> None:
        """In the middle of a batch, when much has changed."""
        mark = time.perf_counter()
        self.commit()
        self.nested_s += time.perf_counter() - mark

    def commit(self) -> None:
        """One commit."""
        mark = time.perf_counter()
        batch = self._pair.effects(self.number + 1, msgspec.msgpack.encode(self.number))
        self.rows += len(batch.rows)
        between = time.perf_counter()
        self._watch.seconds["effects"] += between - mark
        self._trim = commit_batch(self._store, self._sink, self._claim, batch, trim=self._trim, patience=PATIENCE)
        self.number = batch.number
        self._watch.seconds["commit"] += time.perf_counter() - between


def measure_with_store(world: World, folder: Path) -> Figures:
    """The same with a commit after each batch, into the embedded server, which writes it to disk before it answers."""
    watch = Stopwatch()
    with open_place(Place(folder / "store")) as url:
        store = RedisStore(url, patience=PATIENCE, outbox_keep=1_000)
        with closing(store), closing(TransitionFile(folder / "transitions.ndjson")) as sink:
            committer = Committer(world.pair, store, sink, watch)
            world.progress.say("storing what was learned so far")
            committer.commit()
            watch.take()
            return _timed_commits(world, committer, watch)


def _timed_commits(world: World, committer: Committer, watch: Stopwatch) -> Figures:
    decoder = build_decoder(world.catalog)
    rates = []
    events, total_s = 0, 0.0
    first, committer.rows = committer.number, 0
    for _ in range(world.size.store_days):
        records = world.records()
        mark = time.perf_counter()
        for some in batches(records, world.catalog.limits.batch_events):
            start = time.perf_counter()
            items = decode_all(decoder, some)
            decoded = time.perf_counter()
            committer.nested_s = 0.0
            world.pair.take(items, save=committer.commit_within)
            watch.seconds["decode"] += decoded - start
            watch.seconds["engine"] += time.perf_counter() - decoded - committer.nested_s
            committer.commit()
        seconds = time.perf_counter() - mark
        total_s += seconds
        events += len(records)
        rates.append(len(records) / seconds)
        world.progress.say(f"with the store: {rates[-1]:,.0f} events/s")
    commits = committer.number - first
    return {
        "with_store_events_per_s": statistics.median(rates),
        "with_store_events": events,
        "with_store_rows_per_s": committer.rows / total_s,
        "with_store_shares": shares(watch.take(), total_s),
        "commits": commits,
        "rows_per_commit": committer.rows / commits,
        "rows_per_event": committer.rows / events,
    }


# --- against plain river ------------------------------------------------------------------------------------------


def measure_reference(size: Size, progress: Progress) -> Figures:
    """The plain program and the shard on the same records of fewer users, and whether they say the same."""
    small = dataclasses.replace(size, users=size.reference_users)
    catalog = shop_catalog(pending_examples=max(1_000, EXAMPLES_PER_USER * small.users))
    traffic = Traffic(small.users, events_per_week=small.events_per_week)
    writer = Writer(traffic.country)
    days = [writer.records(next(traffic)) for _ in range(size.warm_days + size.reference_days)]
    warm, timed = days[: size.warm_days], days[size.warm_days :]
    plain = PlainShard(catalog)
    for n, records in enumerate(warm):
        for raw in records:
            plain.take(raw)
        progress.say(f"plain river, warming up: day {n + 1}")
    if not all(rule.live for rule in plain.rules):
        raise RuntimeError("the plain reference is not live after the warm-up; give it more days or users")
    gc.collect()
    gc.freeze()
    figures = _timed_reference(plain, timed, progress)
    progress.say("comparing what the two said")
    return {**figures, **compare(plain, catalog, [raw for records in days for raw in records])}


def _timed_reference(plain: PlainShard, timed: list[list[bytes]], progress: Progress) -> Figures:
    before = dataclasses.replace(plain.spent)
    looks = plain.looks
    rates, cpu_rates = [], []
    for records in timed:
        renewed = plain.spent.renew_s
        mark, cpu_mark = time.perf_counter(), time.process_time()
        for raw in records:
            plain.take(raw)
        hourly_s = plain.spent.renew_s - renewed
        rates.append(len(records) / (time.perf_counter() - mark - hourly_s))
        cpu_rates.append(len(records) / (time.process_time() - cpu_mark - hourly_s))
        progress.say(f"plain river: {rates[-1]:,.0f} events/s")
    events = sum(map(len, timed))
    spent = plain.spent
    predict_s, learn_s = spent.predict_s - before.predict_s, spent.learn_s - before.learn_s
    return {
        "reference_events_per_s": statistics.median(rates),
        "reference_events_per_cpu_s": statistics.median(cpu_rates),
        "reference_events": events,
        "reference_users": len(plain.users),
        "reference_looks_per_event": (plain.looks - looks) / events,
        "reference_learned_per_event": (spent.learned - before.learned) / events,
        "reference_predict_us": 1e6 * predict_s / (spent.predicted - before.predicted),
        "reference_learn_us": 1e6 * learn_s / max(1, spent.learned - before.learned),
        "reference_river_events_per_s": events / (predict_s + learn_s),
    }


def compare(plain: PlainShard, catalog: Catalog, records: list[bytes]) -> Figures:
    """Run the shard over the same records; how far its likelihoods are from the plain ones, and its transitions."""
    chunks: list[ExampleChunk] = []
    pair = new_pair(catalog, chunks.append)
    decoder = build_decoder(catalog)
    for some in batches(records, catalog.limits.batch_events):
        pair.take(decode_all(decoder, some))
    found = _by_prediction(chunks, len(plain.rules))
    largest = 0.0
    for p, (likelihood, time_s, label) in enumerate(found):
        rows = np.array([row[1:] for row in plain.learned if row[0] == p]).reshape(-1, 3)
        if len(rows) != len(likelihood) or not (rows[:, 0] == time_s).all() or not (rows[:, 1] == label).all():
            raise RuntimeError(f"the plain reference and the shard have learned different examples of prediction {p}")
        largest = max(largest, float(np.abs(rows[:, 2] - likelihood).max(initial=0.0)))
    ours, theirs = _crossings(pair.shard.transitions), _crossings(plain.transitions)
    return {
        "likelihoods_compared": sum(len(likelihood) for likelihood, _, _ in found),
        "likelihood_max_difference": largest,
        "transitions_compared": len(theirs),
        "transitions_differing": len(ours ^ theirs),
    }


def _by_prediction(chunks: list[ExampleChunk], predictions: int) -> list[tuple[Any, Any, Any]]:
    """Likelihood, time and label of what each prediction has learned, in order."""
    result = []
    for p in range(predictions):
        taken = [chunk.take(chunk.kind != KIND_CROSSING) for chunk in chunks if chunk.prediction == p]
        likelihood = np.concatenate([chunk.likelihood.astype(np.float64) for chunk in taken])
        result.append((likelihood, np.concatenate([c.time_s for c in taken]), np.concatenate([c.y for c in taken])))
    return result


def _crossings(transitions: list[bytes]) -> set[tuple[str, str, bool, int]]:
    """Who crossed what in which direction, and for the how manieth time."""
    decoded = (msgspec.json.decode(raw) for raw in transitions)
    return {
        (event["subject"], event["data"]["segment_id"], event["data"]["in_segment"], int(event["sequence"]))
        for event in decoded
    }


# --- the command ----------------------------------------------------------------------------------------------------


def run(size: Size, folder: Path, progress: Progress) -> Figures:
    """All of it."""
    mark = time.perf_counter()
    precompile()
    new_pair(shop_catalog()).take([])
    compile_s = time.perf_counter() - mark
    reference = measure_reference(size, progress) if size.reference_days else {}
    world = World.begin(size, progress)
    world.warm_up()
    alone = measure_shard(world)
    ratios: Figures = {}
    if reference:
        ratios = {
            "ratio_to_reference": _ratio(alone, reference, "events_per_s", "reference_events_per_s"),
            "ratio_to_reference_cpu": _ratio(alone, reference, "events_per_cpu_s", "reference_events_per_cpu_s"),
            "ratio_to_river_alone": _ratio(alone, reference, "events_per_s", "reference_river_events_per_s"),
        }
    with_store = measure_with_store(world, folder) if size.store_days else {}
    return {**alone, **ratios, **reference, **with_store, "compile_s": compile_s}


def _ratio(ours: Figures, theirs: Figures, mine: str, other: str) -> float:
    fast, slow = ours[mine], theirs[other]
    assert isinstance(fast, float)
    assert isinstance(slow, float)
    return fast / slow


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("engine", __doc__)
    command.numbers(
        {
            "users": (100_000, "users of the shard that is timed"),
            "warm-days": (45, "days before anything is timed; 32 at least, so that labels of 30 days come in"),
            "timed-days": (7, "days timed without a store, each for itself"),
            "store-days": (3, "days timed with the store (0: leave it out)"),
            "reference-users": (1_000, "users of the plain reference"),
            "reference-days": (7, "days timed with the plain reference (0: leave it out)"),
            "events-per-week": (3.0, "of a user who is there"),
        }
    )
    command.run(arguments, lambda given, folder, progress: run(Size(**given), folder, progress))


if __name__ == "__main__":
    main()
