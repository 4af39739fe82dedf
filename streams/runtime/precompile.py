"""Compile the hot loop ahead of time: `python -m streams.runtime.precompile` fills the cache that later starts read.

It runs a few events through a lock-step pair, which takes a minute on a fresh machine and two seconds afterwards.
"""

from __future__ import annotations

from math import nan

from config.loader import loads
from streams.core.events import Event
from streams.runtime.lockstep import LockStep

_CATALOG = "{version: 1, name: compile, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h}}}"
_START_S = 1_704_067_200.0


def precompile() -> None:
    """Make every compiled function of shard and learner run once."""
    engine = LockStep(loads(_CATALOG))
    for n in range(3):
        time_s = _START_S + 90_000.0 * n
        engine.take([Event("user", "Order", time_s, nan, n + 1, None, None, n, time_s)])
    shard = engine.shard
    model = shard.state.model
    names = shard.vocabulary.feature_names()
    shard.writer.write(shard.out, 0, (), (), model.weights, model.weights, names)
    engine.effects(1, b"")


if __name__ == "__main__":
    precompile()
