"""The learner: order, numbers, status, state."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ModelError, ModelUnknown, SnapshotRefused
from config.loader import load_catalog
from config.predictions import RiverModel
from models.examples import KIND_CROSSING, ExampleChunk
from models.learner import Learner, PredictionSpec, prediction_specs
from models.pipeline import CompiledLogistic, LogisticParams
from models.rivermodels import SignedPickle
from models.snapshot import BINS, Snapshot, Status

NAMES = ("count:A:7d", "since:A", "sessions")
CODEC = SignedPickle(b"a key that is only for tests")
TREE = PredictionSpec("tree", RiverModel(river="river.tree.HoeffdingTreeClassifier"), min_goals=30)
DEFAULT = PredictionSpec("orders_7d", memory_examples=2_000, min_goals=30)
LINEAR = PredictionSpec("linear", RiverModel(river="river.linear_model.LogisticRegression"))
COUNTS = np.ones((1, BINS), np.int64)
TRUTH = np.array([1.2, -0.8, 0.3])


def chunk(number: int, count: int = 60, *, prediction: int = 0, shard: int = 0, **changes: Any) -> ExampleChunk:
    """Chunk `number` of a stream in which the shadow is good and the heuristic is not."""
    rng = np.random.default_rng([number, prediction, shard])
    x = rng.normal(1.0, 1.0, (count, 3)).astype(np.float32)
    logit = x @ TRUTH - 1.5
    score = (100 * rng.random(count)).astype(np.float32)
    fields: dict[str, Any] = {
        "x": x,
        "y": (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.uint8),
        "time_s": 9e8 + number * 86_400.0 + np.sort(rng.random(count)) * 3_600.0,
        "user": rng.integers(0, 10_000, count).astype(np.uint64),
        "kind": rng.integers(0, 2, count).astype(np.uint8),
        "weight": (2.0 ** rng.integers(0, 2, count)).astype(np.float32),
        "likelihood": (1 / (1 + np.exp(-logit - 0.1 * rng.normal(size=count)))).astype(np.float32),
        "heuristic": rng.normal(size=count).astype(np.float32),
        "score": score,
        "category": np.digitize(score, [50, 75]).astype(np.uint8),
        "touch": np.zeros(count, np.uint8),
    }
    return ExampleChunk(prediction=prediction, number=number, shard=shard, **(fields | changes))


def learner_of(*specs: PredictionSpec) -> Learner:
    return Learner(specs or (DEFAULT,), NAMES, CODEC)


def test_examples_are_learned_in_the_order_of_the_chunk() -> None:
    learner = learner_of()
    plain = CompiledLogistic(3, LogisticParams(memory_examples=2_000))
    for number in (1, 2, 3):
        one = chunk(number)
        learner.learn(one)
        plain.learn_many_in_order(one.x, one.y, one.weight)
    model = learner.predictions[0].model
    assert isinstance(model, CompiledLogistic)
    assert model.to_bytes() == plain.to_bytes()
    assert learner.predictions[0].learned == 180
    assert learner.predictions[0].goals == sum(int(chunk(n).y.sum()) for n in (1, 2, 3))


def test_a_chunk_that_was_seen_changes_nothing() -> None:
    learner = learner_of()
    for number in (1, 2, 3):
        learner.learn(chunk(number))
    before = learner.state()
    for number in (1, 3, 2):
        learner.learn(chunk(number))
    assert learner.state() == before


def test_a_missing_number_is_an_error_and_learns_nothing() -> None:
    learner = learner_of()
    learner.learn(chunk(1))
    before = learner.state()
    with pytest.raises(ModelError, match="orders_7d: chunk 3 of shard 0 follows 1"):
        learner.learn(chunk(3))
    assert learner.state() == before
    with pytest.raises(ModelError, match="chunk 2 of shard 0 follows 0"):
        learner_of().learn(chunk(2))


def test_every_shard_and_every_prediction_counts_for_itself() -> None:
    other = PredictionSpec("returns_30d")
    learner = learner_of(DEFAULT, other)
    learner.learn(chunk(1))
    learner.learn(chunk(1, shard=5))
    learner.learn(chunk(1, prediction=1))
    learner.learn(chunk(2, shard=5))
    assert [p.learned for p in learner.predictions] == [180, 60]
    with pytest.raises(ModelError, match="shard 1 follows 0"):
        learner.learn(chunk(2, shard=1))


def test_crossings_are_judged_and_not_learned() -> None:
    kind = np.zeros(60, np.uint8)
    kind[::3] = KIND_CROSSING
    mixed, pure = learner_of(), learner_of()
    one = chunk(1, kind=kind)
    mixed.learn(one)
    pure.learn(one.take(kind != KIND_CROSSING))
    assert mixed.state()["orders_7d:model"] == pure.state()["orders_7d:model"]
    assert (mixed.predictions[0].learned, mixed.predictions[0].goals) == (40, pure.predictions[0].goals)
    assert mixed.predictions[0].quality.select((KIND_CROSSING,)).unserved == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [("x", np.nan), ("x", np.inf), ("weight", 0.0), ("weight", np.nan), ("weight", np.inf), ("y", 2)],
)
def test_an_example_that_would_poison_the_model_is_refused_and_counted(field: str, value: float) -> None:
    whole = chunk(1)
    array = getattr(whole, field).copy()
    array[[7, 30]] = value
    learner, without = learner_of(), learner_of()
    learner.learn(chunk(1, **{field: array}))
    keep = np.ones(60, bool)
    keep[[7, 30]] = False
    without.learn(whole.take(keep))
    assert learner.predictions[0].refused == 2
    for name in ("model", "warmup:head"):
        assert learner.state()[f"orders_7d:{name}"] == without.state()[f"orders_7d:{name}"]
    assert learner.predictions[0].quality.state() == without.predictions[0].quality.state()


def test_an_empty_chunk_moves_only_the_number() -> None:
    learner = learner_of()
    learner.learn(chunk(1, 0))
    learner.learn(chunk(2))
    assert learner.predictions[0].learned == 60


def test_chunks_of_something_else_are_refused() -> None:
    with pytest.raises(ModelError, match="prediction 1; there are 1"):
        learner_of().learn(chunk(1, prediction=1))
    with pytest.raises(ModelError, match="4 features; the learner has 3"):
        learner_of().learn(chunk(1, 5, x=np.zeros((5, 4), np.float32)))


def test_status_goes_from_warming_over_building_to_live() -> None:
    learner = learner_of()
    number = 0
    while not learner.predictions[0].warmup.left:
        assert learner.snapshot(100 + number, COUNTS).predictions[0].status is Status.WARMING
        number += 1
        learner.learn(chunk(number))
    assert number > 1
    first = learner.snapshot(200, COUNTS).predictions[0]
    assert first.status is Status.BUILDING
    assert learner.snapshot(200, COUNTS).predictions[0].status is Status.BUILDING
    assert learner.snapshot(201, COUNTS).predictions[0].status is Status.LIVE
    learner.learn(chunk(number + 1))
    assert learner.snapshot(202, COUNTS).predictions[0].status is Status.LIVE


def test_quality_begins_where_serving_began() -> None:
    spec = PredictionSpec("orders_7d", min_goals=30, label_delay_s=5 * 86_400.0)
    learner, number = learner_of(spec), 0
    while not learner.predictions[0].warmup.left:
        number += 1
        learner.learn(chunk(number))
    last = float(chunk(number).time_s.max())
    # The chunk that ended warm-up became known five days after its last moment; live was two hours later.
    judged = 0
    for later in range(number + 1, number + 9):
        time_s = last + 3_600.0 * np.linspace(24.0 * (later - number) - 23.9, 24.0 * (later - number), 60)
        learner = Learner.load([spec], NAMES, learner.state())
        learner.learn(chunk(later, time_s=time_s))
        judged += int(np.count_nonzero(time_s >= last + 5 * 86_400.0 + 7_200.0))
    quality = learner.predictions[0].quality
    assert quality.select().n == judged > 0
    assert quality.select().unserved == (number + 8) * 60 - judged


def test_where_a_prediction_stands_is_kept_over_a_restart() -> None:
    learner = learner_of()
    number = 0
    while not learner.predictions[0].warmup.left:
        number += 1
        learner.learn(chunk(number))
    early = Learner.load([DEFAULT], NAMES, learner.state())
    assert early.snapshot(7, COUNTS).predictions[0].status is Status.BUILDING
    late = Learner.load([DEFAULT], NAMES, early.state())
    assert late.snapshot(7, COUNTS).predictions[0].status is Status.BUILDING
    assert late.snapshot(8, COUNTS).predictions[0].status is Status.LIVE


def test_a_snapshot_holds_weights_means_and_the_distribution() -> None:
    learner = learner_of(DEFAULT, LINEAR)
    for number in range(1, 6):
        learner.learn(chunk(number, 400))
        learner.learn(chunk(number, 400, prediction=1))
    counts = np.arange(2 * BINS, dtype=np.int64).reshape(2, BINS)
    snapshot = learner.snapshot(33, counts)
    counts[:] = 0
    assert snapshot.version == 33
    assert snapshot.counts[1, 5] == BINS + 5
    for prediction in snapshot.predictions:
        assert prediction.model is None
        assert (prediction.learned, prediction.goals) == (2_000, prediction.goals)
        np.testing.assert_allclose(prediction.means, 1.0, atol=0.1)
        assert np.sign(prediction.weights[:2]).tolist() == [1.0, -1.0]
    x = chunk(99, 5).x.astype(np.float64)
    model = learner.predictions[0].model
    for row in x.astype(np.float32):
        z = float(row.astype(np.float64) @ snapshot.predictions[0].weights) + snapshot.predictions[0].bias
        assert 1 / (1 + np.exp(-z)) == pytest.approx(model.likelihood(row), rel=1e-9)


def test_a_snapshot_stays_as_it_is_when_learning_goes_on() -> None:
    learner = learner_of()
    learner.learn(chunk(1))
    snapshot = learner.snapshot(1, COUNTS)
    before = snapshot.to_bytes()
    learner.learn(chunk(2))
    assert snapshot.to_bytes() == before
    assert learner.snapshot(2, COUNTS).predictions[0].learned == 120


def test_a_river_model_is_copied_only_after_it_has_learned() -> None:
    learner = learner_of(TREE)
    learner.learn(chunk(1))
    first = learner.snapshot(1, COUNTS).predictions[0].model
    assert learner.snapshot(2, COUNTS).predictions[0].model is first
    assert first is not learner.predictions[0].model
    learner.learn(chunk(2))
    assert learner.snapshot(3, COUNTS).predictions[0].model is not first


@settings(max_examples=8, deadline=None)
@given(stops=st.sets(st.integers(1, 23), max_size=4))
def test_stopped_anywhere_it_goes_on_equally(stops: set[int]) -> None:
    specs = (DEFAULT, TREE, LINEAR)
    unbroken, broken = learner_of(*specs), learner_of(*specs)
    stored: dict[str, bytes] = {}
    for number in range(1, 25):
        for prediction in range(3):
            unbroken.learn(chunk(number, 30, prediction=prediction))
            broken.learn(chunk(number, 30, prediction=prediction))
        counts = np.full((3, BINS), number, np.int64)
        assert said(broken.snapshot(number, counts)) == said(unbroken.snapshot(number, counts))
        if number in stops or number % 7 == 0:
            stored |= broken.take_changes()
        if number in stops:
            broken = Learner.load(specs, NAMES, stored, CODEC)
    assert numbers_of(broken.state()) == numbers_of(unbroken.state())
    x = chunk(99, 50).x
    for ours, theirs in zip(broken.predictions, unbroken.predictions, strict=True):
        assert [ours.model.likelihood(row) for row in x] == [theirs.model.likelihood(row) for row in x]


def said(snapshot: Snapshot) -> tuple[bytes, list[float]]:
    """The numbers of a snapshot, and what its model that is no numbers says."""
    tree = snapshot.predictions[1].model
    assert tree is not None
    parts = tuple(replace(prediction, model=None) for prediction in snapshot.predictions)
    return replace(snapshot, predictions=parts).to_bytes(), [tree.likelihood(row) for row in chunk(98, 5).x]


def numbers_of(state: dict[str, bytes]) -> dict[str, bytes]:
    """Without pickles: what a pickle shares inside itself depends on its past, what it means does not."""
    return {name: data for name, data in state.items() if name not in ("tree:model", "linear:model")}


def test_the_changes_laid_over_each_other_are_the_state() -> None:
    learner = learner_of()
    stored: dict[str, bytes] = {}
    for number in range(1, 60):
        learner.learn(chunk(number))
        learner.snapshot(number, COUNTS)
        stored |= learner.take_changes()
    assert learner.predictions[0].warmup.left
    assert {name: data for name, data in stored.items() if data} == learner.state()


def test_nothing_new_is_no_change() -> None:
    learner = learner_of(DEFAULT, PredictionSpec("other"))
    learner.learn(chunk(1))
    assert {name.split(":")[0] for name in learner.take_changes()} == {"orders_7d"}
    assert learner.take_changes() == {}
    learner.learn(chunk(1))
    learner.snapshot(1, np.ones((2, BINS), np.int64))
    assert learner.take_changes() == {}


def test_a_prediction_without_stored_fields_starts_anew() -> None:
    learner = learner_of()
    learner.learn(chunk(1))
    wider = Learner.load([DEFAULT, PredictionSpec("new")], NAMES, learner.state())
    assert [p.learned for p in wider.predictions] == [60, 0]


def test_state_that_does_not_belong_is_refused() -> None:
    learner = learner_of()
    learner.learn(chunk(1))
    state = learner.state()
    with pytest.raises(ModelError, match="do not exist: orders_7d"):
        Learner.load([PredictionSpec("other")], NAMES, state)
    with pytest.raises(ModelError, match="3 features are stored, there are 2"):
        Learner.load([DEFAULT], NAMES[:2], state)
    with pytest.raises(ModelError, match="not the one that the catalog asks for"):
        Learner.load([PredictionSpec("orders_7d", memory_examples=77)], NAMES, state)
    for name in ("orders_7d:head", "orders_7d:model"):
        with pytest.raises(ModelError, match="cannot be read"):
            Learner.load([DEFAULT], NAMES, {k: v for k, v in state.items() if k != name})
    with pytest.raises(ModelError):
        Learner.load([DEFAULT], NAMES, state | {"orders_7d:model": b"\x00"})


def test_models_that_are_code_are_stored_only_with_a_key() -> None:
    learner = Learner([DEFAULT, TREE], NAMES)
    assert learner.needs_signing_key
    assert not Learner([DEFAULT], NAMES).needs_signing_key
    with pytest.raises(SnapshotRefused, match=r"tree uses a river model.*set TIDELINE_SIGNING_KEY"):
        learner.state()
    signed = learner_of(TREE)
    signed.learn(chunk(1))
    with pytest.raises(SnapshotRefused, match="set TIDELINE_SIGNING_KEY"):
        Learner.load([TREE], NAMES, signed.state())
    with pytest.raises(SnapshotRefused, match="signature"):
        Learner.load([TREE], NAMES, signed.state(), SignedPickle(b"some other key of 16"))
    again = Learner.load([TREE], NAMES, signed.state(), CODEC)
    assert again.predictions[0].learned == 60
    bayes = PredictionSpec("tree", RiverModel(river="river.naive_bayes.GaussianNB"))
    with pytest.raises(ModelError, match="not the one that the catalog asks for"):
        Learner.load([bayes], NAMES, signed.state(), CODEC)


def test_a_compiled_model_is_stored_without_a_pickle() -> None:
    learner = learner_of()
    learner.learn(chunk(1, 3_000))
    for name, data in learner.state().items():
        assert not data.startswith((b"\x80\x04", b"\x80\x05")), name
    data = learner.snapshot(1, COUNTS).to_bytes()
    assert Snapshot.from_bytes(data, 3).predictions[0].learned == 3_000


def test_the_catalog_says_what_is_learned() -> None:
    catalog = load_catalog(Path(__file__).with_name("full_catalog.yaml"))
    specs = prediction_specs(catalog)
    assert [spec.id for spec in specs] == list(catalog.predictions)
    for spec, prediction in zip(specs, catalog.predictions.values(), strict=True):
        assert (spec.model, spec.memory_examples) == (prediction.model, prediction.memory_examples)
        assert spec.label_delay_s == prediction.window_s + catalog.time.lateness_s > 0
    learner_of(*specs)


def test_a_model_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ModelUnknown, match="no class Nonsense"):
        learner_of(PredictionSpec("x", RiverModel(river="river.tree.Nonsense")))


def test_two_predictions_of_the_same_name_are_refused() -> None:
    with pytest.raises(ModelError, match="same id"):
        learner_of(DEFAULT, DEFAULT)
