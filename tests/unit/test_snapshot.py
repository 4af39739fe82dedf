"""Snapshots as numbers."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from config.errors import SnapshotRefused
from models.rivermodels import SignedPickle, build
from models.snapshot import BINS, PredictionSnapshot, Snapshot, Status


def prediction(features: int = 3, **changes: Any) -> PredictionSnapshot:
    fields: dict[str, Any] = {
        "status": Status.LIVE,
        "weights": np.linspace(-1.0, 2.0, features),
        "bias": -0.7,
        "means": np.arange(features, dtype=np.float64),
        "learned": 12,
        "goals": 3,
    }
    return PredictionSnapshot(**(fields | changes))


def snapshot(*predictions: PredictionSnapshot) -> Snapshot:
    counts = np.arange(len(predictions) * BINS, dtype=np.int64).reshape(len(predictions), BINS)
    return Snapshot(41, predictions, counts)


def assert_same(a: Snapshot, b: Snapshot) -> None:
    assert (a.version, a.features, len(a.predictions)) == (b.version, b.features, len(b.predictions))
    np.testing.assert_array_equal(a.counts, b.counts)
    for one, other in zip(a.predictions, b.predictions, strict=True):
        assert (one.status, one.bias, one.learned, one.goals) == (other.status, other.bias, other.learned, other.goals)
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.means, other.means)


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(
    weights=hnp.arrays(np.float64, 4, elements=finite),
    bias=finite,
    status=st.sampled_from(Status),
    learned=st.integers(0, 2**62),
)
def test_what_is_written_is_read_bit_for_bit(weights: Any, bias: float, status: Status, learned: int) -> None:
    before = snapshot(prediction(4, weights=weights, bias=bias, status=status, learned=learned), prediction(4))
    assert_same(Snapshot.from_bytes(before.to_bytes(), 4), before)


def test_a_learning_that_has_begun_later_is_newer_and_those_of_before_are_written_as_before() -> None:
    old, new = snapshot(prediction(version=9)), snapshot(prediction(version=1, begun_s=1.5))
    assert Snapshot.from_bytes(new.to_bytes()).predictions[0].age == (1.5, 1)
    assert new.age > old.age
    assert Snapshot.from_bytes(old.to_bytes()).predictions[0].age == (0.0, 9)
    fields = [msgspec.msgpack.decode(one.to_bytes())[3][0] for one in (old, new)]
    assert [len(one) for one in fields] == [8, 9]
    with pytest.raises(SnapshotRefused, match="not finite"):
        prediction(begun_s=float("nan"))


def test_a_snapshot_without_predictions_is_one() -> None:
    empty = Snapshot(1, (), np.zeros((0, BINS), np.int64))
    assert empty.features == 0
    assert_same(Snapshot.from_bytes(empty.to_bytes(), 0), empty)


def test_what_was_read_can_be_written_to() -> None:
    # frombuffer gives read-only arrays, which compiled code refuses
    read = Snapshot.from_bytes(snapshot(prediction()).to_bytes(), 3)
    read.predictions[0].weights[0] = 5.0
    read.counts[0, 0] = 5


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.zeros(4), "means": np.zeros(4)},
        {"weights": np.zeros((1, 3))},
        {"means": np.zeros(2)},
        {"weights": np.zeros(3, np.float32)},
        {"weights": np.array([1.0, np.nan, 0.0])},
        {"means": np.array([1.0, np.inf, 0.0])},
        {"bias": float("nan")},
    ],
)
def test_shapes_and_numbers_that_cannot_be_scored_with_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SnapshotRefused, match=r"weights|means"):
        snapshot(prediction(), prediction(**changes))


@pytest.mark.parametrize(
    "counts", [np.zeros((2, BINS), np.int64), np.zeros((1, 7), np.int64), np.zeros((1, BINS)), np.full((1, BINS), -1)]
)
def test_a_distribution_of_another_shape_is_refused(counts: Any) -> None:
    with pytest.raises(SnapshotRefused, match="snapshot 9"):
        Snapshot(9, (prediction(),), counts)


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(SnapshotRefused, match="has 3 features, this shard has 5"):
        Snapshot.from_bytes(snapshot(prediction()).to_bytes(), 5)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xc1", b"\x95\x01\x02\x03\x04\x05", b"\x91" * 5_000])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SnapshotRefused, match="not a snapshot"):
        Snapshot.from_bytes(data, 3)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ((0,), 3, "format 3"),
        ((4,), b"123", "3 bytes instead of 8192"),
        ((3, 0, 0), 9, "status 9"),
        ((3, 0, 1), b"", "0 bytes instead of 24"),
        ((3, 0, 2), float("inf"), "not finite"),
    ],
)
def test_fields_that_do_not_fit_are_refused(place: tuple[int, ...], value: Any, reason: str) -> None:
    fields = msgspec.msgpack.decode(snapshot(prediction()).to_bytes())
    inner = fields
    for index in place[:-1]:
        inner = inner[index]
    inner[place[-1]] = value
    with pytest.raises(SnapshotRefused, match=reason):
        Snapshot.from_bytes(msgspec.msgpack.encode(fields), 3)


def test_a_model_that_is_code_travels_only_with_a_key() -> None:
    model = build("river.naive_bayes.GaussianNB", {}, ("a", "b", "c"))
    model.learn_many_in_order(np.eye(3, dtype=np.float32), np.array([1, 0, 1], np.uint8), np.ones(3, np.float32))
    whole = snapshot(prediction(weights=np.zeros(3), model=model))
    with pytest.raises(SnapshotRefused, match="set TIDELINE_SIGNING_KEY"):
        whole.to_bytes()
    codec = SignedPickle(b"k" * 32)
    data = whole.to_bytes(codec)
    with pytest.raises(SnapshotRefused, match="set TIDELINE_SIGNING_KEY"):
        Snapshot.from_bytes(data, 3)
    with pytest.raises(SnapshotRefused, match="signature"):
        Snapshot.from_bytes(data, 3, SignedPickle(b"j" * 32))
    again = Snapshot.from_bytes(data, 3, codec).predictions[0].model
    row = np.array([1, 0, 2], np.float32)
    assert again is not None
    assert again.likelihood(row) == model.likelihood(row)
