"""What a request wants to become of definitions: from what somebody wrote to edits. Pure; refusals are `Problem`s."""

from __future__ import annotations

from typing import Any, Final

from config.catalog import Prediction, Segment
from config.definitions import KINDS, Definition
from config.definitions import Kind as What
from config.dependents import resumable
from config.errors import Problem as Wrong
from config.written import written
from streams.adapters.definition_store import Action
from streams.api.definition_body import mapping, needed_id, read_body
from streams.api.definition_models import Difference, Plan, PlannedChange
from streams.api.definitions_view import DefinitionsView, Edit, group, invalid, read
from streams.api.problems import Kind, Problem

_NOT_PAUSED: Final[dict[What, dict[str, bool]]] = {"prediction": {}, "segment": {"paused": False}}


def created(view: DefinitionsView, kind: What, data: Any) -> Edit:
    """A new definition, with its id in the data."""
    body = read_body(kind, data)
    id_ = needed_id(body)
    if id_ in group(view.whole, kind):
        words = f"there is a {kind} {id_!r} already, defined by the {view.source(kind, id_)}; PUT changes one made here"
        raise Problem(Kind.EXISTS, words, id=id_)
    return Edit(kind, id_, "create", read(kind, id_, body.definition))


def edited(view: DefinitionsView, kind: What, id_: str, data: Any) -> list[Edit]:
    """Another definition in the place of one; nothing where it is the same.

    Access, and whether it is archived or paused, stay where they are left out: other routes change them.
    """
    before = view.editable(kind, id_)
    body = read_body(kind, data)
    if body.id not in (None, id_):
        raise invalid([Wrong(None, "id", repr(body.id), f"{id_!r}, as in the path: an id never changes")])
    kept = {key: getattr(before, key) for key in ("access", "archived", "paused") if hasattr(before, key)}
    after = read(kind, id_, kept | body.definition)
    if isinstance(before, Prediction) and isinstance(after, Prediction) and before.access != after.access:
        raise _elsewhere(kind, id_, "access", before.access, after.access, f"POST /v1/predictions/{id_}/access")
    if before.archived != after.archived:
        how = "archive" if after.archived else "restore"
        raise _elsewhere(kind, id_, "archived", before.archived, after.archived, f"POST /v1/{kind}s/{id_}/{how}")
    if _is_paused(before) != _is_paused(after):
        how = "POST /v1/predictions/{id}/access, of a prediction on which it rests,"
        raise _elsewhere(kind, id_, "paused", _is_paused(before), _is_paused(after), how)
    return [] if before == after else [Edit(kind, id_, "edit", after)]


def archived(view: DefinitionsView, kind: What, id_: str) -> list[Edit]:
    """A definition archived, with those made here that rest on it."""
    before = view.editable(kind, id_)
    if before.archived and not _is_paused(before):
        return []
    after = _with(before, archived=True, **_NOT_PAUSED[kind])
    return [*_without_dependents(view, kind, id_), Edit(kind, id_, "archive", after)]


def restored(view: DefinitionsView, kind: What, id_: str) -> list[Edit]:
    """A definition as it was before it was archived."""
    before = view.editable(kind, id_)
    return [Edit(kind, id_, "restore", _restored(kind, before))] if before.archived else []


def accessed(view: DefinitionsView, id_: str, data: Any) -> list[Edit]:
    """A prediction with another access; one that is taken back pauses the segments that rest on it.

    Made live again it brings those back, as far as they rest on nothing else that is not live.
    """
    before = view.editable("prediction", id_)
    wanted = data.get("access") if isinstance(data, dict) else None
    if wanted not in ("live", "preview", "demo") or set(data) != {"access"}:
        raise invalid([Wrong(None, "access", repr(wanted)[:60], '{"access": "live"}, or preview or demo')])
    assert isinstance(before, Prediction)
    if before.access == wanted:
        return []
    after = _with(before, access=wanted)
    edit = Edit("prediction", id_, "access", after)
    if wanted != "live":
        return [*_without_dependents(view, "prediction", id_, paused=True), edit]
    whole = view.whole.model_copy(update={"predictions": {**view.whole.predictions, id_: after}})
    names = [name for name in resumable(whole, id_) if view.source("segment", name) == "api"]
    return [edit, *(Edit("segment", name, "restore", _restored("segment", whole.segments[name])) for name in names)]


def _is_paused(definition: Definition) -> bool:
    return isinstance(definition, Segment) and definition.paused


