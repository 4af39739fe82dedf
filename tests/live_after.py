"""A warm-up that is over when a test wants it to be: the product's needs a hundred users who have reached the goal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from models.examples import KIND_CROSSING, ExampleChunk


class LiveAfterExamples:
    """Takes the place of the product's warm-up: over after so many learned examples."""

    examples = 1
    goal_users = 0

    def __init__(self, min_goals: int = 0) -> None:
        self.min_goals = min_goals
        self._remaining = self.examples

    @property
    def left(self) -> bool:
        return self._remaining <= 0

    def add(self, chunk: ExampleChunk) -> None:
        self._remaining -= int((chunk.kind != KIND_CROSSING).sum())

    def state(self, *, changed_only: bool = False) -> dict[str, bytes]:  # noqa: ARG002
        return {"remaining": str(self._remaining).encode()}

    def mark_saved(self) -> None:
        """Nothing is kept apart."""

    @classmethod
    def load(cls, fields: dict[str, bytes]) -> LiveAfterExamples:
        rule = cls()
        rule._remaining = int(fields["remaining"])
        return rule


def live_after(examples: int) -> AbstractContextManager[Any]:
    """The warm-up of learners ends after so many learned examples while this is entered."""
    return patch("models.learner.Warmup", type("Rule", (LiveAfterExamples,), {"examples": examples}))
