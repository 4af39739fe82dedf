"""Single rules of the engine that worlds of chance do not reach: said again, journeys, the breaker, allowances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from config.campaigns import Cap, Messaging
from config.errors import Fenced
from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.campaigns.allowance import Allowance, Use, new_grant, slice_of
from streams.campaigns.caps import with_send
from streams.campaigns.effects import dropped
from streams.campaigns.inputs import Crossing, Deleted, Facts, Member, Watched
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.campaigns.question import MessageFailed, Tools, Withhold
from streams.campaigns.recheck import needs_recheck, recheck
from streams.campaigns.state import Book, Books, State
from streams.campaigns.volume import usual_hours
from tests.campaign_world import (
    NOBODY,
    OPEN,
    Service,
    campaign,
    facts,
    journey,
    plain,
    plan_of,
    send_step,
)

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z, a Monday
HOUR_S, DAY_S = 3_600.0, 86_400.0
IN, OUT = facts("s"), facts()


def enter(sequence: int = 1, at_s: float = NOW_S, user: str = "ann", segment: str = "s") -> Crossing:
    return Crossing(user, segment, sequence % 2 == 1, sequence, at_s, "live")


def event(name: str, number: int, at_s: float, **properties: object) -> Watched:
    return Watched("ann", name, at_s, 0, "g", number, f"m{number}", properties)


def texts(service: Service) -> list[str | None]:
    return [send.step for send in service.taken]


# --- said again ------------------------------------------------------------------------------------------------------


def test_a_store_that_was_rebuilt_says_crossings_again_and_nobody_gets_two() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter(5, NOW_S)], {"ann": IN})
    service.step(NOW_S, [enter(1, NOW_S - 5.0), enter(1, NOW_S), enter(3, NOW_S)], {"ann": IN})
    assert len(service.taken) == 1


def test_after_a_rebuild_a_later_change_of_the_membership_counts() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter(5, NOW_S)], {"ann": IN})
    service.step(NOW_S + 60.0, [enter(1, NOW_S + 50.0), enter(2, NOW_S + 60.0)], {"ann": OUT})
    assert service.rows["ann"].crossings["s"] == (2, NOW_S + 60.0)
    service.step(NOW_S + 90.0, [enter(3, NOW_S + 90.0)], {"ann": IN})
    assert len(service.taken) == 2


def test_the_same_crossing_has_the_same_id_in_a_store_that_was_lost() -> None:
    first, second = Service.of({"c": campaign()}), Service.of({"c": campaign()})
    first.step(NOW_S, [enter()], {"ann": IN})
    second.step(NOW_S + 500.0, [enter(1, NOW_S, "zoe"), enter()], {"ann": IN, "zoe": IN})
    assert first.taken[0].id == second.taken[1].id != second.taken[0].id


def test_after_an_outage_of_six_hours_nothing_is_sent_for_what_happened_in_it() -> None:
    service = Service.of(
        {"c": campaign(max_trigger_age="4h")}, {"j": journey({"go": send_step()}, max_trigger_age="4h")}
    )
    old = [enter(1, NOW_S - 6 * HOUR_S + 60.0 * n, f"user-{n}") for n in range(100)]
    fresh = enter(1, NOW_S - HOUR_S)
    service.step(NOW_S, [*old, fresh], dict.fromkeys([*(each.user for each in old), "ann"], IN))
    assert {send.user for send in service.taken} == {"ann"}
    assert (service.counts("c"), service.counts("j")) == (
        {"stale": 100, "sent": 1},
        {"stale": 100, "entered": 1, "sent": 1, "finished": 1},
    )


def test_nothing_is_sent_to_who_was_deleted_and_nothing_is_kept() -> None:
    service = Service.of({"c": campaign(quiet_hours={"from": "00:00", "to": "23:00"})})
    service.step(NOW_S, [enter()], {"ann": IN})
    assert service.counts("c") == {"waited_quiet": 1}
    service.step(NOW_S + 1.0, [Deleted("ann"), enter()], {"ann": NOBODY})
    service.step(NOW_S + DAY_S, [], {"ann": NOBODY})
    assert (service.rows, service.taken) == ({}, [])


def test_a_user_whom_the_store_does_not_know_is_not_sent_to() -> None:
    service = Service.of({"c": campaign(quiet_hours={"from": "00:00", "to": "15:00"})})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + HOUR_S, [], {"ann": NOBODY})
    assert service.counts("c") == {"waited_quiet": 1, "unknown": 1}


def test_an_event_that_is_said_again_under_another_generation_leads_to_one_message() -> None:
    service = Service.of({"c": campaign(trigger={"event": "Cart"})})
    for number, generation in ((5, "g"), (2, "h")):
        again = Watched("ann", "Cart", NOW_S, 0, generation, number, "m1", {})
        service.step(NOW_S, [again, again], {"ann": IN})
    assert service.counts("c") == {"sent": 1}


def test_a_conversion_that_is_said_again_under_another_generation_counts_once() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter()], {"ann": IN})
    for number, generation in ((5, "g"), (2, "h")):
        order = Watched("ann", "Order", NOW_S + 5.0, 0, generation, number, "m1", {"value": 30.0})
        service.step(NOW_S + 60.0, [order], {"ann": IN})
    assert (service.rows["ann"].assigned["c"].converted, service.rows["ann"].assigned["c"].revenue) == (1, 30.0)


def test_numbers_of_two_shards_have_nothing_to_do_with_each_other() -> None:
    service = Service.of({"c": campaign(trigger={"event": "Cart"})})
    service.step(NOW_S, [Watched("ann", "Cart", NOW_S, 0, "g", 9, "m1")], {"ann": IN})
    service.step(NOW_S, [Watched("ann", "Cart", NOW_S, 1, "g", 3, "m2")], {"ann": IN})
    assert service.counts("c") == {"sent": 2}


@pytest.mark.parametrize(("age_s", "what"), [(3_600.0, "sent"), (3_600.5, "stale")])
def test_an_occasion_is_stale_when_it_is_older_than_that(age_s: float, what: str) -> None:
    service = Service.of({"c": campaign(max_trigger_age="1h")})
    service.step(NOW_S + age_s, [enter()], {"ann": IN})
    assert service.counts("c") == {what: 1}


def test_what_would_be_stale_by_the_morning_does_not_wait_for_it() -> None:
    four_s = NOW_S // DAY_S * DAY_S + 16 * HOUR_S
    for max_age, what in (("3h", "waited_quiet"), ("2h", "quiet")):
        service = Service.of({"c": campaign(max_trigger_age=max_age, quiet_hours={"from": "10:00", "to": "16:00"})})
        service.step(four_s - HOUR_S, [enter(1, four_s - 2.5 * HOUR_S)], {"ann": IN})
        assert service.counts("c") == {what: 1}


@pytest.mark.parametrize(("since_s", "what"), [(3_599.5, "goal"), (3_600.0, "sent")])
def test_a_goal_counts_as_recent_for_less_than_so_long(since_s: float, what: str) -> None:
    service = Service.of({"c": campaign(skip_recent_goal="1h")})
    ann = facts("s", latest_s={"Order": NOW_S - since_s})
    service.step(NOW_S, [enter()], {"ann": ann})
    assert service.counts("c") == {what: 1}


# --- scheduled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [{"every": "day"}, {"every": "week", "on": ["monday", "tuesday"]}])
def test_what_goes_out_every_day_reaches_everybody_every_day(every: dict[str, Any]) -> None:
    """Nobody has said that a user may not get it again."""
    service = Service.of({"c": campaign(trigger=every | {"at": "14:00"}, reentry=None)})
    for at_s in (NOW_S, NOW_S + DAY_S):
        service.step(at_s, [Member("ann", "c", at_s)], {"ann": IN})
    assert service.counts("c") == {"sent": 2}


def test_a_member_that_two_pages_name_is_sent_to_once_and_the_next_week_again() -> None:
    service = Service.of({"c": campaign(trigger={"every": "week", "on": ["monday"], "at": "14:00"})})
    for _ in range(3):
        service.step(NOW_S, [Member("ann", "c", NOW_S), Member("ann", "c", NOW_S)], {"ann": IN})
    service.step(NOW_S + 7 * DAY_S, [Member("ann", "c", NOW_S + 7 * DAY_S)], {"ann": IN})
    assert [send.at_s for send in service.taken] == [NOW_S, NOW_S + 7 * DAY_S]
    service.step(NOW_S + 14 * DAY_S, [Member("ann", "c", NOW_S + 14 * DAY_S)], {"ann": OUT})
    assert service.counts("c") == {"sent": 2, "left": 1}


# --- priorities and shared limits ------------------------------------------------------------------------------------


def test_a_cap_that_is_defined_later_counts_what_was_sent_before() -> None:
    service = Service.of({"c": campaign()})
    for number in range(130):
        at_s = NOW_S + number * HOUR_S
        service.step(at_s, [enter(2 * number + 1, at_s)], {"ann": IN})
    kept = service.rows["ann"].sends_s
    assert (len(kept), kept[-1]) == (100, NOW_S + 129 * HOUR_S)
    caps = {"holdout": 0.0, "caps": [{"sends": 3, "within": "1d"}], "channels": {"open": {"kind": "log"}}}
    service.plan = plan_of({"c": campaign()}, messaging=Messaging.model_validate(caps, context={}))
    service.step(NOW_S + 130 * HOUR_S, [enter(301, NOW_S + 130 * HOUR_S)], {"ann": IN})
    assert service.counts("c") == {"sent": 130, "caps": 1}


@pytest.mark.parametrize(("sends", "within", "kept"), [(1_000, "7d", 168), (5, "1h", 100), (200, "90d", 240)])
def test_all_that_a_cap_looks_at_is_kept_and_the_latest_hundred(sends: int, within: str, kept: int) -> None:
    caps = [Cap.model_validate({"sends": sends, "within": within})]
    sends_s: list[float] = []
    for hour in range(240):
        sends_s = with_send(caps, sends_s, NOW_S + hour * HOUR_S)
    assert sends_s == [NOW_S + hour * HOUR_S for hour in range(240 - kept, 240)]
    assert with_send([], sends_s, NOW_S + 200 * DAY_S) == [NOW_S + 200 * DAY_S]


def test_of_two_campaigns_on_one_crossing_the_cap_lets_the_more_important_one_go() -> None:
    messaging = Messaging.model_validate(
        {"holdout": 0.0, "caps": [{"sends": 1, "within": "1d"}], "channels": {"open": {"kind": "log"}}}, context={}
    )
    service = Service.of({"a": campaign(priority=10), "b": campaign(priority=60)}, messaging=messaging)
    service.step(NOW_S, [enter()], {"ann": IN})
    assert [send.campaign for send in service.taken] == ["b"]
    assert service.counts("a") == {"caps": 1}


def crowd_of(n: int, at_s: float, sequence: int = 1) -> list[Crossing]:
    return [enter(sequence, at_s, f"user-{number:03}") for number in range(n)]


def known(crowd: Sequence[Crossing]) -> dict[str, Facts]:
    return {each.user: IN for each in crowd}


HOUR = int(NOW_S // HOUR_S)
BREAKER = {"times": 3, "at_least": 10, "until_known": 20}


def test_the_breaker_pauses_a_campaign_alerts_once_and_a_person_lets_it_go_on() -> None:
    service = Service.of({"c": campaign(breaker=BREAKER)}, usual={"c": {HOUR % 24: 4}})
    crowd = crowd_of(30, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    assert service.counts("c") == {"sent": 12, "breaker": 18}
    assert [alert.kind for alert in service.alerts] == ["breaker"]
    assert [(trip.campaign, trip.since_s) for trip in service.trips] == [("c", -inf)]
    service.step(NOW_S + 2 * HOUR_S, [enter(1, NOW_S + 2 * HOUR_S)], {"ann": IN})
    assert service.counts("c") == {"sent": 12, "breaker": 19}
    service.stand("c", "on", NOW_S + 2 * HOUR_S)  # a person has looked
    service.step(NOW_S + 2 * HOUR_S, [enter(3, NOW_S + 2 * HOUR_S)], {"ann": IN})
    assert service.counts("c") == {"sent": 13, "breaker": 19}


def test_behind_a_resume_the_breaker_counts_anew_and_trips_again() -> None:
    """Also in the hour in which it tripped: neither for one message too many, nor for any number of them."""
    service = Service.of({"c": campaign(breaker=BREAKER)}, usual={"c": {HOUR % 24: 4}})
    crowd = crowd_of(30, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    service.stand("c", "on", NOW_S + 60.0)
    again = crowd_of(12, NOW_S + 70.0, 3)
    service.step(NOW_S + 70.0, again, known(again))
    assert (len(service.taken), len(service.trips)) == (24, 1)
    service.step(NOW_S + 80.0, [enter(1, NOW_S + 80.0)], {"ann": IN})
    assert (len(service.taken), len(service.trips)) == (24, 2)


def test_partitions_of_one_campaign_trip_together_and_alert_under_one_id() -> None:
    store = MemoryCampaigns()
    services = [
        Service(plan_of({"c": campaign(breaker=BREAKER)}), store, n, 2, usual={"c": {HOUR % 24: 4}}) for n in range(2)
    ]
    crowd = crowd_of(30, NOW_S)
    for service in services:
        service.step(NOW_S, crowd, known(crowd))
    assert sum(len(service.taken) for service in services) == 12
    assert len({alert.id for service in services for alert in service.alerts}) == 1


def test_what_a_night_has_held_back_is_no_flood_in_the_morning() -> None:
    """The breaker counts by the hour of the occasion: 18 in each of eight hours, all sent in one."""
    night_s = NOW_S // DAY_S * DAY_S
    quiet = {"from": "00:00", "to": "08:00"}
    usual = {"c": dict.fromkeys(range(24), 6)}
    service = Service.of({"c": campaign(breaker=BREAKER, quiet_hours=quiet)}, usual=usual)
    users: dict[str, Facts] = {}
    for hour in range(8):
        crowd = [enter(1, night_s + hour * HOUR_S, f"user-{hour}-{n}") for n in range(18)]
        users |= known(crowd)
        service.step(night_s + hour * HOUR_S, crowd, known(crowd))
    service.step(night_s + 8 * HOUR_S, [], users)
    assert service.counts("c") == {"waited_quiet": 144, "sent": 144}


def test_before_it_is_known_what_is_usual_the_breaker_has_an_absolute_bound() -> None:
    service = Service.of({"c": campaign(breaker=BREAKER)})
    crowd = crowd_of(30, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    assert service.counts("c") == {"sent": 20, "breaker": 10}


def test_what_is_usual_is_the_most_of_that_hour_of_the_day_in_a_week() -> None:
    now = 24 * 400
    assert usual_hours([], now * HOUR_S) is None
    assert usual_hours([{now - 23: 50}], now * HOUR_S) is None
    found = usual_hours([{now - 24: 48, now - 1: 3}, {now - 24: 24, now - 48: 90}], now * HOUR_S)
    assert found == {0: 90, 23: 3}
    assert usual_hours([{now - 24: 48, now: 1_000_000}], now * HOUR_S + 1_800.0) == {0: 48}  # this hour is not over
    assert usual_hours([{now - 192: 5_000, now - 168: 168}], now * HOUR_S) == {0: 168}


def test_the_book_keeps_the_hours_of_a_week() -> None:
    book = Book()
    for hour in range(400):
        book.count_hour(hour * HOUR_S)
        book.count_hour(hour * HOUR_S + 5.0)
    book.count_hour(3 * HOUR_S)  # too long ago to be of use
    assert book.hours == dict.fromkeys(range(232, 400), 2)


def test_what_is_above_the_rate_goes_in_the_next_period_in_the_same_order() -> None:
    service = Service.of({"c": campaign(rate={"sends": 2, "per": "hour"})})
    crowd = [enter(1, NOW_S - 10.0 + n, f"user-{9 - n}") for n in range(5)]
    service.step(NOW_S, crowd, known(crowd))
    hour_s = NOW_S // HOUR_S * HOUR_S
    for hour in (1, 2, 3):
        service.step(hour_s + hour * HOUR_S, [], known(crowd))
    assert [(send.user, int((send.at_s - hour_s) // HOUR_S)) for send in service.taken] == [
        (f"user-{9 - n}", n // 2) for n in range(5)
    ]


def test_a_queue_is_worked_off_without_asking_everybody_in_every_period() -> None:
    """300 users at ten a minute: each is decided once when they come, and once when it is their turn."""
    service = Service.of({"c": campaign(rate={"sends": 10, "per": "minute"})})
    crowd = crowd_of(300, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    for minute in range(1, 31):
        service.step(NOW_S + 60.0 * minute, [], known(crowd))
    assert len(service.taken) == 300
    assert service.counts("c") == {"sent": 300, "waited_rate": 290}
    assert service.decided <= 600


def test_who_comes_while_others_wait_stands_behind_them() -> None:
    service = Service.of({"c": campaign(rate={"sends": 1, "per": "hour"})})
    crowd = crowd_of(2, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    service.step(NOW_S + HOUR_S, [enter(1, NOW_S + HOUR_S)], {**known(crowd), "ann": IN})
    service.step(NOW_S + 2 * HOUR_S, [], {**known(crowd), "ann": IN})
    assert service.taken[-1].user == "ann"
    assert len(service.taken) == 3


def test_a_grant_never_takes_what_others_have() -> None:
    assert new_grant(100, 0, 0, 30) == 30
    assert new_grant(100, 90, 0, 30) == 10
    assert new_grant(100, 80, 20, 30) == 20
    assert new_grant(50, 80, 20, 30) == 20  # the limit was lowered: nothing is taken back, nothing added


@pytest.mark.parametrize(("limit", "partitions"), [(1, 64), (10, 16), (1_000, 4), (1_000, 64), (10**9, 16)])
def test_slices_that_nobody_uses_are_never_most_of_a_limit(limit: int, partitions: int) -> None:
    size = slice_of(limit, partitions)
    assert size == 1 or size * partitions <= limit / 4


def allowance(store: MemoryCampaigns, partition: int, state: State | None = None, partitions: int = 2) -> Allowance:
    claim = store.claim(partition)
    grants = store.grants(claim)
    return Allowance(state or State(), Books({}), grants, generation=claim.generation, partitions=partitions)


def test_all_of_a_small_limit_can_be_used_over_many_partitions() -> None:
    store = MemoryCampaigns()
    parts = [allowance(store, partition, partitions=16) for partition in range(16)]
    one, used = Use("c", "budget", 40, 1, inf), 0
    for turn in range(40):
        part = parts[turn % 16]
        if part.has(one, NOW_S):
            part.use(one)
            used += 1
    assert used == 40
    assert not any(part.has(one, NOW_S) for part in parts)


def test_what_is_too_little_for_one_is_left_to_others() -> None:
    store = MemoryCampaigns()
    first, second = allowance(store, 0), allowance(store, 1)
    small, half = Use("c", "budget", 1_000, 1, inf), Use("c", "budget", 1_000, 500, inf)
    assert first.has(small, NOW_S)
    first.use(small)  # and holds a slice
    assert second.has(half, NOW_S)
    second.use(half)
    rest = Use("c", "budget", 1_000, 499, inf)
    assert not second.has(rest, NOW_S)
    assert not first.has(half, NOW_S)  # gives back what it does not use
    assert second.has(rest, NOW_S + 61.0)


def test_what_nobody_asks_for_is_given_back_after_a_minute() -> None:
    store = MemoryCampaigns()
    first, second = allowance(store, 0), allowance(store, 1)
    small, rest = Use("c", "budget", 1_000, 1, inf), Use("c", "budget", 1_000, 999, inf)
    assert first.has(small, NOW_S)
    first.use(small)
    first.give_back_idle(NOW_S + 59.0)
    assert not second.has(rest, NOW_S)
    first.give_back_idle(NOW_S + 60.0)
    assert second.has(rest, NOW_S + 61.0)


def test_an_owner_that_was_fenced_off_gives_nothing_back() -> None:
    store = MemoryCampaigns()
    old = allowance(store, 0)
    assert old.has(Use("c", "budget", 100, 50, inf), NOW_S)
    allowance(store, 0)
    with pytest.raises(Fenced):
        old.give_back_idle(NOW_S + 60.0)


def test_in_a_store_that_was_set_back_what_was_granted_counts_as_used() -> None:
    store, use = MemoryCampaigns(), Use("c", "budget", 100, 50, inf)
    first = allowance(store, 0)
    copy = store.copy(0)
    assert first.has(use, NOW_S)
    first.use(use)
    store.set_back(0, copy)
    state = State(generation="g0")
    second = allowance(store, 0, state)
    assert second.has(use, NOW_S)
    second.use(use)
    assert not second.has(use, NOW_S)
    assert state.generation == "g1"


# --- journeys --------------------------------------------------------------------------------------------------------

STEPS = {
    "hello": send_step("Hello"),
    "pause": {"wait": "1d"},
    "again": send_step("Again"),
    "till": {"wait_until": {"event": "Cart"}, "at_most": "2d", "otherwise": "end"},
    "last": send_step("Last"),
}


def test_a_user_walks_through_a_journey_and_each_step_is_counted() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    service.step(NOW_S + DAY_S + 60.0, [event("Cart", 1, NOW_S + DAY_S + 60.0)], {"ann": IN})
    assert texts(service) == ["hello", "again", "last"]
    assert service.book("j").steps == dict.fromkeys(STEPS, 1)
    assert service.counts("j") == {"entered": 1, "sent": 3, "finished": 1}


def test_a_step_that_comes_again_is_another_message() -> None:
    service = Service.of(journeys={"j": journey({"go": send_step(), "rest": {"wait": "1d", "then": "go"}})})
    for day in range(3):
        service.step(NOW_S + day * DAY_S, [enter()], {"ann": IN})
    assert texts(service) == ["go", "go", "go"]
    assert len({send.id for send in service.taken}) == 3


def test_an_event_from_before_the_journey_is_not_what_is_waited_for() -> None:
    steps = {"till": {"wait_until": {"event": "Cart"}, "at_most": "1d", "otherwise": "end"}, "go": send_step()}
    service = Service.of(journeys={"j": journey(steps)})
    service.step(NOW_S + 30.0, [enter(1, NOW_S)], {"ann": IN})
    service.step(NOW_S + 31.0, [event("Cart", 1, NOW_S - 1.0)], {"ann": IN})
    assert texts(service) == []
    service.step(NOW_S + 32.0, [event("Cart", 2, NOW_S + 10.0)], {"ann": IN})
    assert texts(service) == ["go"]


def test_what_does_not_happen_in_time_goes_the_other_way() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    service.step(NOW_S + 3 * DAY_S, [event("Cart", 1, NOW_S + 3 * DAY_S)], {"ann": IN})
    assert texts(service) == ["hello", "again"]


@pytest.mark.parametrize(("exit_on", "sent"), [("goal", 1), ("goal_or_leaving", 1), ("leaving", 2), ("nothing", 2)])
def test_the_goal_ends_a_journey_if_it_is_to(exit_on: str, sent: int) -> None:
    service = Service.of(journeys={"j": journey(STEPS, exit_on=exit_on)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 60.0, [event("Order", 1, NOW_S + 60.0)], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    assert len(service.taken) == sent


@pytest.mark.parametrize(("exit_on", "sent"), [("goal", 2), ("goal_or_leaving", 1), ("leaving", 1), ("nothing", 2)])
def test_leaving_the_segment_ends_a_journey_if_it_is_to(exit_on: str, sent: int) -> None:
    service = Service.of(journeys={"j": journey(STEPS, exit_on=exit_on)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 60.0, [enter(2, NOW_S + 60.0)], {"ann": OUT})
    service.step(NOW_S + DAY_S, [], {"ann": OUT})
    assert len(service.taken) == sent


def test_a_user_is_in_a_journey_once_at_a_time() -> None:
    service = Service.of(journeys={"j": journey(STEPS, exit_on="nothing")})
    for sequence in (1, 2, 3):
        service.step(NOW_S, [enter(sequence)], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "inside": 1}


def test_an_edit_leaves_users_on_their_version() -> None:
    old, new = journey(STEPS), journey({"other": send_step("New")})
    service = Service.of(journeys={"j": old})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = Plan(Definitions(OPEN, journeys={"j": {1: old, 2: new}}))
    assert service.book("j").inside == {1: 1}
    service.step(NOW_S + DAY_S, [enter(1, NOW_S + DAY_S, "zoe")], {"ann": IN, "zoe": IN})
    assert [(send.user, send.step) for send in service.taken] == [("ann", "hello"), ("ann", "again"), ("zoe", "other")]


def test_a_paused_journey_holds_its_users_and_goes_on_later_with_every_message() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.stand("j", "paused", NOW_S + HOUR_S)
    both = {"ann": IN, "zoe": IN}
    service.step(NOW_S + DAY_S, [enter(1, NOW_S + DAY_S, "zoe")], both)
    service.step(NOW_S + 4 * DAY_S, [], both)
    assert service.counts("j") == {"entered": 1, "sent": 1, "inactive": 1}
    service.stand("j", "on", NOW_S + 4 * DAY_S)
    service.step(NOW_S + 4 * DAY_S + 2 * HOUR_S, [], both)
    assert texts(service) == ["hello", "again"]


@pytest.mark.parametrize("how", ["archived", "ended"])
def test_users_leave_a_journey_that_is_over_and_get_nothing_more(how: str) -> None:
    """Whichever way they would go on: by the clock, an event or a crossing."""
    steps = {"till": {"wait_until": {"event": "Cart"}, "at_most": "2d"}, "go": send_step()}
    for then in ([], [event("Cart", 1, NOW_S + DAY_S)], [enter(2, NOW_S + DAY_S)]):
        service = Service.of(journeys={"j": journey(steps)})
        service.step(NOW_S, [enter()], {"ann": IN})
        if how == "archived":
            service.stand("j", "archived", NOW_S + 60.0)
        else:
            # The end is that of the version in force, whatever version somebody is on.
            over = journey(steps, ends="2026-09-22 00:00")
            service.plan = Plan(Definitions(OPEN, journeys={"j": {1: journey(steps), 2: over}}))
        service.step(NOW_S + DAY_S, then, {"ann": IN})
        service.step(NOW_S + 3 * DAY_S, [], {"ann": IN})
        assert service.counts("j") == {"entered": 1, "gone": 1}
        assert service.taken == []
        assert service.book("j").inside == {}


def test_a_breaker_holds_a_journey_instead_of_eating_its_messages() -> None:
    service = Service.of(journeys={"j": journey(STEPS, breaker={"times": 2, "at_least": 1, "until_known": 1})})
    crowd = crowd_of(2, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    assert service.counts("j") == {"entered": 2, "sent": 1, "waited_paused": 1}
    assert {user for user, row in service.rows.items() if row.refused} == set(), "it is held, not refused"
    service.step(NOW_S + HOUR_S, [], known(crowd))
    assert len(service.taken) == 1
    service.stand("j", "on", NOW_S + HOUR_S + 60.0)  # a person has looked
    service.step(NOW_S + 2 * HOUR_S, [], known(crowd))
    assert sorted(send.user for send in service.taken) == ["user-000", "user-001"]
    assert len(service.trips) == 1
    assert "breaker" not in service.counts("j"), "nothing was withheld"


def test_two_messages_in_a_row_are_a_minute_apart() -> None:
    service = Service.of(journeys={"j": journey({"one": send_step("1"), "two": send_step("2")})})
    service.step(NOW_S, [enter()], {"ann": IN})
    assert texts(service) == ["one"]
    service.step(NOW_S + 60.0, [], {"ann": IN})
    assert texts(service) == ["one", "two"]


def test_a_template_that_fails_withholds_and_is_told_once_an_hour() -> None:
    def failing(*_: object) -> Mapping[str, Mapping[str, str]]:
        raise MessageFailed("body, line 1: 'name' is undefined")

    service = Service.of({"c": campaign()}, render=failing)
    crowd = crowd_of(5, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    service.step(NOW_S + HOUR_S, [enter(3, NOW_S + HOUR_S, each.user) for each in crowd], known(crowd))
    assert (service.taken, service.counts("c")) == ([], {"message": 10})
    assert [alert.words for alert in service.alerts] == ["body, line 1: 'name' is undefined"] * 2


def test_properties_of_the_event_are_there_for_the_message() -> None:
    seen = []

    def render(_message: object, _channels: object, context: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
        seen.append(context["event"])
        return {"open": {"body": "x"}}

    trigger = {"event": "Cart", "properties": ["colour"]}
    service = Service.of({"c": campaign(trigger=trigger)}, render=render)
    assert service.plan.events()["Cart"] == {"colour"}
    service.step(NOW_S, [event("Cart", 1, NOW_S, colour="red", secret="x")], {"ann": IN})
    assert seen == [{"colour": "red"}]


def test_a_message_of_a_journey_waits_for_the_morning_and_the_journey_with_it() -> None:
    service = Service.of(journeys={"j": journey(STEPS, quiet_hours={"from": "14:00", "to": "16:00"})})
    service.step(NOW_S, [enter()], {"ann": IN})
    four_s = NOW_S // DAY_S * DAY_S + 16 * HOUR_S
    assert service.rows["ann"].next_s() == four_s
    service.step(four_s, [], {"ann": IN})
    assert texts(service) == ["hello"]
    assert service.rows["ann"].journeys["j"].due_s == four_s + DAY_S


def test_quiet_hours_move_messages_of_a_journey_and_lose_none() -> None:
    """The age of an occasion is that of the entry; a step waits a night and more."""
    given: dict[str, Any] = {"quiet_hours": {"from": "14:00", "to": "08:00"}, "max_trigger_age": "1h"}
    service = Service.of(journeys={"j": journey(STEPS, **given)})
    service.step(NOW_S, [enter()], {"ann": IN})
    for hour in range(1, 100):
        service.step(NOW_S + hour * HOUR_S, [], {"ann": IN})
    assert texts(service) == ["hello", "again"]


def test_a_step_is_passed_over_when_it_had_to_wait_too_long() -> None:
    given: dict[str, Any] = {"quiet_hours": {"from": "14:00", "to": "08:00"}}
    service = Service.of(journeys={"j": journey({"go": send_step(at_most="2h"), "rest": {"wait": "1d"}}, **given)})
    service.step(NOW_S, [enter()], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "quiet": 1}
    assert service.rows["ann"].journeys["j"].step == "rest"


def test_in_an_outage_waits_do_not_pile_up() -> None:
    steps = {"go": send_step(), "rest": {"wait": "1m", "then": "go"}}
    service = Service.of(journeys={"j": journey(steps)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    assert len(service.taken) == 2
    for minute in range(1, 6):
        service.step(NOW_S + DAY_S + 60.0 * minute, [], {"ann": IN})
    assert len(service.taken) == 7


def test_what_lies_in_the_backlog_of_an_outage_happened_before_the_time_ran_out() -> None:
    """Timers do not run ahead of what was read: the event came in time, only nobody was there to see it."""
    steps = {"till": {"wait_until": {"event": "Cart"}, "at_most": "1h", "otherwise": "end"}, "go": send_step()}
    service = Service.of({"c": campaign()}, {"j": journey(steps)})
    service.step(NOW_S, [enter()], {"ann": IN})
    back_s = NOW_S + 10 * DAY_S
    service.step(back_s, [event("Order", 1, NOW_S + 300.0, value=20.0)], {"ann": IN}, read_s=NOW_S)
    service.step(back_s, [event("Cart", 2, NOW_S + 600.0)], {"ann": IN}, read_s=NOW_S + 300.0)
    service.step(back_s, [], {"ann": IN}, read_s=NOW_S + 700.0)
    assert service.now.read_s == NOW_S + 700.0
    service.step(back_s, [], {"ann": IN})
    assert service.book("c").tallies["treated:-1:1"].converted == 1
    assert service.counts("j") == {"entered": 1, "goal_reached": 1}


def test_a_clock_that_is_set_back_sends_nothing_and_goes_on_in_its_time() -> None:
    quiet = {"from": "14:00", "to": "16:00"}
    steps = {
        "rest": {"wait": "1h"},
        "way": {"split": [{"when": {"trait": "v", "exists": True}, "then": "end"}]},
        "go": send_step(),
    }
    service = Service.of({"c": campaign(quiet_hours=quiet)}, {"j": journey(steps)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + HOUR_S - 1.0, [], {"ann": IN})
    old = {"ann": facts("s", as_of_s=NOW_S)}
    for back_s in (2 * HOUR_S, HOUR_S, 0.0):
        service.step(NOW_S + HOUR_S - back_s, [], old)
    assert service.taken == []
    service.step(NOW_S + 3 * HOUR_S, [], {"ann": IN})
    assert sorted(send.campaign for send in service.taken) == ["c", "j"]


def test_after_an_outage_a_step_begins_when_somebody_is_there_to_begin_it() -> None:
    service = Service.of(journeys={"j": journey(STEPS, exit_on="nothing")})
    service.step(NOW_S, [enter()], {"ann": IN})
    back_s = NOW_S + DAY_S + 6 * HOUR_S
    service.step(back_s, [], {"ann": IN})
    assert texts(service) == ["hello", "again"]
    assert service.rows["ann"].journeys["j"].due_s == back_s + 2 * DAY_S


@given(st.sets(st.integers(1, 60), min_size=1))
def test_however_long_outages_are_waits_are_as_long_as_they_say(turns: set[int]) -> None:
    """Nobody is there but at these times, ten minutes apart at least: each wait begins when the message was sent."""
    steps = {"a": send_step("a"), "w": {"wait": "1h"}, "b": send_step("b"), "v": {"wait": "2h"}, "c": send_step("c")}
    service = Service.of(journeys={"j": journey(steps, max_trigger_age="1d")})
    runs = [NOW_S + 600.0 * turn for turn in sorted(turns)]
    for at_s in runs:
        service.step(at_s, [enter()] if at_s == runs[0] else [], {"ann": IN})
    expected, not_before_s = [], 0.0
    for text, wait_s in (("a", HOUR_S), ("b", 2 * HOUR_S), ("c", 0.0)):
        sent_s = next((at_s for at_s in runs if at_s >= not_before_s), None)
        if sent_s is None:
            break
        expected.append((text, sent_s))
        not_before_s = sent_s + wait_s
    assert list(zip(texts(service), [send.at_s for send in service.taken], strict=True)) == expected


WAITS_FOR_CART: dict[str, Any] = {
    "a": send_step("a"),
    "till": {"wait_until": {"event": "Cart"}, "at_most": "7d", "otherwise": "end"},
    "b": send_step("b"),
}


@pytest.mark.parametrize(
    ("more", "apart_s"),
    [
        ({}, HOUR_S),
        ({"later": {"wait": "1d"}, "c": send_step("c")}, HOUR_S),
        ({"soon": {"wait": "10m"}, "c": send_step("c")}, 600.0),
    ],
)
def test_what_an_outage_has_held_up_does_not_come_together(more: dict[str, Any], apart_s: float) -> None:
    """The cart that leads to the second message was filled long before the first one could be sent."""
    service = Service.of(journeys={"j": journey(WAITS_FOR_CART | more)})
    back_s = NOW_S + 3 * HOUR_S
    service.step(back_s, [enter(), event("Cart", 1, NOW_S + HOUR_S)], {"ann": IN})
    assert texts(service) == ["a"]
    service.step(back_s + apart_s - 1.0, [], {"ann": IN})
    assert texts(service) == ["a"]
    service.step(back_s + apart_s, [], {"ann": IN})
    assert texts(service) == ["a", "b"]


def test_without_an_outage_a_message_that_an_event_leads_to_waits_a_minute_at_most() -> None:
    service = Service.of(journeys={"j": journey(WAITS_FOR_CART)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 10.0, [event("Cart", 1, NOW_S + 9.0)], {"ann": IN})
    assert texts(service) == ["a"]
    service.step(NOW_S + 60.0, [], {"ann": IN})
    assert texts(service) == ["a", "b"]


def test_an_event_that_is_told_late_is_no_outage() -> None:
    """A telephone was without a network, or the clock of who told it is slow: the log has had it for a second."""
    service = Service.of(journeys={"j": journey(WAITS_FOR_CART)})
    entry = replace(enter(), at_s=NOW_S - 120.0, log_time_s=NOW_S - 1.0)
    service.step(NOW_S, [entry], {"ann": IN})
    cart = replace(event("Cart", 1, NOW_S - 110.0), log_time_s=NOW_S + 9.0)
    service.step(NOW_S + 10.0, [cart], {"ann": IN})
    service.step(NOW_S + 60.0, [], {"ann": IN})
    assert texts(service) == ["a", "b"]


def test_what_is_late_stays_so_while_a_split_is_held_up() -> None:
    way = {"split": [{"when": {"trait": "v", "exists": True}, "then": "end"}]}
    steps = WAITS_FOR_CART | {"way": way, "c": send_step("c")}
    steps = {key: steps[key] for key in ("a", "till", "way", "b", "c")}
    service = Service.of(journeys={"j": journey(steps)})
    back_s = NOW_S + 3 * HOUR_S
    old = {"ann": facts("s", as_of_s=NOW_S)}
    service.step(back_s, [enter()], {"ann": IN})
    service.step(back_s, [event("Cart", 1, NOW_S + HOUR_S)], old)
    assert service.rows["ann"].journeys["j"].why == "behind"
    service.step(back_s + 120.0, [], {"ann": IN})
    assert texts(service) == ["a"]
    service.step(back_s + HOUR_S, [], {"ann": IN})
    assert texts(service)[:2] == ["a", "b"]


def test_who_came_back_within_an_outage_is_not_sent_the_beginning_twice_in_a_row() -> None:
    service = Service.of(journeys={"j": journey({"a": send_step("a"), "w": {"wait": "7d"}}, exit_on="leaving")})
    back_s = NOW_S + 3 * HOUR_S
    again = [
        enter(),
        Crossing("ann", "s", False, 2, NOW_S + HOUR_S, "live"),
        Crossing("ann", "s", True, 3, NOW_S + 2 * HOUR_S, "live"),
    ]
    service.step(back_s, again, {"ann": IN})
    service.step(back_s + HOUR_S - 1.0, [], {"ann": IN})
    assert len(service.taken) == 1
    service.step(back_s + HOUR_S, [], {"ann": IN})
    assert len(service.taken) == 2


def test_an_entry_that_an_outage_has_made_stale_begins_no_journey() -> None:
    service = Service.of(journeys={"j": journey(STEPS, max_trigger_age="4h")})
    service.step(NOW_S + 4 * HOUR_S + 1.0, [enter()], {"ann": IN})
    assert service.counts("j") == {"stale": 1}
    assert service.taken == []


def test_a_time_that_came_a_second_ago_leaves_no_gap() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S + 1.0, [], {"ann": IN})
    assert service.rows["ann"].journeys["j"].due_s == NOW_S + 3 * DAY_S


# --- what is known, and since when -----------------------------------------------------------------------------------


def test_while_a_shard_is_behind_nothing_is_decided() -> None:
    """What a store knew an hour ago may be wrong by now: an order, or a consent that was withdrawn."""
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter()], {"ann": facts("s", as_of_s=NOW_S - HOUR_S)})
    assert service.counts("c") == {"waited_behind": 1}
    service.step(NOW_S + 60.0, [], {"ann": facts("s", as_of_s=NOW_S)})
    assert service.counts("c") == {"waited_behind": 1, "sent": 1}


def test_in_a_store_that_is_being_rebuilt_an_unknown_user_is_not_gone() -> None:
    service = Service.of({"c": campaign()})
    nobody = facts(known=False, as_of_s=NOW_S - DAY_S)
    service.step(NOW_S, [enter()], {"ann": nobody})
    assert service.counts("c") == {"waited_behind": 1}
    service.step(NOW_S + 600.0, [], {"ann": facts("s", as_of_s=NOW_S + 600.0)})
    assert len(service.taken) == 1


def test_what_stays_behind_for_longer_than_it_is_worth_is_not_sent() -> None:
    service = Service.of({"c": campaign(max_trigger_age="2m")})
    old = {"ann": facts("s", as_of_s=0.0)}
    for minute in range(4):
        service.step(NOW_S + 60.0 * minute, [enter()] if minute == 0 else [], old)
    assert service.counts("c") == {"waited_behind": 1, "behind": 1}


def test_a_split_waits_for_a_shard_that_is_behind() -> None:
    steps = {
        "way": {"split": [{"when": {"trait": "vip", "equals": True}, "then": "vip"}], "otherwise": "end"},
        "vip": send_step("Vip"),
    }
    service = Service.of(journeys={"j": journey({"rest": {"wait": "1h"}, **steps})})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + HOUR_S, [], {"ann": facts("s", as_of_s=NOW_S)})
    service.step(NOW_S + HOUR_S + 60.0, [], {"ann": facts("s", fits=frozenset(["j@1/way/0"]))})
    assert texts(service) == ["vip"]


CONSENT = {"given": "In", "withdrawn": "Out"}


@pytest.mark.parametrize(
    ("consent", "given", "is_sent"),
    [
        (CONSENT, {"latest_s": {"In": 5.0}}, True),
        (CONSENT, {"latest_s": {"In": 5.0, "Out": 6.0}}, False),
        (CONSENT, {"latest_s": {"In": 5.0, "Out": 5.0}}, False),
        (CONSENT, {}, False),
        ({"withdrawn": "Out"}, {}, True),
        ({"withdrawn": "Out"}, {"latest_s": {"Out": 1.0}}, False),
        # The log has lost its beginning: who opted out before would look as if they never had.
        (CONSENT, {"latest_s": {"In": 5.0}, "since_s": {"Out": 6.0}}, False),
        (CONSENT, {"latest_s": {"In": 5.0}, "since_s": {"Out": 5.0}}, False),
        (CONSENT, {"latest_s": {"In": 5.0}, "since_s": {"In": 4.0, "Out": 4.0}}, True),
        ({"withdrawn": "Out"}, {"since_s": {"Out": 4.0}}, False),
        ({"trait": "mail"}, {"traits": {"mail": True}}, True),
        ({"trait": "mail"}, {"traits": {"mail": "yes"}}, False),
        ({"trait": "mail"}, {}, False),
        ("none", {}, True),
    ],
)
def test_without_consent_that_is_known_for_sure_nothing_is_sent(
    consent: object, given: dict[str, Any], is_sent: bool
) -> None:
    channels = {"mail": {"kind": "braze", "consent": consent}}
    messaging = Messaging.model_validate({"holdout": 0.0, "channels": channels}, context={})
    service = Service.of({"c": campaign(channels=["mail"])}, messaging=messaging)
    service.step(NOW_S, [enter()], {"ann": facts("s", **given)})
    assert service.counts("c") == ({"sent": 1} if is_sent else {"consent": 1})


@pytest.mark.parametrize(
    ("traits", "to"), [({"email": "a@b.example"}, "a@b.example"), ({"email": ""}, None), ({}, None)]
)
def test_who_has_no_address_gets_no_mail(traits: dict[str, str], to: str | None) -> None:
    channels = {"mail": {"kind": "email", "consent": "none", "address": "email"}, "open": {"kind": "log"}}
    messaging = Messaging.model_validate({"holdout": 0.0, "channels": channels}, context={})
    service = Service.of({"c": campaign(channels=["mail", "open"])}, messaging=messaging)
    service.step(NOW_S, [enter()], {"ann": facts("s", traits=traits)})
    (send,) = service.taken
    assert send.channels == (("mail", "open") if to else ("open",))
    assert send.addresses == ({"mail": to} if to else {})


def test_a_goal_of_which_it_is_not_known_whether_it_was_just_reached_holds_back() -> None:
    service = Service.of({"c": campaign(skip_recent_goal="2h")})
    service.step(NOW_S, [enter()], {"ann": facts("s", since_s={"Order": NOW_S - HOUR_S})})
    service.step(NOW_S + HOUR_S, [], {"ann": facts("s", since_s={"Order": NOW_S - HOUR_S})})
    assert service.counts("c") == {"waited_behind": 1, "sent": 1}


# --- one moment, and what waits --------------------------------------------------------------------------------------


def test_of_two_crossings_of_one_moment_the_more_important_campaign_goes_first() -> None:
    caps = {"holdout": 0.0, "caps": [{"sends": 1, "within": "1d"}], "channels": {"open": {"kind": "log"}}}
    campaigns = {"low": campaign(priority=10), "high": campaign(priority=60, segment="t")}
    both = {"ann": facts("s", "t")}
    service = Service.of(campaigns, messaging=Messaging.model_validate(caps, context={}))
    first, last = replace(enter(), more=True), enter(segment="t")
    service.step(NOW_S, [first], both)  # also if a batch ends between them
    service.step(NOW_S, [last], both)
    assert [send.campaign for send in service.taken] == ["high"]
    assert service.counts("low") == {"caps": 1}


def test_a_moment_whose_rest_never_comes_is_not_waited_for_for_ever() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [replace(enter(), more=True)], {"ann": IN})
    assert service.taken == []
    service.step(NOW_S + 10.0, [], {"ann": IN})
    assert len(service.taken) == 1


def test_a_newer_occasion_takes_the_place_of_one_that_waits() -> None:
    trigger = {"event": "Cart", "properties": ["item"]}
    seen = []

    def render(_message: object, _channels: object, context: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
        seen.append(context["event"])
        return {"open": {}}

    quiet = {"from": "14:00", "to": "16:00"}
    service = Service.of({"c": campaign(trigger=trigger, quiet_hours=quiet)}, render=render)
    for number, item in ((1, "socks"), (2, "hat")):
        service.step(NOW_S + number, [event("Cart", number, NOW_S + number, item=item)], {"ann": IN})
    service.step(NOW_S + 3.0, [event("Cart", 3, NOW_S - 60.0, item="late")], {"ann": IN})
    service.step(NOW_S // DAY_S * DAY_S + 16 * HOUR_S, [], {"ann": IN})
    assert seen == [{"item": "hat"}]
    assert service.counts("c") == {"waited_quiet": 1, "replaced": 2, "sent": 1}


# --- standing, bounds, edits -----------------------------------------------------------------------------------------


def test_a_dry_run_decides_and_counts_and_leaves_no_trace() -> None:
    offer = {"unit": "amount", "value": 5, "budget": {"amount": 5}}
    service = Service.of({"c": campaign(offer=offer)})
    service.stand("c", "dry", NOW_S - 1.0)
    crowd = crowd_of(3, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    assert service.counts("c") == {"dry": 3}
    assert (service.taken, service.notes, service.book("c").spent, service.book("c").open) == ([], [], {}, {})


def test_a_budget_that_is_used_up_is_told_once() -> None:
    service = Service.of({"c": campaign(offer={"unit": "amount", "value": 5, "budget": {"amount": 10}})})
    crowd = crowd_of(5, NOW_S)
    service.step(NOW_S, crowd, known(crowd))
    assert service.counts("c") == {"sent": 2, "budget": 3}
    assert [alert.kind for alert in service.alerts] == ["budget"]


def test_what_belongs_to_a_campaign_that_was_taken_away_goes() -> None:
    service = Service.of({"c": campaign(), "d": campaign(segment="t")}, {"j": journey(STEPS)})
    service.step(NOW_S, [enter(), enter(segment="t")], {"ann": facts("s", "t")})
    assert set(service.rows["ann"].assigned) == {"c", "d", "j"}
    service.plan = plan_of({"d": campaign(segment="t")})
    service.step(NOW_S + 5.0, [enter(3, segment="t")], {"ann": facts("s", "t")})
    row = service.rows["ann"]
    assert (set(row.assigned), set(row.crossings), row.journeys, row.entered_s) == ({"d"}, {"t"}, {}, {})
    assert set(service.store.copy(0).books) == {"d"}


def test_who_is_judged_by_an_older_version_stays_with_it() -> None:
    old = campaign(conversion={"event": "Order", "revenue": "value", "window": "1d", "revenue_cap": 10.0})
    new = campaign(conversion={"event": "Signup", "window": "7d"})
    service = Service.of({"c": old})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = Plan(Definitions(OPEN, {"c": {1: old, 2: new}}))
    both = {"ann": IN, "bo": IN}
    service.step(NOW_S + 60.0, [enter(1, NOW_S + 60.0, "bo"), event("Order", 1, NOW_S + 50.0, value=25.0)], both)
    assert service.book("c").open == {1: 1, 2: 1}
    service.step(NOW_S + 8 * DAY_S, [], both)
    found = service.book("c").tallies
    assert (found["treated:-1:1"].converted, found["treated:-1:1"].net) == (1, 10.0)
    assert (found["treated:-1:2"].converted, found["treated:-1:2"].capped) == (0, 0)
    assert service.book("c").open == {}


def test_who_was_held_out_once_stays_so_when_the_share_is_lowered() -> None:
    """Whoever was sent to now would be among the figures of those who never were."""
    service = Service.of({"c": campaign()}, messaging=OPEN.model_copy(update={"holdout": 1.0}))
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = plan_of({"c": campaign(), "d": campaign()})
    service.step(NOW_S + DAY_S, [enter(3, NOW_S + DAY_S)], {"ann": IN})
    assert service.counts("c") == {"holdout": 2}
    assert [send.campaign for send in service.taken] == ["d"], "where nothing was drawn, the share of today counts"


def test_facts_of_those_who_only_convert_are_not_read() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [event("Order", 1, NOW_S)], {})
    assert service.rows == {}
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 60.0, [event("Order", 2, NOW_S + 50.0)], {})
    assert service.asked == ["ann"]
    assert service.rows["ann"].assigned["c"].converted == 1


def test_a_deletion_reaches_the_channels_behind_the_messages_before_it() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter(), Deleted("ann")], {"ann": IN})
    assert ([send.number for send in service.taken], service.now.number, service.purged) == ([1], 2, ["ann"])
    assert service.book("c").open == {}


# --- between decision and delivery -----------------------------------------------------------------------------------


def rechecked(now_s: float, ann: Facts, state: str = "on", **given: Any) -> str | None:
    service = Service.of({"c": campaign(**given)})
    service.step(NOW_S, [enter()], {"ann": IN})
    (send,) = service.taken
    service.stand("c", state, NOW_S + 1.0)
    books = Books({})
    spare = allowance(MemoryCampaigns(), 0)
    found = recheck(send, "open", ann, Tools(service.plan, books, spare, plain, {}), now_s)
    return None if found is None else f"{type(found).__name__} {found.reason}"


def test_a_message_is_looked_at_again_before_a_late_delivery() -> None:
    late_s = NOW_S + HOUR_S
    assert rechecked(late_s, IN) is None
    assert rechecked(late_s, NOBODY) == "Withhold unknown"
    assert rechecked(late_s, OUT) == "Withhold left"
    assert rechecked(late_s, IN, "archived") == "Withhold inactive"
    assert rechecked(late_s, IN, "paused") == "Wait paused"
    assert rechecked(late_s, facts("s", as_of_s=NOW_S)) == "Wait behind"
    assert rechecked(NOW_S + 25 * HOUR_S, IN) == "Withhold stale"
    just = facts("s", latest_s={"Order": NOW_S + 60.0})
    assert rechecked(late_s, just, skip_recent_goal="2h") == "Withhold goal"


def test_a_message_of_a_version_that_was_forgotten_is_looked_at_by_the_one_in_force() -> None:
    """Somebody has a failure of last month sent again."""
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter()], {"ann": IN})
    (send,) = service.taken
    tools = Tools(
        Plan(Definitions(OPEN, {"c": {2: campaign()}})), Books({}), allowance(MemoryCampaigns(), 0), plain, {}
    )
    assert recheck(send, "open", IN, tools, NOW_S + HOUR_S) is None
    assert recheck(send, "open", OUT, tools, NOW_S + HOUR_S) == Withhold("left")
    gone = Tools(plan_of({"d": campaign()}), Books({}), allowance(MemoryCampaigns(), 0), plain, {})
    assert recheck(send, "open", IN, gone, NOW_S + HOUR_S) == Withhold("inactive")


def test_consent_is_asked_for_again_for_the_channel_of_the_delivery() -> None:
    channels = {"mail": {"kind": "braze", "consent": {"trait": "mail"}}, "open": {"kind": "log"}}
    messaging = Messaging.model_validate({"holdout": 0.0, "channels": channels}, context={})
    service = Service.of({"c": campaign(channels=["mail", "open"])}, messaging=messaging)
    service.step(NOW_S, [enter()], {"ann": facts("s", traits={"mail": True})})
    (send,) = service.taken
    tools = Tools(service.plan, Books({}), allowance(MemoryCampaigns(), 0), plain, {})
    assert recheck(send, "mail", IN, tools, NOW_S + HOUR_S) == Withhold("consent")
    assert recheck(send, "open", IN, tools, NOW_S + HOUR_S) is None
    note = dropped(send, "mail", "consent", NOW_S + HOUR_S)
    assert (note.event, note.properties["why"]) == ("Tideline Message Dropped", "consent")
    assert needs_recheck(send, NOW_S + 61.0)
    assert not needs_recheck(send, NOW_S + 60.0)


def test_a_split_goes_by_what_holds_and_chance_by_the_user() -> None:
    steps = {
        "split": {"split": [{"when": {"trait": "vip", "equals": True}, "then": "vip"}], "otherwise": "chance"},
        "vip": send_step("Vip", then="end"),
        "chance": {"random_split": [{"share": 0.5, "then": "a"}, {"share": 0.5, "then": "b"}]},
        "a": send_step("A", then="end"),
        "b": send_step("B", then="end"),
    }
    service = Service.of(journeys={"j": journey(steps)})
    assert list(service.plan.filters()) == ["j@1/split/0"]
    crowd = crowd_of(300, NOW_S)
    vip = facts("s", fits=frozenset(["j@1/split/0"]))
    service.step(NOW_S, crowd, {each.user: vip if n < 100 else IN for n, each in enumerate(crowd)})
    counts = service.book("j").steps
    assert (counts["vip"], counts["a"] + counts["b"]) == (100, 200)
    assert 70 <= counts["a"] <= 130


def test_the_control_group_of_a_journey_goes_through_it_without_a_message() -> None:
    service = Service.of(journeys={"j": journey(STEPS, control=1.0)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    assert service.taken == []
    assert [(note.event, note.properties["why"]) for note in service.notes] == [
        ("Tideline Message Withheld", "control"),
        ("Tideline Message Withheld", "control"),
    ]
    assert len({note.message_id for note in service.notes}) == 2


# --- what others provide ---------------------------------------------------------------------------------------------


def test_the_plan_says_what_it_needs_of_others() -> None:
    plan = plan_of(
        {"c": campaign(trigger={"event": "Cart", "where": {"kind": "big"}}, filter={"trait": "vip", "equals": True})},
        {"j": journey({"till": {"wait_until": {"enters": "t"}, "at_most": "1d"}})},
    )
    assert plan.segments == {"s", "t"}
    assert plan.events() == {"Cart": {"kind"}, "Order": {"value"}}
    assert list(plan.filters()) == ["c"]
    assert plan.latest() == {"Order"}


def test_of_what_is_archived_only_the_conversions_are_looked_at() -> None:
    """So that years of campaigns cost nothing; who got a message of it is counted to the end of the window."""
    rules = {
        "c": campaign(trigger={"event": "Cart"}, filter={"trait": "vip", "equals": True}),
        "d": campaign(segment="t", breaker=BREAKER),
        "e": campaign(trigger={"every": "day", "at": "10:00"}, breaker=BREAKER),
    }
    till = journey({"till": {"wait_until": {"enters": "u"}, "at_most": "1d"}})
    on = Plan(Definitions(OPEN, {id_: {1: each} for id_, each in rules.items()}, {"j": {1: till}}))
    assert (set(on.on_segment), set(on.on_event), set(on.scheduled)) == ({"s", "t"}, {"Cart"}, {"e"})
    assert on.with_breaker() == ["d"]
    standings = {id_: Standing("archived") for id_ in on.versions}
    off = Plan(Definitions(OPEN, {id_: {1: each} for id_, each in rules.items()}, {"j": {1: till}}, standings))
    assert (off.on_segment, off.on_event, off.scheduled, off.filters(), off.latest()) == ({}, {}, {}, {}, frozenset())
    assert (off.segments, off.with_breaker()) == (frozenset(), [])
    assert off.events() == {"Order": {"value"}}
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = Plan(Definitions(OPEN, {"c": {1: campaign()}}, standings={"c": Standing("archived", NOW_S)}))
    service.step(NOW_S + 60.0, [enter(3, NOW_S + 50.0), event("Order", 1, NOW_S + 50.0)], {"ann": IN})
    service.step(NOW_S + 8 * DAY_S, [], {"ann": IN})
    assert service.counts("c") == {"sent": 1}
    assert service.book("c").tallies["treated:-1:1"].converted == 1


def test_definitions_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        plan_of({"x": campaign()}, {"x": journey(STEPS)})
    offer = {"unit": "amount", "prediction": "q", "most": 5}
    with pytest.raises(ValueError, match="'q', of which the kind is not known"):
        plan_of({"x": campaign(offer=offer)})
