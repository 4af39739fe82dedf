"""What is right in a catalog and may still not be what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from config.catalog import Catalog, LikelihoodFilter, ScoreFilter, SegmentInput
from config.places import located_atoms, located_filters
from config.yaml_text import path_text


@dataclass(frozen=True, slots=True)
class Hint:
    """`line` is None for a catalog that was not read from a text."""

    line: int | None
    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}{'' if self.line is None else f' (line {self.line})'}: {self.words}"


def hints(catalog: Catalog) -> tuple[Hint, ...]:
    """In the order of the catalog."""
    return (*_unused(catalog), *_ranges(catalog))


def _unused(catalog: Catalog) -> Iterator[Hint]:
    """What the input's mapping gives a name and nothing asks for."""
    mapping = catalog.input
    if isinstance(mapping, SegmentInput):
        return
    traits = catalog.named_traits()
    properties = {name for atom, _ in located_atoms(catalog) for name in atom.where}
    properties |= {name for remember in catalog.remember.values() for name in remember.properties}
    properties |= {str(catalog.value_property)}
    uses = {
        "traits": (traits, "to learn from it list it under features.traits, or name it in a filter"),
        "properties": (
            properties,
            "properties are read only where a goal's where, remember or features.value names one",
        ),
    }
    for kind, (used, words) in uses.items():
        for name in getattr(mapping, kind):
            if name not in used:
                place = ("input", kind, name)
                yield Hint(catalog.origin.line(place), path_text(place), f"nothing makes use of it: {words}")


def _ranges(catalog: Catalog) -> Iterator[Hint]:
    """Ranges of scores that are left at both ends."""
    for node, location in located_filters(catalog):
        if isinstance(node, ScoreFilter):
            kind, found, top = "score", node.score, 100.0
        elif isinstance(node, LikelihoodFilter):
            kind, found, top = "likelihood", node.likelihood, 1.0
        else:
            continue
        if found.min is None or found.max is None or found.min <= 0:
            continue
        # Members are let go of only that far outside of the range.
        margin = catalog.predictions[node.prediction].hysteresis if kind == "score" else 0.0
        if found.max + margin >= top:
            continue
        place = (*location, kind)
        yield Hint(
            catalog.origin.line(place),
            path_text(place),
            f"users also leave it upwards, at {found.max:g}, as they become likelier, and come back as they calm down: "
            f"each time an exit and an entry. For everybody from {found.min:g} up leave max out; to keep the range, "
            "min_dwell on the segment holds short visits back",
        )