def _restored(kind: What, definition: Definition) -> Definition:
    return definition.model_copy(update={"archived": False, **_NOT_PAUSED[kind]})


def _without_dependents(view: DefinitionsView, kind: What, id_: str, *, paused: bool = False) -> list[Edit]:
    """Those made here that rest on a definition, archived; `paused`: until it is live again.

    Raises `Problem` where the file's do.
    """
    names = view.dependents(kind, id_)
    of_file = [name for name in names if view.source("segment", name) == "file"]
    if of_file:
        words = f"segments of the catalog file rest on the {kind} {id_!r}: {', '.join(of_file)}; change the file first"
        raise Problem(Kind.HAS_DEPENDENTS, words, dependents=of_file)
    gone = {"archived": True, "paused": True} if paused else {"archived": True}
    return [Edit("segment", name, "archive", _with(view.whole.segments[name], **gone)) for name in names]


def _with(definition: Any, **changed: Any) -> Any:
    return definition.model_copy(update=changed)


def _elsewhere(kind: What, id_: str, key: str, before: object, after: object, how: str) -> Problem:
    return invalid([Wrong(None, f"{kind}s.{id_}.{key}", f"{after!r}", f"{before!r}, as it is; {how} changes it")])


# --- all at once -----------------------------------------------------------------------------------------------------


def planned(view: DefinitionsView, data: Any) -> tuple[Plan, list[Edit]]:
    """What leads from what is defined to a whole set of definitions; those made here that are not in it are archived.

    Raises `Problem` also where the catalog file defines something in another way.
    """
    wanted = _wanted(data)
    edits: list[Edit] = []
    of_file: list[str] = []
    differs: list[str] = []
    unchanged = 0
    for kind in KINDS:
        for id_, definition in wanted[kind].items():
            after = read(kind, id_, definition, is_bounded=id_ not in group(view.file, kind))
            if id_ in group(view.file, kind):
                (of_file if view.get(kind, id_) == after else differs).append(f"{kind}s.{id_}")
                continue
            action = _action(view, kind, id_, after)
            unchanged += action is None
            if action is not None:
                edits.append(Edit(kind, id_, action, after))
        left = [id_ for id_ in view.made.of(kind) if id_ not in wanted[kind] and id_ not in group(view.file, kind)]
        for id_ in left:
            before = view.get(kind, id_)
            is_gone = before.archived and not _is_paused(before)
            unchanged += is_gone
            if not is_gone:
                edits.append(Edit(kind, id_, "archive", _with(before, archived=True, **_NOT_PAUSED[kind])))
    if differs:
        words = f"the catalog file of the service defines in another way: {', '.join(differs)}; change them there"
        raise Problem(Kind.READ_ONLY, words, differs=differs)
    changes = [_planned_change(view, edit) for edit in edits]
    return Plan(revision=view.kept.revision, changes=changes, unchanged=unchanged, of_file=of_file), edits


def _wanted(data: Any) -> dict[What, dict[str, Any]]:
    given = mapping("", data)
    needed, others = {"predictions", "segments"}, {"messaging", "campaigns", "journeys"}
    if not needed <= set(given) <= needed | others:
        found = f"the keys {', '.join(given)[:80] or 'of nothing'}"
        words = "predictions and segments, as in a catalog, and perhaps messaging, campaigns and journeys"
        raise invalid([Wrong(None, "", found, words)])
    return {
        "prediction": mapping("predictions", given["predictions"]),
        "segment": mapping("segments", given["segments"]),
    }


def _action(view: DefinitionsView, kind: What, id_: str, after: Any) -> Action | None:
    """What makes the definition `after` of the one that is there; None where it is the same."""
    before = view.made.of(kind).get(id_)
    if before is None:
        return "create"
    if before == after:
        return None
    flags = {"paused": before.paused} if isinstance(before, Segment) else {}
    if before.archived != after.archived and before == _with(after, archived=before.archived, **flags):
        return "archive" if after.archived else "restore"
    if isinstance(before, Prediction) and before == _with(after, access=before.access):
        return "access"
    return "edit"


def _planned_change(view: DefinitionsView, edit: Edit) -> PlannedChange:
    before = view.made.of(edit.kind).get(edit.id)
    old, new = {} if before is None else written(before), written(edit.after)
    differences = [
        Difference(path=key, before=old.get(key), after=new.get(key))
        for key in dict.fromkeys([*old, *new])
        if before is not None and old.get(key) != new.get(key)
    ]
    return PlannedChange(kind=edit.kind, id=edit.id, action=edit.action, differences=differences)
