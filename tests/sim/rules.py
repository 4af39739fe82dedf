"""What the auditor is told of a run: the numbers of its catalog that decide what must become of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.snapshot import Snapshot
from tests.sim.catalogs import PREDICTIONS
from tests.sim.plan import Plan

NEVER_THINNED = 2_000
"""With so much room for pending examples none is dropped: no run has so many."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one run. Times in seconds."""

    most_users: int
    max_ahead_s: float
    lateness_s: float
    windows_s: Mapping[str, float]
    """Of every prediction, in the catalog's order."""
    goals: Mapping[str, str]
    """Of predictions for everybody whose goal is one event: its name."""
    goal_events: Mapping[str, float]
    """Every event that a goal asks for, done or not: the least price at which it counts."""
    keeps_examples: bool
    given: Mapping[str, bytes]
    """In calm runs, the models that are in force all the time, as messages: none of a learner reaches a shard."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a shard has in memory at the end of a run."""

    counters: Mapping[str, int]
    clock_s: float
    now_s: float
    """The wall clock of its worker."""
    heads_s: Mapping[str, float]
    """The time of the example that a prediction waits for first, of those that have one."""
    waiting: Mapping[str, Sequence[tuple[int, float, int]]]
    """Pending examples of each prediction: hash of the user, time, kind."""
    ranks: Mapping[str, npt.NDArray[np.float64]]
    """The rank values of those in the audience of each prediction."""
    is_settled: bool
    """Nothing was recorded since examples were handed out last."""


def _goal_events(predictions: Sequence[str]) -> dict[str, float]:
    least: dict[str, float] = {}
    for prediction in predictions:
        goal = PREDICTIONS[prediction]["goal"]
        for atom in goal.get("any", [goal]):
            name = atom.get("did") or atom["did_not"]
            price = atom.get("where", {}).get("price", {}).get("min", 0.0)
            least[name] = min(price, least.get(name, price))
    return least


def rules_of(plan: Plan, given: Mapping[str, Snapshot]) -> Rules:
    """As the catalog of a plan has them. `given`: key of a model -> the model."""
    catalog = plan.catalog
    goals = {name: PREDICTIONS[name] for name in catalog.predictions if "audience" not in PREDICTIONS[name]}
    return Rules(
        most_users=catalog.limits.users,
        max_ahead_s=catalog.time.max_ahead_s,
        lateness_s=catalog.time.lateness_s,
        windows_s={name: prediction.window_s for name, prediction in catalog.predictions.items()},
        goal_events=_goal_events(list(catalog.predictions)),
        goals={name: made["goal"]["did"] for name, made in goals.items() if list(made["goal"]) == ["did"]},
        keeps_examples=catalog.limits.pending_examples >= NEVER_THINNED,
        given={key.partition(":")[2]: snapshot.to_bytes() for key, snapshot in given.items()},
    )
