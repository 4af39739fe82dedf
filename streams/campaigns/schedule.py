"""When a scheduled campaign goes out, and when periods of budgets and rates begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from config.campaigns import Campaign
from config.times import WEEKDAYS, OnceTrigger, RecurringTrigger
from streams.campaigns.plan import Plan, Standing, State
from streams.campaigns.state import Book, Books

Period = Literal["minute", "hour", "day", "month", "total"]


def latest_time(trigger: OnceTrigger | RecurringTrigger, now_s: float) -> float | None:
    """The last of its times that is not after now; None before the first.

    A time that a clock skips is the moment of the same distance from midnight; one that comes twice is the first.
    """
    if isinstance(trigger, OnceTrigger):
        at_s = _once(trigger)
        return at_s if at_s <= now_s else None
    for at_s in _near(trigger, now_s, -1):
        if at_s <= now_s:
            return at_s
    raise AssertionError("every trigger has a day within a month")


def next_time(trigger: OnceTrigger | RecurringTrigger, after_s: float) -> float | None:
    """The first of its times after this one, as `latest_time` has them; None if there is no more."""
    if isinstance(trigger, OnceTrigger):
        at_s = _once(trigger)
        return at_s if at_s > after_s else None
    for at_s in _near(trigger, after_s, 1):
        if at_s > after_s:
            return at_s
    raise AssertionError("every trigger has a day within a month")


def _once(trigger: OnceTrigger) -> float:
    return datetime.fromisoformat(trigger.at).replace(tzinfo=ZoneInfo(trigger.timezone)).timestamp()


def _near(trigger: RecurringTrigger, now_s: float, way: Literal[-1, 1]) -> Iterator[float]:
    """Times from the day of now on, or back from it; of the day beside it, too."""
    zone = ZoneInfo(trigger.timezone)
    today = datetime.fromtimestamp(now_s, zone).date()
    hour, minute = (int(part) for part in trigger.at.split(":"))
    for days in range(-1, 34):  # the longest time between two days of a month, and a zone that leaves out a day
        day = today + timedelta(days=way * days)
        if _is_on(trigger, day.weekday(), day.day):
            yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()


class Under(NamedTuple):
    """A time of a scheduled campaign that is under way."""

    campaign: str
    at_s: float


def due_times(plan: Plan, books: Books, now_s: float) -> list[Under]:
    """Scheduled campaigns that have to go out now, with their times: `Member` of each member, in pages; `begun` with
    the first of them, `done` with the last.

    Whether a time goes out is said by how the campaign stood then, so that all partitions decide the same, also where
    one had begun it before a pause and another had not. A time that has begun is finished, whatever came between (a
    pause, a stop); who is reached too late is refused as stale, and counted. Of several times that nobody began only
    the last counts, and none that is stale, or was before the campaign was made, or before its trigger was what it is.
    """
    found = []
    for id_, campaign in plan.scheduled.items():
        if plan.activity(id_, now_s) in ("on", "dry"):
            at_s = _due_time(plan, books.of(id_), id_, campaign, now_s)
            if at_s is not None:
                found.append(Under(id_, at_s))
    return found


def _due_time(plan: Plan, book: Book, id_: str, campaign: Campaign, now_s: float) -> float | None:
    standing, trigger = plan.standing(id_), campaign.trigger
    assert isinstance(trigger, OnceTrigger | RecurringTrigger), "it is scheduled"
    has_begun = book.begun_s > book.scheduled_s and book.begun_s >= standing.triggered_s
    if has_begun and _goes_on(standing, book.begun_s):
        return book.begun_s
    stale_s = now_s - campaign.max_trigger_age_s
    from_s = max(standing.created_s, standing.triggered_s, campaign.starts_s, stale_s)
    at_s = _latest_that_goes_out(standing, trigger, from_s, now_s)
    return at_s if at_s is not None and at_s > book.scheduled_s else None


def _goes_on(standing: Standing, begun_s: float) -> bool:
    """Whether a time that has begun is finished: not if a pause stood then already, of which nobody knew here, or if it
    was archived since.
    """
    for since_s, _, state in standing.spans():
        if begun_s >= since_s or state == "archived":
            return _goes_out(state, standing.state)
    return True


def _latest_that_goes_out(
    standing: Standing, trigger: OnceTrigger | RecurringTrigger, from_s: float, now_s: float
) -> float | None:
    """The last time from `from_s` on that is not after now, and did not fall into a pause, nor before an archiving."""
    for since_s, to_s, state in standing.spans():
        if to_s <= from_s or state == "archived":
            return None
        at_s = latest_time(trigger, min(now_s, nextafter(to_s, -inf))) if _goes_out(state, standing.state) else None
        if at_s is not None and at_s >= max(since_s, from_s):
            return at_s
    return None


def _goes_out(stood: State, stands: State) -> bool:
    """Whether a time goes out at which it stood like that. One of a dry run is sent to nobody by what comes later."""
    return stood == "on" or (stood == "dry" and stands == "dry")


def begun(books: Books, under: Under) -> None:
    """The first members are asked about."""
    if books.of(under.campaign).begun_s != under.at_s:
        books.change(under.campaign).begun_s = under.at_s


def done(books: Books, under: Under) -> None:
    """All members have had their turn."""
    books.change(under.campaign).scheduled_s = under.at_s


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
