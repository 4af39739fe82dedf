"""Labelled examples on their way from a shard to the learner.

A shard hands out the examples of one prediction in numbered chunks. A chunk holds what the model
needs to learn (features, label, weight) and what was served at the moment itself (likelihood,
heuristic, score, category), so that quality can be judged on what was really said.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

KIND_EVENT: Final = 0
KIND_SILENT: Final = 1
KIND_CROSSING: Final = 2
CATEGORY_LOW: Final = 0
CATEGORY_MEDIUM: Final = 1
CATEGORY_HIGH: Final = 2
CATEGORY_NONE: Final = 255
TOUCH_NONE: Final = 0
TOUCH_SENT: Final = 1
TOUCH_WITHHELD: Final = 2

_DTYPES: Final[dict[str, type[np.generic]]] = {
    "y": np.uint8,
    "time_s": np.float64,
    "user": np.uint64,
    "kind": np.uint8,
    "weight": np.float32,
    "likelihood": np.float32,
    "heuristic": np.float32,
    "score": np.float32,
    "category": np.uint8,
    "touch": np.uint8,
}


@dataclass(frozen=True, slots=True)
class ExampleChunk:
    """`n` examples of one prediction in the order in which they are learned.

    `number` grows from chunk to chunk of one prediction and one shard, and `previous` is the number of the one before;
    a learner that has seen a number ignores it. All arrays have `n` rows; `x` has one column per feature.

    Raises ValueError when a shape or a dtype is not the one given here.
    """

    prediction: int
    """Index of the prediction in the catalog's order."""
    number: int
    """Grows per prediction and shard; from 1 on."""
    x: npt.NDArray[np.float32]
    """[n, F] features at the moment."""
    y: npt.NDArray[np.uint8]
    """[n] 1 when the goal happened in (t, t + window], else 0."""
    time_s: npt.NDArray[np.float64]
    """[n] time of the moment, seconds since 1970 UTC."""
    user: npt.NDArray[np.uint64]
    """[n] keyed hash of the user id (`streams.core.ledger.cluster_id`): tells users apart, names nobody."""
    kind: npt.NDArray[np.uint8]
    """[n] KIND_EVENT, KIND_SILENT, or KIND_CROSSING (judged, never learned)."""
    weight: npt.NDArray[np.float32]
    """[n] 1 / keep rate."""
    likelihood: npt.NDArray[np.float32]
    """[n] what the model said at the moment, also while warming up (its shadow); NaN when there was no model."""
    heuristic: npt.NDArray[np.float32]
    """[n] the rank value of the heuristic at the moment (any scale, higher is likelier)."""
    score: npt.NDArray[np.float32]
    """[n] the score that was served, 0 to 100."""
    category: npt.NDArray[np.uint8]
    """[n] CATEGORY_LOW, CATEGORY_MEDIUM, CATEGORY_HIGH; CATEGORY_NONE when nothing was served (warming up)."""
    touch: npt.NDArray[np.uint8]
    """[n] TOUCH_SENT when a campaign sent the user a message in (t, t + window]; else TOUCH_WITHHELD when one was
    withheld there, for a control group or the holdout; else TOUCH_NONE."""
    shard: int
    """The shard that numbered the chunk."""
    previous: int = -1
    """The number of the chunk before, 0 for the first; -1 stands for `number` - 1."""

    def __post_init__(self) -> None:
        if self.previous < 0:
            object.__setattr__(self, "previous", self.number - 1)
        if self.prediction < 0 or self.shard < 0 or not 0 <= self.previous < self.number:
            raise ValueError(f"chunk {self.number} of prediction {self.prediction}, shard {self.shard}: out of range")
        if self.x.dtype != np.float32 or self.x.ndim != 2:
            raise ValueError(f"x must be float32[n, F], not {self.x.dtype}{list(self.x.shape)}")
        for name, dtype in _DTYPES.items():
            array: npt.NDArray[Any] = getattr(self, name)
            if array.dtype != dtype or array.shape != (len(self.x),):
                raise ValueError(
                    f"{name} must be {np.dtype(dtype)}[{len(self.x)}], not {array.dtype}{list(array.shape)}"
                )

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> "ExampleChunk":
        """Some of the rows (a slice or bool[n]), with the same prediction, numbers and shard."""
        arrays = {name: getattr(self, name)[rows] for name in ("x", *_DTYPES)}
        return replace(self, **arrays)

    def parts(self, most: int) -> "list[ExampleChunk]":
        """The chunk in parts of at most `most` rows, numbered on from its own number; itself when it is not larger."""
        if len(self) <= most:
            return [self]
        cut = [self.take(slice(first, first + most)) for first in range(0, len(self), most)]
        return [
            cut[0],
            *(replace(part, number=self.number + k, previous=self.number + k - 1) for k, part in enumerate(cut[1:], 1)),
        ]
