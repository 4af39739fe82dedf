"""One seed from start to end: the plan, the world, the auditor, and for calm runs the same without faults beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from models.jit import F64
from models.labels import NEXT
from models.snapshot import BINS, PredictionSnapshot, Snapshot, Status
from streams.adapters.memory_store import MemoryServer, MemoryShard
from streams.core.questions import questions_of
from streams.core.shard import Shard
from streams.core.state import CHANGED
from streams.core.vocabulary import Vocabulary
from streams.runtime.latest_models import model_key
from streams.runtime.shard_run import ShardRun
from tests.live_after import live_after
from tests.sim.books import EVENTS, EXAMPLES, Held, Place, Violation
from tests.sim.catalogs import without_previews
from tests.sim.evidence import user_hash
from tests.sim.plan import STILL, Plan, draw_plan
from tests.sim.planted import NONE, Planted
from tests.sim.rules import Memory
from tests.sim.world import World


@dataclass(slots=True)
class Result:
    """What a run was."""

    seed: int
    faults: Counter[str]
    transitions: int = 0
    calls: int = 0
    """Of ports."""
    checked: Counter[str] = field(default_factory=Counter)
    """What the auditor had to judge at the end, by check."""
    failure: str | None = None
    notes: tuple[str, ...] = ()


def simulate(seed: int, planted: Planted = NONE) -> Result:
    """Run one seed. A violation, and whatever the product raised, is in `failure`."""
    return simulate_plan(draw_plan(seed), planted)


def simulate_plan(plan: Plan, planted: Planted = NONE) -> Result:
    """The same with a plan."""
    if plan.is_calm:
        plan = replace(plan, catalog=without_previews(plan.catalog))
    with live_after(plan.live_after):
        names = Vocabulary(plan.catalog).feature_names()
        features = len(names)
        world = World(plan, planted, _given_models(plan, names), features)
        result = Result(plan.seed, world.faults)
        try:
            with planted.patches():
                world.run()
                _judge(world)
            if plan.is_calm:  # without the bug beside it
                _compare(world, features)
        except Exception as error:  # noqa: BLE001  whatever escapes is the finding
            result.failure = f"{type(error).__name__}: {error}"
            result.notes = tuple(world.notes)
        result.calls = world.calls
        result.checked = world.auditor.checked
        result.transitions = sum(len(book.transitions) for book in world.auditor.books.values())
        return result


def _given_models(plan: Plan, names: Sequence[str]) -> dict[str, Snapshot]:
    """Models that are in force from the start, in a calm run. They know nothing of names that are still to be found."""
    if not plan.is_calm:
        return {}
    draw = np.random.default_rng(plan.seed)
    features = len(names)
    known = np.array(["?" not in name for name in names], np.float64)
    models = {}
    for name, question in questions_of(plan.catalog).items():
        weights, means = known * draw.normal(0.0, 0.7, features), draw.normal(0.5, 0.2, features)
        prediction = PredictionSnapshot(Status.LIVE, weights, -0.5, means, 50, 10, None, 1)
        counts = np.zeros((1, BINS), np.int64)
        counts[0, draw.integers(300, 700, 40)] += 1
        models[model_key(question, name)] = Snapshot(1, (prediction,), counts)
    return models


def _judge(world: World) -> None:
    held = {place: _held(world.servers[place[0]], place) for place in world.owner}
    memories = {}
    for place, number in world.owner.items():
        worker = world.workers[number]
        run = worker.runs[place]
        if isinstance(run, ShardRun):
            memories[place[1]] = _memory(run.shard, world.now() + worker.skew_s if not world.plan.is_calm else 0.0)
    world.auditor.finish(held, memories, world.latest_worker_s())


def _memory(shard: Shard, now_s: float) -> Memory:
    q, c = shard.pending, shard.definitions.layout.columns
    users, size = shard.users, len(q.time_s)
    heads_s: dict[str, float] = {}
    waiting: dict[str, list[tuple[int, float, int]]] = {}
    ranks: dict[str, F64] = {}
    for p, name in enumerate(shard.definitions.prediction_ids):
        first, end = int(q.due[p]), int(q.n[NEXT])
        if first < end:
            heads_s[name] = float(q.time_s[first % size])
        at = np.arange(first, end) % size
        at = at[~np.isnan(q.served[at, 0, p])]
        keys = [user_hash(users.ids[row]) for row in q.row[at].tolist()]
        times, kinds = q.time_s[at].tolist(), q.kind[at].tolist()
        waiting[name] = list(zip(keys, times, kinds, strict=True))
        inside = users.rows.b[: len(users), c.b_audience + p] != 0
        ranks[name] = users.rows.f[: len(users), c.f_z + p][inside].astype(np.float64)
    return Memory(
        counters=shard.counters(),
        clock_s=shard.clock_s,
        now_s=now_s,
        heads_s=heads_s,
        waiting=waiting,
        ranks=ranks,
        is_settled=not shard.si[CHANGED],
    )


def _held(server: MemoryServer, place: Place) -> Held:
    stored = server.shards[place[1]]
    return Held(
        stored.number,
        stored.generation,
        stored.position,
        stored.blobs,
        stored.scores,
        stored.members,
        {name: bytes(data) for name, data in stored.appended.items()},
        [data for _, data in stored.outbox],
        [(m.topic, m.key, m.data) for _, m in stored.messages],
        stored.dead_letters,
        stored.rows,
        stored.remembered,
    )


# --- the same without faults -----------------------------------------------------------------------------------------


def _compare(world: World, features: int) -> None:
    """A calm run's outcome follows from the log alone: one worker and no faults must come to the same."""
    plan = replace(world.plan, workers=1, weather=STILL, goes_back=False, crash_at=None)
    alone = World(plan, NONE, world.given_models, features)
    alone.arrivals.clear()
    alone.latest_now_s = world.latest_now_s  # its records come from there
    alone.records[EVENTS], alone.values[EVENTS] = world.records[EVENTS], world.values[EVENTS]
    for partition, values in enumerate(alone.values[EVENTS]):
        for offset, value in enumerate(values):
            log_time_s = alone.records[EVENTS][partition][offset].log_time_s
            alone.auditor.on_record(partition, offset, value, log_time_s)
    alone.calm_down()
    for shard in range(plan.shards):
        found, wanted = world.servers[EVENTS].shards[shard], alone.servers[EVENTS].shards[shard]
        for name in ("rows", "scores", "index", "members", "remembered", "deleted"):
            if _without_empty(getattr(found, name)) != _without_empty(getattr(wanted, name)):
                raise Violation(f"shard {shard}: {name} are not those of a run without faults")
        if _letters(found) != _letters(wanted):
            raise Violation(f"shard {shard}: dead letters are not those of a run without faults")
        for kind, of in (("transitions", _transitions), ("chunks", _chunks)):
            if of(world, shard) != of(alone, shard):
                raise Violation(f"shard {shard}: the {kind} are not those of a run without faults")
    _compare_learners(world.servers[EXAMPLES].shards, alone.servers[EXAMPLES].shards)


