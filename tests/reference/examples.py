"""Examples that wait for their label, within a bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from config.notes import SENT, WITHHELD
from tests.reference.filters import Answer

EVENT, SILENT, CROSSING = "event", "silent", "crossing"


@dataclass(slots=True)
class Pending:
    """A moment and what was said at it; `x` serves all predictions.

    `audience` are the predictions that it is an example of, `passed` those that have been by: it was handed out to
    them, or left out as it is not one of theirs.
    """

    user: str
    time_s: float
    kind: str
    x: list[float]
    answers: dict[str, Answer]
    shadows: dict[str, float]
    heuristics: dict[str, float]
    audience: set[str]
    hash: float
    rate: float = 1.0
    passed: set[str] = field(default_factory=set)
    notes: list[tuple[str, float]] = field(default_factory=list)
    """(event name, time) of notes of campaigns about the user that it knows of."""

    def touch(self, window_s: float) -> str | None:
        """What campaigns have done in the window: sent, or else withheld, or nothing."""
        inside = {name for name, time_s in self.notes if self.time_s < time_s <= self.time_s + window_s}
        return "sent" if SENT in inside else "withheld" if WITHHELD in inside else None

    def hand_out(self, prediction: str, label: int, window_s: float, at_s: float) -> dict[str, Any]:
        """The example as the learner gets it."""
        answer = self.answers[prediction]
        return {
            "prediction": prediction,
            "user": self.user,
            "time_s": self.time_s,
            "kind": self.kind,
            "x": self.x,
            "label": label,
            "likelihood": self.shadows[prediction],
            "heuristic": self.heuristics[prediction],
            "z": answer.z,
            "score": answer.score,
            "category": answer.category,
            "weight": 1.0 / self.rate,
            "handed_s": at_s,
            "touch": self.touch(window_s),
        }


@dataclass(slots=True)
class PendingExamples:
    """All examples that wait, in the order in which they were made; never more than `limit`."""

    limit: int
    examples: list[Pending] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=lambda: {EVENT: 1.0, SILENT: 1.0, CROSSING: 1.0})

    def add(self, example: Pending) -> None:
        """Keep an example, if its hash is below the rate of its kind; makes room first."""
        while len(self.examples) >= self.limit and self._is_kept(example):
            self._thin()
        if self._is_kept(example):
            example.rate = self.rates[example.kind]
            self.examples.append(example)

    def replace(self, example: Pending) -> bool:
        """Put an event in the place of the user's waiting event of the same instant; False if there is none.

        What is in no audience any more goes without a successor.
        """
        for place, old in enumerate(self.examples):
            if (old.kind, old.user, old.time_s) == (EVENT, example.user, example.time_s):
                example.rate, example.passed = old.rate, old.passed
                example.notes += old.notes
                self.examples[place : place + 1] = [example] if example.audience else []
                return True
        return False

    def empty(self, user: str) -> None:
        """Nobody gets the user's examples any more; their places go on to their turn, or until room is needed."""
        for example in self.examples:
            if example.user == user:
                example.user, example.audience = "", set()

    def head(self, prediction: str) -> Pending | None:
        """The oldest example that has not passed this prediction: the others wait behind it."""
        return next((example for example in self.examples if prediction not in example.passed), None)

    def double_if_empty(self) -> None:
        """With fewer than a quarter pending, rates below 1 double."""
        if len(self.examples) < self.limit / 4:
            self.rates = {kind: min(1.0, 2.0 * rate) for kind, rate in self.rates.items()}

    def forget_passed(self, predictions: set[str]) -> None:
        """Drop examples that all predictions have been by."""
        self.examples = [example for example in self.examples if example.passed != predictions]

    def _is_kept(self, example: Pending) -> bool:
        return example.hash < self.rates[example.kind]

    def _thin(self) -> None:
        """What was emptied goes. Unless that was an eighth of the places, the rate of the most numerous kind (the first
        of equals) halves, too, and those of it go that it leaves out.
        """
        empty = sum(not example.user for example in self.examples)
        self.examples = [example for example in self.examples if example.user]
        if empty and empty >= self.limit / 8:
            return
        waiting = {kind: sum(e.kind == kind for e in self.examples) for kind in self.rates}
        thinned = max(waiting, key=lambda kind: waiting[kind])
        self.rates[thinned] /= 2.0
        kept = []
        for example in self.examples:
            if example.kind != thinned:
                kept.append(example)
            elif self._is_kept(example):
                example.rate = min(example.rate, self.rates[thinned])
                kept.append(example)
        self.examples = kept
