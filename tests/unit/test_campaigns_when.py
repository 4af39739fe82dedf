"""Quiet hours on the user's clock, schedules, periods: against looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from config.times import OnceTrigger, QuietHours, RecurringTrigger
from streams.campaigns.plan import Standing
from streams.campaigns.quiet import is_quiet, quiet_until, zone_or
from streams.campaigns.schedule import done, due_times, latest_time, period_of
from streams.campaigns.state import Book, Books
from tests.campaign_world import campaign, plan_of
from tests.reference.campaigns import first_loud_minute

# (zone, a day on which its clock is changed): forward, back, by half an hour, at midnight, and by a whole day.
CHANGES = (
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Pacific/Apia", "2011-12-29"),
    ("Asia/Kathmandu", "2026-05-01"),
)


def hours(start: str, end: str) -> QuietHours:
    return QuietHours.model_validate({"from": start, "to": end}, context={})


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_quiet_ends_at_the_first_minute_that_is_not_quiet(zone: str, day: str) -> None:
    rng = Random(f"{zone} {day}")
    for _ in range(60):
        quiet = hours(*(f"{minute // 60:02}:{minute % 60:02}" for minute in rng.sample(range(1_440), 2)))
        now_s = at(day) + rng.randrange(-86_400, 2 * 86_400)
        assert quiet_until(quiet, ZoneInfo(zone), now_s) == first_loud_minute(quiet, zone, now_s)


def test_an_end_that_the_clock_skips_is_the_jump() -> None:
    quiet, zone = hours("22:00", "02:30"), ZoneInfo("Europe/Berlin")
    assert quiet_until(quiet, zone, at("2026-03-29 01:59", "Europe/Berlin")) == at("2026-03-29 03:00", "Europe/Berlin")


def test_an_end_that_comes_twice_ends_it_twice() -> None:
    quiet, zone = hours("22:00", "02:30"), ZoneInfo("Europe/Berlin")
    first_s = at("2026-10-25 02:30", "Europe/Berlin")
    assert quiet_until(quiet, zone, first_s - 60.0) == first_s
    assert not is_quiet(quiet, zone, first_s + 1_799.0)
    assert is_quiet(quiet, zone, first_s + 1_800.0)  # the clock shows 02:00 again
    assert quiet_until(quiet, zone, first_s + 1_800.0) == first_s + 3_600.0


def test_a_zone_that_is_none_is_the_default() -> None:
    for name in ("Nowhere/Else", "Europe", "", 5, None, ["Europe/Paris"], "../etc/passwd", "\0"):
        assert zone_or(name, "Asia/Tokyo") == ZoneInfo("Asia/Tokyo")
    assert zone_or("Europe/Paris", "UTC") == ZoneInfo("Europe/Paris")


def test_a_time_of_a_campaign_is_the_last_one_that_has_come() -> None:
    weekly = RecurringTrigger(every="week", on=("monday", "friday"), at="10:00", timezone="Europe/Paris")
    friday_s = at("2026-11-20 10:00", "Europe/Paris")
    assert latest_time(weekly, friday_s - 1.0) == at("2026-11-16 10:00", "Europe/Paris")
    assert latest_time(weekly, friday_s) == friday_s
    assert latest_time(weekly, at("2026-11-22 23:00")) == friday_s
    monthly = RecurringTrigger(every="month", on=(1,), at="00:30")
    assert latest_time(monthly, at("2026-03-01 00:29")) == at("2026-02-01 00:30")
    once = OnceTrigger(at="2026-03-29 02:30", timezone="Europe/Berlin")
    assert latest_time(once, at("2026-03-29 01:29")) is None
    assert latest_time(once, at("2026-03-29 01:30")) == at("2026-03-29 01:30")


WEEKLY = {"every": "week", "on": ["monday"], "at": "10:00"}
MONDAY_S, HOUR_S, WEEK_S = 1_790_000_000.0 // 604_800 * 604_800 + 4 * 86_400 + 36_000, 3_600.0, 604_800.0


def test_a_scheduled_campaign_goes_out_once_at_each_of_its_times() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY, max_trigger_age="6h"), "d": campaign()})
    stored: dict[str, Book] = {}
    assert datetime.fromtimestamp(MONDAY_S, UTC).strftime("%A %H:%M") == "Monday 10:00"
    assert due_times(plan, Books(stored), MONDAY_S - HOUR_S) == []
    for _ in range(2):  # until all members have had it, also after a stop
        assert due_times(plan, Books(stored), MONDAY_S + 5.0) == [("c", MONDAY_S)]
    done(Books(stored), "c", MONDAY_S)
    assert due_times(plan, Books(stored), MONDAY_S + HOUR_S) == []
    assert due_times(plan, Books(stored), MONDAY_S + WEEK_S) == [("c", MONDAY_S + WEEK_S)]


ONCE = {"at": datetime.fromtimestamp(MONDAY_S, UTC).strftime("%Y-%m-%d %H:%M")}


def test_a_campaign_that_is_new_does_not_go_out_for_a_time_before_it() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY), "past": campaign(trigger=ONCE)})
    plan.standings = dict.fromkeys(plan.versions, Standing(created_s=MONDAY_S + 1.0))
    assert due_times(plan, Books({}), MONDAY_S + HOUR_S) == []
    assert due_times(plan, Books({}), MONDAY_S + WEEK_S) == [("c", MONDAY_S + WEEK_S)]


def test_a_campaign_that_is_made_seconds_before_its_time_goes_out() -> None:
    """Also if nobody looks between the two."""
    plan = plan_of({"c": campaign(trigger=ONCE)})
    plan.standings = {"c": Standing(created_s=MONDAY_S - 10.0)}
    assert due_times(plan, Books({}), MONDAY_S + 20.0) == [("c", MONDAY_S)]


def test_times_in_an_outage_or_a_pause_are_over() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY, max_trigger_age="6h")})
    plan.standings = {"c": Standing(created_s=MONDAY_S - HOUR_S)}
    assert due_times(plan, Books({}), MONDAY_S + 2 * WEEK_S + 6 * HOUR_S) == [("c", MONDAY_S + 2 * WEEK_S)]
    assert due_times(plan, Books({}), MONDAY_S + 2 * WEEK_S + 6 * HOUR_S + 1.0) == []
    plan.standings = {"c": Standing("paused", MONDAY_S + 3 * WEEK_S - 60.0)}
    assert due_times(plan, Books({}), MONDAY_S + 3 * WEEK_S) == []
    plan.standings = {"c": Standing("on", MONDAY_S + 3 * WEEK_S + 60.0)}
    assert due_times(plan, Books({}), MONDAY_S + 3 * WEEK_S + 60.0) == []


def test_every_time_of_a_schedule_comes_in_its_order() -> None:
    daily = RecurringTrigger(every="day", at="02:30", timezone="Europe/Berlin")
    times = sorted({latest_time(daily, at("2026-03-20") + 600.0 * n) or 0.0 for n in range(14 * 144)})
    assert len(times) == 15  # the one before the start, and one a day
    assert all(22 * 3_600 <= b - a <= 26 * 3_600 for a, b in pairwise(times))


@pytest.mark.parametrize("per", ["minute", "hour", "day", "month"])
def test_periods_follow_each_other(per: str) -> None:
    rng = Random(per)
    for _ in range(200):
        now_s = float(rng.randrange(1_700_000_000, 1_900_000_000))
        name, until_s = period_of(per, now_s)  # type: ignore[arg-type]
        assert until_s > now_s
        assert period_of(per, until_s - 1.0)[0] == name  # type: ignore[arg-type]
        assert period_of(per, until_s)[0] != name  # type: ignore[arg-type]
        assert datetime.fromtimestamp(until_s, UTC).second == 0
