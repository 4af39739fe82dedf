"""Times as people write them: of a day, of a calendar, in a time zone; and what campaigns make of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from config.base import EventName, Model, Name, Scalar, Unique, branch, refuse, refuse_rule
from config.conditions import MAX_WHERE, Condition

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def known_zone(value: str) -> str:
    """The same name. Raises the error of a catalog for a time zone that does not exist."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: of a folder, as Europe is one
        raise refuse("a time zone such as UTC or Europe/Paris") from error
    return value


def _time_of_day(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise refuse('a time of day such as "08:30"')
    return value


def _local_time(value: str) -> str:
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise refuse('a day and time such as "2027-03-01 10:00"') from error
    if at.tzinfo is not None:
        raise refuse("a time without an offset; the time zone is a key of its own")
    if not 2000 <= at.year <= 2200:
        raise refuse("a year from 2000 to 2200")
    return value


Zone: TypeAlias = Annotated[Name, AfterValidator(known_zone)]
TimeOfDay: TypeAlias = Annotated[str, AfterValidator(_time_of_day)]
LocalTime: TypeAlias = Annotated[str, AfterValidator(_local_time)]


def minutes_of(time_of_day: str) -> int:
    """Minutes since midnight of a `TimeOfDay`."""
    hours, _, minutes = time_of_day.partition(":")
    return 60 * int(hours) + int(minutes)


class QuietHours(Model):
    """Nothing is sent while the user's clock shows a time in [from, to); it may go past midnight."""

    start: TimeOfDay = Field(alias="from")
    """When it begins, on the user's clock, such as "21:00"."""
    end: TimeOfDay = Field(alias="to")
    """When it ends, such as "08:00"."""

    @model_validator(mode="after")
    def _not_empty(self) -> QuietHours:
        if self.start == self.end:
            raise refuse_rule("two different times (leave quiet_hours out for none)")
        return self


class EventTrigger(Model):
    """An event of the user while in the segment."""

    event: EventName
    """Name of the event."""
    where: dict[Name, Condition] = Field(default_factory=dict, max_length=MAX_WHERE)
    """Conditions on properties of the event, as in a goal."""
    properties: Unique[Name] = Field(default=(), max_length=32)
    """Properties of the event that the message names (as event.NAME)."""


class OnceTrigger(Model):
    """Everybody who is in the segment at one time."""

    at: LocalTime
    """Day and time, such as "2027-03-01 10:00"."""
    timezone: Zone = "UTC"
    """Time zone of it."""


class RecurringTrigger(Model):
    """Everybody who is in the segment, again and again."""

    every: Literal["day", "week", "month"]
    """day, week or month."""
    at: TimeOfDay
    """Time of day, such as "10:00"."""
    on: Unique[Scalar] = Field(default=(), max_length=31)
    """For a week its days (monday), for a month its days (1 to 28)."""
    timezone: Zone = "UTC"
    """Time zone of it."""

    @model_validator(mode="after")
    def _days(self) -> RecurringTrigger:
        if self.every == "day" and self.on:
            raise refuse_rule("no `on` beside every: day")
        if self.every == "week" and not (self.on and all(day in WEEKDAYS for day in self.on)):
            raise refuse_rule("days under `on`, such as [monday]")
        if self.every == "month" and not (self.on and all(type(day) is int and 1 <= day <= 28 for day in self.on)):
            raise refuse_rule("days of the month under `on`, from 1 to 28, such as [1]")
        return self


Way: TypeAlias = Literal["enter", "exit", "both"]


def _trigger_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "~way" if value in ("enter", "exit", "both") else None
    return branch(
        value,
        {"event": "~event", "every": "~every", "at": "~at"},
        {"~event": EventTrigger, "~every": RecurringTrigger, "~at": OnceTrigger},
    )


Trigger: TypeAlias = Annotated[
    Annotated[Way, Tag("~way")]
    | Annotated[EventTrigger, Tag("~event")]
    | Annotated[RecurringTrigger, Tag("~every")]
    | Annotated[OnceTrigger, Tag("~at")],
    Discriminator(
        _trigger_kind,
        custom_error_type="expected",
        custom_error_message="enter, exit, both, {event: EVENT NAME}, {at: DAY AND TIME} or "
        "{every: week, on: [monday], at: TIME}",
    ),
]
