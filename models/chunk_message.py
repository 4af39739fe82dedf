"""A chunk of labelled examples as bytes, with the distribution of its shard: what shards send to the learner.

The arrays follow each other column by column, little-endian, in the order of `_COLUMNS`; nothing is compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from config.errors import ModelError
from models.examples import ExampleChunk
from models.jit import I64
from models.snapshot import BINS

FORMAT: Final = 4
FORMAT_WITHOUT_BIRTH: Final = 3
"""Of shards whose store was made before there were births: as releases of before write it and read it."""
_COLUMNS: Final = (
    ("x", "<f4"),
    ("y", "<u1"),
    ("time_s", "<f8"),
    ("user", "<u8"),
    ("kind", "<u1"),
    ("weight", "<f4"),
    ("likelihood", "<f4"),
    ("heuristic", "<f4"),
    ("score", "<f4"),
    ("category", "<u1"),
    ("touch", "<u1"),
)


@dataclass(frozen=True, slots=True)
class ChunkMessage:
    """What a shard says of one prediction at an hour: what has matured, and where its users stand."""

    prediction_id: str
    chunk: ExampleChunk
    """Its `prediction` is the index that `from_bytes` was given; it does not travel."""
    counts: I64
    """[BINS] users of the audience per bin of their rank value."""
    of_model: bool
    """Whether those are rank values of the model; while warming up they are the heuristic's."""
    question: str = ""
    """What the prediction asks, as a digest (`streams.core.questions`): the same id may ask something else one day."""
    names: tuple[str, ...] = ()
    """Of the features, in column order: those of the shard's catalog, which may be older or newer than the learner's.
    Only with examples."""
    birth: str = ""
    """Which store of the shard has numbered the chunk (`streams.runtime.births`)."""

    def to_bytes(self) -> bytes:
        chunk = self.chunk
        columns = b"".join(np.ascontiguousarray(getattr(chunk, n), t).tobytes() for n, t in _COLUMNS)
        fields = (
            self.question,
            self.prediction_id,
            chunk.shard,
            chunk.number,
            chunk.previous,
            len(chunk),
            chunk.x.shape[1],
            columns,
            self.counts.astype("<i4").tobytes(),
            self.of_model,
            self.names if len(chunk) else (),
        )
        if self.birth:
            return _ENCODER.encode((FORMAT, *fields, self.birth))
        return _ENCODER.encode((FORMAT_WITHOUT_BIRTH, *fields))

    @classmethod
    def from_bytes(
        cls, data: bytes, predictions: Mapping[str, int], questions: Mapping[str, str] | None = None
    ) -> ChunkMessage | None:
        """What `to_bytes` gave; `predictions`: id -> index for the chunk. None if it is not about one of `questions`.

        Raises ModelError for other bytes, another format or a prediction that is not among them.
        """
        try:
            wire = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"these bytes are no chunk of examples: {error}") from error
        if wire.format not in (FORMAT, FORMAT_WITHOUT_BIRTH):
            raise ModelError(f"a chunk has format {wire.format} instead of {FORMAT}")
        if questions is not None and questions.get(wire.prediction_id) != wire.question:
            return None
        if wire.prediction_id not in predictions:
            raise ModelError(f"a chunk is of the prediction {wire.prediction_id!r}, which the catalog does not have")
        if len(wire.counts) != 4 * BINS:
            raise ModelError(f"a chunk of {wire.prediction_id} has {len(wire.counts)} bytes of counts, not {4 * BINS}")
        return cls(
            wire.prediction_id,
            _unpack(wire, predictions[wire.prediction_id]),
            np.frombuffer(wire.counts, "<i4").astype(np.int64),
            wire.of_model,
            wire.question,
            wire.names,
            wire.birth,
        )


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    question: str
    prediction_id: str
    shard: int
    number: int
    previous: int
    examples: int
    features: int
    columns: bytes
    counts: bytes
    of_model: bool
    names: tuple[str, ...]
    birth: str = ""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)


def _unpack(wire: _Wire, prediction: int) -> ExampleChunk:
    n, features = wire.examples, wire.features
    if wire.names and len(wire.names) != features:
        raise ModelError(f"a chunk of {wire.prediction_id} has {features} features and {len(wire.names)} names of them")
    expected = sum(np.dtype(t).itemsize for _, t in _COLUMNS[1:]) * n + 4 * n * features
    if n < 0 or features < 0 or len(wire.columns) != expected:
        which = f"chunk {wire.number} of {wire.prediction_id}, shard {wire.shard}"
        raise ModelError(f"{which}: {len(wire.columns)} bytes, not {expected}")
    arrays = {}
    at = 0
    for name, dtype in _COLUMNS:
        size = n * features if name == "x" else n
        kind = np.dtype(dtype)
        # A copy in native byte order: frombuffer gives a read-only view, which compiled code takes as another type.
        arrays[name] = np.frombuffer(wire.columns, kind, size, at).astype(kind.newbyteorder("="))
        at += size * kind.itemsize
    try:
        arrays["x"] = arrays["x"].reshape(n, features)
        return ExampleChunk(
            prediction=prediction, number=wire.number, previous=wire.previous, shard=wire.shard, **arrays
        )
    except (ValueError, OverflowError) as error:  # the second for sizes that no array can have
        raise ModelError(f"a chunk of {wire.prediction_id} cannot be used: {error}") from error
