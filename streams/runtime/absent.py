"""Fields that the catalog's mapping names and that the rows do not have."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from config.catalog import Catalog, NdjsonInput
from config.places import mapped_fields
from config.problems import closest
from config.yaml_text import path_text
from streams.adapters.files import Sample
from streams.core.events import BadEvent, DeadReason, Event

_DEPTH = 8
_LACKS_A_FIELD = (DeadReason.MISSING_USER, DeadReason.MISSING_EVENT, DeadReason.MISSING_TIME)
"""A record with such a reason was parsed, so it is not nested too deeply to be looked at."""


@dataclass(frozen=True, slots=True)
class AbsentField:
    """A field that no row has. `line` is that of `used_by` in the catalog, None without a text."""

    field: str
    used_by: str
    """Path in the catalog."""
    line: int | None
    close: str | None
    """A field that there is and that may be meant."""

    def __str__(self) -> str:
        line = "" if self.line is None else f" (line {self.line})"
        meant = "" if self.close is None else f"; did you mean {self.close!r}?"
        return f"no row has {self.field!r}, which {self.used_by}{line} names{meant}"


def absent_fields(sample: Sample, catalog: Catalog) -> tuple[AbsentField, ...]:
    """What the mapping of NDJSON names and none of the rows has, in the order of the catalog.

    Of a CSV a column that is not there is an error.
    """
    found = _found_in(sample) if isinstance(catalog.input, NdjsonInput) else []
    if not found:
        return ()
    places = [(field, place) for field, place in mapped_fields(catalog) if field not in found]
    return tuple(
        AbsentField(field, path_text(place), catalog.origin.line(place), closest(field, found))
        for field, place in places
    )


def _found_in(sample: Sample) -> list[str]:
    """Every path in the rows that are JSON objects, as far as decoding them has shown that."""
    found: dict[str, None] = {}
    for text, event in zip(sample.texts, sample.events, strict=True):
        if type(event) is Event or (type(event) is BadEvent and event.reason in _LACKS_A_FIELD):
            # What nobody asked for was not parsed: it may be a number that nothing can hold.
            with suppress(msgspec.DecodeError):
                _add_paths(msgspec.json.decode(text), "", found)
    return list(found)


def _add_paths(record: Mapping[str, Any], before: str, found: dict[str, None], depth: int = 0) -> None:
    for key, value in record.items():
        if value is None:
            continue
        found[before + key] = None
        if isinstance(value, dict) and depth < _DEPTH:
            _add_paths(value, f"{before}{key}.", found, depth + 1)