def _compare_learners(found: dict[int, MemoryShard], wanted: dict[int, MemoryShard]) -> None:
    """Chunks of several shards come in any order, so only what does not depend on it."""
    for number, stored in wanted.items():
        names = [name for name in stored.blobs if name.startswith("counts:")]
        if any(found[number].blobs[name] != stored.blobs[name] for name in names):
            raise Violation(f"learner {number}: the distributions are not those of a run without faults")


def _letters(stored: MemoryShard) -> list[dict[str, Any]]:
    """But for those that went with a deleted user: what was stored with the deletion has left its place."""
    letters = map(json.loads, stored.dead_letters)
    return [letter for letter in letters if letter.get("raw") != "" or letter["reason"] == "deleted_user"]


def _without_empty(group: Any) -> Any:
    return {name: part for name, part in group.items() if part} if isinstance(group, dict) else group


def _transitions(world: World, shard: int) -> list[dict[str, Any]]:
    """Those that stand; without ids, which differ with the generation."""
    events = [json.loads(data) for commit in world.auditor.books[EVENTS, shard].commits for data in commit.transitions]
    return [{name: value for name, value in event.items() if name != "id"} for event in events]


def _chunks(world: World, shard: int) -> list[tuple[str, list[Any]]]:
    """But for what comes last: names of their features, and the birth of the store. A column may have its name a batch
    earlier or later, when nothing is counted in it yet; the learner goes by names, and knows such a column under both.
    """
    commits = world.auditor.books[EVENTS, shard].commits
    sent = [(key, data) for commit in commits for topic, key, data in commit.messages if topic == EXAMPLES]
    return [(key, msgspec.msgpack.decode(data, type=list[Any])[:-2]) for key, data in sent]
