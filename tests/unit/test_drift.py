"""Drift: the index against its definition, its properties, what it is compared with, and what a learner shows of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._warmup import ShortWarmup
from models.jit import I64
from models.snapshot import BINS
from streams.runtime.drift import BUCKETS, Baselines, psi
from streams.runtime.judged_figures import WEEKS, lately
from streams.runtime.learner_run import LearnerRun
from tests.unit.test_live_runs import CATALOG, SHARDS, World, run_all, traffic

DAY_S = 86_400.0
COUNTS = st.lists(st.integers(0, 1_000), min_size=64, max_size=64).filter(any).map(np.array)


def slow_psi(before: I64, now: I64) -> float:
    """User by user: of those before, each twentieth is a bucket; a bin is where its middle user is."""
    users = [place for place, n in enumerate(before.tolist()) for _ in range(n)]
    bucket_of, so_far = {}, 0
    for place, n in enumerate(before.tolist()):
        bucket_of[place] = min(int(BUCKETS * (so_far + n / 2) / len(users)), BUCKETS - 1)
        so_far += n
    total = 0.0
    for bucket in range(BUCKETS):
        bins = [place for place, at in bucket_of.items() if at == bucket]
        shares = [
            0.999 * sum(int(counts[place]) for place in bins) / int(counts.sum()) + 0.001 / BUCKETS
            for counts in (before, now)
        ]
        total += (shares[1] - shares[0]) * math.log(shares[1] / shares[0])
    return total


@given(COUNTS, COUNTS)
def test_it_is_what_its_definition_says(before: I64, now: I64) -> None:
    found = psi(before, now)
    assert found is not None
    assert found == pytest.approx(slow_psi(before, now), abs=1e-12)
    assert found >= 0.0


@given(COUNTS, st.integers(1, 50))
def test_the_same_shares_have_not_moved_however_many_they_are_of(counts: I64, times: int) -> None:
    assert psi(counts, counts * times) == pytest.approx(0.0, abs=1e-12)
    assert psi(counts * times, counts) == pytest.approx(0.0, abs=1e-12)


def test_it_grows_with_how_far_an_audience_moves() -> None:
    rng = np.random.default_rng(8)
    users = [np.histogram(rng.normal(-3.0 + shift, 1.0, 50_000), BINS, (-12.0, 12.0))[0] for shift in (0, 0, 0.3, 1, 9)]
    same, little, much, apart = (psi(users[0], later) for later in users[1:])
    assert same is not None
    assert little is not None
    assert much is not None
    assert apart is not None
    assert 0.0 < same < 3 * 19 * 2 / 50_000, "by chance alone"
    assert same < 0.05 < little < 0.15
    assert 0.5 < much < apart
    assert math.isfinite(apart)


def test_nobody_is_compared_with_nobody() -> None:
    nobody, some = np.zeros(BINS, np.int64), np.ones(BINS, np.int64)
    assert psi(nobody, some) is None
    assert psi(some, nobody) is None


def at_bin(place: int) -> I64:
    counts = np.zeros(BINS, np.int64)
    counts[place : place + 40] = 25
    return counts


def test_it_is_compared_with_the_first_of_the_day_before_and_the_first_of_all() -> None:
    stored: dict[str, bytes] = {}
    kept = Baselines(stored)
    stored |= kept.follow("orders", at_bin(100), 10 * DAY_S)
    assert kept.drift("orders", at_bin(100)) == {"live": pytest.approx(0.0)}
    assert not kept.follow("orders", at_bin(200), 10 * DAY_S + 3_600.0), "a day has one"
    stored |= kept.follow("orders", at_bin(300), 13 * DAY_S)
    assert kept.drift("orders", at_bin(100)) == pytest.approx({"live": 0.0, "day": 0.0})
    stored |= kept.follow("orders", at_bin(400), 14 * DAY_S)
    found = kept.drift("orders", at_bin(300))
    assert found["day"] == pytest.approx(0.0)
    assert found["live"] > 1.0
    assert Baselines(stored).drift("orders", at_bin(300)) == found, "a restart forgets nothing"
    assert not kept.follow("orders", at_bin(0), 12 * DAY_S), "the time of a log does not go back"


def test_what_asks_something_else_is_compared_with_nothing_of_before() -> None:
    stored: dict[str, bytes] = {}
    kept = Baselines(stored)
    assert not kept.forget("orders")
    assert not kept.follow("orders", np.zeros(BINS, np.int64), 0.0), "nobody is in it yet"
    stored |= kept.follow("orders", at_bin(100), 0.0)
    stored |= kept.forget("orders")
    assert kept.drift("orders", at_bin(100)) == {}
    assert Baselines(stored).drift("orders", at_bin(100)) == {}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with patch("models.learner.Warmup", ShortWarmup):
        world = World()
        run_all(world, traffic(2_400), 50)
        yield world


def test_a_learner_shows_the_quality_and_the_drift_of_its_last_model(world: World) -> None:
    judged = world.learner.judged["orders"]
    quality = world.learner.learner.predictions[0].quality
    assert len(quality.weeks) <= WEEKS
    assert 500 < judged.figures.n <= quality.select().n, "what was learned since is in the next one"
    assert judged.figures.roc_auc is not None
    assert 0.0 < judged.figures.roc_auc < 1.0
    assert set(judged.drift) == {"live"}
    assert 0.0 < judged.drift["live"] < 10.0


def test_whoever_takes_a_learner_over_shows_the_same(world: World) -> None:
    again = LearnerRun(CATALOG, world.ports(1, 1), partition=0, every=SHARDS)
    again.assign()
    assert again.judged["orders"].drift.keys() == {"live"}
    assert again.judged["orders"].figures == lately(world.learner.learner.predictions[0].quality)
    again.drop()
    assert again.judged == {}
