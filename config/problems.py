"""From pydantic's errors to problems in words: what was found, what was expected, what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from config.base import PATTERN_WORDS, Model
from config.catalog import SegmentInput
from config.yaml_text import TAG, Location


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known word, empty when none is close."""
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close is not None else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, capitals or not; None when none is close."""
    by_small = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_small, n=1, cutoff=0.6)
    return by_small[close[0]] if close else None


def location_of(detail: ErrorDetails) -> tuple[Location, bool]:
    """Where in the text an error is, and whether it is about the key there instead of the value."""
    parts = tuple(part for part in detail["loc"] if not str(part).startswith(TAG))
    if detail["type"] == "input_format" and isinstance(detail["input"], dict):
        parts = (*parts, "format")
    return (parts[:-1], True) if parts[-1:] == ("[key]",) else (parts, False)


def without_echoes(details: Sequence[ErrorDetails], classes: dict[int, type[Model]], data: Any) -> list[ErrorDetails]:
    """The errors without those that only repeat another.

    A list whose items were refused also counts as too short. A misspelt key is unknown, and the right one is missing.
    Without a format no key of a mapping is known.
    """
    unknown: dict[Location, list[str]] = {}
    missing: dict[Location, list[str]] = {}
    for detail in details:
        if detail["type"] in ("extra_forbidden", "missing"):
            *parent, key = location_of(detail)[0]
            keys = unknown if detail["type"] == "extra_forbidden" else missing
            keys.setdefault(tuple(parent), []).append(str(key))
    echoes: set[Location] = set()
    for parent_, keys_ in unknown.items():
        node = _at(data, parent_)
        if classes[id(node)] is SegmentInput:
            first = next((key for key in keys_ if closest(key, ("format",))), keys_[0])
            echoes |= {(*parent_, key) for key in keys_ if key != first}
        echoes |= {(*parent_, name) for key in keys_ if (name := _meant_key(key, keys_, missing.get(parent_, ())))}
    return [detail for detail in details if not _is_too_short(detail) and location_of(detail)[0] not in echoes]


def _meant_key(key: str, unknown: Sequence[str], missing: Sequence[str]) -> str | None:
    """The missing key for which an unknown one stands: one that is like it, or the only one there is."""
    if len(unknown) == len(missing) == 1:
        return missing[0]
    return closest(key, missing)


def _is_too_short(detail: ErrorDetails) -> bool:
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def words(detail: ErrorDetails, data: Any, classes: dict[int, type[Model]]) -> tuple[str, str]:
    """What was found and what was expected.

    ``data`` is the whole input; ``classes`` says by ``id()`` which mapping in it was read as which type.
    """
    location, about_key = location_of(detail)
    if detail["type"] == "missing":
        return "nothing", f"the key {location[-1]!r}"
    if detail["type"] == "extra_forbidden":
        node = _at(data, location[:-1])
        return _unknown_key(str(location[-1]), classes[id(node)], node)
    expected = _expected(detail)
    value = _at(data, location) if detail["type"] == "input_format" else detail["input"]
    found = f"the name {location[-1]!r}" if about_key else describe(value)
    meant = _meant(value, expected) if detail["type"] in ("literal_error", "expected", "input_format") else ""
    return found, expected + meant


def describe(value: Any) -> str:
    """A value of the text in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping with " + ", ".join(list(value)[:5]) if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


_FIXED = {
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
}
_FROM_CONTEXT: dict[str, Callable[[dict[str, Any]], str]] = {
    "expected": lambda c: str(c["expected"]),
    "rule": lambda c: str(c["expected"]),
    "literal_error": lambda c: str(c["expected"]),
    "string_pattern_mismatch": lambda c: PATTERN_WORDS[c["pattern"]],
    "string_too_long": lambda c: f"at most {c['max_length']} characters",
    "greater_than": lambda c: f"more than {c['gt']}",
    "greater_than_equal": lambda c: f"at least {c['ge']}",
    "less_than_equal": lambda c: f"at most {c['le']}",
    "too_short": lambda c: f"at least {c['min_length']}",
    "too_long": lambda c: f"at most {c['max_length']} (found {c['actual_length']})",
}


def _expected(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "string_type":
        value = detail["input"]
        return f'text (in quotes: "{value}")' if isinstance(value, int | float) else "text"
    if kind in _FIXED:
        return _FIXED[kind]
    return _FROM_CONTEXT[kind](context) if kind in _FROM_CONTEXT and context else detail["msg"]


def _meant(value: Any, expected: str) -> str:
    """A suggestion where the value, or a key of the mapping, is close to a word that was expected."""
    given = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
    known = set(re.findall(r"[a-z][a-z_]+", expected)) - {*given, "and", "or"}
    return next((hint for word in given if (hint := suggest(word, known))), "")


def _unknown_key(key: str, type_: type[Model], node: dict[str, Any]) -> tuple[str, str]:
    fields = {field.alias or name: field for name, field in type_.model_fields.items()}
    found = f"the unknown key {key!r}"
    if type_ is SegmentInput:
        expected = "format: csv or format: ndjson beside it (Segment events need no mapping)"
        return found, expected if "format" in node else expected + suggest(key, ("format",))
    left = [name for name in fields if name not in node]
    unknown = [name for name in node if name not in fields]
    required = [name for name in left if fields[name].is_required()]
    meant = suggest(key, left)
    if not meant and _meant_key(key, unknown, required):
        meant = f"; {required[0]!r} is missing"
    return found, "one of " + ", ".join(fields) + meant


def _at(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data
