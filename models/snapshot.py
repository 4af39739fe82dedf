"""Snapshots: one version of every prediction's model together with the population it is ranked in.

A snapshot is data. The default model is a weight per raw feature and a bias; those and the
distribution F travel as msgpack numbers. A river model that is not linear travels as a pickle, and
only through a `ModelCodec`, which signs what it writes and refuses what it did not sign
(models/rivermodels.py). Without a codec such a model is refused in both directions.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from config.errors import SnapshotRefused

FORMAT: Final = 2
BINS: Final = 1024
"""Equal bins of F over z in [Z_MIN, Z_MAX); the first and the last one also take what lies outside."""
Z_MIN: Final = -12.0
Z_MAX: Final = 12.0


class Status(enum.IntEnum):
    """Where a prediction stands: the heuristic ranks, F is being built, or the model serves."""

    WARMING = 0
    BUILDING = 1
    LIVE = 2


class Likelihood(Protocol):
    """A model that cannot be folded into one weight vector."""

    def likelihood(self, x_row: npt.NDArray[np.float32]) -> float:
        """The likelihood, in [0, 1], for one row of raw features float32[F]."""
        ...


class ModelCodec(Protocol):
    """Turns a model that is not linear into bytes and back."""

    def dumps(self, model: Likelihood) -> bytes: ...

    def loads(self, data: bytes) -> Likelihood:
        """Raises SnapshotRefused unless `data` carries a valid signature."""
        ...


@dataclass(frozen=True, slots=True)
class PredictionSnapshot:
    """The model of one prediction at one version; `F` is the number of features.

    Raises SnapshotRefused when an array has another shape or type, or a number is not finite.
    """

    status: Status
    weights: npt.NDArray[np.float64]
    """[F] on raw features; all zero when `model` is set."""
    bias: float
    means: npt.NDArray[np.float64]
    """[F] of the learned examples: what a contribution is measured against."""
    learned: int
    """Examples learned so far."""
    goals: int
    """Examples learned so far whose goal happened."""
    model: Likelihood | None = None
    """Used instead of weights and bias when set."""
    version: int = 0
    """Grows with every snapshot of this prediction; 0 is the one before the first."""
    begun_s: float = 0.0
    """The learning that made it: when the log took the first examples of it, seconds since 1970. Versions count within
    one learning; what began later takes the place of what began earlier, whatever their versions. 0 for the learnings
    of earlier releases, which began before all others."""

    @property
    def age(self) -> tuple[float, int]:
        """What is newer is greater."""
        return self.begun_s, self.version

    def __post_init__(self) -> None:
        if self.weights.dtype != np.float64 or self.weights.ndim != 1:
            raise SnapshotRefused(f"weights must be float64[F], not {self.weights.dtype}{list(self.weights.shape)}")
        if self.means.dtype != np.float64 or self.means.shape != self.weights.shape:
            raise SnapshotRefused(
                f"means must be float64{list(self.weights.shape)}, not {self.means.dtype}{list(self.means.shape)}"
            )
        if not (math.isfinite(self.bias) and np.isfinite(self.weights).all() and np.isfinite(self.means).all()):
            raise SnapshotRefused("weights, bias or means of a snapshot hold a number that is not finite")
        if not math.isfinite(self.begun_s):
            raise SnapshotRefused("the learning of a snapshot began at a time that is not finite")

    def over(self, places: Sequence[int]) -> "PredictionSnapshot":
        """The same model over other features: `places` says where each of them stands in this one, -1 for nowhere.

        A feature that is nowhere weighs nothing. Raises SnapshotRefused for a model that is no weights, if any moves.
        """
        if list(places) == list(range(len(self.weights))):
            return self
        if self.model is not None:
            raise SnapshotRefused("a river model that is not linear cannot take over other features")
        at = np.array(places, np.int64)
        weights, means = (np.where(at >= 0, values[at], 0.0) for values in (self.weights, self.means))
        return replace(self, weights=weights, means=means)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The models of `P` predictions, in the catalog's order.

    `version` numbers what a shard puts in force: in lock-step it is the hour, and the version of every prediction too;
    where models arrive one by one it is the shard's own count.

    Raises SnapshotRefused when shapes do not fit together or a bin of the distribution is negative.
    """

    version: int
    predictions: tuple[PredictionSnapshot, ...]
    counts: npt.NDArray[np.int64]
    """[P, BINS] users of the audience per bin of their recorded rank value: the distribution F."""
    names: tuple[str, ...] = ()
    """Of the features, in column order, where it goes to shards whose catalog may give them other columns."""

    def __post_init__(self) -> None:
        if self.counts.dtype != np.int64 or self.counts.shape != (len(self.predictions), BINS):
            raise SnapshotRefused(
                f"snapshot {self.version}: counts must be int64[{len(self.predictions)}, {BINS}], "
                f"not {self.counts.dtype}{list(self.counts.shape)}"
            )
        if self.counts.size and int(self.counts.min()) < 0:
            raise SnapshotRefused(f"snapshot {self.version}: a bin of the distribution is negative")
        if self.names and len(self.names) != self.features:
            raise SnapshotRefused(f"snapshot {self.version}: {len(self.names)} names for {self.features} features")
        for index, prediction in enumerate(self.predictions):
            if len(prediction.weights) != self.features:
                raise SnapshotRefused(
                    f"snapshot {self.version}: prediction {index} has {len(prediction.weights)} weights "
                    f"instead of {self.features}"
                )

    @property
    def features(self) -> int:
        """F, the number of features (0 without predictions)."""
        return len(self.predictions[0].weights) if self.predictions else 0

    @property
    def age(self) -> tuple[float, int]:
        """Of a snapshot of one prediction, as a learner makes it: what is newer is greater."""
        return max((one.begun_s for one in self.predictions), default=0.0), self.version

    def to_bytes(self, codec: ModelCodec | None = None) -> bytes:
        """The snapshot as msgpack. Raises SnapshotRefused for a model that is not linear when no codec is given."""
        predictions = [_pack_prediction(self.version, p, codec) for p in self.predictions]
        counts = self.counts.astype("<i8").tobytes()
        return msgspec.msgpack.encode((FORMAT, self.version, self.features, predictions, counts, self.names))

    def over(self, names: Sequence[str]) -> "Snapshot":
        """The same models over features with these names, in this order; 0 for one that they have not learned from.

        Raises SnapshotRefused for a model that is no weights and has other features.
        """
        if not self.names or tuple(names) == self.names:
            return self
        place = {name: j for j, name in enumerate(self.names)}
        places = [place.get(name, -1) for name in names]
        moved = tuple(one.over(places) for one in self.predictions)
        return Snapshot(self.version, moved, self.counts, tuple(names))

    @classmethod
    def from_bytes(cls, data: bytes, features: int | None = None, codec: ModelCodec | None = None) -> "Snapshot":
        """The snapshot that `to_bytes` wrote, for shards with `features` columns; of any number without it.

        Raises SnapshotRefused when the bytes are not a snapshot, are of another format, have another
        number of features, hold numbers that are not finite, or hold a model without a valid signature.
        """
        try:
            wire = msgspec.msgpack.decode(data, type=_Wire)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotRefused(f"these bytes are not a snapshot: {error}") from error
        if wire.format != FORMAT:
            raise SnapshotRefused(f"snapshot format {wire.format} is not the known one, {FORMAT}")
        if features is None:
            features = wire.features
        if wire.features != features:
            raise SnapshotRefused(f"snapshot {wire.version} has {wire.features} features, this shard has {features}")
        predictions = tuple(_unpack_prediction(wire.version, p, features, codec) for p in wire.predictions)
        counts = _array(wire.version, wire.counts, "<i8", len(predictions) * BINS)
        return cls(wire.version, predictions, counts.reshape(len(predictions), BINS), wire.names)


