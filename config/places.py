"""Where in a catalog its events, goals and filters stand: what a message points at."""

from __future__ import annotations

from collections.abc import Iterator

from config.catalog import (
    AllFilter,
    AnyFilter,
    Atom,
    Catalog,
    CountFilter,
    Did,
    DidNot,
    Filter,
    NotFilter,
    SegmentInput,
    SinceFilter,
)
from config.yaml_text import Location, path_text


def walk_located(filter_: Filter, location: Location) -> Iterator[tuple[Filter, Location]]:
    """Every filter of a tree with where it stands, outer ones first."""
    yield filter_, location
    if isinstance(filter_, AllFilter | AnyFilter):
        key = "all" if isinstance(filter_, AllFilter) else "any"
        for index, inner in enumerate(filter_.filters):
            yield from walk_located(inner, (*location, key, index))
    elif isinstance(filter_, NotFilter):
        yield from walk_located(filter_.filter, (*location, "not"))


def named_events(catalog: Catalog) -> Iterator[tuple[str, Location]]:
    """Every event name that the catalog uses, with where."""
    if isinstance(catalog.features.events, tuple):
        yield from ((name, ("features", "events", index)) for index, name in enumerate(catalog.features.events))
    yield from ((name, ("history", index)) for index, name in enumerate(catalog.history))
    for name, remember in catalog.remember.items():
        yield name, ("remember", name)
        yield from (
            (cleared, ("remember", name, "cleared_by", index)) for index, cleared in enumerate(remember.cleared_by)
        )
    for atom, location in located_atoms(catalog):
        yield atom.event, (*location, "did_not" if atom.negated else "did")
    for node, location in located_filters(catalog):
        if isinstance(node, CountFilter | SinceFilter):
            yield node.event, (*location, "event")


def mapped_fields(catalog: Catalog) -> Iterator[tuple[str, Location]]:
    """Every field that the input's mapping names, with where."""
    mapping, here = catalog.input, ("input",)
    if isinstance(mapping, SegmentInput):
        return
    yield mapping.user, (*here, "user")
    if isinstance(mapping.event, str):
        yield mapping.event, (*here, "event")
    yield mapping.time.field, (*here, "time", "field")
    if mapping.message_id is not None:
        yield mapping.message_id, (*here, "message_id")
    if mapping.value is not None:
        yield mapping.value, (*here, "value")
    yield from ((field, (*here, "traits", name)) for name, field in mapping.traits.items())
    yield from ((field, (*here, "properties", name)) for name, field in mapping.properties.items())


def uses_of_events(catalog: Catalog) -> dict[str, list[str]]:
    """Every event name that the catalog uses -> the paths at which it does, in the order of the catalog."""
    uses: dict[str, list[str]] = {}
    for name, location in named_events(catalog):
        uses.setdefault(name, []).append(path_text(location))
    return uses


def located_atoms(catalog: Catalog) -> Iterator[tuple[Atom, Location]]:
    """Every did and did_not of every goal, with where."""
    for id_, prediction in catalog.predictions.items():
        goal, here = prediction.goal, ("predictions", id_, "goal")
        if isinstance(goal, Did | DidNot):
            yield goal, here
        else:
            yield from ((atom, (*here, goal.join, index)) for index, atom in enumerate(goal.atoms))


def located_filters(catalog: Catalog) -> Iterator[tuple[Filter, Location]]:
    """Every filter of every audience and segment, inner ones too, with where."""
    for id_, prediction in catalog.predictions.items():
        if prediction.audience is not None:
            yield from walk_located(prediction.audience, ("predictions", id_, "audience"))
    for id_, segment in catalog.segments.items():
        yield from walk_located(segment.filter, ("segments", id_, "filter"))
