"""When a campaign goes out, as forms have it: a crossing, an event, one time, or again and again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from config.times import WEEKDAYS, EventTrigger, OnceTrigger, Trigger
from config.written import written
from streams.console.quoted import read_text, shown_text

TRIGGERS: Final = ("enter", "exit", "both", "event", "once", "recurring")
PERIODS: Final = ("day", "week", "month")
_KEYS: Final = {"event": "event", "once": "at", "recurring": "every"}
"""Of each kind that is written as a mapping, the key by which it is known."""
_PICKED: Final = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}")


@dataclass(frozen=True, slots=True)
class TriggerForm:
    """What stands in the fields, as somebody wrote it."""

    kind: str = "enter"
    """One of `TRIGGERS`."""
    event: str = ""
    at: str = ""
    """Day and time of the one time,"""
    time: str = "10:00"
    """or time of day of every time."""
    zone: str = "UTC"
    every: str = "week"
    weekdays: tuple[str, ...] = ("monday",)
    days: str = "1"
    """Of the month, with commas between them."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> TriggerForm:
        """As it was sent."""
        new = cls()
        checked = [day for day in WEEKDAYS if f"trigger_on_{day}" in given]
        before = given.get("trigger_on_was", "").split()
        at = given.get("trigger_at", "").strip()
        return cls(
            kind=given["trigger"] if given.get("trigger") in TRIGGERS else new.kind,
            event=given.get("trigger_event", ""),
            at=at.replace("T", " ") if given.get("trigger_at_picked") and _PICKED.fullmatch(at) else at,
            time=given.get("trigger_time", new.time).strip(),
            zone=given.get("trigger_zone", new.zone).strip(),
            every=given["trigger_every"] if given.get("trigger_every") in PERIODS else new.every,
            # Boxes have an order of their own.
            weekdays=tuple(before if sorted(before) == sorted(checked) else checked),
            days=given.get("trigger_days", new.days),
        )

    @classmethod
    def of_trigger(cls, trigger: Trigger) -> TriggerForm:
        """Of one that there is."""
        if isinstance(trigger, str):
            return cls(kind=trigger)
        if isinstance(trigger, EventTrigger):
            return cls(kind="event", event=shown_text(trigger.event))
        if isinstance(trigger, OnceTrigger):
            return cls(kind="once", at=trigger.at, zone=trigger.timezone)
        found = cls(kind="recurring", time=trigger.at, zone=trigger.timezone, every=trigger.every)
        days = tuple(str(day) for day in trigger.on)
        if trigger.every == "week":
            return replace(found, weekdays=days)
        return replace(found, days=", ".join(days)) if days else found

    @property
    def is_picked(self) -> bool:
        """Whether the day and time is one that a picker of the browser can show, and gives back as it is."""
        return not self.at or (_PICKED.fullmatch(self.at) is not None and "T" not in self.at)

    def definition(self, kept: Mapping[str, Any]) -> Any:
        """As a catalog has it, not checked. `kept`: what the text below says of it, which may be all of it."""
        if any(key in kept for key in _KEYS.values()):
            return dict(kept)  # who writes it as text means that
        match self.kind:
            case "event":
                return {"event": read_text(self.event), **kept}
            case "once":
                return {"at": self.at, "timezone": self.zone}
            case "recurring":
                days = {"week": list(self.weekdays), "month": _days(self.days)}.get(self.every)
                on = {} if days is None else {"on": days}
                return {"every": self.every, "at": self.time, **on, "timezone": self.zone}
            case _:
                return self.kind


def kept_of(trigger: Trigger) -> dict[str, Any]:
    """What the form has no fields for, as a catalog has it."""
    if not isinstance(trigger, EventTrigger):
        return {}
    data: dict[str, Any] = written(trigger)
    return {key: value for key, value in data.items() if key != "event"}


def _days(text: str) -> list[int | str]:
    """Days of the month; what is no number stays, and is refused with the rest."""
    parts = [part.strip() for part in text.split(",")]
    return [int(part) if re.fullmatch("[0-9]{1,2}", part) else part for part in parts if part]
