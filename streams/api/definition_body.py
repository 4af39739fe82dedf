"""The body of one definition: creations, edits and estimates take the same, and this alone reads it. Pure.

It is what stands in a catalog, with its id beside it; a segment may have a selection in the place of a filter.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from config.base import ID_PATTERN, PATTERN_WORDS
from config.definitions import Kind as What
from config.errors import Problem as Wrong
from streams.api.definitions_view import invalid

_SELECTION: Final = ("prediction", "min", "max", "category")
UNNAMED: Final = "new"
"""What a definition without an id is called where it is told what is wrong with it."""


class Body(NamedTuple):
    """What a body says. `definition` is as in a catalog, and not checked but for its selection."""

    id: str | None
    """None where it names none."""
    definition: dict[str, Any]


def read_body(kind: What, data: Any) -> Body:
    """A body taken apart. Raises `Problem` (invalid-definition) for an id or a selection that is not right."""
    definition = dict(mapping(f"{kind}s", data))
    id_ = None
    if "id" in definition:
        id_ = given_id(definition.pop("id"))
    if kind == "segment" and "selection" in definition:
        definition = _selected(UNNAMED if id_ is None else id_, definition)
    return Body(id_, definition)


def needed_id(body: Body) -> str:
    """Its id. Raises `Problem` where there is none."""
    return given_id(None) if body.id is None else body.id


def mapping(where: str, data: Any) -> dict[str, Any]:
    """The data as an object. Raises `Problem` for what is none; `where` it stands is told."""
    if not isinstance(data, dict):
        raise invalid([Wrong(None, where, type(data).__name__, "an object")])
    return data


def given_id(given: Any) -> str:
    """An id that somebody gives. Raises `Problem` for what is none."""
    if not isinstance(given, str) or not re.fullmatch(ID_PATTERN, given):
        found = "nothing" if given is None else repr(given)[:80]
        raise invalid([Wrong(None, "id", found, PATTERN_WORDS[ID_PATTERN])])
    return given


def _selected(id_: str, definition: dict[str, Any]) -> dict[str, Any]:
    """A segment with a filter in the place of its selection; another filter beside it has to hold, too."""
    here = f"segments.{id_}.selection"
    selection = mapping(here, definition["selection"])
    unknown = [key for key in selection if key not in _SELECTION]
    given = {key: value for key, value in selection.items() if key in ("min", "max")}
    if unknown:
        raise invalid([Wrong(None, here, f"the unknown key {unknown[0][:80]!r}", f"one of {', '.join(_SELECTION)}")])
    if bool(given) == ("category" in selection):
        raise invalid([Wrong(None, here, f"the keys {', '.join(selection)}", "min, max or both; or category")])
    filter_: dict[str, Any] = {key: selection[key] for key in ("prediction", "category") if key in selection}
    filter_ |= {"score": given} if given else {}
    rest = {key: value for key, value in definition.items() if key not in ("selection", "filter")}
    return {**rest, "filter": {"all": [filter_, definition["filter"]]} if "filter" in definition else filter_}
