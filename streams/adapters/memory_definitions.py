"""Definitions in memory: the same contract as in Redis, for tests and tools."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from config.catalog import Catalog
from config.definitions import Definitions
from streams.adapters.definition_store import (
    ANSWER_S,
    Answer,
    AnsweredBefore,
    Change,
    DefinitionsChanged,
    Entry,
    Kept,
    Past,
    Place,
    Step,
    definitions_of,
)


class MemoryDefinitions:
    """As `RedisDefinitions`, whose docstrings say what every method does."""

    def __init__(self, *, history: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._bound = history
        self._revision = 0
        self._entries: dict[tuple[str, str], Entry] = {}
        self._changes: list[tuple[Place, Change]] = []
        self._answers: dict[str, tuple[Answer, float]] = {}
        self._file: Catalog | None = None
        self.learning: Past | None = None
        """What workers would tell."""

    def revision(self) -> int:
        return self._revision

    def read(self) -> Definitions:
        return definitions_of(self.kept())

    def kept(self) -> Kept:
        with self._lock:
            return Kept(self._revision, tuple(sorted(self._entries.values(), key=lambda entry: entry.made)))

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None:
        with self._lock:
            before = None if answer is None else self._answered(answer.asked)
            if before is not None:
                raise AnsweredBefore(before)
            if expected != self._revision:
                raise DefinitionsChanged(f"the definitions are not those of revision {expected} any more")
            if steps:
                self._revision += 1
            for index, (entry, change) in enumerate(steps):
                self._entries[entry.kind, entry.id] = entry
                self._changes.append(((self._revision, index), change))
            del self._changes[: -self._bound]
            if answer is not None:
                self._answers[answer.asked] = answer, self._clock() + ANSWER_S

    def answered(self, asked: str) -> Answer | None:
        with self._lock:
            return self._answered(asked)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]:
        with self._lock:
            found = [pair for pair in reversed(self._changes) if before is None or pair[0] < before]
        return found[:limit]

    def past(self) -> Past | None:
        return self.learning

    def tell_past(self, past: Past) -> None:
        self.learning = past

    def tell_file(self, catalog: Catalog) -> None:
        self._file = catalog

    def file(self) -> Catalog | None:
        return self._file

    def _answered(self, asked: str) -> Answer | None:
        answer, until_s = self._answers.get(asked, (None, 0.0))
        return answer if self._clock() < until_s else None
