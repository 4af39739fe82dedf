"""Event names that a catalog uses and that never occur: most often they are spelt in another way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from config.catalog import Catalog
from config.places import uses_of_events
from config.problems import closest


@dataclass(frozen=True, slots=True)
class MissingEvent:
    """An event name that the catalog uses and that never occurred."""

    name: str
    used_by: tuple[str, ...]
    """Paths in the catalog."""
    close: str | None
    """A name that did occur and may be meant."""

    def __str__(self) -> str:
        more = f" and {len(self.used_by) - 1} more" if len(self.used_by) > 1 else ""
        meant = f"; did you mean {self.close!r}?" if self.close is not None else ""
        return f"no event is called {self.name!r}, which {self.used_by[0]}{more} names{meant}"


def missing_events(catalog: Catalog, unseen: Iterable[str], found: Iterable[str]) -> tuple[MissingEvent, ...]:
    """What to say about names that never occurred, beside those that did."""
    uses = uses_of_events(catalog)
    unseen = list(unseen)
    occurred = [name for name in found if name not in unseen]
    return tuple(MissingEvent(name, tuple(uses[name]), closest(name, occurred)) for name in unseen)
