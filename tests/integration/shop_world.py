"""A made-up shop: Segment events with traits, properties, duplicates and records that nobody can use."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.loader import load_catalog
from streams.runtime.job import Job, Outcome, run_job
from streams.runtime.place import Place

USERS = 400
DAYS = 45
START_S = datetime(2024, 3, 1, tzinfo=UTC).timestamp()

CATALOG = """
version: 1
name: Shop & sons
features:
  events: [Viewed, Order Completed]
  value: revenue
  traits: [country]
history: [Viewed]
remember:
  Viewed: {properties: [product], cleared_by: [Order Completed]}
predictions:
  orders_3d:
    name: Orders within <3> days
    goal: {did: Order Completed}
    window: 3d
  churn_5d:
    name: No order for 5 days
    kind: churn
    goal: {did_not: Order Completed}
    window: 5d
  rare_7d:
    name: Buys a yacht within 7 days
    goal: {did: Order Completed, where: {product: yacht}}
    window: 7d
segments:
  keen:
    name: Looked twice within two days
    filter: {event: Viewed, count: {min: 2}, within: 48h}
limits: {batch_events: 512}
"""

BAD_LINES = (
    "not json at all",
    '{"type": "track", "event": "Viewed", "timestamp": "2024-03-05T00:00:00Z"}',
    '{"type": "track", "userId": "u1", "event": "Viewed", "timestamp": "1900-01-01T00:00:00Z"}',
    '{"type": "track", "userId": "u1", "event": "Viewed", "timestamp": "3000-01-01T00:00:00Z"}',
    '{"type": "page", "userId": "u1", "timestamp": "2024-03-05T00:00:00Z"}',
    "[" * 5_000 + "]" * 5_000,
    json.dumps({
        "type": "track",
        "userId": "u1",
        "event": "Viewed",
        "timestamp": "2024-03-05T00:00:00Z",
        "properties": {"blob": "x" * 5_000_000},
    }),
)  # fmt: skip


def events(seed: int = 11) -> list[dict[str, Any]]:
    """Visits, and orders that are likelier for some users than for others."""
    draw = random.Random(seed)
    found: list[dict[str, Any]] = []
    for number in range(USERS):
        user = f"u{number}"
        keen = draw.random()
        time_s = START_S + draw.random() * 10 * 86_400
        found.append(
            {"type": "identify", "userId": user, "timestamp": time_s, "traits": {"country": draw.choice("ABC")}}
        )
        while time_s < START_S + DAYS * 86_400:
            found.append(_track(user, "Viewed", time_s, {"product": draw.choice(["boat", "sail"])}))
            if draw.random() < 0.7 * keen:
                found.append(_track(user, "Order Completed", time_s + 60, {"revenue": round(draw.uniform(5, 90), 2)}))
            time_s += draw.expovariate(1.0) * (1.0 + 6.0 * (1.0 - keen)) * 86_400
    found.sort(key=lambda event: event["timestamp"])
    for position, event in enumerate(found):
        event["messageId"] = f"m{position}"
        event["timestamp"] = datetime.fromtimestamp(event["timestamp"], UTC).isoformat()
    return found


def _track(user: str, name: str, time_s: float, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": name, "timestamp": time_s, "properties": properties}


@dataclass
class Notes:
    """A watcher that writes down what it is told."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    begun: list[tuple[int, int]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        self.steps.append(words)
        yield

    def scanned(self, done_bytes: int, total_bytes: int) -> None:
        assert 0 <= done_bytes <= total_bytes

    def covers(self, first_s: float, last_s: float) -> None:
        assert first_s <= last_s

    def begin(self, position: int, rows: int) -> None:
        self.begun.append((position, rows))

    def advance(self, position: int, clock_s: float) -> None:
        assert clock_s > 0
        self.positions.append(position)

    def note(self, words: str) -> None:
        self.notes.append(words)


@dataclass(frozen=True)
class Shop:
    """The shop's files, and what came of them."""

    folder: Path
    job: Job
    outcome: Outcome
    watcher: Notes
    rows: int

    @property
    def options(self) -> list[str]:
        """That lead a command to the shop's store."""
        return ["--data-dir", str(self.job.place.data_dir)]


def run_shop(folder: Path) -> Shop:
    """Write the files and run them."""
    lines = [json.dumps(event) for event in events()]
    lines.insert(500, lines[400])  # a duplicate, by its message id
    for number, bad in enumerate(BAD_LINES):
        lines.insert(600 + 100 * number, bad)
    path, catalog = folder / "events.ndjson", folder / "catalog.yaml"
    path.write_text("\n".join(lines) + "\n")
    catalog.write_text(CATALOG)
    place = Place(folder / "data")
    job = Job((path,), load_catalog(catalog), place, folder / "transitions.ndjson")
    watcher = Notes()
    return Shop(folder, job, run_job(job, watcher), watcher, len(lines))
