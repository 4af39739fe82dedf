"""A warm-up that ends soon, for benchmarks: how long the real one takes depends on the data, and is not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from models.examples import KIND_CROSSING, ExampleChunk

LIVE_AFTER = 200


class ShortWarmup:
    """Stands where `models.warmup.Warmup` does, and is over after so many learned examples."""

    comparison = None
    goal_users = 0

    def __init__(self, min_goals: int = 0) -> None:
        self.min_goals = min_goals
        self._remaining = LIVE_AFTER

    @property
    def left(self) -> bool:
        """Whether it is over."""
        return self._remaining <= 0

    def add(self, chunk: ExampleChunk) -> None:
        """Count what is learned."""
        self.learned(int((chunk.kind != KIND_CROSSING).sum()))

    def learned(self, examples: int) -> None:
        """So many more."""
        self._remaining -= examples

    def state(self, *, changed_only: bool = False) -> dict[str, bytes]:
        """What is saved."""
        return {} if changed_only and self.left else {"remaining": str(self._remaining).encode()}

    def mark_saved(self) -> None:
        """Nothing is kept apart."""

    @classmethod
    def load(cls, fields: Mapping[str, bytes]) -> ShortWarmup:
        """What was saved."""
        rule = cls()
        rule._remaining = int(fields["remaining"])
        return rule


@contextmanager
def short_warmup() -> Iterator[None]:
    """Learners that are made in this context warm up so."""
    with patch("models.learner.Warmup", ShortWarmup):
        yield
