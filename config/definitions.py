"""Predictions and segments that were made while the service runs, beside those of the catalog file.

Those of the file win, and are changed in the file alone. Everything here is pure; `streams.adapters.redis_definitions`
keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import ValidationError

from config.base import ID_PATTERN, KINDS, PATTERN_WORDS, Kind, Model
from config.catalog import Catalog, Prediction, Segment
from config.checks import check
from config.errors import CatalogError, Problem
from config.in_force import in_force, too_many
from config.problems import location_of, without_echoes, words
from config.yaml_text import MAX_DEPTH, TAG, Location, path_text

__all__ = [
    "KINDS",
    "MAX_DEFINITION_BYTES",
    "NO_DEFINITIONS",
    "Definition",
    "Definitions",
    "Kind",
    "merged",
    "problems_of",
    "read_definition",
    "read_model",
    "read_prediction",
    "read_segment",
    "with_definitions",
]

Definition: TypeAlias = Prediction | Segment

SOURCE: Final = "definitions"
MAX_DEFINITION_BYTES: Final = 32_768
"""Of one definition that is made through the API, as JSON. What is stored is read whatever its size."""
_LARGEST: Final = 10**18
"""As in a catalog file, where a number with more digits is text."""
_T = TypeVar("_T", bound=Model)


@dataclass(frozen=True, slots=True)
class Definitions:
    """What was made through the API, in the order in which it was made; archived ones are among them."""

    revision: int
    """0 before the first change, and one more with each."""
    predictions: Mapping[str, Prediction]
    segments: Mapping[str, Segment]
    changed: Mapping[tuple[Kind, str], int] = field(default_factory=dict, compare=False)
    """The revision that changed a definition last."""

    def of(self, kind: Kind) -> Mapping[str, Definition]:
        """Those of a kind, by their ids."""
        return self.predictions if kind == "prediction" else self.segments


NO_DEFINITIONS: Final = Definitions(0, {}, {})


def with_definitions(catalog: Catalog, definitions: Definitions) -> Catalog:
    """The catalog of the file with what was made beside it behind its own; of two with one id the file's stays, and
    archived ones only as long as there is room for them (`config.in_force`).

    Raises CatalogError with every problem between the parts, as the file's own check does. Where there is nothing to
    add it is the same object.
    """
    whole = merged(catalog, definitions)
    if whole is catalog:
        return catalog
    found = in_force(catalog, whole, definitions.changed)
    problems = [*too_many(catalog, whole), *_problems_between(found)]
    if problems:
        raise CatalogError(problems, SOURCE)
    return found


def merged(catalog: Catalog, definitions: Definitions) -> Catalog:
    """The catalog of the file with everything that was made beside it, not checked."""
    predictions = {id_: p for id_, p in definitions.predictions.items() if id_ not in catalog.predictions}
    segments = {id_: s for id_, s in definitions.segments.items() if id_ not in catalog.segments}
    if not predictions and not segments:
        return catalog
    whole = {"predictions": {**catalog.predictions, **predictions}, "segments": {**catalog.segments, **segments}}
    return catalog.model_copy(update=whole)


def problems_of(catalog: Catalog, definitions: Definitions) -> list[Problem]:
    """Everything wrong between the parts of a catalog file and what was made beside it."""
    whole = merged(catalog, definitions)
    return [*too_many(catalog, whole), *_problems_between(in_force(catalog, whole, definitions.changed))]


def _problems_between(catalog: Catalog) -> list[Problem]:
    return [Problem(None, path_text(location), what, expected) for location, what, expected in check(catalog)]


def read_prediction(id_: str, data: Any) -> Prediction:
    """A prediction from plain data (JSON), written as in a catalog. Raises CatalogError with every problem found."""
    return read_model(Prediction, "predictions", id_, data)


def read_segment(id_: str, data: Any) -> Segment:
    """The same for a segment."""
    return read_model(Segment, "segments", id_, data)


def read_definition(kind: Kind, id_: str, data: Any) -> Definition:
    """One of the two."""
    return read_prediction(id_, data) if kind == "prediction" else read_segment(id_, data)


def read_model(type_: type[_T], group: str, id_: str, data: Any) -> _T:
    """A part of a catalog from plain data (JSON); `group` is where it would stand. Raises CatalogError."""
    here: Location = (group, id_)
    problems = _plain_problems(here, data)
    if not re.fullmatch(ID_PATTERN, id_):
        problems.append(Problem(None, group, f"the id {id_[:80]!r}", PATTERN_WORDS[ID_PATTERN]))
    if problems:
        raise CatalogError(problems, SOURCE)
    classes: dict[int, type[Model]] = {}
    try:
        return type_.model_validate(data, context=classes)
    except ValidationError as error:
        for detail in without_echoes(error.errors(include_url=False), classes, data):
            found, expected = words(detail, data, classes)
            problems.append(Problem(None, path_text((*here, *location_of(detail)[0])), found, expected))
        raise CatalogError(problems, SOURCE) from error


def _plain_problems(here: Location, data: Any) -> list[Problem]:
    """What a catalog file could not hold: too many levels, names with a mark of ours, numbers with too many digits."""
    found: list[tuple[Location, str, str]] = []
    waiting: list[tuple[Location, Any]] = [(here, data)]
    while waiting:
        place, value = waiting.pop()
        if len(place) - len(here) > MAX_DEPTH:
            found.append((here, f"more than {MAX_DEPTH} levels inside each other", "a flatter definition"))
            break
        if isinstance(value, dict):
            wrong = [key for key in value if key.startswith(TAG)]
            found += [(place, f"the key {key[:80]!r}", f"a key that begins without {TAG}") for key in wrong]
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, int) and abs(value) >= _LARGEST:
            found.append((place, "a number of more than 18 digits", "a smaller one, or text"))
    return [Problem(None, path_text(place), what, expected) for place, what, expected in found]
