"""The compiled pipeline against river's, and its speed of forgetting."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing

from config.errors import ModelError
from models.as_river import default_river_pipeline, from_river, to_river
from models.forgetting import ForgettingFTRL, ForgettingStandardScaler
from models.pipeline import CompiledLogistic, LogisticParams

Rows = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]
TOLERANCE = 1e-9


def rows(seed: int, count: int, features: int, *, weighted: bool = True) -> Rows:
    """Features as they come: counts, indicators, a constant, one that starts late, one that stops."""
    rng = np.random.default_rng(seed)
    x = np.log1p(rng.exponential(2.0, size=(count, features))).astype(np.float32)
    x[:, 0] = 1.0
    if features > 1:
        x[:, 1] = rng.random(count) < 0.05
    if features > 2:
        x[: count // 2, 2] = 0.0
    if features > 3:
        x[count // 2 :, 3] = 0.25
    logit = -1.5 + x @ rng.normal(0, 0.7, features).astype(np.float32)
    y = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    weight = (2.0 ** rng.integers(0, 4, count) if weighted else np.ones(count)).astype(np.float32)
    return x, y, weight


def names(features: int) -> list[str]:
    return [f"feature {i}" for i in range(features)]


def river_pipeline(memory: int | None) -> compose.Pipeline:
    """Written out once more and not taken from the module under test."""
    if memory is None:
        return preprocessing.StandardScaler() | linear_model.LogisticRegression(
            optim.FTRLProximal(alpha=0.05, beta=1.0, l1=0.0, l2=0.0)
        )
    return ForgettingStandardScaler(memory) | linear_model.LogisticRegression(
        ForgettingFTRL(alpha=0.05, beta=1.0, memory_examples=memory)
    )


def as_dict(row: NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(names(len(row)), row.astype(np.float64).tolist(), strict=True))


def teach_river(pipeline: compose.Pipeline, data: Rows) -> None:
    for x, y, w in zip(*data, strict=True):
        pipeline.learn_one(as_dict(x), bool(y), w=float(w))


def assert_equal(compiled: CompiledLogistic, pipeline: compose.Pipeline, x: NDArray[np.float32]) -> None:
    scaler, classifier = pipeline.steps.values()
    optimizer = classifier.optimizer
    assert compiled.intercept == pytest.approx(classifier.intercept, rel=TOLERANCE, abs=TOLERANCE)
    for column, name in enumerate(names(compiled.features)):
        pairs = {
            "mean": (compiled.means[column], scaler.means[name]),
            "variance": (compiled.variances[column], scaler.vars[name]),
            "z": (compiled.z[column], optimizer.z[name]),
            "n": (compiled.n[column], optimizer.n[name]),
            "weight": (compiled.weights[column], classifier.weights.get(name, 0.0)),
        }
        for what, (ours, rivers) in pairs.items():
            assert ours == pytest.approx(rivers, rel=TOLERANCE, abs=TOLERANCE), f"{what} of {name}"
    for row in x:
        expected = pipeline.predict_proba_one(as_dict(row))[True]
        assert compiled.likelihood(row) == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("memory", [None, 300, 100_000])
@pytest.mark.parametrize("features", [1, 7])
def test_learns_as_river_does_over_a_long_stream(memory: int | None, features: int) -> None:
    data = rows(7, 12_000, features)
    pipeline, compiled = river_pipeline(memory), CompiledLogistic(features, LogisticParams(memory_examples=memory))
    for start in range(0, 12_000, 3_000):
        part: Any = tuple(array[start : start + 3_000] for array in data)
        teach_river(pipeline, part)
        compiled.learn_many_in_order(*part)
        assert_equal(compiled, pipeline, data[0][:: 12_000 // 20])
    assert compiled.examples == compiled.steps == 12_000


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    features=st.integers(1, 6),
    memory=st.sampled_from([None, 2, 10, 100_000]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_learns_as_river_does_on_any_small_stream(
    seed: int, count: int, features: int, memory: int | None, scale: float
) -> None:
    x, y, weight = rows(seed, count, features)
    x = (x * scale).astype(np.float32)
    pipeline, compiled = river_pipeline(memory), CompiledLogistic(features, LogisticParams(memory_examples=memory))
    teach_river(pipeline, (x, y, weight))
    compiled.learn_many_in_order(x, y, weight)
    assert_equal(compiled, pipeline, x[:5])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_cutting_gives_the_same_bits(seed: int, cuts: list[int]) -> None:
    x, y, weight = rows(seed, 200, 5)
    whole, cut = (CompiledLogistic(5, LogisticParams(memory_examples=50)) for _ in range(2))
    whole.learn_many_in_order(x, y, weight)
    edges = [0, *sorted(cuts), 200]
    for start, stop in itertools.pairwise(edges):
        cut.learn_many_in_order(x[start:stop], y[start:stop], weight[start:stop])
    assert cut.to_bytes() == whole.to_bytes()


def test_the_derivative_is_rivers_where_the_model_is_very_sure() -> None:
    # River takes other formulas beyond a logit of 18; a huge step gets there with certainty.
    params = LogisticParams(alpha=60.0)
    x, y, weight = rows(8, 400, 3)
    pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optim.FTRLProximal(alpha=60.0, beta=1.0, l1=0.0, l2=0.0)
    )
    compiled = CompiledLogistic(3, params)
    sure = 0
    for i in range(400):
        sure += abs(compiled.logit(x[i])) > 18.0
        compiled.learn_many_in_order(x[i : i + 1], y[i : i + 1], weight[i : i + 1])
    teach_river(pipeline, (x, y, weight))
    assert sure > 20
    assert_equal(compiled, pipeline, x[:50])


def test_a_weight_whose_z_is_zero_stays_as_in_river() -> None:
    pipeline = river_pipeline(None)
    teach_river(pipeline, rows(16, 50, 2))
    pipeline.steps["LogisticRegression"].optimizer.z["feature 1"] = 0.0
    compiled = from_river(pipeline, names(2))
    kept = float(compiled.weights[1])
    one_more = rows(17, 1, 2)
    teach_river(pipeline, one_more)
    compiled.learn_many_in_order(*one_more)
    assert compiled.weights[1] == kept != 0.0
    assert_equal(compiled, pipeline, one_more[0])


@pytest.mark.parametrize("memory", [None, 400])
def test_a_river_pipeline_converts_and_continues_equally(memory: int | None) -> None:
    data = rows(9, 2_000, 6)
    first: Any = tuple(array[:1_000] for array in data)
    second: Any = tuple(array[1_000:] for array in data)
    pipeline = river_pipeline(memory)
    teach_river(pipeline, first)
    compiled = from_river(pipeline, names(6))
    assert compiled.params.memory_examples == memory
    back = to_river(compiled, names(6))
    teach_river(pipeline, second)
    compiled.learn_many_in_order(*second)
    teach_river(back, second)
    assert_equal(compiled, pipeline, data[0][:20])
    assert_equal(compiled, back, data[0][:20])


@pytest.mark.parametrize("memory", [None, 400])
def test_an_unlearned_pipeline_converts_both_ways(memory: int | None) -> None:
    compiled = from_river(river_pipeline(memory), names(3))
    back = to_river(compiled, names(3))
    assert repr(back) == repr(river_pipeline(memory))
    assert back.predict_proba_one({"feature 0": 1.0})[True] == 0.5
    data = rows(10, 300, 3)
    teach_river(back, data)
    compiled.learn_many_in_order(*data)
    assert_equal(compiled, back, data[0][:5])


def test_conversion_to_river_and_back_keeps_every_bit() -> None:
    compiled = CompiledLogistic(5, LogisticParams(0.07, 0.5, 77, 0.02, 5.0))
    compiled.learn_many_in_order(*rows(11, 500, 5))
    again = from_river(to_river(compiled, names(5)), names(5))
    assert again.to_bytes() == compiled.to_bytes()


def test_the_default_pipeline_is_the_recipe() -> None:
    assert repr(default_river_pipeline(None)) == repr(river_pipeline(None))
    assert repr(default_river_pipeline(100_000)) == repr(river_pipeline(100_000))


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (linear_model.LogisticRegression, "scaler followed by"),
        (lambda: preprocessing.MinMaxScaler() | linear_model.LogisticRegression(), "not a StandardScaler"),
        (lambda: preprocessing.StandardScaler(window_size=5) | linear_model.LogisticRegression(), "window"),
        (lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), "not FTRL"),
        (lambda: preprocessing.StandardScaler() | linear_model.Perceptron(), "Perceptron"),
        (
            lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.FTRLProximal()),
            "optimizer has penalties",
        ),
        (
            lambda: ForgettingStandardScaler(10) | linear_model.LogisticRegression(ForgettingFTRL(memory_examples=11)),
            "remember equally long",
        ),
        (
            lambda: ForgettingStandardScaler() | linear_model.LogisticRegression(ForgettingFTRL(), l2=0.1),
            "regression has penalties",
        ),
        (
            lambda: (
                ForgettingStandardScaler()
                | linear_model.LogisticRegression(ForgettingFTRL(), loss=optim.losses.Log(weight_pos=2))
            ),
            "plain Log",
        ),
    ],
)
def test_a_pipeline_with_other_arithmetic_is_refused_with_the_reason(pipeline: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        from_river(pipeline(), names(2))


def test_names_that_do_not_fit_are_refused() -> None:
    pipeline = river_pipeline(None)
    pipeline.learn_one({"other": 1.0, "feature 0": 2.0}, True)
    with pytest.raises(ModelError, match="other"):
        from_river(pipeline, names(2))
    with pytest.raises(ModelError, match="same number of examples"):
        from_river(pipeline, ["other", "feature 0", "never seen"])
    with pytest.raises(ModelError, match="2 different feature names"):
        to_river(CompiledLogistic(2), ["a", "a"])


def test_folding_gives_the_logit_of_the_pipeline_on_raw_features() -> None:
    x, y, weight = rows(12, 3_000, 6)
    compiled = CompiledLogistic(6, LogisticParams(memory_examples=1_000))
    compiled.learn_many_in_order(x, y, weight)
    raw, bias = compiled.fold()
    assert raw[0] == 0.0  # the constant feature has no variance
    spread = np.sqrt(np.where(compiled.variances > 0, compiled.variances, np.inf))
    scaled = (x.astype(np.float64) - compiled.means) / spread
    expected = scaled @ compiled.weights + compiled.intercept
    np.testing.assert_allclose(x.astype(np.float64) @ raw + bias, expected, rtol=1e-9, atol=1e-9)


def test_weights_of_examples_change_what_is_learned() -> None:
    x, y, weight = rows(13, 300, 3)
    heavy, plain = CompiledLogistic(3), CompiledLogistic(3)
    heavy.learn_many_in_order(x, y, weight)
    plain.learn_many_in_order(x, y, np.ones_like(weight))
    assert abs(heavy.intercept - plain.intercept) > 0.01


def test_state_restores_bit_for_bit() -> None:
    data = rows(14, 900, 4)
    first: Any = tuple(array[:431] for array in data)
    second: Any = tuple(array[431:] for array in data)
    compiled = CompiledLogistic(4, LogisticParams(memory_examples=200))
    compiled.learn_many_in_order(*first)
    restored = CompiledLogistic.from_bytes(compiled.to_bytes())
    for model in (compiled, restored):
        model.learn_many_in_order(*second)
    assert restored.to_bytes() == compiled.to_bytes()


@pytest.mark.parametrize("data", [b"", b"\x00", b"not msgpack at all", b"\x96\x01\x02\x03\x04\x05\x06"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="not a compiled"):
        CompiledLogistic.from_bytes(data)


def test_state_of_another_length_or_format_is_refused() -> None:
    data = bytearray(CompiledLogistic(2).to_bytes())
    assert data[1] == 1
    with pytest.raises(ModelError, match="format 9"):
        CompiledLogistic.from_bytes(bytes([data[0], 9, *data[2:]]))
    with pytest.raises(ModelError, match="80 bytes of state instead of 120"):
        CompiledLogistic.from_bytes(bytes([data[0], data[1], 3, *data[3:]]))


def test_wrong_shapes_are_refused() -> None:
    model = CompiledLogistic(2)
    ones = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="x must be"):
        model.learn_many_in_order(np.zeros((3, 3), np.float32), np.zeros(3, np.uint8), ones)
    with pytest.raises(ValueError, match="x must be"):
        model.learn_many_in_order(np.zeros((3, 2)), np.zeros(3, np.uint8), ones)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="y must be"):
        model.learn_many_in_order(np.zeros((3, 2), np.float32), np.zeros(2, np.uint8), ones)


def area(z: NDArray[np.float64], y: NDArray[np.uint8]) -> float:
    """ROC AUC; the scores are continuous, so ties need no care."""
    ranks = np.empty(len(z))
    ranks[np.argsort(z)] = np.arange(1, len(z) + 1)
    positives = int(y.sum())
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives)))


class Flipping:
    """Examples of a goal of 5 % whose coefficients change sign; the oracle knows which ones hold."""

    def __init__(self, seed: int, features: int = 12) -> None:
        self.rng = np.random.default_rng(seed)
        self.coefficients = self.rng.normal(0, 0.2, features).astype(np.float32)

    def draw(self, count: int, sign: float) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
        x = self.rng.standard_normal((count, len(self.coefficients)), dtype=np.float32)
        logit = sign * (x @ self.coefficients) - 3.0
        return x, (self.rng.random(count, np.float32) < 1 / (1 + np.exp(-logit))).astype(np.uint8), logit


@pytest.mark.slow
def test_a_flip_after_three_million_examples_is_learned_within_a_hundred_thousand() -> None:
    world = Flipping(15)
    default_memory = 500_000
    forgets, keeps = (CompiledLogistic(12, LogisticParams(memory_examples=m)) for m in (default_memory, None))
    ones = np.ones(100_000, np.float32)
    for _ in range(30):
        x, y, _ = world.draw(100_000, 1.0)
        forgets.learn_many_in_order(x, y, ones)
        keeps.learn_many_in_order(x, y, ones)
    # Judged as it would serve: the last 20 of the 100 thousand, with a model refreshed every thousand.
    served: list[NDArray[np.float64]] = []
    labels: list[NDArray[np.uint8]] = []
    for step in range(100):
        x, y, logit = world.draw(1_000, -1.0)
        if step >= 80:
            said = [x.astype(np.float64) @ raw + bias for raw, bias in (forgets.fold(), keeps.fold())]
            served.append(np.stack([logit.astype(np.float64), *said]))
            labels.append(y)
        forgets.learn_many_in_order(x, y, ones[:1_000])
        keeps.learn_many_in_order(x, y, ones[:1_000])
    oracle, with_memory, without = (area(z, np.concatenate(labels)) for z in np.concatenate(served, axis=1))
    assert with_memory > oracle - 0.02
    # The control: without forgetting the same test fails, so it does measure forgetting.
    assert without < oracle - 0.1
