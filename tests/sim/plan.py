"""What one seed draws before anything runs: the catalog, the traffic, the shape of the cluster, and the weather.

The order of what happens is drawn while it happens, from a second stream of the same seed: so a planted bug meets the
same catalog and the same traffic.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from config.catalog import Catalog
from tests.sim.catalogs import draw_catalog
from tests.sim.evidence import shard_of
from tests.sim.plan_notes import Arrival, with_notes

START_S = 1_704_240_000.0  # 2024-01-03T00:00:00Z
DELETED = 0.03
"""The share of records that delete their user."""
NAMES = ("View", "View", "View", "Cart", "Order", "Return", "Ping", None)
"""None is an identify."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How often things go wrong: chances per call of a port, but for `turmoil`, per turn of the world."""

    crash: float
    pause: float
    store: float
    sink: float
    turmoil: float


STILL = Weather(crash=0.0, pause=0.0, store=0.0, sink=0.0, turmoil=0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    catalog: Catalog
    shards: int
    workers: int
    learners: int
    """Partitions of the examples."""
    is_calm: bool
    """Models are given at the start and never change, and time passes by events alone: then the outcome follows from
    the log, and must equal that of a run without faults."""
    goes_back: bool
    """Whether the store may be set back in time."""
    live_after: int
    """Learned examples after which a prediction leaves its warm-up."""
    every: int
    largest_cut: int
    attempts: int
    """Of the commit's patience."""
    tells_on_fetch: bool
    """The group's offsets are those of what was fetched, not of what was committed."""
    group_forgets: bool
    """The consumer group keeps no witness: its offsets are deleted again and again."""
    weather: Weather
    arrivals: tuple[Arrival, ...]
    drawn: Counter[str] = field(default_factory=Counter)
    """What the traffic holds, by kind."""
    crash_at: int | None = None
    """The call of a port before which the worker ends, beside what the weather brings."""


def draw_plan(seed: int, *, noted: bool = True) -> Plan:
    """The plan of a seed. `noted`: with notes of campaigns, without which all else is the same."""
    chance = random.Random(f"plan {seed}")
    shards = chance.choice([1, 2, 2, 3])
    drawn: Counter[str] = Counter()
    plan = Plan(
        seed=seed,
        catalog=draw_catalog(chance),
        shards=shards,
        workers=chance.choice([2, 2, 3]),
        learners=chance.choice([1, 2]),
        is_calm=chance.random() < 0.4,
        goes_back=chance.random() < 0.35,
        live_after=chance.choice([1, 4, 15]),
        every=chance.choice([1, 3, 10]),
        largest_cut=chance.choice([2, 8, 30]),
        attempts=chance.choice([1, 3, 5]),
        tells_on_fetch=chance.random() < 0.5,
        weather=_weather(chance),
        arrivals=_traffic(chance, shards, drawn),
        drawn=drawn,
        group_forgets=chance.random() < 0.25,
    )
    if not noted:
        return plan
    return replace(plan, arrivals=with_notes(random.Random(f"notes {seed}"), plan.arrivals, shards, drawn))


def _weather(chance: random.Random) -> Weather:
    return Weather(
        crash=chance.choice([0.0, 0.02, 0.05]),
        pause=chance.choice([0.02, 0.05, 0.1]),
        store=chance.choice([0.0, 0.05, 0.2]),
        sink=chance.choice([0.0, 0.1, 0.3]),
        turmoil=chance.choice([0.05, 0.15]),
    )


def _traffic(chance: random.Random, shards: int, drawn: Counter[str]) -> tuple[Arrival, ...]:
    users = [f"u{n}" if n else "Zoë" for n in range(chance.randint(3, 9))]
    mean_gap_s = chance.choice([200.0, 500.0, 1_200.0])
    arrivals: list[Arrival] = []
    at_s = START_S
    for number in range(chance.randint(30, 90)):
        at_s += chance.expovariate(1.0 / mean_gap_s)
        user = chance.choice(users)
        home = shard_of(user, shards)
        arrival = Arrival(at_s, home, _record(chance, user, number, at_s, drawn))
        arrivals += _noise(chance, arrival, shards, drawn)
    return tuple(sorted(arrivals, key=lambda arrival: arrival.at_s))


def _noise(chance: random.Random, arrival: Arrival, shards: int, drawn: Counter[str]) -> list[Arrival]:
    """The record as it really comes: late, twice, broken, or to the wrong place."""
    kind = chance.choices(
        ["plain", "delayed", "duplicate", "undecodable", "wrong_partition"], [80, 6, 8, 4, 2 * (shards > 1)]
    )[0]
    if kind == "duplicate" and b"messageId" not in arrival.value:
        kind = "plain"  # without an id it would be another fact
    if kind != "plain":
        drawn[kind] += 1
    at_s, home, value = arrival.at_s, arrival.partition, arrival.value
    if kind == "delayed":
        return [Arrival(at_s + chance.expovariate(1 / 5_000.0), home, value)]
    if kind == "duplicate":
        return [arrival, *(Arrival(at_s + chance.expovariate(1 / 3_000.0), home, value) for _ in range(2))]
    if kind == "undecodable":
        broken = chance.choice([b"\xff\xfe\x00", value[: len(value) // 2], b"[1, 2]", b"{}", b""])
        return [arrival, Arrival(at_s, chance.randrange(shards), broken)]
    if kind == "wrong_partition":
        return [Arrival(at_s, (home + 1) % shards, value)]
    return [arrival]


def _deletion(user: str, number: int, at_s: float) -> bytes:
    when = datetime.fromtimestamp(at_s, UTC).isoformat()
    body = {"type": "delete", "userId": user, "timestamp": when, "messageId": f"d{number}"}
    return json.dumps(body, ensure_ascii=False).encode()


def _record(chance: random.Random, user: str, number: int, at_s: float, drawn: Counter[str]) -> bytes:
    if chance.random() < DELETED:
        drawn["deletion"] += 1
        return _deletion(user, number, at_s - chance.choice([0.0, 0.0, 5_000.0]))
    name = chance.choice(NAMES)
    shift = chance.choices(["none", "disorder", "far_future"], [85, 10, 5])[0]
    if shift != "none":
        drawn[shift] += 1
    far = chance.choice([400.0, 30 * 86_400.0, 400 * 86_400.0]) if shift == "far_future" else 0.0
    time_s = at_s + far - (chance.expovariate(1 / 4_000.0) if shift == "disorder" else 0.0)
    body: dict[str, Any] = {
        "type": "identify" if name is None else "track",
        "userId": user,
        "timestamp": datetime.fromtimestamp(time_s, UTC).isoformat(),
    }
    if name is None:
        body["traits"] = {"plan": chance.choice(["free", "team", "firm"])}
    else:
        body["event"] = name
        body["properties"] = {"price": chance.randint(1, 12), "items": [number]}
    if chance.random() < 0.9:
        body["messageId"] = f"m{number}"
    else:
        drawn["without_message_id"] += 1
    return json.dumps(body, ensure_ascii=False).encode()
