"""The port of definitions that are made while the service runs: what is kept of each, and of every change.

`RedisDefinitions` keeps them in the store, `MemoryDefinitions` in memory; both pass one contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from config.catalog import Catalog
from config.definitions import Definitions, Kind, read_prediction, read_segment
from config.errors import CatalogError
from streams.adapters.documents import ANSWER_S, Answer, AnsweredBefore, DefinitionsChanged, Place, Write, foreign

__all__ = [
    "ANSWER_S",
    "Action",
    "Answer",
    "AnsweredBefore",
    "Change",
    "DefinitionStore",
    "DefinitionsChanged",
    "Entry",
    "Kept",
    "Past",
    "Place",
    "Step",
    "definitions_of",
    "foreign",
    "kept_of",
    "read_changes",
    "write_of",
]

Action: TypeAlias = Literal["create", "edit", "archive", "restore", "access"]


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


class Kept(NamedTuple):
    """All entries as of a revision, in the order in which they were made."""

    revision: int
    entries: tuple[Entry, ...]

    def find(self, kind: Kind, id_: str) -> Entry | None:
        """The entry of one definition."""
        return next((entry for entry in self.entries if (entry.kind, entry.id) == (kind, id_)), None)


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


def kept_of(revision: int, fields: Mapping[str, bytes]) -> Kept:
    """The entries of a document, in order. Raises StoreIncompatible for one that cannot be read."""
    try:
        entries = [msgspec.json.decode(data, type=Entry) for data in fields.values()]
    except msgspec.DecodeError as error:
        raise foreign(error) from error
    return Kept(revision, tuple(sorted(entries, key=lambda entry: entry.made)))


def write_of(steps: Sequence[Step]) -> Write:
    """Steps as they are written into a document."""
    fields = {f"{entry.kind}:{entry.id}": msgspec.json.encode(entry) for entry, _ in steps}
    return Write(fields, [msgspec.json.encode(change) for _, change in steps])


def read_changes(page: Sequence[tuple[Place, bytes]]) -> list[tuple[Place, Change]]:
    """What a document's history says. Raises StoreIncompatible for what cannot be read."""
    try:
        return [(place, msgspec.json.decode(data, type=Change)) for place, data in page]
    except msgspec.DecodeError as error:
        raise foreign(error) from error
