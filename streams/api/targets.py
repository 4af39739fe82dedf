"""Segments that webhooks and audiences name: whether they may, what becomes of them, and who rests on what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from pydantic import BaseModel, Field

from config.definitions import Kind as What
from config.dependents import references, resting
from config.problems import closest
from streams.adapters.redis_deliveries import Endpoint
from streams.api.definitions_view import DefinitionsView, check_target
from streams.api.problems import Kind, Problem
from streams.core.definitions import CATEGORIES

_MAX_ERRORS: Final = 20
EndpointStatus = Literal["active", "paused", "archived"]


class EndpointView(BaseModel):
    """A webhook or an audience that rests on a definition."""

    kind: Literal["webhook", "audience"]
    id: str = Field(examples=["wh_5f0c6f3a1b2c"])
    name: str
    segments: list[str] = Field(description="Those that it names and that are, or rest on, this definition.")


def check_segments(view: DefinitionsView, segments: Sequence[str], where: str) -> None:
    """Whether something may be sent about these segments; `where` names them in a body, `{}` being the place.

    Raises `Problem`: 422 for what there is not, 409 for what may only be looked at, with what to do about it.
    """
    errors = [
        {"where": where.format(place), "detail": _unknown(view, name)}
        for place, name in enumerate(segments)
        if not exists(view, name)
    ]
    if errors:
        errors = errors[:_MAX_ERRORS]
        raise Problem(Kind.INVALID_PARAMETERS, "; ".join(each["detail"] for each in errors), errors=errors)
    for name in segments:
        rests = below(view, name)
        # Predictions first: to restore a segment is of no use while one that it rests on is no target.
        for kind, id_ in sorted(rests, key=lambda each: each[0] == "segment"):
            check_target(view, kind, id_)


def endpoints_on(view: DefinitionsView, endpoints: Iterable[Endpoint], kind: What, id_: str) -> list[EndpointView]:
    """Those that are not archived and name a definition, or a segment that rests on it (an archived one, too)."""
    own = [id_] if kind == "segment" else [f"{id_}.{category}" for category in CATEGORIES]
    names = {*own, *resting(view.whole, kind, id_)}
    found = [(each, [name for name in named(each) if name in names]) for each in endpoints if each.archived_s is None]
    return [
        EndpointView(
            kind="webhook" if each.audience is None else "audience", id=each.id, name=each.name, segments=theirs
        )
        for each, theirs in found
        if theirs
    ]


def named(endpoint: Endpoint) -> tuple[str, ...]:
    """The segments that an endpoint names; none for a webhook that is told of all."""
    return endpoint.segments if endpoint.audience is None else (endpoint.audience,)


def status_of(view: DefinitionsView | None, endpoint: Endpoint) -> EndpointStatus:
    """`paused` while nobody can be in any segment that it names; of no view, nothing is known against it."""
    if endpoint.archived_s is not None:
        return "archived"
    names = named(endpoint)
    if view is None or not names or any(_is_usable(view, name) for name in names):
        return "active"
    return "paused"


def _is_usable(view: DefinitionsView, name: str) -> bool:
    try:
        check_segments(view, [name], "")
    except Problem:
        return False
    return True


def exists(view: DefinitionsView, name: str) -> bool:
    """Whether a segment, or a category of a prediction, is defined; archived ones are."""
    prediction, dot, category = name.partition(".")
    return (prediction in view.whole.predictions and category in CATEGORIES) if dot else name in view.whole.segments


def is_archived(view: DefinitionsView, name: str) -> bool:
    """Whether a segment that exists is, or the prediction whose category it is."""
    prediction, dot, _ = name.partition(".")
    return view.whole.predictions[prediction].archived if dot else view.whole.segments[name].archived


def _unknown(view: DefinitionsView, name: str) -> str:
    known = [f"{id_}.{category}" for id_ in view.whole.predictions for category in CATEGORIES]
    near = closest(name, [*view.whole.segments, *known])
    return f"no segment is called {name[:100]!r}." + (f" Did you mean {near}?" if near else "")


def below(view: DefinitionsView, name: str) -> list[tuple[What, str]]:
    """A segment, or the prediction of a category, and all that it rests on."""
    prediction, dot, _ = name.partition(".")
    found: dict[tuple[What, str], None] = {("prediction", prediction) if dot else ("segment", name): None}
    waiting = list(found)
    while waiting:
        kind, id_ = waiting.pop()
        if kind == "segment" and id_ in view.whole.segments:
            fresh = [used for used in references(view.whole.segments[id_].filter) if used not in found]
            found |= dict.fromkeys(fresh)
            waiting += fresh
    return list(found)
