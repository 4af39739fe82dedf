"""When a scheduled campaign goes out, and when periods of budgets and rates begin and end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Literal
from zoneinfo import ZoneInfo

from config.campaigns import Campaign
from config.times import WEEKDAYS, OnceTrigger, RecurringTrigger
from streams.campaigns.plan import Plan
from streams.campaigns.state import Books

Period = Literal["minute", "hour", "day", "month", "total"]


def latest_time(trigger: OnceTrigger | RecurringTrigger, now_s: float) -> float | None:
    """The last of its times that is not after now; None before the first.

    A time that a clock skips is the moment of the same distance from midnight; one that comes twice is the first.
    """
    zone = ZoneInfo(trigger.timezone)
    if isinstance(trigger, OnceTrigger):
        at_s = datetime.fromisoformat(trigger.at).replace(tzinfo=zone).timestamp()
        return at_s if at_s <= now_s else None
    today = datetime.fromtimestamp(now_s, zone).date()
    hour, minute = (int(part) for part in trigger.at.split(":"))
    for back in range(-1, 34):  # the longest time between two days of a month, and a zone that leaves out a day
        day = today - timedelta(days=back)
        if _is_on(trigger, day.weekday(), day.day):
            at_s = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()
            if at_s <= now_s:
                return at_s
    raise AssertionError("every trigger has a day within a month")


def due_times(plan: Plan, books: Books, now_s: float) -> list[tuple[str, float]]:
    """Scheduled campaigns that have to go out now, with their times: `Member` of each member, and then `done`.

    Of several times that were missed only the last counts, and none that is stale, or was before the campaign was made
    or last put on.
    """
    found = []
    for id_ in plan.versions:
        campaign = plan.rules(id_)
        trigger = campaign.trigger if isinstance(campaign, Campaign) else None
        if not isinstance(campaign, Campaign) or not isinstance(trigger, OnceTrigger | RecurringTrigger):
            continue
        at_s = latest_time(trigger, now_s)
        standing = plan.standing(id_)
        begin_s = max(standing.since_s, standing.created_s, campaign.starts_s, now_s - campaign.max_trigger_age_s)
        is_active = plan.activity(id_, now_s) in ("on", "dry")
        if is_active and at_s is not None and at_s >= begin_s and at_s > books.of(id_).scheduled_s:
            found.append((id_, at_s))
    return found


def done(books: Books, campaign: str, at_s: float) -> None:
    """All members have had their turn."""
    books.change(campaign).scheduled_s = at_s


def _is_on(trigger: RecurringTrigger, weekday: int, day: int) -> bool:
    if trigger.every == "day":
        return True
    return WEEKDAYS[weekday] in trigger.on if trigger.every == "week" else day in trigger.on


def period_of(per: Period, now_s: float) -> tuple[str, float]:
    """The period (UTC) in which now is: its name, and when it ends."""
    now = datetime.fromtimestamp(now_s, UTC)
    if per == "total":
        return "total", inf
    if per == "month":
        start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return f"{now:%Y-%m}", (start + timedelta(days=32)).replace(day=1).timestamp()
    length_s = {"minute": 60.0, "hour": 3_600.0, "day": 86_400.0}[per]
    form = {"minute": "%Y-%m-%dT%H:%M", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d"}[per]
    return now.strftime(form), (now_s // length_s + 1.0) * length_s
