"""Checks of one record and its fields that all input formats share. They return the value or raise `Refused`."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import nan
from typing import Any

from streams.core.events import MAX_NAME_BYTES, MAX_TRAIT_BYTES, MAX_USER_BYTES, DeadReason, Scalar
from streams.core.refusal import Refused, plain_float, shown

LARGEST = 1e12
"""Largest money or number of a trait: sums of them stay finite as 32-bit floats, and far from the codes of texts."""

NumberOf = Callable[[str], float]
"""From the text of a number; raises ValueError. `plain_float`, or `comma_float` where decimals have a comma."""

MAX_DEPTH = 64
"""Deepest nesting of a JSON record. Parsers recurse: without a bound, a line of brackets ends the process."""

SHORT_BYTES = 512
"""Records up to this size are not looked at for their depth: valid ones have at most 256 levels, which is harmless."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def admit(raw: bytes, limit_bytes: int) -> None:
    """Refuse what must not reach a parser: records that are too large or not UTF-8."""
    if len(raw) > limit_bytes:
        raise Refused(DeadReason.TOO_LARGE, f"the record has more than {limit_bytes} bytes (limits.property_bytes)")
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} at {error.start} of the record is not UTF-8"
            raise Refused(DeadReason.BAD_ENCODING, found) from error


def admit_json(raw: bytes, limit_bytes: int) -> None:
    """`admit`, and refuse JSON that is nested too deeply."""
    if len(raw) <= SHORT_BYTES and raw.isascii() and len(raw) <= limit_bytes:
        return
    admit(raw, limit_bytes)
    # Counting is much cheaper than looking; few records have so many brackets.
    if len(raw) > SHORT_BYTES and raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise Refused(DeadReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")


def _depth(raw: bytes) -> int:
    """How deep the brackets outside of strings are nested; a bound for text that is no JSON."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def user_id(value: object) -> str:
    """A user id: text as it is, a whole number as its digits."""
    if type(value) is not str:
        value = _user_from(value)
    # Printable covers almost every id in one cheap test; the rest is looked at closely.
    if not value or len(value) > MAX_USER_BYTES // 4 or not value.isprintable() or value.isspace():
        _check_text(value, "the user id", MAX_USER_BYTES, DeadReason.MISSING_USER, DeadReason.BAD_USER)
    return value


def _user_from(value: object) -> str:
    if value is None:
        raise Refused(DeadReason.MISSING_USER, "the record has no user id")
    if type(value) is int:
        if abs(value) >= 10**100:
            raise Refused(DeadReason.BAD_USER, "the user id is a number of more than 100 digits")
        return str(value)
    if type(value) is float:
        raise Refused(
            DeadReason.BAD_USER, f"the user id is the number {value}; write it in quotes or without a fraction"
        )
    raise Refused(DeadReason.BAD_USER, f"the user id is {shown(value)}; expected text or a whole number")


def event_name(value: object) -> str:
    """An event name: text as it is, a whole number as its digits."""
    if type(value) is not str:
        if value is None:
            raise Refused(DeadReason.MISSING_EVENT, "the record has no event name")
        if type(value) is not int or abs(value) >= 10**18:
            raise Refused(DeadReason.BAD_EVENT, f"the event name is {shown(value)}; expected text")
        value = str(value)
    if not value or len(value) > MAX_NAME_BYTES // 4 or not value.isprintable() or value.isspace():
        _check_text(value, "the event name", MAX_NAME_BYTES, DeadReason.MISSING_EVENT, DeadReason.BAD_EVENT)
    return value


def _check_text(text: str, what: str, limit_bytes: int, missing: DeadReason, bad: DeadReason) -> None:
    if not text or text.isspace():
        raise Refused(missing, f"{what} is empty")
    if "\0" in text:
        raise Refused(bad, f"{what} {shown(text)} holds a NUL character")
    if len(text.encode()) > limit_bytes:
        raise Refused(bad, f"{what} {shown(text)} has more than {limit_bytes} bytes")


def money(value: object, number_of: NumberOf = plain_float) -> float:
    """The value of an event: a number, or text that is one for `number_of`; NaN if there is none."""
    if value is None:
        return nan
    if type(value) is float and abs(value) <= LARGEST:
        return value
    try:
        return finite(value, number_of)
    except ValueError as error:
        if type(value) is str and (not value or value.isspace()):
            return nan
        example = "12.50" if number_of is plain_float else "12,50 (input.decimal)"
        detail = f"the value is {shown(value)}; expected a number such as {example}"
        raise Refused(DeadReason.BAD_VALUE, detail) from error


def finite(value: object, number_of: NumberOf = plain_float) -> float:
    """A number of at most `LARGEST` in size, or text that is one. Raises ValueError."""
    if type(value) is float:
        number = value
    elif type(value) is str:
        number = number_of(value)
    elif type(value) is int and abs(value) < 10**300:
        number = float(value)
    else:
        raise ValueError("no number")
    if not abs(number) <= LARGEST:
        raise ValueError("not finite")
    return number


def message_id(value: object) -> str | None:
    """A message id: text as it is, a whole number as its digits; None if there is none (missing, null, empty)."""
    if type(value) is str:
        return value or None
    if value is None:
        return None
    if type(value) is int and abs(value) < 10**100:
        return str(value)
    raise Refused(DeadReason.BAD_MESSAGE_ID, f"the message id is {shown(value)}; expected text or a whole number")


def trait(name: str, value: Any, numeric: bool, number_of: NumberOf = plain_float) -> Scalar:
    """A trait's value (not null): text, a float or a bool; a number where the catalog says numeric."""
    if numeric and type(value) is not bool:
        try:
            return finite(value, number_of)
        except ValueError as error:
            detail = f"the trait {name!r} is {shown(value)}; expected a number"
            raise Refused(DeadReason.BAD_TRAIT, detail) from error
    if type(value) is str:
        if len(value) > MAX_TRAIT_BYTES // 4 and len(value.encode()) > MAX_TRAIT_BYTES:
            raise Refused(DeadReason.BAD_TRAIT, f"the trait {name!r} has more than {MAX_TRAIT_BYTES} bytes")
        return value
    if type(value) is bool:
        return value
    try:
        return finite(value)
    except ValueError as error:
        detail = f"the trait {name!r} is {shown(value)}; expected text, a number, true or false"
        raise Refused(DeadReason.BAD_TRAIT, detail) from error
