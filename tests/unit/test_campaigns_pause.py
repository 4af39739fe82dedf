"""What a pause holds and what goes on behind it, and that nobody waits for a rate that has room."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from math import inf, nextafter
from typing import Any

import pytest

from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.campaigns.inputs import Crossing
from streams.campaigns.plan import Definitions, Plan, Standing
from tests.campaign_run_world import NOW_S as RUN_S
from tests.campaign_run_world import World, track
from tests.campaign_world import OPEN, Service, campaign, facts, journey, plan_of, send_step

MIDNIGHT_S = 1_790_035_200.0  # 2026-09-22T00:00:00Z
MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
NIGHT = {"from": "00:00", "to": "08:00"}
IN = facts("s")


LADDER = {"unit": "percent", "prediction": "p", "edges": [30], "values": [20, 10], "order_value": 40.0}


def enter(user: str = "ann", at_s: float = MIDNIGHT_S, sequence: int = 1) -> Crossing:
    return Crossing(user, "s", True, sequence, at_s, "live")


# --- what a pause holds ----------------------------------------------------------------------------------------------


def test_what_the_night_held_back_survives_a_pause_over_the_morning() -> None:
    service = Service.of({"c": campaign(quiet_hours=NIGHT, max_trigger_age="1d")})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "paused", MIDNIGHT_S + 7.0 * HOUR_S)
    for hour in (8, 9, 10):
        service.step(MIDNIGHT_S + hour * HOUR_S, [], {"ann": IN})
    assert service.counts("c") == {"waited_quiet": 1, "waited_paused": 1}
    service.stand("c", "on", MIDNIGHT_S + 11.0 * HOUR_S)
    service.step(MIDNIGHT_S + 11.0 * HOUR_S, [], {"ann": IN})
    assert [(send.user, send.at_s) for send in service.taken] == [("ann", MIDNIGHT_S + 11.0 * HOUR_S)]


def test_what_begins_in_a_pause_is_not_sent_behind_it() -> None:
    service = Service.of({"c": campaign()})
    service.stand("c", "paused", MIDNIGHT_S - 1.0)
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "on", MIDNIGHT_S + 1.0)
    service.step(MIDNIGHT_S + 1.0, [], {"ann": IN})
    assert (service.taken, service.counts("c")) == ([], {"inactive": 1})


def test_a_pause_that_lasts_too_long_leaves_what_it_held_stale_and_counted_once() -> None:
    service = Service.of({"c": campaign(quiet_hours=NIGHT, max_trigger_age="12h")})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "paused", MIDNIGHT_S + HOUR_S)
    deadline_s = MIDNIGHT_S + 12.0 * HOUR_S
    for now_s in (MIDNIGHT_S + 8.0 * HOUR_S, deadline_s, nextafter(deadline_s, inf), deadline_s + DAY_S):
        service.step(now_s, [], {"ann": IN})
    assert service.counts("c") == {"waited_quiet": 1, "waited_paused": 1, "stale": 1}
    assert service.rows["ann"].waiting == {}


def test_what_a_pause_holds_is_asked_about_by_all_rules_again() -> None:
    service = Service.of({"c": campaign(quiet_hours=NIGHT)})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "paused", MIDNIGHT_S + HOUR_S)
    service.step(MIDNIGHT_S + 8.0 * HOUR_S, [], {"ann": IN})
    service.stand("c", "on", MIDNIGHT_S + 9.0 * HOUR_S)
    service.step(MIDNIGHT_S + 9.0 * HOUR_S, [], {"ann": facts()})
    assert service.counts("c") == {"waited_quiet": 1, "waited_paused": 1, "left": 1}


def test_a_newer_occasion_takes_the_place_of_one_that_a_pause_holds() -> None:
    service = Service.of({"c": campaign(quiet_hours=NIGHT, trigger="both", max_trigger_age="12h")})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "paused", MIDNIGHT_S + HOUR_S)
    service.step(MIDNIGHT_S + 8.0 * HOUR_S, [], {"ann": IN})
    service.step(MIDNIGHT_S + 10.0 * HOUR_S, [enter(at_s=MIDNIGHT_S + 10.0 * HOUR_S, sequence=3)], {"ann": IN})
    service.step(MIDNIGHT_S + 13.0 * HOUR_S, [], {"ann": IN})  # the first would be stale, the second is not
    service.stand("c", "on", MIDNIGHT_S + 14.0 * HOUR_S)
    service.step(MIDNIGHT_S + 14.0 * HOUR_S, [], {"ann": IN})
    assert service.counts("c") == {"waited_quiet": 1, "waited_paused": 1, "replaced": 1, "sent": 1}


@pytest.mark.parametrize("ends", ["archived", "over"])
def test_what_a_pause_holds_goes_when_the_campaign_is_archived_or_over(ends: str) -> None:
    service = Service.of({"c": campaign(quiet_hours=NIGHT)})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("c", "paused", MIDNIGHT_S + HOUR_S)
    service.step(MIDNIGHT_S + 8.0 * HOUR_S, [], {"ann": IN})
    service.stand("c", "archived" if ends == "archived" else "on", MIDNIGHT_S + 9.0 * HOUR_S)
    if ends == "over":
        found = campaign(quiet_hours=NIGHT, ends="2026-09-22 08:30")
        service.plan = plan_of({"c": found})
    service.step(MIDNIGHT_S + 9.0 * HOUR_S, [], {"ann": IN})
    assert service.counts("c") == {"waited_quiet": 1, "waited_paused": 1, "inactive": 1}
    assert service.rows["ann"].waiting == {}


def test_who_waits_for_the_rate_keeps_the_place_over_a_pause() -> None:
    service = Service.of({"c": campaign(rate={"sends": 1, "per": "minute"})})
    users = [f"user{number}" for number in range(5)]
    known = dict.fromkeys(users, IN)
    service.step(MIDNIGHT_S, [enter(user, MIDNIGHT_S - 9.0 + n) for n, user in enumerate(users)], known)
    service.stand("c", "paused", MIDNIGHT_S + 30.0)
    for minute in range(1, 6):
        service.step(MIDNIGHT_S + minute * MINUTE_S, [], known)
    assert [send.user for send in service.taken] == ["user0"]
    service.stand("c", "on", MIDNIGHT_S + 6.0 * MINUTE_S)
    for minute in range(6, 12):
        service.step(MIDNIGHT_S + minute * MINUTE_S, [], known)
    assert [send.user for send in service.taken] == users
    assert service.counts("c") == {"sent": 5, "waited_rate": 4}


def test_what_a_pause_held_finds_its_place_in_the_queue_of_the_rate() -> None:
    """By when it began: before those who came while it was held."""
    service = Service.of({"c": campaign(rate={"sends": 1, "per": "minute"}, quiet_hours=NIGHT)})
    known = dict.fromkeys(["ann", "bo"], IN)
    service.step(MIDNIGHT_S, [enter("ann")], known)
    service.stand("c", "paused", MIDNIGHT_S + HOUR_S)
    morning_s = MIDNIGHT_S + 8.0 * HOUR_S
    service.step(morning_s, [], known)
    service.stand("c", "on", morning_s + 10.0)
    service.step(morning_s + 10.0, [enter("bo", morning_s + 10.0)], known)
    service.step(morning_s + MINUTE_S, [], known)
    assert [send.user for send in service.taken] == ["ann", "bo"]


def test_an_entry_into_a_journey_that_waits_is_held_too() -> None:
    service = Service.of(journeys={"j": journey({"hello": send_step()})})
    service.step(MIDNIGHT_S, [enter()], {"ann": facts("s", as_of_s=MIDNIGHT_S - HOUR_S)})
    service.stand("j", "paused", MIDNIGHT_S + 30.0)
    service.step(MIDNIGHT_S + HOUR_S, [], {"ann": IN})
    assert service.counts("j") == {}
    service.stand("j", "on", MIDNIGHT_S + 2.0 * HOUR_S)
    service.step(MIDNIGHT_S + 2.0 * HOUR_S, [], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "finished": 1}


STEPS = {"hello": send_step("hello"), "rest": {"wait": "1h"}, "again": send_step("again")}


def test_a_step_that_a_pause_holds_goes_on_as_soon_as_it_is_over() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("j", "paused", MIDNIGHT_S + 60.0)
    for hour in (1, 2, 3):
        service.step(MIDNIGHT_S + hour * HOUR_S + 1.0, [], {"ann": IN})
    resumed_s = MIDNIGHT_S + 3.0 * HOUR_S + 61.0
    service.stand("j", "on", resumed_s)
    service.lose_memory()  # who is held is known behind a stop, too
    service.step(resumed_s, [], {"ann": IN})
    assert [(send.step, send.at_s) for send in service.taken] == [("hello", MIDNIGHT_S), ("again", resumed_s)]
    assert (service.counts("j")["finished"], service.rows["ann"].journeys) == (1, {})


def test_a_step_that_a_breaker_holds_goes_on_as_soon_as_people_have_looked() -> None:
    breaker = {"times": 2, "at_least": 1, "until_known": 1}
    service = Service.of(journeys={"j": journey({"hello": send_step()}, breaker=breaker)})
    known = dict.fromkeys(["ann", "bo"], IN)
    service.step(MIDNIGHT_S, [enter("ann"), enter("bo")], known)
    assert [send.user for send in service.taken] == ["ann"]
    service.step(MIDNIGHT_S + 5.0, [], known)
    service.stand("j", "paused", MIDNIGHT_S + 6.0)
    service.step(MIDNIGHT_S + 10.0, [], known)
    service.stand("j", "on", MIDNIGHT_S + 20.0)
    service.step(MIDNIGHT_S + 20.0, [], known)
    assert [send.user for send in service.taken] == ["ann", "bo"]


def test_who_is_held_in_a_journey_leaves_it_when_it_is_archived() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(MIDNIGHT_S, [enter()], {"ann": IN})
    service.stand("j", "paused", MIDNIGHT_S + 60.0)
    service.step(MIDNIGHT_S + 2.0 * HOUR_S, [], {"ann": IN})
    service.stand("j", "archived", MIDNIGHT_S + 3.0 * HOUR_S)
    service.step(MIDNIGHT_S + 3.0 * HOUR_S, [], {"ann": IN})
    assert (service.counts("j"), service.book("j").inside) == ({"entered": 1, "sent": 1, "gone": 1}, {})


def test_a_breaker_that_trips_holds_what_had_waited() -> None:
    """What the night held back is counted by its own hour; the twelve of one hour are too many, and none is lost."""
    breaker = {"times": 2, "at_least": 5, "until_known": 5}
    service = Service.of({"c": campaign(breaker=breaker, quiet_hours=NIGHT)})
    users = [f"user{number:02}" for number in range(12)]
    known = dict.fromkeys(users, IN)
    service.step(MIDNIGHT_S, [enter(user) for user in users], known)
    morning_s = MIDNIGHT_S + 8.0 * HOUR_S
    service.step(morning_s, [enter("late", morning_s)], known | {"late": IN})
    assert (len(service.taken), len(service.trips)) == (5, 1)
    assert service.counts("c") == {"waited_quiet": 12, "sent": 5, "waited_paused": 7, "breaker": 1}
    service.stand("c", "on", morning_s + HOUR_S)  # a person has looked, and leaves the breaker as it is
    service.step(morning_s + HOUR_S, [], known)
    assert sorted(send.user for send in service.taken) == users
    assert len(service.trips) == 1


# --- rates -----------------------------------------------------------------------------------------------------------


def test_an_edit_of_the_rate_counts_at_once() -> None:
    """In the period in which the old one is used up, also for those who wait already."""
    service = Service.of({"c": campaign(rate={"sends": 2, "per": "day"})})
    users = [f"user{number}" for number in range(9)]
    known = dict.fromkeys([*users, "new"], IN)
    service.step(MIDNIGHT_S, [enter(user) for user in users], known)
    assert len(service.taken) == 2
    service.plan = plan_of({"c": campaign(rate={"sends": 6, "per": "day"})})
    service.step(MIDNIGHT_S + HOUR_S, [enter("new", MIDNIGHT_S + HOUR_S)], known)
    assert len(service.taken) == 6
    service.plan = plan_of({"c": campaign(rate=None)})
    service.step(MIDNIGHT_S + 2.0 * HOUR_S, [], known)
    assert len(service.taken) == 10


def test_a_rate_that_was_lowered_sends_nothing_more_in_the_period() -> None:
    service = Service.of({"c": campaign(rate={"sends": 640, "per": "day"})})
    known = dict.fromkeys(["ann", "bo"], IN)
    service.step(MIDNIGHT_S, [enter("ann")], known)
    service.plan = plan_of({"c": campaign(rate={"sends": 1, "per": "day"})})
    service.step(MIDNIGHT_S + HOUR_S, [enter("bo", MIDNIGHT_S + HOUR_S)], known)
    assert service.counts("c") == {"sent": 1, "waited_rate": 1}
    service.step(MIDNIGHT_S + DAY_S, [], known)
    assert [send.user for send in service.taken] == ["ann", "bo"]


def test_a_clock_that_is_set_back_gives_nobody_the_room_of_a_period_again() -> None:
    service = Service.of({"c": campaign(rate={"sends": 2, "per": "minute"})})
    users = [f"user{number}" for number in range(4)]
    known = dict.fromkeys(users, IN)
    service.step(MIDNIGHT_S + 58.0, [enter(user) for user in users[:2]], known)
    service.step(MIDNIGHT_S + 60.5, [], known)
    service.step(MIDNIGHT_S + 59.5, [enter(user) for user in users[2:]], known)
    assert [send.user for send in service.taken] == users[:2]
    service.step(MIDNIGHT_S + 61.0, [], known)
    assert sorted(send.user for send in service.taken) == users


def test_what_one_partition_gives_back_is_used_by_another() -> None:
    store = MemoryCampaigns()
    one, other = (Service(plan_of({"c": campaign(rate={"sends": 4, "per": "day"})}), store, n, 2) for n in range(2))
    known = dict.fromkeys([f"user{number}" for number in range(8)], IN)
    one.step(MIDNIGHT_S, [enter("user0")], known)
    # A grant that nobody uses: its user had room, and was not sent to for another reason.
    one.plan = plan_of({"c": campaign(rate={"sends": 4, "per": "day"}, offer=LADDER)})
    one.step(MIDNIGHT_S + 1.0, [enter("user9", MIDNIGHT_S + 1.0)], {"user9": IN})
    assert one.counts("c") == {"sent": 1, "no_score": 1}
    other.step(MIDNIGHT_S + 2.0, [enter(user, MIDNIGHT_S + 2.0) for user in sorted(known)[1:]], known)
    assert len(other.taken) == 2
    one.step(MIDNIGHT_S + 62.0, [], known)  # gives back what nobody asked for in a minute
    other.step(MIDNIGHT_S + 63.0, [], known)
    assert len(other.taken) == 3


# --- a partition at work ---------------------------------------------------------------------------------------------


def test_a_partition_comes_to_rest_when_its_rate_is_edited() -> None:
    """It neither waits until midnight nor commits for ever without doing anything (`World.settle` would fail)."""
    world = World.of(c=campaign(rate={"sends": 3, "per": "day"}, max_trigger_age="10d"))
    for number in range(10):
        world.events.append(track(f"user{number}", "Enter", RUN_S, f"enter {number}"))
    world.settle()
    assert len(world.receiver.sends) == 3
    world.define(plan_of({"c": campaign(rate={"sends": 8, "per": "day"}, max_trigger_age="10d")}))
    world.settle()
    assert len(world.receiver.sends) == 8
    commits = world.run.counts.commits
    world.settle()
    assert world.run.counts.commits == commits
    world.now_s += DAY_S
    world.settle()
    assert len(world.receiver.sends) == 10


@pytest.mark.parametrize(
    ("rate", "sent"), [(None, 6), ({"sends": 4, "per": "day"}, 4), ({"sends": 1, "per": "day"}, 2)]
)
def test_a_partition_comes_to_rest_when_the_rate_of_a_journey_is_edited(rate: dict[str, Any] | None, sent: int) -> None:
    """Also for users who stay on the version before: the rate is that of the journey as a whole."""
    steps = {"hello": send_step(at_most="10d")}
    old = journey(steps, rate={"sends": 2, "per": "day"})
    world = World(plan_of(journeys={"j": old}))
    for number in range(6):
        world.events.append(track(f"user{number}", "Enter", RUN_S, f"enter {number}"))
    world.settle()
    assert len(world.receiver.sends) == 2
    world.define(Plan(Definitions(OPEN, journeys={"j": {1: old, 2: journey(steps, rate=rate)}})))
    world.settle()
    assert len(world.receiver.sends) == sent


def test_a_partition_comes_to_rest_while_a_campaign_with_a_queue_is_paused() -> None:
    world = World.of(c=campaign(rate={"sends": 1, "per": "minute"}))
    for number in range(4):
        world.events.append(track(f"user{number}", "Enter", RUN_S, f"enter {number}"))
    world.settle()
    paused = plan_of({"c": campaign(rate={"sends": 1, "per": "minute"})})
    paused.standings["c"] = Standing("paused", RUN_S)
    world.define(paused)
    world.now_s += MINUTE_S
    commits = world.run.counts.commits
    world.settle()
    assert (world.run.counts.commits, len(world.receiver.sends)) == (commits, 1)


def test_who_waits_goes_before_who_comes_also_at_a_start() -> None:
    world = World.of(c=campaign(rate={"sends": 2, "per": "minute"}))
    for number in range(4):
        world.events.append(track(f"user{number}", "Enter", RUN_S, f"enter {number}"))
    world.settle()
    world.start()
    world.run.assign(world.told)
    world.now_s += MINUTE_S
    world.events.append(track("late", "Enter", world.now_s, "enter late"))
    world.shard.store()
    world.shard.publish()
    world.settle()
    assert {each.user for each in world.receiver.sends} == {f"user{number}" for number in range(4)}
    world.now_s += MINUTE_S
    world.settle()
    assert world.receiver.sends[-1].user == "late"


def test_a_partition_at_work_sends_what_a_pause_held_in_a_journey_when_it_is_over() -> None:
    """And rests meanwhile: nobody is asked about again and again."""
    world = World(plan_of(journeys={"j": journey(STEPS)}))
    world.events.append(track("ann", "Enter", RUN_S, "enter ann"))
    world.settle()
    paused = plan_of(journeys={"j": journey(STEPS)})
    paused.standings["j"] = Standing("paused", RUN_S + 60.0)
    world.define(paused)
    world.now_s = RUN_S + HOUR_S + MINUTE_S
    world.settle()
    commits = world.run.counts.commits
    world.now_s += DAY_S / 2.0
    world.settle()
    assert (world.run.counts.commits, len(world.receiver.sends)) == (commits, 1)
    on = plan_of(journeys={"j": journey(STEPS)})
    on.standings["j"] = Standing("on", world.now_s)
    world.define(on)
    world.settle()
    assert [each.step for each in world.receiver.sends] == ["hello", "again"]


def scheduled() -> Plan:
    at = datetime.fromtimestamp(RUN_S + HOUR_S, UTC).strftime("%Y-%m-%dT%H:%M")
    return plan_of({"c": campaign(trigger={"at": at})})


def half_way() -> tuple[World, list[str]]:
    """A schedule that has reached some of its members."""
    world, users = World(scheduled()), [f"user{number}" for number in range(7)]
    for user in users:
        world.events.append(track(user, "Enter", RUN_S, f"enter {user}"))
    world.settle()
    world.now_s = RUN_S + HOUR_S + MINUTE_S
    while len(world.receiver.sends) < 3:
        world.shard.store()
        world.steps(1)
    return world, users


def stand(world: World, state: str, since_s: float) -> None:
    plan = scheduled()
    plan.standings["c"] = Standing(state, since_s)  # type: ignore[arg-type]
    world.define(plan)


def test_a_schedule_that_has_begun_goes_on_behind_a_pause() -> None:
    world, users = half_way()
    stand(world, "paused", world.now_s)
    world.settle()
    reached = len(world.receiver.sends)
    assert reached < len(users)
    world.start()  # what has begun is known behind a stop, too
    world.now_s += HOUR_S
    world.settle()
    assert len(world.receiver.sends) == reached
    stand(world, "on", world.now_s)
    world.settle()
    assert sorted(each.user for each in world.receiver.sends) == users


def test_members_whom_a_schedule_reaches_too_late_are_counted() -> None:
    world, users = half_way()
    stand(world, "paused", world.now_s)
    world.settle()
    reached = len(world.receiver.sends)
    world.now_s += 2.0 * DAY_S
    stand(world, "on", world.now_s)
    world.settle()
    assert (world.book().counts["sent"], world.book().counts["stale"]) == (reached, len(users) - reached)
    world.settle()
    assert world.book().counts["stale"] == len(users) - reached


def test_a_change_of_something_else_does_not_take_a_schedule_back_to_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, users = half_way()
    asked, members = [], world.shard.members

    def note(segment: str, cursor: str, limit: int) -> tuple[list[str], str]:
        asked.append(cursor)
        return members(segment, cursor, limit)

    monkeypatch.setattr(world.shard, "members", note)
    world.define(plan_of({"c": next(iter(scheduled().scheduled.values())), "another": campaign(segment="t")}))
    world.settle()
    assert asked
    assert "" not in asked
    assert all(a < b for a, b in pairwise(asked))
    assert sorted(each.user for each in world.receiver.sends) == users
