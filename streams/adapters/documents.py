"""The port of small documents that many may change: fields under one revision, who changed what, and what was answered.

`RedisDocument` keeps one in the store, `MemoryDocument` in memory. What the fields mean is said by those who use it:
`definition_store` (predictions and segments) and `campaign_definitions`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from config.errors import StoreIncompatible, TidelineError

ANSWER_S: Final = 86_400
"""So long an answer is kept for a question that is asked again."""

Place: TypeAlias = tuple[int, int]
"""(revision, index in it): where a change stands in the history."""


class Answer(msgspec.Struct, frozen=True):
    """What was answered to a question that may be asked again."""

    asked: str
    """Which question: a hash of the caller's key and of what the caller calls it."""
    content: str
    """Hash of what was asked: the same name for another question is a mistake."""
    status: int
    headers: dict[str, str]
    body: str


class Write(NamedTuple):
    """All of it is made, or nothing."""

    fields: Mapping[str, bytes | None]
    """Field -> what it says from now on; None takes it away."""
    changes: Sequence[bytes]
    """What the history says of it, in order."""
    marks: Sequence[str] = ()
    """Names that are kept from now on, beside the fields: programs that know none of them read the fields as before."""


class DefinitionsChanged(TidelineError):
    """Somebody else changed definitions first; nothing was written."""


class AnsweredBefore(Exception):
    """The question was answered within the last day; nothing was written."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.asked)
        self.answer = answer


class Document(Protocol):
    """May be used by several threads. See `RedisDocument` for what every method does and raises."""

    def revision(self) -> int: ...

    def read(self) -> tuple[int, dict[str, bytes]]: ...

    def marks(self) -> frozenset[str]: ...

    def write(self, expected: int, write: Write, answer: Answer | None = None) -> None: ...

    def answered(self, asked: str) -> Answer | None: ...

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, bytes]]: ...

    def close(self) -> None: ...


class MemoryDocument:
    """As `RedisDocument`, whose docstrings say what every method does; for tests and tools."""

    def __init__(self, *, history: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._bound = history
        self._revision = 0
        self._fields: dict[str, bytes] = {}
        self._marks: set[str] = set()
        self._changes: list[tuple[Place, bytes]] = []
        self._answers: dict[str, tuple[Answer, float]] = {}

    def revision(self) -> int:
        return self._revision

    def read(self) -> tuple[int, dict[str, bytes]]:
        with self._lock:
            return self._revision, dict(self._fields)

    def marks(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._marks)

    def write(self, expected: int, write: Write, answer: Answer | None = None) -> None:
        with self._lock:
            before = None if answer is None else self._answered(answer.asked)
            if before is not None:
                raise AnsweredBefore(before)
            if expected != self._revision:
                raise changed(expected)
            if write.fields:
                self._revision += 1
            for name, data in write.fields.items():
                if data is None:
                    self._fields.pop(name, None)
                else:
                    self._fields[name] = data
            self._marks |= set(write.marks)
            self._changes += [((self._revision, index), data) for index, data in enumerate(write.changes)]
            del self._changes[: -self._bound]
            if answer is not None:
                self._answers[answer.asked] = answer, self._clock() + ANSWER_S

    def answered(self, asked: str) -> Answer | None:
        with self._lock:
            return self._answered(asked)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, bytes]]:
        with self._lock:
            found = [pair for pair in reversed(self._changes) if before is None or pair[0] < before]
        return found[:limit]

    def close(self) -> None:
        """Nothing is open."""

    def _answered(self, asked: str) -> Answer | None:
        answer, until_s = self._answers.get(asked, (None, 0.0))
        return answer if self._clock() < until_s else None


def changed(expected: int) -> DefinitionsChanged:
    """The error for who was not first."""
    return DefinitionsChanged(f"the definitions are not those of revision {expected} any more")


def foreign(error: Exception) -> StoreIncompatible:
    """The error for what another version has written."""
    return StoreIncompatible(f"definitions were stored by a version of Tideline that this one does not read ({error})")
