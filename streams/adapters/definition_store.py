"""The port of definitions that are made while the service runs: what is kept of each, and of every change.

`RedisDefinitions` keeps them in the store, `MemoryDefinitions` in memory; both pass one contract suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from config.catalog import Catalog
from config.definitions import Definitions, Kind, read_prediction, read_segment
from config.errors import CatalogError, StoreIncompatible, TidelineError

ANSWER_S: Final = 86_400
"""So long an answer is kept for a question that is asked again."""

Action: TypeAlias = Literal["create", "edit", "archive", "restore", "access"]
Place: TypeAlias = tuple[int, int]
"""(revision, index in it): where a change stands in the history."""


class Entry(msgspec.Struct, frozen=True):
    """One definition and what is known of it. Times are seconds since 1970 UTC."""

    kind: Kind
    id: str
    definition: dict[str, Any]
    """As a person writes it (`config.written`)."""
    version: int
    """The revision that changed it last."""
    made: Place
    """The change that made it."""
    created_s: float
    changed_s: float


class Change(msgspec.Struct, frozen=True):
    """What somebody did to one definition. `before` is None for a new one."""

    kind: Kind
    id: str
    action: Action
    at_s: float
    key_id: str
    """Whose key it was."""
    before: dict[str, Any] | None
    after: dict[str, Any]


class Past(msgspec.Struct, frozen=True):
    """How far the workers are with learning from the log for new definitions."""

    phase: str
    """`reading` (the log), `joining` (the live stream), `done`, or `failed`: what is new learns from now on."""
    predictions: list[str]
    """For which it is read; none where only counts are new."""
    records: int
    """So many are read,"""
    of: int
    """of so many."""
    at_s: float
    """When this was so, seconds since 1970 UTC."""


class Step(NamedTuple):
    """A change, and the entry that it leaves."""

    entry: Entry
    change: Change


class Answer(msgspec.Struct, frozen=True):
    """What was answered to a question that may be asked again."""

    asked: str
    """Which question: a hash of the caller's key and of what the caller calls it."""
    content: str
    """Hash of what was asked: the same name for another question is a mistake."""
    status: int
    headers: dict[str, str]
    body: str


class Kept(NamedTuple):
    """All entries as of a revision, in the order in which they were made."""

    revision: int
    entries: tuple[Entry, ...]

    def find(self, kind: Kind, id_: str) -> Entry | None:
        """The entry of one definition."""
        return next((entry for entry in self.entries if (entry.kind, entry.id) == (kind, id_)), None)


class DefinitionsChanged(TidelineError):
    """Somebody else changed definitions first; nothing was written."""


class AnsweredBefore(Exception):
    """The question was answered within the last day; nothing was written."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.asked)
        self.answer = answer


class DefinitionStore(Protocol):
    """May be used by several threads. See `RedisDefinitions` for what every method does and raises."""

    def revision(self) -> int: ...

    def read(self) -> Definitions: ...

    def kept(self) -> Kept: ...

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None: ...

    def answered(self, asked: str) -> Answer | None: ...

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]: ...

    def past(self) -> Past | None: ...

    def tell_past(self, past: Past) -> None: ...

    def tell_file(self, catalog: Catalog) -> None: ...

    def file(self) -> Catalog | None: ...


def definitions_of(kept: Kept) -> Definitions:
    """The definitions themselves. Raises StoreIncompatible for one that cannot be read."""
    try:
        return Definitions(
            kept.revision,
            {e.id: read_prediction(e.id, e.definition) for e in kept.entries if e.kind == "prediction"},
            {e.id: read_segment(e.id, e.definition) for e in kept.entries if e.kind == "segment"},
            {(e.kind, e.id): e.version for e in kept.entries},
        )
    except CatalogError as error:
        raise foreign(error) from error


def foreign(error: Exception) -> StoreIncompatible:
    """The error for what another version has written."""
    return StoreIncompatible(f"definitions were stored by a version of Tideline that this one does not read ({error})")
