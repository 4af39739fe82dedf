"""Reading the time of an event: ISO 8601 text, or seconds or milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from config.catalog import TimeField
from config.errors import CatalogError, Problem
from streams.core.events import DeadReason
from streams.core.refusal import Refused, plain_float, shown

EARLIEST_S = 315_532_800.0
"""1980-01-01 UTC. Earlier times are mistakes: zero, a missing value, another unit."""

LATEST_S = 4_102_444_800.0
"""2100-01-01 UTC."""

LATER_THAN_NOW = "the event is later than the clock of this machine"

TimeReader = Callable[[object], float]
"""Gives seconds since 1970-01-01 UTC in [EARLIEST_S, LATEST_S]; raises `Refused`."""

DATE_CHARS = len("2024-05-31")
_fromisoformat = datetime.fromisoformat


def zone(name: str) -> tzinfo:
    """The time zone of that IANA name. Raises CatalogError if there is none."""
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        problem = Problem(None, "input.time.timezone", repr(name), "a time zone such as UTC or Europe/Berlin")
        raise CatalogError([problem]) from error


def time_reader(field: TimeField | None = None, number_of: Callable[[str], float] = plain_float) -> TimeReader:
    """The reader for a catalog's time field; None is the Segment format (ISO 8601, naive times are UTC).

    `number_of` gives the number that a text is, and raises ValueError.
    """
    if field is None or field.unit == "iso":
        return _iso_reader(UTC if field is None else zone(field.timezone))
    return _number_reader(1.0 if field.unit == "s" else 1_000.0, field.unit, number_of)


def _iso_reader(local: tzinfo) -> TimeReader:
    dates: dict[
        str, float
    ] = {}  # bounded by the days of 120 years; remembering whole times was measured to be no faster

    def read(value: object) -> float:
        if type(value) is not str:
            raise _not_text(value)
        if len(value) <= DATE_CHARS and (known := dates.get(value)) is not None:
            return known
        try:
            moment = _fromisoformat(value)
        except ValueError:
            moment = _odd_iso(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=local)
        try:
            time_s = moment.timestamp()
        except OverflowError as error:  # the years 1 and 9999 may leave the calendar on their way to UTC
            raise _out_of_range(value) from error
        if not EARLIEST_S <= time_s <= LATEST_S:
            raise _out_of_range(value)
        if len(value) <= DATE_CHARS:
            dates[value] = time_s
        return time_s

    return read


def _odd_iso(text: str) -> datetime:
    """What `fromisoformat` does not take: spaces around, and the `UTC` that SQL tools write behind a time."""
    trimmed = text.strip()
    if not trimmed:
        raise Refused(DeadReason.MISSING_TIME, "the time is empty")
    if trimmed.endswith(" UTC"):
        trimmed = trimmed[:-4] + "+00:00"
    try:
        return _fromisoformat(trimmed)
    except ValueError as error:
        hint = "; for numbers set input.time.unit to s or ms" if trimmed.replace(".", "", 1).isdigit() else ""
        detail = f"{shown(text)} is no ISO 8601 date or time such as 2024-05-31T12:00:00Z{hint}"
        raise Refused(DeadReason.BAD_TIME, detail) from error


def _number_reader(per_s: float, unit: str, number_of: Callable[[str], float]) -> TimeReader:
    def read(value: object) -> float:
        if type(value) is str:
            number = _text_number(value, unit, number_of)
        elif type(value) is float or type(value) is int:
            number = value
        else:
            raise _not_a_number(value, unit)
        # Comparing before dividing: an integer of a thousand digits does not fit into a float.
        if EARLIEST_S * per_s <= number <= LATEST_S * per_s:
            return number / per_s
        raise _out_of_range(value)

    return read


def _text_number(text: str, unit: str, number_of: Callable[[str], float]) -> float:
    try:
        return number_of(text)
    except ValueError as error:
        if not text.strip():
            raise Refused(DeadReason.MISSING_TIME, "the time is empty") from error
        raise _not_a_number(text, unit) from error


def _not_text(value: object) -> Refused:
    if value is None:
        return Refused(DeadReason.MISSING_TIME, "the record has no time")
    return Refused(DeadReason.BAD_TIME, f"the time is {shown(value)}; expected ISO 8601 text (in quotes)")


def _not_a_number(value: object, unit: str) -> Refused:
    if value is None:
        return Refused(DeadReason.MISSING_TIME, "the record has no time")
    name = "seconds" if unit == "s" else "milliseconds"
    return Refused(DeadReason.BAD_TIME, f"the time is {shown(value)}; expected {name} since 1970")


def _out_of_range(value: object) -> Refused:
    if value != value:  # noqa: PLR0124 (NaN)
        return Refused(DeadReason.TIME_OUT_OF_RANGE, "the time is not a number (NaN)")
    is_number = not isinstance(value, str) or value.strip().replace(".", "", 1).isdigit()
    hint = "; is input.time.unit right?" if is_number else ""
    return Refused(DeadReason.TIME_OUT_OF_RANGE, f"the time {shown(value)} is before 1980 or after 2100{hint}")
