"""Checks between the parts of a catalog: what one type cannot see alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from config.catalog import (
    Catalog,
    CategoryFilter,
    ConstantEvent,
    CountFilter,
    CsvInput,
    EventLimit,
    Filter,
    LikelihoodFilter,
    NdjsonInput,
    Prediction,
    ScoreFilter,
    SegmentFilter,
    SegmentInput,
    TraitFilter,
    TraitLimit,
    TraitValues,
    walk,
)
from config.places import located_atoms, located_filters, named_events, walk_located
from config.problems import suggest
from config.yaml_text import Location

Finding: TypeAlias = tuple[Location, str, str]  # where, found, expected

MAX_ATOMS = 64
# One compiled filter is evaluated on a stack of this many truth values (streams/core/filters.py).
MAX_FILTER_PARTS = 128


def check(catalog: Catalog) -> list[Finding]:
    """Everything wrong between the parts of a catalog whose parts are right."""
    findings = [*_check_mapping(catalog), *_check_limits(catalog), *_check_filter_sizes(catalog)]
    for id_, prediction in catalog.predictions.items():
        findings += _check_prediction(catalog, id_, prediction)
    findings += _check_atoms(catalog)
    for id_, segment in catalog.segments.items():
        # What an archived segment refers to may have been archived or taken back after it.
        findings += check_filter(catalog, segment.filter, ("segments", id_, "filter"), is_used=not segment.archived)
        findings += _check_ranges(catalog, segment.filter, ("segments", id_, "filter"))
    findings += _check_cycles(catalog)
    return findings


def _check_mapping(catalog: Catalog) -> Iterator[Finding]:
    """CSV and NDJSON: what the catalog uses must be mapped, or it could never be there."""
    mapping = catalog.input
    if isinstance(mapping, SegmentInput):
        return
    if isinstance(mapping.event, ConstantEvent):
        constant = mapping.event.constant
        for name, location in named_events(catalog):
            if name != constant:
                yield location, f"the event {name!r}", f"{constant!r}: by input.event every row is that event"
    traits: list[tuple[str, Location]] = [(name, ("features", "traits", name)) for name in catalog.trait_features]
    traits += [
        (node.trait, (*here, "trait")) for node, here in located_filters(catalog) if isinstance(node, TraitFilter)
    ]
    for name, location in traits:
        if name not in mapping.traits:
            yield location, f"the trait {name!r}", "a trait that input.traits maps" + suggest(name, mapping.traits)
    yield from _check_mapped_properties(catalog, mapping)


def _check_mapped_properties(catalog: Catalog, mapping: CsvInput | NdjsonInput) -> Iterator[Finding]:
    value = catalog.value_property
    if mapping.value is not None and value in mapping.properties:
        yield (
            ("input", "properties", str(value)),
            f"a property {value!r}, which input.value fills already",
            "another name for the property, or no input.value",
        )
    known = [*mapping.properties, *([str(value)] if mapping.value is not None else [])]
    used: list[tuple[str, Location]] = []
    if catalog.features.value is not None:
        used.append((catalog.features.value, ("features", "value")))
    for atom, here in located_atoms(catalog):
        used += [(name, (*here, "where", name)) for name in atom.where]
    for event, remember in catalog.remember.items():
        used += [(name, ("remember", event, "properties", i)) for i, name in enumerate(remember.properties)]
    for name, location in used:
        if name not in known:
            yield (
                location,
                f"the property {name!r}",
                "a property that input.properties or input.value maps" + suggest(name, known),
            )


def _check_limits(catalog: Catalog) -> Iterator[Finding]:
    limits = catalog.limits
    named, found_later = _event_names(catalog)
    if has_too_many_names(catalog):
        yield (
            ("features", "events"),
            f"{named} named events and room for {found_later} more",
            f"at most {limits.event_names} together (limits.event_names)",
        )
    for name, feature in catalog.trait_features.items():
        count = len(feature.values) if isinstance(feature, TraitValues) else 0
        count = (feature.limit or 0) if isinstance(feature, TraitLimit) else count
        if count > limits.trait_values:
            yield (
                ("features", "traits", name),
                f"{count} values of {name!r}",
                f"at most {limits.trait_values} (limits.trait_values)",
            )


def has_too_many_names(catalog: Catalog) -> bool:
    """Whether it names more events than there may be columns."""
    return sum(_event_names(catalog)) > catalog.limits.event_names


def _event_names(catalog: Catalog) -> tuple[int, int]:
    """Names that need a column, and columns for names that are found later."""
    events = catalog.features.events
    return len(catalog.named_events()), events.limit if isinstance(events, EventLimit) else 0


def _check_filter_sizes(catalog: Catalog) -> Iterator[Finding]:
    whole: list[tuple[Filter | None, Location]] = [
        (prediction.audience_filter, ("predictions", id_, "audience"))
        for id_, prediction in catalog.predictions.items()
    ]
    whole += [(segment.filter, ("segments", id_, "filter")) for id_, segment in catalog.segments.items()]
    for filter_, location in whole:
        parts = sum(1 for _ in walk(filter_)) if filter_ is not None else 0
        if parts > MAX_FILTER_PARTS:
            yield (
                location,
                f"a filter of {parts} parts (for churn with the lookback)",
                f"at most {MAX_FILTER_PARTS}; a part that several segments share can be a segment of its own",
            )


def _check_prediction(catalog: Catalog, id_: str, prediction: Prediction) -> Iterator[Finding]:
    here: Location = ("predictions", id_)
    atoms = prediction.goal.atoms
    if prediction.kind == "churn" and not all(atom.negated for atom in atoms):
        yield (*here, "goal"), "a goal with did", "only did_not for a prediction of kind churn"
    if prediction.kind == "event" and prediction.given_lookback_s is not None:
        yield (*here, "lookback"), "a lookback on kind event", "lookback only with kind: churn"
    low, high = prediction.categories.medium, prediction.categories.high
    if prediction.hysteresis >= min(low, 100 - high):
        yield (
            (*here, "hysteresis"),
            f"{prediction.hysteresis:g} with edges {low:g} and {high:g}",
            f"less than {min(low, 100 - high):g}, or low or high could never be entered or left",
        )
    if prediction.audience is not None:
        for node, location in walk_located(prediction.audience, (*here, "audience")):
            if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter | SegmentFilter):
                kind = "segment" if isinstance(node, SegmentFilter) else "prediction"
                yield (
                    (*location, kind),
                    f"a {kind} in an audience",
                    "traits and events only (an audience is decided before anything is predicted)",
                )
        yield from check_filter(catalog, prediction.audience, (*here, "audience"))


def has_too_many_atoms(catalog: Catalog) -> bool:
    """Whether its goals have more parts than there may be together."""
    return _atoms(catalog) > MAX_ATOMS


def _atoms(catalog: Catalog) -> int:
    return sum(len(prediction.goal.atoms) for prediction in catalog.predictions.values())


def _check_atoms(catalog: Catalog) -> Iterator[Finding]:
    total = _atoms(catalog)
    if has_too_many_atoms(catalog):
        yield ("predictions",), f"{total} did and did_not in all goals together", f"at most {MAX_ATOMS}"


def check_filter(catalog: Catalog, filter_: Filter, location: Location, *, is_used: bool = True) -> Iterator[Finding]:
    """What a filter names must exist and be of use."""
    for node, here in walk_located(filter_, location):
        if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter):
            yield from check_target(catalog, node.prediction, (*here, "prediction"), is_used=is_used)
        elif isinstance(node, SegmentFilter):
            yield from check_segment_name(catalog, node.segment, (*here, "segment"), is_used=is_used)
        elif isinstance(node, CountFilter) and node.within_s is not None and node.event not in catalog.history:
            yield (
                (*here, "event"),
                f"{node.event!r} with within, but it is not listed under history",
                f"{node.event!r} under history: only names listed there keep counts per hour and day"
                + suggest(node.event, catalog.history),
            )


def _check_ranges(catalog: Catalog, filter_: Filter, location: Location) -> Iterator[Finding]:
    """Ranges of scores that hysteresis makes so wide, or below a `not` so narrow, that nobody leaves any more."""
    for node, here in walk_located(filter_, location):
        if not isinstance(node, ScoreFilter) or node.prediction not in catalog.predictions:
            continue
        hysteresis = catalog.predictions[node.prediction].hysteresis
        # An end at 0 or 100 is none, and hysteresis does not move it (streams/core/filters.py).
        low, high = max(node.score.min or 0.0, 0.0), 100.0 if node.score.max is None else node.score.max
        if here[len(location) :].count("not") % 2:
            left_from, left_until = low + hysteresis * (low > 0.0), high - hysteresis * (high < 100.0)
            if left_from >= left_until:
                yield (
                    (*here, "score"),
                    f"from {low:g} to {high:g} below a not, with a hysteresis of {hysteresis:g}",
                    f"a wider range or less hysteresis, or it could never be left ({left_from:g} to {left_until:g})",
                )
            continue
        if 0.0 < low <= hysteresis:
            yield (
                (*here, "score", "min"),
                f"{low:g} with a hysteresis of {hysteresis:g}",
                f"more than {hysteresis:g} (or no min), or it could never be left downwards",
            )
        if 100.0 - hysteresis <= high < 100.0:
            yield (
                (*here, "score", "max"),
                f"{high:g} with a hysteresis of {hysteresis:g}",
                f"less than {100.0 - hysteresis:g} (or no max), or it could never be left upwards",
            )


def check_target(catalog: Catalog, id_: str, location: Location, *, is_used: bool) -> Iterator[Finding]:
    """A prediction that others rest on must exist and be live."""
    target = catalog.predictions.get(id_)
    if target is None:
        yield location, f"unknown prediction {id_!r}", one_of(id_, catalog.predictions)
    elif is_used and target.archived:
        yield location, f"prediction {id_!r}, which is archived", "a prediction that is not archived"
    elif is_used and target.access != "live":
        yield (
            location,
            f"prediction {id_!r} with access {target.access}",
            "a live prediction (preview and demo cannot be used for targeting; set access: live)",
        )


def check_segment_name(catalog: Catalog, name: str, location: Location, *, is_used: bool) -> Iterator[Finding]:
    """The same of a segment, also PREDICTION.high."""
    prediction, dot, _ = name.partition(".")
    if dot:
        yield from check_target(catalog, prediction, location, is_used=is_used)
    elif name not in catalog.segments:
        yield location, f"unknown segment {name!r}", one_of(name, catalog.segments)
    elif is_used and catalog.segments[name].archived:
        # Below a `not` everybody would be in it.
        yield location, f"segment {name!r}, which is archived", "a segment that is not archived"


def one_of(word: str, known: Iterable[str]) -> str:
    """What was expected where a name is not known."""
    names = list(known)
    if not names:
        return "the id of one that the catalog defines (there is none)"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"one of {shown}{suggest(word, names)}"


def _check_cycles(catalog: Catalog) -> Iterator[Finding]:
    """One finding per segment that reaches itself through other segments."""
    uses: dict[str, dict[str, Location]] = {
        id_: {
            node.segment: (*here, "segment")
            for node, here in walk_located(segment.filter, ("segments", id_, "filter"))
            if isinstance(node, SegmentFilter) and node.segment in catalog.segments
        }
        for id_, segment in catalog.segments.items()
    }
    reported: set[str] = set()
    for start in uses:
        path = None if start in reported else _path_back(uses, start)
        if path:
            reported.update(path)
            yield uses[start][path[1]], " -> ".join(path), "segments that do not lead back to themselves"


def _path_back(uses: dict[str, dict[str, Location]], start: str) -> list[str] | None:
    """The shortest way from a segment back to itself, both ends included; None if there is none."""
    paths = [[start]]
    seen: set[str] = set()
    for path in paths:  # grows while we walk: breadth first
        for used in uses[path[-1]]:
            if used == start:
                return [*path, start]
            if used not in seen:
                seen.add(used)
                paths.append([*path, used])
    return None
