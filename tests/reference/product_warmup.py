"""The product's own warm-up as a rule of the reference: the same class, fed one hour at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.examples import KIND_EVENT, KIND_SILENT, ExampleChunk
from models.warmup import Warmup
from tests.reference.examples import SILENT
from tests.reference.hashes import unit


class ProductWarmup:
    """Leaves the warm-up when `models.warmup.Warmup` says so."""

    def __init__(self, min_goals: int = 100) -> None:
        self.warmup = Warmup(min_goals)
        self.hour: list[Mapping[str, Any]] = []
        self.chunks = 0

    def learned(self, example: Mapping[str, Any]) -> None:
        """Keeps the example until the hour is asked about."""
        self.hour.append(example)

    def beaten(self) -> bool:
        """Judges the hour's examples."""
        self.chunks += 1
        rows, self.hour = self.hour, []
        nothing = np.zeros(len(rows), np.uint8)
        self.warmup.add(
            ExampleChunk(
                prediction=0,
                number=self.chunks,
                shard=0,
                x=np.zeros((len(rows), 0), np.float32),
                y=np.array([row["label"] for row in rows], np.uint8),
                time_s=np.array([row["time_s"] for row in rows], np.float64),
                user=np.array([int(unit("user", row["user"]) * 2**64) for row in rows], np.uint64),
                kind=np.array([KIND_SILENT if row["kind"] == SILENT else KIND_EVENT for row in rows], np.uint8),
                weight=np.array([row["weight"] for row in rows], np.float32),
                likelihood=np.array([row["likelihood"] for row in rows], np.float32),
                heuristic=np.array([row["heuristic"] for row in rows], np.float32),
                score=nothing.astype(np.float32),
                category=nothing,
                touch=nothing,
            )
        )
        return self.warmup.left
