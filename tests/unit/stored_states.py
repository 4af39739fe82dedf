"""States of shards as they are read from a store, for tests that look at several together."""

from __future__ import annotations

import math

import numpy as np

from config.loader import loads
from models.learner import Learner, prediction_specs
from models.snapshot import BINS, PredictionSnapshot, Snapshot, Status
from streams.core.definitions import compile_definitions
from streams.core.state import allocate_population
from streams.core.vocabulary import Vocabulary
from streams.runtime.replay import Totals
from streams.runtime.stored import StoredState

GOAL = {"a": "A", "b": "B", "c": "C"}


def state_of(ids: str, count: int, versions: dict[str, int] | None = None, history: str = "") -> StoredState:
    """A shard with `count` users in every audience, and the models of these versions in force."""
    goals = ", ".join(f"{id_}: {{name: {id_}, goal: {{did: {GOAL[id_]}}}, window: 7d}}" for id_ in ids)
    catalog = loads(f"{{version: 1, name: Shop, history: [A, B, C{history}], predictions: {{{goals}}}}}")
    vocabulary = Vocabulary(catalog)
    definitions = compile_definitions(catalog, vocabulary)
    population = allocate_population(len(ids))
    for p, id_ in enumerate(ids):
        population.counts[p, "abc".index(id_)] = count
        population.categories[p, "abc".index(id_)] = count
    features = np.zeros(definitions.layout.columns.features)
    snapshot = None
    if versions is not None:
        models = [PredictionSnapshot(Status.LIVE, features, 0.0, features, 9, 3, version=versions[id_]) for id_ in ids]
        counts = np.full((len(ids), BINS), count)
        snapshot = Snapshot(max(versions.values()), tuple(models), counts)
    return StoredState(
        catalog=catalog,
        definitions=definitions,
        vocabulary=vocabulary,
        learner=Learner(prediction_specs(catalog), vocabulary.feature_names()),
        snapshot=snapshot,
        population=population,
        user_days=np.array([100.0 * count + "abc".index(id_) for id_ in ids]),
        counters={"events": count},
        clock_s=math.nan,
        looked_s=0.0,
        served_epochs=(None,) * len(ids),
        frozen_s=(None,) * len(ids),
        totals=Totals(),
        run=None,
        users=count,
        members={},
    )
