"""Planted bugs: each of them turns the simulator red within the fixed seeds."""

from __future__ import annotations

import re

import pytest

from tests.sim.planted import PLANTED
from tests.sim.run import simulate
from tests.sim.test_simulator import SEEDS

ENOUGH = 2
"""Seeds that have to find a bug; those that are fixed are run one after another until so many have."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    found: dict[int, str] = {}
    seed = PLANTED[name].first
    while seed < SEEDS and len(found) < ENOUGH:
        result = simulate(seed, PLANTED[name])
        if result.failure is not None:
            assert re.match(PLANTED[name].found_as, result.failure), (
                f"seed {seed}, for another reason: {result.failure}"
            )
            found[seed] = result.failure
        seed += 1
    print(f"{name} ({PLANTED[name].what}): found by {len(found)} of {seed - PLANTED[name].first} seeds")  # noqa: T201  pytest -s
    assert len(found) >= ENOUGH
