"""What every model must keep, in river's style: a model is tested by existing.

The suite finds the classifiers of river that a catalog may name, adds the compiled pipeline, and runs all
checks on each.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import river
from numpy.typing import NDArray
from river import base

from config.errors import ModelUnknown
from config.predictions import RiverModel
from models.examples import ExampleChunk
from models.learner import Learner, Model, PredictionSpec
from models.pipeline import CompiledLogistic
from models.rivermodels import SignedPickle, build
from models.snapshot import BINS, Snapshot

NAMES = ("count:Order Completed:7d", "since:Order Completed", "sessions", "age")
ROWS = 160
CODEC = SignedPickle(b"a key that is only for tests")


@cache
def allowed_paths() -> tuple[str, ...]:
    """All classes of river that `build` takes without parameters."""
    found = []
    for module in pkgutil.iter_modules(river.__path__, "river."):
        if module.name in ("river.checks", "river.datasets"):
            continue
        package = importlib.import_module(module.name)
        for name, member in inspect.getmembers(package, inspect.isclass):
            if issubclass(member, base.Classifier) and not name.startswith("_"):
                try:
                    build(f"{module.name}.{name}", {}, NAMES)
                except ModelUnknown:
                    continue
                found.append(f"{module.name}.{name}")
    return tuple(found)


FEW_TREES: dict[str, dict[str, Any]] = {
    "river.ensemble.SRPClassifier": {"n_models": 3},
    "river.forest.AMFClassifier": {"n_estimators": 3},
    "river.forest.ARFClassifier": {"n_models": 3},
}
SPECS = [
    PredictionSpec("logistic", memory_examples=100_000),
    PredictionSpec("logistic-short", memory_examples=50),
    PredictionSpec("logistic-for-ever", memory_examples=None),
    PredictionSpec("unscaled", RiverModel(river="river.linear_model.LogisticRegression", scale=False)),
    PredictionSpec("unscaled-tree", RiverModel(river="river.tree.HoeffdingTreeClassifier", scale=False)),
    *(PredictionSpec(path, RiverModel(river=path, params=FEW_TREES.get(path, {}))) for path in allowed_paths()),
]

Rows = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]


def rows(seed: int = 3, count: int = ROWS, *, weight: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    x = np.log1p(rng.exponential(3.0, size=(count, len(NAMES)))).astype(np.float32)
    logit = 3.0 * (x[:, 0] - 1.1) - 2.0 * (x[:, 1] - 1.1)
    y = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    return x, y, np.full(count, weight, np.float32)


def model_of(spec: PredictionSpec) -> Model:
    return Learner([spec], NAMES, CODEC).predictions[0].model


def learn(model: Model, data: Rows, start: int = 0, stop: int | None = None) -> None:
    model.learn_many_in_order(*(array[start:stop] for array in data))  # type: ignore[arg-type]


def said(model: Model, x: NDArray[np.float32]) -> list[float]:
    return [model.likelihood(row) for row in x]


def area(p: list[float], y: NDArray[np.uint8]) -> float:
    high, low = np.array(p)[y == 1], np.array(p)[y == 0]
    return float(np.mean((high[:, None] > low) + 0.5 * (high[:, None] == low)))


def chunk_of(data: Rows, number: int) -> ExampleChunk:
    x, y, weight = data
    n = len(x)
    nothing = np.full(n, np.nan, np.float32)
    return ExampleChunk(
        prediction=0, number=number,
        shard=0, x=x, y=y, time_s=np.full(n, 9e8), user=np.arange(n, dtype=np.uint64),
        kind=np.zeros(n, np.uint8), weight=weight, likelihood=nothing, heuristic=nothing, score=nothing,
        category=np.full(n, 255, np.uint8), touch=np.zeros(n, np.uint8),
    )  # fmt: skip


def check_says_half_before_it_has_learned(spec: PredictionSpec) -> None:
    assert said(model_of(spec), rows()[0][:5]) == [0.5] * 5


def check_likelihoods_are_probabilities(spec: PredictionSpec) -> None:
    model, data = model_of(spec), rows()
    for start in range(0, ROWS, 40):
        learn(model, data, start, start + 40)
        for p in said(model, data[0][::17]):
            assert isinstance(p, float)
            assert 0.0 <= p <= 1.0
    extremes = np.array([[0, 0, 0, 0], [1e6, 0, 0, 0], [-1e6, 1e6, 0, 1e6]], np.float32)
    for p in said(model, extremes):
        assert 0.0 <= p <= 1.0


def check_neither_learning_nor_asking_changes_what_it_is_given(spec: PredictionSpec) -> None:
    model, data, same = model_of(spec), rows(), rows()
    learn(model, data)
    said(model, data[0][:20])
    for array, kept in zip(data, same, strict=True):
        np.testing.assert_array_equal(array, kept)


def check_asking_changes_nothing(spec: PredictionSpec) -> None:
    quiet, asked, data = model_of(spec), model_of(spec), rows()
    for start in range(0, ROWS, 80):
        learn(quiet, data, start, start + 80)
        learn(asked, data, start, start + 80)
        said(asked, data[0][:30])
    assert said(asked, data[0]) == said(quiet, data[0])


def check_any_cutting_and_every_run_give_the_same_bits(spec: PredictionSpec) -> None:
    whole, cut, data = model_of(spec), model_of(spec), rows()
    learn(whole, data)
    for start, stop in ((0, 1), (1, 1), (1, 99), (99, 100), (100, ROWS)):
        learn(cut, data, start, stop)
    assert said(cut, data[0]) == said(whole, data[0])
    np.testing.assert_array_equal(cut.means, whole.means)


def check_what_is_saved_and_loaded_goes_on_equally(spec: PredictionSpec) -> None:
    data = rows()
    unbroken = Learner([spec], NAMES, CODEC)
    unbroken.learn(chunk_of(tuple(array[:90] for array in data), 1))  # type: ignore[arg-type]
    resumed = Learner.load([spec], NAMES, unbroken.state(), CODEC)
    for learner in (unbroken, resumed):
        learner.learn(chunk_of(tuple(array[90:] for array in data), 2))  # type: ignore[arg-type]
    first, second = (learner.predictions[0].model for learner in (unbroken, resumed))
    assert said(second, data[0]) == said(first, data[0])
    np.testing.assert_array_equal(second.means, first.means)


def check_a_snapshot_says_what_the_model_says_and_stays_as_it_is(spec: PredictionSpec) -> None:
    data = rows()
    learner = Learner([spec], NAMES, CODEC)
    learner.learn(chunk_of(data, 1))
    snapshot = learner.snapshot(7, np.zeros((1, BINS), np.int64))
    model = learner.predictions[0].model
    before = said(model, data[0])
    learner.learn(chunk_of(rows(seed=4), 2))
    sent = Snapshot.from_bytes(snapshot.to_bytes(CODEC), len(NAMES), CODEC)
    for version in (snapshot, sent):
        prediction = version.predictions[0]
        for row, expected in zip(data[0], before, strict=True):
            if prediction.model is None:
                z = float(row.astype(np.float64) @ prediction.weights) + prediction.bias
                assert 1 / (1 + np.exp(-z)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
            else:
                assert prediction.model.likelihood(row) == expected


def check_linear_models_are_folded(spec: PredictionSpec) -> None:
    linear = "logistic" in spec.id or spec.id.endswith(("LogisticRegression", "Perceptron")) or spec.id == "unscaled"
    assert (model_of(spec).fold() is not None) is linear


def check_an_example_of_weight_two_counts_like_two(spec: PredictionSpec) -> None:
    model, data = model_of(spec), rows(weight=2.0)
    learn(model, data)
    plain = model_of(spec)
    takes_weights = isinstance(model, CompiledLogistic) or model._takes_weights
    if takes_weights:
        learn(plain, rows())
        if "tree" in spec.id:
            return  # a tree may see weights only when it splits, which takes more rows than these
        assert said(plain, data[0]) != said(model, data[0])
    else:
        twice = model_of(spec)
        names = dict.fromkeys(NAMES)
        for row, label in zip(data[0].astype(np.float64).tolist(), data[1].tolist(), strict=True):
            x = dict(zip(names, row, strict=True))
            twice.classifier.learn_one(x, bool(label))  # type: ignore[union-attr]
            twice.classifier.learn_one(x, bool(label))  # type: ignore[union-attr]
        twice.examples = model.examples
        assert said(twice, data[0]) == said(model, data[0])


def check_means_are_those_of_the_examples(spec: PredictionSpec) -> None:
    model, data = model_of(spec), rows(count=40)
    learn(model, data)
    np.testing.assert_allclose(model.means, data[0].astype(np.float64).mean(axis=0), rtol=1e-9)


def check_wrong_shapes_are_refused(spec: PredictionSpec) -> None:
    x, y, weight = rows(count=5)
    model = model_of(spec)
    for broken in ((x[:, :3], y, weight), (x, y[:4], weight), (x, y, weight[:4]), (x[0], y, weight)):
        with pytest.raises(ValueError, match="must be"):
            model.learn_many_in_order(*broken)


def check_it_learns_what_is_plain_to_see(spec: PredictionSpec) -> None:
    if "dummy" in spec.id:
        return  # knows nothing on purpose
    model, fresh = model_of(spec), rows(seed=5)
    # Its leaves wait for more rows than the others need, and are fast.
    learn(model, rows(count=2_000 if spec.id.endswith("SGTClassifier") else 500))
    assert area(said(model, fresh[0]), fresh[1]) > 0.65


CHECKS: list[Callable[[PredictionSpec], None]] = [
    value for name, value in sorted(globals().items()) if name.startswith("check_")
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id.removeprefix("river."))
def test_model(spec: PredictionSpec, check: Callable[[PredictionSpec], None]) -> None:
    check(spec)


def test_the_suite_finds_the_models_it_is_for() -> None:
    assert {"river.naive_bayes.GaussianNB", "river.tree.HoeffdingTreeClassifier", "river.forest.ARFClassifier",
            "river.linear_model.PAClassifier", "river.neighbors.KNNClassifier"} <= set(allowed_paths())  # fmt: skip
    assert len(allowed_paths()) > 15
