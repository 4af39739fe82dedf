"""River's scaler and FTRL with a memory."""

import pickle
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from river import optim, preprocessing, utils
from river.checks import common

from models.forgetting import ForgettingFTRL, ForgettingStandardScaler


def stream(seed: int, rows: int) -> list[dict[str, float]]:
    rng = random.Random(seed)
    return [{"a": rng.gauss(3, 2), "b": rng.random(), "c": 1.0} for _ in range(rows)]


def scalers(memory: int | None) -> tuple[Any, Any]:
    return ForgettingStandardScaler(memory), preprocessing.StandardScaler()


def test_without_a_memory_the_scaler_is_rivers_to_the_last_bit() -> None:
    ours, rivers = scalers(None)
    for x in stream(1, 500):
        ours.learn_one(x)
        rivers.learn_one(x)
        assert ours.transform_one(x) == rivers.transform_one(x)
    assert (ours.means, ours.vars, ours.counts) == (rivers.means, rivers.vars, rivers.counts)


def test_without_a_memory_the_optimizer_is_rivers_to_the_last_bit() -> None:
    ours, rivers = ForgettingFTRL(0.1, 0.5), optim.FTRLProximal(0.1, 0.5, l1=0.0, l2=0.0)
    w_ours: Any = utils.VectorDict()
    w_rivers: Any = utils.VectorDict()
    for x in stream(2, 500):
        ours.step(w_ours, utils.VectorDict(x))
        rivers.step(w_rivers, utils.VectorDict(x))
        assert w_ours.to_dict() == w_rivers.to_dict()
    assert (ours.z, ours.n, ours.n_iterations) == (rivers.z, rivers.n, rivers.n_iterations)


def test_the_scaler_is_rivers_until_its_memory_is_full() -> None:
    ours, rivers = scalers(100)
    for x in stream(3, 100):
        ours.learn_one(x)
        rivers.learn_one(x)
    assert ours.means == rivers.means
    assert ours.vars == rivers.vars


def test_the_scaler_follows_a_change_and_rivers_does_not() -> None:
    rng = random.Random(4)
    ours, rivers = scalers(1_000)
    values = [rng.gauss(0, 1) for _ in range(20_000)] + [rng.gauss(10, 3) for _ in range(10_000)]
    for value in values:
        ours.learn_one({"x": value})
        rivers.learn_one({"x": value})
    assert ours.means["x"] == pytest.approx(10.0, abs=0.5)
    assert ours.vars["x"] ** 0.5 == pytest.approx(3.0, rel=0.15)
    assert rivers.means["x"] < 5.0


def test_the_weights_of_ftrl_do_not_move_by_themselves_when_it_forgets() -> None:
    # A zero gradient only lets n decay; z has to move with it, or the weight would grow.
    optimizer = ForgettingFTRL(0.05, 1.0, memory_examples=10)
    w: dict[Any, Any] = {}
    for gradient in (0.5, -0.2, 0.9, 0.9):
        optimizer.step(w, {"x": gradient})
    optimizer.step(w, {"x": 0.0})
    settled = w["x"]
    for _ in range(50):
        optimizer.step(w, {"x": 0.0})
    assert optimizer.n["x"] < 0.01
    assert w["x"] == pytest.approx(settled, rel=1e-12)


def test_ftrl_with_a_memory_is_adagrad_with_a_decaying_sum() -> None:
    # Derived in the module's docstring; written here as the plain descent that it is equal to.
    alpha, beta, memory = 0.05, 1.0, 20
    optimizer = ForgettingFTRL(alpha, beta, memory)
    rng = np.random.default_rng(5)
    w: dict[Any, Any] = {}
    plain, total = 0.0, 0.0
    for gradient in rng.normal(size=200).tolist():
        optimizer.step(w, {"x": gradient})
        assert w.get("x", 0.0) == pytest.approx(plain, rel=1e-9, abs=1e-12)
        total = (1 - 1 / memory) * total + gradient**2
        plain -= alpha * gradient / (beta + total**0.5)


@pytest.mark.parametrize("memory", [None, 2, 100_000])
def test_learning_many_is_learning_one_after_another(memory: int | None) -> None:
    rows = stream(6, 50)
    many, one = ForgettingStandardScaler(memory), ForgettingStandardScaler(memory)
    many.learn_many(pa.Table.from_pylist(rows[:20]))
    many.learn_many(pa.Table.from_pylist(rows[20:]))
    for x in rows:
        one.learn_one(x)
    for name in ("a", "b", "c"):
        assert many.means[name] == pytest.approx(one.means[name], rel=1e-9)
        assert many.vars[name] == pytest.approx(one.vars[name], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("make", [ForgettingStandardScaler, ForgettingFTRL])
@pytest.mark.parametrize("memory", [1, 0, -5])
def test_a_memory_too_short_to_mean_anything_is_refused(make: Any, memory: int) -> None:
    with pytest.raises(ValueError, match="memory_examples"):
        make(memory_examples=memory)


ON_DATA = (
    common.check_learn_one,
    common.check_predict_one_pure,
    common.check_pickling,
    common.check_shuffle_features_no_impact,
    common.check_emerging_features,
    common.check_disappearing_features,
    common.check_radically_disappearing_features,
    common.check_bounded_memory_growth,
)
WITHOUT_DATA = (
    common.check_repr,
    common.check_clone_same_class,
    common.check_clone_is_idempotent,
    common.check_clone_changes_memory_addresses,
    common.check_repr_roundtrips_clone,
    common.check_init_default_params_are_not_mutable,
    common.check_doc,
)


@pytest.mark.parametrize("memory", [None, 50])
@pytest.mark.parametrize("check", [*ON_DATA, *WITHOUT_DATA], ids=lambda check: check.__name__)
def test_the_scaler_keeps_rivers_conventions(check: Any, memory: int | None) -> None:
    # River's own checks, without river's data sets, which need scikit-learn.
    scaler = ForgettingStandardScaler(memory)
    if check in ON_DATA:
        check(scaler, [({**x, "d": 2.0 * x["a"], "e": x["b"] - 1.0}, 0.0) for x in stream(7, 120)])
    else:
        check(scaler)
    assert scaler.clone().memory_examples == memory


def test_both_survive_pickling_and_cloning_with_their_memory() -> None:
    optimizer = ForgettingFTRL(0.1, 2.0, 30)
    optimizer.step({"x": 0.0}, {"x": 1.5})
    again = pickle.loads(pickle.dumps(optimizer))
    assert (again.z, again.n, again.memory_examples, again.alpha) == (optimizer.z, optimizer.n, 30, 0.1)
    fresh = optimizer.clone()
    assert (fresh.memory_examples, fresh.beta, dict(fresh.n)) == (30, 2.0, {})
