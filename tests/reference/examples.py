"""Examples that wait for their label, within a bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.reference.filters import Answer

EVENT, SILENT, CROSSING = "event", "silent", "crossing"


@dataclass(slots=True)
class Pending:
    """A moment and what was said at it, for each prediction in `waiting`. `x` serves all of them."""

    user: str
    time_s: float
    kind: str
    x: list[float]
    answers: dict[str, Answer]
    shadows: dict[str, float]
    heuristics: dict[str, float]
    waiting: set[str]
    hash: float
    rate: float = 1.0
    handed: set[str] = field(default_factory=set)

    def hand_out(self, prediction: str, label: int, at_s: float) -> dict[str, Any]:
        """The example as the learner gets it; it waits for this prediction no more."""
        answer = self.answers[prediction]
        self.waiting.remove(prediction)
        self.handed.add(prediction)
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
        }


@dataclass(slots=True)
class PendingExamples:
    """All waiting examples in the order in which they were made; never more than `limit`."""

    limit: int
    examples: list[Pending] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=lambda: {EVENT: 1.0, SILENT: 1.0})

    def add(self, example: Pending) -> None:
        """Keep an example, if its hash is below the rate of its kind; makes room first."""
        while len(self.examples) >= self.limit and self._is_kept(example):
            if not self._thin():
                return
        if self._is_kept(example):
            example.rate = self.rates.get(example.kind, 1.0)
            self.examples.append(example)

    def replace(self, example: Pending) -> bool:
        """Put an event in the place of the user's waiting event of the same instant; False if there is none.

        It goes where the new one is in no audience.
        """
        for place, old in enumerate(self.examples):
            if (old.kind, old.user, old.time_s) == (EVENT, example.user, example.time_s):
                example.rate, example.handed = old.rate, old.handed
                example.waiting -= old.handed
                self.examples[place : place + 1] = [example] if example.waiting else []
                return True
        return False

    def double_if_empty(self) -> None:
        """With fewer than a quarter pending, rates below 1 double."""
        if len(self.examples) < self.limit / 4:
            self.rates = {kind: min(1.0, 2.0 * rate) for kind, rate in self.rates.items()}

    def forget_done(self) -> None:
        """Drop examples that wait for nothing any more."""
        self.examples = [example for example in self.examples if example.waiting]

    def _is_kept(self, example: Pending) -> bool:
        return example.hash < self.rates.get(example.kind, 1.0)

    def _thin(self) -> bool:
        waiting = {kind: sum(e.kind == kind for e in self.examples) for kind in self.rates}
        kind = max(waiting, key=lambda k: waiting[k])
        if waiting[kind] == 0:
            return False
        self.rates[kind] /= 2.0
        kept = []
        for example in self.examples:
            if example.kind != kind:
                kept.append(example)
            elif example.hash < self.rates[kind]:
                example.rate = min(example.rate, self.rates[kind])
                kept.append(example)
        self.examples = kept
        return True
