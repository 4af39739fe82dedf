"""Chunks of examples refuse what is not one."""

from typing import Any

import numpy as np
import pytest

from models.examples import ExampleChunk


def chunk(count: int = 4, **changes: Any) -> ExampleChunk:
    fields: dict[str, Any] = {
        "prediction": 1,
        "number": 7,
        "shard": 3,
        "x": np.arange(3 * count, dtype=np.float32).reshape(count, 3),
        "y": np.ones(count, np.uint8),
        "time_s": np.arange(count, dtype=np.float64),
        "user": np.arange(count, dtype=np.uint64),
        "kind": np.zeros(count, np.uint8),
        "weight": np.ones(count, np.float32),
        "likelihood": np.ones(count, np.float32),
        "heuristic": np.ones(count, np.float32),
        "score": np.ones(count, np.float32),
        "category": np.zeros(count, np.uint8),
        "touch": np.zeros(count, np.uint8),
    }
    return ExampleChunk(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": 0}, "out of range"),
        ({"prediction": -1}, "out of range"),
        ({"shard": -1}, "out of range"),
        ({"x": np.zeros((4, 3))}, r"x must be float32\[n, F\], not float64\[4, 3\]"),
        ({"x": np.zeros(4, np.float32)}, "x must be"),
        ({"y": np.ones(3, np.uint8)}, r"y must be uint8\[4\], not uint8\[3\]"),
        ({"user": np.zeros(4, np.int64)}, r"user must be uint64\[4\], not int64"),
        ({"time_s": np.zeros((4, 1))}, "time_s must be"),
    ],
)
def test_other_shapes_and_types_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chunk(**changes)


def test_some_rows_of_a_chunk_are_a_chunk() -> None:
    whole = chunk(5, shard=3)
    for rows in (slice(1, 4), np.array([False, True, True, True, False])):
        part = whole.take(rows)
        assert (part.prediction, part.number, part.shard, len(part)) == (1, 7, 3, 3)
        np.testing.assert_array_equal(part.x, whole.x[1:4])
        np.testing.assert_array_equal(part.user, whole.user[1:4])
