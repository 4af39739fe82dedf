"""Chunks of examples as bytes: all of it comes back, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ModelError
from models.chunk_message import ChunkMessage
from models.examples import ExampleChunk
from models.snapshot import BINS

IDS = {"orders": 0, "returns": 1}


def chunk(n: int, features: int, seed: int) -> ExampleChunk:
    rng = np.random.default_rng(seed)
    floats = rng.normal(size=(4, n)).astype(np.float32)
    small = rng.integers(0, 2, (4, n)).astype(np.uint8)
    return ExampleChunk(
        prediction=1,
        number=7,
        shard=3,
        x=rng.normal(size=(n, features)).astype(np.float32),
        time_s=rng.uniform(1e9, 2e9, n),
        user=rng.integers(0, 1 << 63, n).astype(np.uint64),
        weight=floats[0],
        likelihood=floats[1],
        heuristic=floats[2],
        score=floats[3],
        y=small[0],
        kind=small[1],
        category=small[2],
        touch=small[3],
    )


def message(n: int = 4, features: int = 3, seed: int = 1) -> ChunkMessage:
    return ChunkMessage("returns", chunk(n, features, seed), np.arange(BINS, dtype=np.int64), True)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_sent_comes_back(n: int, features: int, seed: int, of_model: bool) -> None:
    sent = dataclasses.replace(message(n, features, seed), of_model=of_model)
    found = ChunkMessage.from_bytes(sent.to_bytes(), IDS)
    assert found is not None
    assert (found.prediction_id, found.of_model) == ("returns", of_model)
    assert (found.chunk.prediction, found.chunk.number, found.chunk.shard) == (1, 7, 3)
    assert np.array_equal(found.counts, sent.counts)
    for name in ExampleChunk.__dataclass_fields__:
        assert np.array_equal(getattr(found.chunk, name), getattr(sent.chunk, name)), name
    assert found.to_bytes() == sent.to_bytes()
    found.chunk.x[:] = 0  # not a view of the message


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"{}"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="no chunk of examples"):
        ChunkMessage.from_bytes(data, IDS)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, 9, "format 9"),
        (2, "churn", "'churn', which the catalog does not have"),
        (4, 0, "out of range"),
        (5, 7, "out of range"),
        (6, 5, "bytes, not"),
        (6, -1, "bytes, not"),
        (7, 2, "bytes, not"),
        (9, b"123", "3 bytes of counts"),
    ],
)
def test_fields_that_do_not_fit_are_refused(place: int, value: object, reason: str) -> None:
    fields = msgspec.msgpack.decode(message().to_bytes())
    fields[place] = value
    with pytest.raises(ModelError, match=reason):
        ChunkMessage.from_bytes(msgspec.msgpack.encode(fields), IDS)


@pytest.mark.parametrize("features", [2**62, 2**63, 2**64 - 1])
def test_no_examples_of_more_features_than_an_array_can_have_are_refused(features: int) -> None:
    fields = msgspec.msgpack.decode(message(0).to_bytes())
    fields[7] = features
    with pytest.raises(ModelError, match="cannot be used"):
        ChunkMessage.from_bytes(msgspec.msgpack.encode(fields), IDS)


def test_a_chunk_of_another_question_is_left_alone() -> None:
    sent = dataclasses.replace(message(), question="old").to_bytes()
    assert ChunkMessage.from_bytes(sent, {}, {}) is None
    assert ChunkMessage.from_bytes(sent, IDS, {"returns": "new"}) is None
    assert ChunkMessage.from_bytes(sent, IDS, {"returns": "old"}) is not None


def test_names_of_features_go_along_with_examples_and_must_fit_them() -> None:
    names = ("recency", "age", "sessions")
    found = ChunkMessage.from_bytes(dataclasses.replace(message(), names=names).to_bytes(), IDS)
    assert found is not None
    assert found.names == names
    empty = ChunkMessage.from_bytes(dataclasses.replace(message(0), names=names).to_bytes(), IDS)
    assert empty is not None
    assert empty.names == ()
    with pytest.raises(ModelError, match="3 features and 2 names"):
        ChunkMessage.from_bytes(dataclasses.replace(message(), names=names[:2]).to_bytes(), IDS)


@given(st.integers(0, 50), st.integers(1, 60))
def test_parts_hold_everything_once_and_follow_each_other(n: int, most: int) -> None:
    whole = chunk(n, 2, 1)
    parts = whole.parts(most)
    assert np.array_equal(np.concatenate([part.x for part in parts]), whole.x)
    assert all(len(part) <= most for part in parts)
    assert [part.number for part in parts] == list(range(7, 7 + len(parts)))
    assert [part.previous for part in parts] == [whole.previous, *range(7, 7 + len(parts) - 1)]
