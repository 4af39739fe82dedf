"""Quiet hours on the user's clock, schedules, periods: against looking at every minute."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from config.times import OnceTrigger, QuietHours, RecurringTrigger
from streams.campaigns.plan import Standing, State
from streams.campaigns.quiet import is_quiet, quiet_until, zone_or
from streams.campaigns.schedule import Under, begun, done, due_times, latest_time, next_time, period_of
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


def test_the_next_time_of_a_campaign_is_the_first_one_to_come() -> None:
    weekly = RecurringTrigger(every="week", on=("monday", "friday"), at="10:00", timezone="Europe/Paris")
    friday_s = at("2026-11-20 10:00", "Europe/Paris")
    assert next_time(weekly, friday_s - 1.0) == friday_s
    assert next_time(weekly, friday_s) == at("2026-11-23 10:00", "Europe/Paris")
    monthly = RecurringTrigger(every="month", on=(28,), at="00:30")
    assert next_time(monthly, at("2026-02-28 00:30")) == at("2026-03-28 00:30")
    once = OnceTrigger(at="2026-03-29 02:30", timezone="Europe/Berlin")
    assert next_time(once, at("2026-03-29 01:29")) == at("2026-03-29 01:30")
    assert next_time(once, at("2026-03-29 01:30")) is None


def test_the_next_time_is_the_latest_one_once_it_has_come() -> None:
    for zone in ("UTC", "Europe/Paris", "Pacific/Apia", "America/New_York"):
        for trigger in (
            RecurringTrigger(every="day", at="02:30", timezone=zone),
            RecurringTrigger(every="month", on=(1, 28), at="23:59", timezone=zone),
        ):
            now_s = at("2026-03-01 12:00")
            for _ in range(300):
                found = next_time(trigger, now_s)
                assert found is not None
                assert latest_time(trigger, found) == found > now_s
                before = latest_time(trigger, found - 1.0)
                assert before is not None
                assert before <= now_s
                now_s = found


WEEKLY = {"every": "week", "on": ["monday"], "at": "10:00"}
MONDAY_S, HOUR_S, WEEK_S = 1_790_000_000.0 // 604_800 * 604_800 + 4 * 86_400 + 36_000, 3_600.0, 604_800.0


def test_a_scheduled_campaign_goes_out_once_at_each_of_its_times() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY, max_trigger_age="6h"), "d": campaign()})
    stored: dict[str, Book] = {}
    assert datetime.fromtimestamp(MONDAY_S, UTC).strftime("%A %H:%M") == "Monday 10:00"
    assert due_times(plan, Books(stored), MONDAY_S - HOUR_S) == []
    for _ in range(2):  # until all members have had it, also after a stop
        assert due_times(plan, Books(stored), MONDAY_S + 5.0) == [("c", MONDAY_S)]
    done(Books(stored), Under("c", MONDAY_S))
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


def test_a_time_before_a_pause_goes_out_behind_it_also_where_nobody_had_begun_it() -> None:
    plan, begun_it = plan_of({"c": campaign(trigger=WEEKLY)}), dict[str, Book]()
    begun(Books(begun_it), Under("c", MONDAY_S))
    stands: tuple[tuple[float, State], ...] = ((MONDAY_S - HOUR_S, "on"), (MONDAY_S + 60.0, "paused"))
    plan.standings = {"c": Standing("on", MONDAY_S + HOUR_S, MONDAY_S - HOUR_S, earlier=stands)}
    for stored in (begun_it, dict[str, Book]()):
        assert due_times(plan, Books(stored), MONDAY_S + HOUR_S) == [("c", MONDAY_S)]


def test_a_time_that_a_partition_began_before_it_heard_of_the_pause_is_over() -> None:
    plan, stored = plan_of({"c": campaign(trigger=WEEKLY)}), dict[str, Book]()
    begun(Books(stored), Under("c", MONDAY_S))
    stands: tuple[tuple[float, State], ...] = ((MONDAY_S - HOUR_S, "on"), (MONDAY_S - 0.5, "paused"))
    plan.standings = {"c": Standing("on", MONDAY_S + HOUR_S, MONDAY_S - HOUR_S, earlier=stands)}
    assert due_times(plan, Books(stored), MONDAY_S + HOUR_S) == []
    assert due_times(plan, Books(stored), MONDAY_S + WEEK_S) == [("c", MONDAY_S + WEEK_S)]


def test_the_last_time_outside_a_pause_counts_though_a_later_one_fell_into_it() -> None:
    daily = {"every": "day", "at": "10:00"}
    plan = plan_of({"c": campaign(trigger=daily, max_trigger_age="2d")})
    stands: tuple[tuple[float, State], ...] = ((MONDAY_S - HOUR_S, "on"), (MONDAY_S + 1.0, "paused"))
    plan.standings = {"c": Standing("on", MONDAY_S + 25 * HOUR_S, MONDAY_S - HOUR_S, earlier=stands)}
    assert due_times(plan, Books({}), MONDAY_S + 25 * HOUR_S) == [("c", MONDAY_S)]


def test_what_was_archived_begins_anew_when_the_file_brings_it_back() -> None:
    plan, stored = plan_of({"c": campaign(trigger=WEEKLY)}), dict[str, Book]()
    begun(Books(stored), Under("c", MONDAY_S))
    stands: tuple[tuple[float, State], ...] = ((MONDAY_S - HOUR_S, "on"), (MONDAY_S + 60.0, "archived"))
    plan.standings = {"c": Standing("on", MONDAY_S + HOUR_S, MONDAY_S - HOUR_S, earlier=stands)}
    assert due_times(plan, Books(stored), MONDAY_S + HOUR_S) == []
    assert due_times(plan, Books({}), MONDAY_S + HOUR_S) == []


@pytest.mark.parametrize(("state", "found"), [("dry", [("c", MONDAY_S)]), ("on", [])])
def test_a_time_of_a_dry_run_is_sent_to_nobody_by_what_comes_later(state: State, found: list[Under]) -> None:
    plan, stored = plan_of({"c": campaign(trigger=WEEKLY)}), dict[str, Book]()
    begun(Books(stored), Under("c", MONDAY_S))
    stands: tuple[tuple[float, State], ...] = ((MONDAY_S - HOUR_S, "dry"), (MONDAY_S + 60.0, "paused"))
    plan.standings = {"c": Standing(state, MONDAY_S + HOUR_S, MONDAY_S - HOUR_S, earlier=stands)}
    assert due_times(plan, Books(stored), MONDAY_S + HOUR_S) == found
    assert due_times(plan, Books({}), MONDAY_S + HOUR_S) == found


@pytest.mark.parametrize("seed", range(8))
def test_partitions_never_differ_about_a_time_whatever_pauses_stood_around_it(seed: int) -> None:
    """Each looks when it can, some never before the end. At the end all of them have had the last time at which the
    campaign was on, and none has had one that fell into a pause.
    """
    for place in range(60):
        _compare_partitions(Random(f"partitions:{seed}:{place}"))


def _compare_partitions(rng: Random) -> None:
    plan = plan_of({"c": campaign(trigger={"every": "day", "at": "10:00"}, max_trigger_age="90d")})
    start_s, end_s = MONDAY_S - rng.choice([0.0, HOUR_S]), MONDAY_S + rng.uniform(1.0, 6 * 24.0) * HOUR_S
    turns = sorted(rng.uniform(start_s, end_s) for _ in range(rng.randint(0, 4)))
    if len(turns) % 2:
        turns.pop()  # it is on at the end
    stood: list[tuple[float, State]] = [(start_s, "on")]
    stood += [(at_s, "on" if number % 2 else "paused") for number, at_s in enumerate(turns)]
    times = [MONDAY_S + day * 24 * HOUR_S for day in range(7) if MONDAY_S + day * 24 * HOUR_S <= end_s]
    on = [at_s for at_s in times if [state for since_s, state in stood if since_s <= at_s][-1] == "on"]
    partitions: list[dict[str, Book]] = [{}, {}, {}]
    had: list[list[float]] = [[], [], []]
    looks = [(rng.uniform(start_s, end_s), number) for number in (0, 1) for _ in range(rng.randint(0, 30))]
    for now_s, number in [*sorted(looks), *((end_s, number) for number in (0, 1, 2) for _ in range(20))]:
        *earlier, (since_s, state) = (each for each in stood if each[0] <= now_s)
        plan.standings = {"c": Standing(state, since_s, start_s, earlier=tuple(earlier))}
        for under in due_times(plan, Books(partitions[number]), now_s):
            begun(Books(partitions[number]), under)
            if now_s == end_s or rng.random() < 0.5:  # else more of its members are left
                done(Books(partitions[number]), under)
                had[number].append(under.at_s)
    for each in had:
        assert each[-1:] == on[-1:], (stood, had)
        assert set(each) <= set(on)
        assert each == sorted(set(each))


def test_a_schedule_that_is_edited_goes_out_for_no_time_before_the_edit() -> None:
    """On Monday at 13:00 somebody moves it from Thursday to Monday 10:00: nothing goes out before the next Monday."""
    plan = plan_of({"c": campaign(trigger=WEEKLY)})
    plan.standings = {"c": Standing(since_s=0.0, created_s=0.0, triggered_s=MONDAY_S + 3 * HOUR_S)}
    assert due_times(plan, Books({}), MONDAY_S + 3 * HOUR_S) == []
    assert due_times(plan, Books({}), MONDAY_S + WEEK_S) == [("c", MONDAY_S + WEEK_S)]


def test_a_time_that_has_begun_is_finished_before_the_next_one_begins() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY)})
    stored: dict[str, Book] = {}
    begun(Books(stored), Under("c", MONDAY_S))
    plan.standings = {"c": Standing("paused", MONDAY_S + 60.0)}
    assert due_times(plan, Books(stored), MONDAY_S + 120.0) == []
    plan.standings = {"c": Standing("on", MONDAY_S + WEEK_S)}
    assert due_times(plan, Books(stored), MONDAY_S + WEEK_S) == [("c", MONDAY_S)]
    done(Books(stored), Under("c", MONDAY_S))
    assert due_times(plan, Books(stored), MONDAY_S + WEEK_S) == [("c", MONDAY_S + WEEK_S)]


def test_another_trigger_ends_a_time_that_has_begun() -> None:
    plan = plan_of({"c": campaign(trigger=WEEKLY)})
    stored: dict[str, Book] = {}
    begun(Books(stored), Under("c", MONDAY_S - 3 * HOUR_S))
    plan.standings = {"c": Standing(triggered_s=MONDAY_S - HOUR_S)}
    assert due_times(plan, Books(stored), MONDAY_S - 60.0) == []
    assert due_times(plan, Books(stored), MONDAY_S) == [("c", MONDAY_S)]


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
