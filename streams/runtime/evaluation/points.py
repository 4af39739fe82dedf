"""The points that models are judged on, collected from a lock-step run, and what each of them knew when.

A `Collector` takes the matured examples of one prediction as the engine hands them out and turns them into
`Points`. The rows of features go to a temporary file and are mapped from there, because 1.6 million rows of 46
features are 300 MB per prediction; the short columns stay in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt

from config.catalog import Prediction
from config.durations import DAY_S, HOUR_S
from config.errors import TidelineError
from models.examples import KIND_EVENT, KIND_SILENT, ExampleChunk
from models.jit import F32, F64, I64, U8, U64

__all__ = ["RETRAIN_EVERY_S", "Collector", "Points"]

SETTLE_S: Final = 60 * DAY_S
"""Nothing is judged before this much time has labels: models and population are still finding their feet."""

RETRAIN_EVERY_S: Final = 7 * DAY_S
"""How often a peer that learns in batches is trained again."""

_COLUMNS: Final[dict[str, type[np.generic]]] = {
    "y": np.uint8,
    "time_s": np.float64,
    "user": np.uint64,
    "kind": np.uint8,
    "weight": np.float32,
    "likelihood": np.float32,
    "heuristic": np.float32,
}


@dataclass(frozen=True, slots=True)
class Points:
    """All `n` matured examples of one prediction, in the order in which their labels became known.

    That order is what peers may learn from; `judged` says which of them are judged.
    """

    prediction_id: str
    prediction: Prediction
    start_s: float
    """Time of the first event of the data."""
    end_s: float
    """Time of the last event of the data."""
    feature_names: tuple[str, ...]
    x: F32
    """[n, F] features at the moment (mapped from a file: read it in order)."""
    y: U8
    """[n] whether the goal happened within the window."""
    time_s: F64
    """[n] when the user was scored."""
    matured_s: F64
    """[n] whole hour at which the label was known; never falls from row to row."""
    user: U64
    """[n] hash of the user."""
    kind: U8
    """[n] KIND_EVENT or KIND_SILENT."""
    weight: F32
    """[n] 1 / keep rate."""
    likelihood: F32
    """[n] what Tideline's model said at the moment."""
    heuristic: F32
    """[n] the heuristic's rank value at the moment."""

    def __len__(self) -> int:
        return len(self.y)

    def known_at(self, time_s: float) -> int:
        """How many labels were known at this time: the rows [0, known) are what a model may have learned by then."""
        return int(np.searchsorted(self.matured_s, time_s, side="right"))

    @property
    def training_times_s(self) -> F64:
        """Times at which batch peers are trained, every 7 days from the first at which both classes are known.

        The first candidate is 60 days after the first label is known: start + window + 60 days. Empty when both
        classes are never known before the data ends.
        """
        first_s = self.start_s + self.prediction.window_s + SETTLE_S
        times_s = np.arange(first_s, self.end_s, RETRAIN_EVERY_S)
        known = np.searchsorted(self.matured_s, times_s, side="right")
        positives = np.concatenate(([0], np.cumsum(self.y, dtype=np.int64)))[known]
        trainable: F64 = times_s[(positives > 0) & (positives < known)]
        return trainable

    @property
    def judged(self) -> I64:
        """Rows of the judged points, by time: from the first training on, with a window that ends inside the data."""
        times_s = self.training_times_s
        if not len(times_s):
            return np.zeros(0, dtype=np.int64)
        inside = (self.time_s >= times_s[0]) & (self.time_s + self.prediction.window_s <= self.end_s)
        rows = np.flatnonzero(inside)
        return rows[np.argsort(self.time_s[rows], kind="stable")]


class Collector:
    """Gathers the matured examples of one prediction; a context manager that owns the temporary file.

    `collect` each chunk in the order of its numbers, then call `points` once. Raises ValueError when a chunk is of
    another prediction, is missing, has another number of features or a likelihood that is not finite; TidelineError
    when the folder for temporary files has no room.
    """

    def __init__(
        self, prediction_id: str, prediction: Prediction, lateness_s: float = 0.0, folder: Path | None = None
    ) -> None:
        self._prediction_id = prediction_id
        self._prediction = prediction
        self._lateness_s = lateness_s
        # Without a name, so that nothing is left behind however the process ends.
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="tideline-", dir=folder)  # noqa: SIM115
        self._columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _COLUMNS}
        self._rows = 0
        self._features: int | None = None
        self._source: int | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the temporary file; points already made keep theirs until they are gone themselves."""
        self._file.close()

    def collect(self, chunk: ExampleChunk) -> None:
        """Take the next chunk; its arrays are copied."""
        self._check(chunk)
        # Crossings are judged by the engine's own report and are never learned.
        wanted = (chunk.kind == KIND_EVENT) | (chunk.kind == KIND_SILENT)
        rows = np.ascontiguousarray(chunk.x[wanted])
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise TidelineError(
                f"the features of {self._prediction_id} do not fit into the folder for temporary files ({error}): "
                "set TMPDIR to a folder with more room"
            ) from error
        for name, parts in self._columns.items():
            parts.append(getattr(chunk, name)[wanted])
        self._rows += len(rows)

    def points(self, start_s: float, end_s: float, feature_names: Sequence[str]) -> Points:
        """Everything collected, for data whose first and last event are at `start_s` and `end_s`."""
        features = len(feature_names)
        if self._features is not None and features != self._features:
            raise ValueError(f"{features} feature names for {self._features} features")
        columns = {name: _joined(name, parts) for name, parts in self._columns.items()}
        matured_s = columns["time_s"] + self._prediction.window_s + self._lateness_s
        # Strictly later, as in the core: other events of the last instant of a window may still come.
        matured_s = (np.floor(matured_s / HOUR_S) + 1.0) * HOUR_S
        return Points(
            prediction_id=self._prediction_id,
            prediction=self._prediction,
            start_s=start_s,
            end_s=end_s,
            feature_names=tuple(feature_names),
            x=self._mapped(features),
            # A label is never known before one that was handed out earlier; that a late example was handed out
            # later than its own time says is so kept.
            matured_s=np.maximum.accumulate(matured_s),
            **columns,
        )

    def _check(self, chunk: ExampleChunk) -> None:
        source = chunk.prediction if self._source is None else self._source
        features = chunk.x.shape[1] if self._features is None else self._features
        if chunk.prediction != source or chunk.previous != self._number or chunk.x.shape[1] != features:
            raise ValueError(
                f"chunk {chunk.number} of prediction {chunk.prediction} with {chunk.x.shape[1]} features cannot follow "
                f"chunk {self._number} of prediction {source} with {features}"
            )
        if not (np.isfinite(chunk.likelihood).all() and np.isfinite(chunk.heuristic).all()):
            raise ValueError(f"chunk {chunk.number}: examples without a likelihood or a heuristic cannot be judged")
        self._source, self._features, self._number = source, features, chunk.number

    def _mapped(self, features: int) -> F32:
        if not self._rows or not features:
            return np.zeros((self._rows, features), dtype=np.float32)
        self._file.flush()
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=(self._rows, features))


def _joined(name: str, parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if parts:
        return np.concatenate(parts)
    return np.zeros(0, dtype=_COLUMNS[name])
