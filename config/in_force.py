"""What shards work with: everything that is defined, but for archived definitions for which there is no room.

While the columns of an archived definition are kept, it can be restored and goes on where it was. Columns are bounded;
where others need them, what was archived first gives its own up. Restored later, it begins as a new one does: a
prediction learns from history, and the generation of the shards keeps ids of transitions apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from config.base import KINDS, Kind
from config.catalog import Catalog
from config.checks import has_too_many_atoms, has_too_many_names
from config.dependents import references
from config.errors import Problem

MAX_KEPT: Final = 1_000
"""Predictions, and segments, that are kept at all, with those of the file and all archived ones."""


def bound_of(kind: Kind) -> int:
    """So many of a kind shards can work with."""
    field = Catalog.model_fields[f"{kind}s"]
    return next(int(each.max_length) for each in field.metadata if hasattr(each, "max_length"))


def in_force(file: Catalog, whole: Catalog, changed: Mapping[tuple[Kind, str], int]) -> Catalog:
    """The part of `whole` that shards work with; the same object where that is all of it.

    `whole`: the catalog of the file with what was made beside it. `changed`: the revision that changed a definition
    last; of what is archived, the lowest goes first.
    """
    archived = [
        (kind, id_)
        for kind in KINDS
        for id_, each in whole.of(kind).items()
        if each.archived and id_ not in file.of(kind)
    ]
    archived.sort(key=lambda what: changed.get(what, 0))
    given_up = _GivenUp(whole, archived)
    for what in archived:
        kind = what[0]
        if given_up.left(kind) > bound_of(kind) or (kind == "prediction" and has_too_many_atoms(given_up.catalog())):
            given_up.add(what)
    for what in archived:
        if has_too_many_names(given_up.catalog()):
            given_up.add(what)
    return given_up.catalog()


def too_many(file: Catalog, whole: Catalog) -> list[Problem]:
    """What no archived definition can make room for."""
    problems = []
    for kind in KINDS:
        theirs, found = file.of(kind), whole.of(kind)
        used, bound = sum(not each.archived or id_ in theirs for id_, each in found.items()), bound_of(kind)
        if used > bound:
            words = f"{used} {kind}s with those of the file"
            problems.append(Problem(None, f"{kind}s", words, f"at most {bound} that are not archived"))
        if len(found) > MAX_KEPT:
            words = f"{len(found)} {kind}s, archived ones among them"
            advice = f"at most {MAX_KEPT:,}: restore one that is archived, and edit it"
            problems.append(Problem(None, f"{kind}s", words, advice))
    return problems


class _GivenUp:
    """Archived definitions without columns, with the archived segments that refer to them."""

    def __init__(self, whole: Catalog, archived: list[tuple[Kind, str]]) -> None:
        self._whole = self._catalog = whole
        self._gone: dict[Kind, set[str]] = {kind: set() for kind in KINDS}
        self._resting: dict[tuple[Kind, str], list[str]] = {}
        for kind, id_ in archived:
            if kind == "segment":
                for used in references(whole.segments[id_].filter):
                    self._resting.setdefault(used, []).append(id_)

    def left(self, kind: Kind) -> int:
        return len(self._whole.of(kind)) - len(self._gone[kind])

    def add(self, what: tuple[Kind, str]) -> None:
        waiting = [what]
        while waiting:
            kind, id_ = waiting.pop()
            if id_ not in self._gone[kind]:
                self._gone[kind].add(id_)
                waiting += [("segment", name) for name in self._resting.get((kind, id_), ())]

    def catalog(self) -> Catalog:
        gone = self._gone
        sizes = self.left("prediction"), self.left("segment")
        if sizes != (len(self._catalog.predictions), len(self._catalog.segments)):
            left = {
                f"{kind}s": {id_: each for id_, each in self._whole.of(kind).items() if id_ not in gone[kind]}
                for kind in KINDS
            }
            self._catalog = self._whole.model_copy(update=left)
        return self._catalog
