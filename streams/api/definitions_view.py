"""All definitions of a service at one moment, as the API looks at them, and what a change makes of them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from config.catalog import Catalog, Prediction
from config.definitions import MAX_DEFINITION_BYTES, Definition, Definitions, merged, problems_of, read_definition
from config.definitions import Kind as What
from config.dependents import dependents, references
from config.errors import CatalogError, Problem
from config.in_force import in_force
from config.written import written
from streams.adapters.definition_store import Action, Change, Entry, Kept, Step, definitions_of
from streams.api.problems import Kind
from streams.api.problems import Problem as Refusal
from streams.api.read_predictions import require

Source = Literal["file", "api"]


class Edit(NamedTuple):
    """What a definition is to become."""

    kind: What
    id: str
    action: Action
    after: Definition


@dataclass(frozen=True)  # without slots: what is costly to find out is found out once
class DefinitionsView:
    """What is defined: by the catalog file, and by what is kept beside it. May be used by several threads."""

    file: Catalog
    kept: Kept
    made: Definitions
    whole: Catalog
    """Both together, not checked."""

    @classmethod
    def of(cls, file: Catalog, kept: Kept) -> DefinitionsView:
        """Raises StoreIncompatible where what is kept cannot be read."""
        made = definitions_of(kept)
        return cls(file, kept, made, merged(file, made))

    @cached_property
    def etag(self) -> str:
        """Of everything together."""
        return f'"{self.kept.revision}-{_digest(written(self.file))}"'

    @cached_property
    def in_force(self) -> Catalog:
        """What shards work with: without archived definitions for which there is no room."""
        return in_force(self.file, self.whole, self.made.changed)

    def get(self, kind: What, id_: str) -> Definition:
        """Raises NotStored where there is none."""
        known = group(self.whole, kind)
        require(kind, id_, known)
        return known[id_]

    def source(self, kind: What, id_: str) -> Source:
        """Who defines it."""
        return "file" if id_ in group(self.file, kind) else "api"

    def etag_of(self, kind: What, id_: str) -> str:
        """Of one definition: it changes whenever that does, and never back."""
        if self.source(kind, id_) == "file":
            return f'"file-{_digest(written(self.get(kind, id_)))}"'
        return f'"{self._entry(kind, id_).version}"'

    def entry(self, kind: What, id_: str) -> Entry | None:
        """What is kept of one; None for those of the file."""
        return None if self.source(kind, id_) == "file" else self._entry(kind, id_)

    def dependents(self, kind: What, id_: str) -> list[str]:
        """Segments that rest on it, also through each other, without archived ones."""
        return dependents(self.whole, kind, id_)

    def editable(self, kind: What, id_: str) -> Definition:
        """Raises NotStored, and `Refusal` for one of the catalog file."""
        found = self.get(kind, id_)
        if self.source(kind, id_) == "file":
            words = f"the {kind} {id_!r} is defined in the catalog file of the service; change it there"
            raise Refusal(Kind.READ_ONLY, words, source="file")
        return found

    def changed(self, edits: Sequence[Edit], key_id: str, now_s: float) -> tuple[DefinitionsView, list[Step]]:
        """The view after changes, and the steps to it. Raises `Refusal` for what may not be."""
        revision = self.kept.revision + 1
        steps = [self._step(edit, (revision, index), key_id, now_s) for index, edit in enumerate(edits)]
        entries = {(entry.kind, entry.id): entry for entry in self.kept.entries}
        entries |= {(step.entry.kind, step.entry.id): step.entry for step in steps}
        after = DefinitionsView.of(self.file, Kept(revision, tuple(sorted(entries.values(), key=lambda e: e.made))))
        for edit in edits:
            if edit.kind == "segment" and not edit.after.archived:
                _check_targets(after, edit.id)
        # What was wrong before (a file that has changed since) must not keep anybody from putting it right.
        before = {(problem.path, problem.found) for problem in problems_of(self.file, self.made)}
        found = problems_of(after.file, after.made)
        problems = [problem for problem in found if (problem.path, problem.found) not in before]
        if problems:
            raise invalid(problems)
        return after, steps

    def _entry(self, kind: What, id_: str) -> Entry:
        found = self.kept.find(kind, id_)
        assert found is not None, "what is not of the file is kept"
        return found

    def _step(self, edit: Edit, place: tuple[int, int], key_id: str, now_s: float) -> Step:
        found, after = self.kept.find(edit.kind, edit.id), written(edit.after)
        entry = Entry(
            kind=edit.kind,
            id=edit.id,
            definition=after,
            version=place[0],
            made=place if found is None else found.made,
            created_s=now_s if found is None else found.created_s,
            changed_s=now_s,
        )
        before = None if found is None else found.definition
        return Step(entry, Change(edit.kind, edit.id, edit.action, now_s, key_id, before, after))


def group(catalog: Catalog, kind: What) -> Mapping[str, Definition]:
    """The definitions of a kind, by their ids."""
    return catalog.of(kind)


def invalid(problems: Sequence[Problem]) -> Refusal:
    """Definitions that are not right, told as `tideline check` does."""
    told = [{"path": p.path, "found": p.found, "expected": p.expected} for p in problems]
    return Refusal(Kind.INVALID_DEFINITION, "; ".join(map(str, problems)), problems=told)


def read(kind: What, id_: str, data: Any, *, is_bounded: bool = True) -> Definition:
    """A definition that somebody wrote; one of the file is not `is_bounded` in bytes. Raises `Refusal`."""
    try:
        found = read_definition(kind, id_, data)
    except CatalogError as error:
        raise invalid(error.problems) from error
    if is_bounded and len(json.dumps(data, ensure_ascii=False).encode()) > MAX_DEFINITION_BYTES:
        words = f"at most {MAX_DEFINITION_BYTES:,} bytes of JSON"
        raise invalid([Problem(None, f"{kind}s.{id_}", "a larger definition", words)])
    return found


def _check_targets(view: DefinitionsView, segment_id: str) -> None:
    """Raises `Refusal` for a segment that refers to what may only be looked at, with what to do about it."""
    for kind, id_ in references(view.whole.segments[segment_id].filter):
        check_target(view, kind, id_)


def check_target(view: DefinitionsView, kind: What, id_: str) -> None:
    """Raises `Refusal` for what nobody may target, with what to do about it; never for what there is not."""
    found = group(view.whole, kind).get(id_)
    if found is None:
        return
    if found.archived:
        state, how = "archived", f"POST /v1/{kind}s/{id_}/restore"
    elif isinstance(found, Prediction) and found.access != "live":
        state, how = found.access, f'POST /v1/predictions/{id_}/access with {{"access": "live"}}'
    else:
        return
    if view.source(kind, id_) == "file":
        how = f"change {kind}s.{id_} in the catalog file of the service"
    words = f"the {kind} {id_!r} is {state}, and {state} ones cannot be targeted. To change that: {how}"
    raise Refusal(Kind.NOT_TARGETABLE, words, references=kind, id=id_, state=state, how=how)


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
