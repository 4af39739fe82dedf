"""A small world with a known truth: customers who buy at a constant rate of their own, for ever.

The true probability of an order within a window is 1 - exp(-rate * window), so a model that says just that has the
best expected figures, and learned peers can only come near.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from config.catalog import Prediction
from models.examples import KIND_EVENT, KIND_SILENT, ExampleChunk
from streams.runtime.evaluation.points import Collector, Points

DAY_S = 86_400.0
START_S = 900_000_000.0
NAMES = ("age", "log_rate", "noise")


def prediction(window: str = "7d", goal: dict[str, Any] | None = None) -> Prediction:
    return Prediction.model_validate({"name": "Orders", "goal": goal or {"did": "Order"}, "window": window})


@dataclass(frozen=True)
class Rows:
    """The columns of examples, [n] each and x [n, 3]."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.uint8]
    time_s: npt.NDArray[np.float64]
    user: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.uint8]
    likelihood: npt.NDArray[np.float32]
    heuristic: npt.NDArray[np.float32]

    def of(self, rows: npt.NDArray[Any]) -> Rows:
        return Rows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def chunk(self, number: int, index: int = 0) -> ExampleChunk:
        n = len(self.y)
        return ExampleChunk(
            index, number, self.x, self.y, self.time_s, self.user, self.kind, np.ones(n, dtype=np.float32),
            self.likelihood, self.heuristic, np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.uint8),
            np.zeros(n, dtype=np.uint8), shard=0,
        )  # fmt: skip


@dataclass(frozen=True)
class World:
    """Events of "Order" and the examples that a run of the engine would hand out, in the order of their labels."""

    rows: Rows
    user: npt.NDArray[np.uint64]
    time_s: npt.NDArray[np.float64]
    start_s: float
    end_s: float
    window_s: float

    def points(self, asked: Prediction, chunk_rows: int = 500) -> Points:
        with Collector("orders", asked) as collector:
            for number, first in enumerate(range(0, len(self.rows.y), chunk_rows), start=1):
                part = np.arange(first, min(first + chunk_rows, len(self.rows.y)))
                collector.collect(self.rows.of(part).chunk(number))
            return collector.points(self.start_s, self.end_s, NAMES)


def make_world(seed: int, users: int = 150, days: int = 130, window_days: float = 7.0, looks: int = 25) -> World:
    """Users arrive over the first three quarters of the time; examples are at orders and `looks` random times."""
    generator = np.random.default_rng(seed)
    end_s = START_S + days * DAY_S
    window_s = window_days * DAY_S
    event_user, event_time, rows = [], [], []
    for user in range(users):
        rate = float(np.exp(generator.normal(-3.0, 1.2)))  # orders a day
        first_s = START_S if user == 0 else START_S + generator.random() * 0.75 * days * DAY_S
        gaps_s = generator.exponential(DAY_S / rate, size=int(rate * days * 3) + 20)
        times_s = np.concatenate(([first_s], first_s + np.cumsum(gaps_s)))
        times_s = times_s[times_s <= end_s]
        looks_s = first_s + generator.random(looks) * (end_s - first_s)
        moments_s = np.concatenate((times_s, looks_s))
        kind = np.repeat([KIND_EVENT, KIND_SILENT], [len(times_s), len(looks_s)])
        upcoming = np.searchsorted(times_s, moments_s, side="right")
        bought = np.searchsorted(times_s, moments_s + window_s, side="right") > upcoming
        event_user += [user] * len(times_s)
        event_time += times_s.tolist()
        truth = -np.expm1(-rate * window_days)
        rows += [
            (moment, user, k, label, np.log1p((moment - first_s) / DAY_S), np.log(rate), truth)
            for moment, k, label in zip(moments_s, kind, bought, strict=True)
            if moment + window_s <= end_s
        ]
    # The engine hands out by hours, inside an hour in the order of time.
    rows.sort(key=lambda row: row[0])
    table = np.array(rows)
    noise = generator.random(len(table))
    x = np.column_stack((table[:, 4], table[:, 5], noise)).astype(np.float32)
    examples = Rows(
        x=x,
        y=table[:, 3].astype(np.uint8),
        time_s=table[:, 0],
        user=table[:, 1].astype(np.uint64),
        kind=table[:, 2].astype(np.uint8),
        likelihood=table[:, 6].astype(np.float32),
        heuristic=noise.astype(np.float32),
    )
    return World(
        examples, np.array(event_user, dtype=np.uint64), np.array(event_time), START_S, max(event_time), window_s
    )
