"""Definitions in memory: the same contract as in Redis, for tests and tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from config.catalog import Catalog
from config.definitions import Definitions
from streams.adapters.definition_store import Change, Kept, Past, Step, definitions_of, kept_of, read_changes, write_of
from streams.adapters.documents import Answer, MemoryDocument, Place


class MemoryDefinitions:
    """As `RedisDefinitions`, whose docstrings say what every method does."""

    def __init__(self, *, history: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._document = MemoryDocument(history=history, clock=clock)
        self._file: Catalog | None = None
        self.learning: Past | None = None
        """What workers would tell."""

    def revision(self) -> int:
        return self._document.revision()

    def read(self) -> Definitions:
        return definitions_of(self.kept())

    def kept(self) -> Kept:
        return kept_of(*self._document.read())

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None:
        self._document.write(expected, write_of(steps), answer)

    def answered(self, asked: str) -> Answer | None:
        return self._document.answered(asked)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]:
        return read_changes(self._document.history(before, limit))

    def past(self) -> Past | None:
        return self.learning

    def tell_past(self, past: Past) -> None:
        self.learning = past

    def tell_file(self, catalog: Catalog) -> None:
        self._file = catalog

    def file(self) -> Catalog | None:
        return self._file
