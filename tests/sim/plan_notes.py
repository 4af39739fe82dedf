"""Notes of campaigns among the traffic: of messages that went out behind an event of their user, and all that is odd.

They have a stream of random numbers of their own: what else a seed draws is the same with and without them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.sim.evidence import SENT, WITHHELD, read_event, shard_of

STRANGER = "nobody"
"""Of whom there is no event in any plan."""
NAMES = (SENT, SENT, SENT, WITHHELD, WITHHELD, "Tideline Message Dropped", "Tideline Message Opened")
"""The last one is of no kind that there is."""
KINDS = {
    "plain": 60,
    "note delayed": 12,
    "note out of order": 12,
    "note far ahead": 3,
    "note twice": 8,
    "note undecodable": 3,
    "note of a stranger": 3,
    "note in another partition": 2,
}
"""With their weights."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record on its way into the log: when it comes (before jumps of the clock), and into which partition."""

    at_s: float
    partition: int
    value: bytes


def with_notes(
    chance: random.Random, arrivals: Sequence[Arrival], shards: int, drawn: Counter[str]
) -> tuple[Arrival, ...]:
    """The traffic with the notes of campaigns that react to some of its events, by the time of arrival."""
    share = chance.choice([0.0, 0.15, 0.15, 0.4])
    notes: list[Arrival] = []
    for number, arrival in enumerate(arrivals):
        told = read_event(arrival.value)
        if told is not None and not told.deletes and chance.random() < share:
            # Of an event that was under way it is one to something else, and there before the event.
            occasion_s = chance.choice([arrival.at_s, min(arrival.at_s, told.time_s)])
            notes += _note(chance, told.user, number, occasion_s, shards, drawn)
    return tuple(sorted([*arrivals, *notes], key=lambda arrival: arrival.at_s))


def _note(
    chance: random.Random, user: str, number: int, occasion_s: float, shards: int, drawn: Counter[str]
) -> list[Arrival]:
    """What comes of one message: its note as it really comes."""
    (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
    name = chance.choice(NAMES)
    drawn["note" if kind == "plain" else kind] += 1
    at_s = occasion_s + chance.expovariate(1 / 1_500.0)
    home = shard_of(user, shards)
    if kind == "note out of order":
        value = _record(chance, name, user, number, at_s - chance.expovariate(1 / 6_000.0))
    elif kind == "note far ahead":
        value = _record(chance, name, user, number, at_s + chance.choice([400.0, 40 * 86_400.0]))
    elif kind == "note of a stranger":
        value, home = _record(chance, name, STRANGER, number, at_s), shard_of(STRANGER, shards)
    else:
        value = _record(chance, name, user, number, at_s)
    if kind == "note delayed":
        return [Arrival(at_s + chance.expovariate(1 / 15_000.0), home, value)]
    if kind == "note twice" and b"messageId" in value:  # without an id it would be another note
        return [Arrival(at_s, home, value), Arrival(at_s + chance.expovariate(1 / 5_000.0), home, value)]
    if kind == "note undecodable":
        return [Arrival(at_s, home, value[: chance.randrange(len(value))])]
    if kind == "note in another partition":
        return [Arrival(at_s, (home + 1) % shards, value)]
    return [Arrival(at_s, home, value)]


def _record(chance: random.Random, name: str, user: str, number: int, time_s: float) -> bytes:
    """As campaigns write it. Properties of events, which nobody may read here, are added."""
    body: dict[str, Any] = {
        "type": "track",
        "userId": user,
        "event": name,
        "timestamp": datetime.fromtimestamp(time_s, UTC).isoformat(),
        "properties": {
            "campaign": "win_back",
            "version": 1,
            "step": None,
            "why": chance.choice(["holdout", "control"]) if name == WITHHELD else "due",
            "price": 12,
            "items": [number],
        },
    }
    if chance.random() < 0.9:
        body["messageId"] = f"n{number}"
    return json.dumps(body, ensure_ascii=False).encode()