class _WirePrediction(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    status: int
    weights: bytes
    bias: float
    means: bytes
    learned: int
    goals: int
    model: bytes | None
    version: int
    begun_s: float = 0.0
    """Left out where it is 0: releases that do not know it read those."""


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    version: int
    features: int
    predictions: list[_WirePrediction]
    counts: bytes
    names: tuple[str, ...] = ()


def _pack_prediction(version: int, prediction: PredictionSnapshot, codec: ModelCodec | None) -> tuple[Any, ...]:
    """The fields of `_WirePrediction`."""
    model = None
    if prediction.model is not None:
        if codec is None:
            raise SnapshotRefused(
                f"snapshot {version} holds a river model that can only be stored as a signed pickle: "
                "set TIDELINE_SIGNING_KEY, or use the model `logistic`"
            )
        model = codec.dumps(prediction.model)
    begun = (float(prediction.begun_s),) if prediction.begun_s else ()
    return (
        int(prediction.status),
        prediction.weights.astype("<f8").tobytes(),
        float(prediction.bias),
        prediction.means.astype("<f8").tobytes(),
        prediction.learned,
        prediction.goals,
        model,
        prediction.version,
        *begun,
    )


def _unpack_prediction(
    version: int, wire: _WirePrediction, features: int, codec: ModelCodec | None
) -> PredictionSnapshot:
    if wire.status not in Status.__members__.values():
        raise SnapshotRefused(f"snapshot {version}: status {wire.status} is unknown")
    model = None
    if wire.model is not None:
        if codec is None:
            raise SnapshotRefused(
                f"snapshot {version} holds a pickled river model and no key is there to check its signature: "
                "set TIDELINE_SIGNING_KEY to the key it was signed with"
            )
        model = codec.loads(wire.model)
    return PredictionSnapshot(
        Status(wire.status),
        _array(version, wire.weights, "<f8", features),
        wire.bias,
        _array(version, wire.means, "<f8", features),
        wire.learned,
        wire.goals,
        model,
        wire.version,
        wire.begun_s,
    )


def _array(version: int, data: bytes, dtype: str, size: int) -> npt.NDArray[Any]:
    if len(data) != size * 8:
        raise SnapshotRefused(f"snapshot {version}: an array has {len(data)} bytes instead of {size * 8}")
    # A copy in native byte order: frombuffer gives a read-only view of the message.
    return np.frombuffer(data, dtype=dtype).astype(np.dtype(dtype).newbyteorder("="))
