"""From pydantic's errors to problems in words: what was found, what was expected, what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic_core import ErrorDetails

from config.base import PATTERN_WORDS, Model
from config.catalog import SegmentInput
from config.yaml_text import TAG, Location


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known word, empty when none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def location_of(detail: ErrorDetails) -> tuple[Location, bool]:
    """Where in the text an error is, and whether it is about the key there instead of the value."""
    parts = tuple(part for part in detail["loc"] if not str(part).startswith(TAG))
    if detail["type"] == "input_format" and isinstance(detail["input"], dict):
        parts = (*parts, "format")
    return (parts[:-1], True) if parts[-1:] == ("[key]",) else (parts, False)


def is_echo(detail: ErrorDetails) -> bool:
    """Whether an error only repeats another: a list whose items were refused also counts as too short."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def words(detail: ErrorDetails, data: Any, classes: dict[int, type[Model]]) -> tuple[str, str]:
    """What was found and what was expected.

    ``data`` is the whole input; ``classes`` says by ``id()`` which mapping in it was read as which type.
    """
    location, about_key = location_of(detail)
    if detail["type"] == "missing":
        return "nothing", f"the key {location[-1]!r}"
    if detail["type"] == "extra_forbidden":
        return _unknown_key(str(location[-1]), classes[id(_at(data, location[:-1]))])
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
    "literal_error": lambda c: str(c["expected"]),
    "string_pattern_mismatch": lambda c: PATTERN_WORDS[c["pattern"]],
    "string_too_long": lambda c: f"at most {c['max_length']} characters",
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
    known = set(re.findall(r"[a-z][a-z_]+", expected)) - set(given)
    return next((hint for word in given if (hint := suggest(word, known))), "")


def _unknown_key(key: str, type_: type[Model]) -> tuple[str, str]:
    known = [field.alias or name for name, field in type_.model_fields.items()]
    found = f"the unknown key {key!r}"
    if type_ is SegmentInput:
        return found, "format: csv or format: ndjson beside it (Segment events need no mapping)"
    return found, "one of " + ", ".join(known) + suggest(key, known)


def _at(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data
