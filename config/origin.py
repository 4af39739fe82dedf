"""Where the parts of a catalog stand in the text that it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.yaml_text import Location, path_text


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The name of the text and the lines in it; empty for a catalog that was made in another way.

    Two origins always count as equal: a catalog is its meaning, wherever it was read.
    """

    source: str = ""
    lines: Mapping[Location, int] = field(default_factory=dict)

    def line(self, location: Location) -> int | None:
        """The line, from 1, of the deepest part of a location that is in the text; None where there is none."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines[location] if location else None

    def place(self, location: Location) -> str:
        """`input.user (line 7)`."""
        line = self.line(location)
        return path_text(location) + ("" if line is None else f" (line {line})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return 0
