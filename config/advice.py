"""What is right in a catalog and may still not be what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from config.catalog import Catalog, LikelihoodFilter, ScoreFilter
from config.places import located_filters
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
    return tuple(_ranges(catalog))


def _ranges(catalog: Catalog) -> Iterator[Hint]:
    """Ranges of scores that are left at both ends."""
    for node, location in located_filters(catalog):
        if isinstance(node, ScoreFilter):
            kind, found, top = "score", node.score, 100.0
        elif isinstance(node, LikelihoodFilter):
            kind, found, top = "likelihood", node.likelihood, 1.0
        else:
            continue
        if found.min is None or found.max is None or found.min <= 0 or found.max >= top:
            continue
        place = (*location, kind)
        yield Hint(
            catalog.origin.line(place),
            path_text(place),
            f"users also leave it upwards, at {found.max:g}, as they become likelier, and come back as they calm down: "
            f"each time an exit and an entry. For everybody from {found.min:g} up leave max out; to keep the range, "
            "min_dwell on the segment holds short visits back",
        )
