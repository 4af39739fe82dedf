"""Single rules of the engine that worlds of chance do not reach: said again, journeys, the breaker, allowances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from config.campaigns import Messaging
from streams.campaigns.allowance import Allowance, new_grant
from streams.campaigns.decide import MessageFailed
from streams.campaigns.inputs import Crossing, Deleted, Facts, Member, Watched
from streams.campaigns.plan import Definitions, Plan
from streams.campaigns.state import State, unpack_row
from streams.campaigns.volume import usual_hour
from tests.campaign_world import OPEN, Service, SharedGrants, campaign, journey, send_step

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z, a Monday
HOUR_S, DAY_S = 3_600.0, 86_400.0
IN, OUT = Facts(segments=frozenset(["s"])), Facts()


def enter(sequence: int = 1, at_s: float = NOW_S, user: str = "ann", segment: str = "s") -> Crossing:
    return Crossing(user, segment, sequence % 2 == 1, sequence, at_s, "live")


def event(name: str, number: int, at_s: float, **properties: object) -> Watched:
    return Watched("ann", name, at_s, number, "g", f"m{number}", properties)


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
    assert unpack_row(service.rows["ann"]).crossings["s"] == (2, NOW_S + 60.0)
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
    service.step(NOW_S + 1.0, [Deleted("ann"), enter()], {"ann": None})
    service.step(NOW_S + DAY_S, [], {"ann": None})
    assert (service.rows, service.taken) == ({}, [])


def test_a_user_whom_the_store_does_not_know_is_not_sent_to() -> None:
    service = Service.of({"c": campaign(quiet_hours={"from": "00:00", "to": "15:00"})})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + HOUR_S, [], {"ann": None})
    assert service.counts("c") == {"waited_quiet": 1, "unknown": 1}


def test_an_event_that_is_said_again_under_another_generation_leads_to_one_message() -> None:
    service = Service.of({"c": campaign(trigger={"event": "Cart"})})
    for generation in ("g", "h"):
        again = Watched("ann", "Cart", NOW_S, 1, generation, "m1", {})
        service.step(NOW_S, [again, again], {"ann": IN})
    assert service.counts("c") == {"sent": 1, "again": 1}


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
    facts = Facts(segments=IN.segments, latest_s={"Order": NOW_S - since_s})
    service.step(NOW_S, [enter()], {"ann": facts})
    assert service.counts("c") == {what: 1}


# --- scheduled -------------------------------------------------------------------------------------------------------


def test_a_member_that_two_pages_name_is_sent_to_once_and_the_next_week_again() -> None:
    service = Service.of({"c": campaign(trigger={"every": "week", "on": ["monday"], "at": "14:00"})})
    for _ in range(3):
        service.step(NOW_S, [Member("ann", "c", NOW_S), Member("ann", "c", NOW_S)], {"ann": IN})
    service.step(NOW_S + 7 * DAY_S, [Member("ann", "c", NOW_S + 7 * DAY_S)], {"ann": IN})
    assert [send.at_s for send in service.taken] == [NOW_S, NOW_S + 7 * DAY_S]
    service.step(NOW_S + 14 * DAY_S, [Member("ann", "c", NOW_S + 14 * DAY_S)], {"ann": OUT})
    assert service.counts("c") == {"sent": 2, "left": 1}


# --- priorities and shared limits ------------------------------------------------------------------------------------


def test_of_two_campaigns_on_one_crossing_the_cap_lets_the_more_important_one_go() -> None:
    messaging = Messaging.model_validate(
        {"holdout": 0.0, "caps": [{"sends": 1, "within": "1d"}], "channels": {"open": {"kind": "log"}}}, context={}
    )
    service = Service.of({"a": campaign(priority=10), "b": campaign(priority=60)}, messaging=messaging)
    service.step(NOW_S, [enter()], {"ann": IN})
    assert [send.campaign for send in service.taken] == ["b"]
    assert service.counts("a") == {"caps": 1}


def test_the_breaker_pauses_a_campaign_alerts_once_and_a_person_lets_it_go_on() -> None:
    breaker = {"times": 3, "at_least": 10}
    service = Service.of({"c": campaign(breaker=breaker)}, usual={"c": 4.0})
    crowd = [enter(1, NOW_S, f"user-{n}") for n in range(30)]
    service.step(NOW_S, crowd, {each.user: IN for each in crowd})
    assert service.counts("c") == {"sent": 12, "breaker": 18}
    assert [alert.kind for alert in service.alerts] == ["breaker"]
    service.step(NOW_S + 2 * HOUR_S, [enter(1, NOW_S + 2 * HOUR_S)], {"ann": IN})
    assert service.counts("c") == {"sent": 12, "breaker": 19}
    assert service.now.tripped == {"c"}
    service.resume("c")
    service.step(NOW_S + 2 * HOUR_S, [enter(3, NOW_S + 2 * HOUR_S)], {"ann": IN})
    assert service.counts("c") == {"sent": 13, "breaker": 19}


def test_without_a_usual_hour_the_breaker_does_nothing() -> None:
    service = Service.of({"c": campaign(breaker={"times": 2, "at_least": 1})})
    crowd = [enter(1, NOW_S, f"user-{n}") for n in range(30)]
    service.step(NOW_S, crowd, {each.user: IN for each in crowd})
    assert service.counts("c") == {"sent": 30}


def test_a_usual_hour_is_the_mean_of_a_week_over_all_partitions() -> None:
    now = 10_000
    assert usual_hour([], now * HOUR_S) is None
    assert usual_hour([{now - 23: 50}], now * HOUR_S) is None
    assert usual_hour([{now - 24: 48}, {now - 24: 24, now - 1: 24}], now * HOUR_S) == 4.0
    assert usual_hour([{now - 24: 48, now: 1_000_000}], now * HOUR_S + 1_800.0) == 2.0  # this hour is not over
    assert usual_hour([{now - 300: 5_000, now - 168: 168}], now * HOUR_S) == 1.0


def test_the_state_keeps_the_hours_of_a_week() -> None:
    state = State()
    for hour in range(400):
        state.count_hour("c", hour * HOUR_S)
        state.count_hour("c", hour * HOUR_S + 5.0)
    assert state.hours["c"] == dict.fromkeys(range(232, 400), 2)


def test_what_is_above_the_rate_goes_in_the_next_period_in_the_same_order() -> None:
    service = Service.of({"c": campaign(rate={"sends": 2, "per": "hour"})})
    crowd = [enter(1, NOW_S, f"user-{n}") for n in range(5)]
    facts: dict[str, Facts | None] = {each.user: IN for each in crowd}
    service.step(NOW_S, crowd, facts)
    hour_s = NOW_S // HOUR_S * HOUR_S
    for hour in (1, 2, 3):
        service.step(hour_s + hour * HOUR_S, [], facts)
    assert [(send.user, int((send.at_s - hour_s) // HOUR_S)) for send in service.taken] == [
        (f"user-{n}", n // 2) for n in range(5)
    ]


def test_a_grant_never_takes_what_others_have() -> None:
    assert new_grant(100, {}, 0, 30) == 30
    assert new_grant(100, {1: 60, 2: 30}, 0, 30) == 10
    assert new_grant(100, {0: 20, 1: 80}, 0, 30) == 20
    assert new_grant(50, {0: 20, 1: 80}, 0, 30) == 20  # the limit was lowered: nothing is taken back, nothing added


def test_what_is_given_back_can_be_used_by_others() -> None:
    shared = SharedGrants()
    first, second = (Allowance(State(), shared.of(partition)) for partition in (0, 1))
    assert first.has("budget", 100, 50, 1e12)
    first.use("budget", 50, 1e12)
    assert not second.has("budget", 100, 50, 1e12)  # a slice more is with the first
    first.give_back()
    assert second.has("budget", 100, 50, 1e12)
    assert not first.has("budget", 100, 1, 1e12)


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
    assert service.now.steps["j"] == dict.fromkeys(STEPS, 1)
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


@pytest.mark.parametrize(("ends_on", "sent"), [("goal", 1), ("goal_or_leaving", 1), ("leaving", 2), ("nothing", 2)])
def test_the_goal_ends_a_journey_if_it_is_to(ends_on: str, sent: int) -> None:
    service = Service.of(journeys={"j": journey(STEPS, ends_on=ends_on)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 60.0, [event("Order", 1, NOW_S + 60.0)], {"ann": IN})
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    assert len(service.taken) == sent


@pytest.mark.parametrize(("ends_on", "sent"), [("goal", 2), ("goal_or_leaving", 1), ("leaving", 1), ("nothing", 2)])
def test_leaving_the_segment_ends_a_journey_if_it_is_to(ends_on: str, sent: int) -> None:
    service = Service.of(journeys={"j": journey(STEPS, ends_on=ends_on)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + 60.0, [enter(2, NOW_S + 60.0)], {"ann": OUT})
    service.step(NOW_S + DAY_S, [], {"ann": OUT})
    assert len(service.taken) == sent


def test_a_user_is_in_a_journey_once_at_a_time() -> None:
    service = Service.of(journeys={"j": journey(STEPS, ends_on="nothing")})
    for sequence in (1, 2, 3):
        service.step(NOW_S, [enter(sequence)], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "inside": 1}


def test_an_edit_leaves_users_on_their_version() -> None:
    old, new = journey(STEPS), journey({"other": send_step("New")})
    service = Service.of(journeys={"j": old})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = Plan(Definitions(OPEN, journeys={"j": {1: old, 2: new}}))
    service.step(NOW_S + DAY_S, [enter(1, NOW_S + DAY_S, "zoe")], {"ann": IN, "zoe": IN})
    assert [(send.user, send.step) for send in service.taken] == [("ann", "hello"), ("ann", "again"), ("zoe", "other")]


def test_a_paused_journey_holds_its_users_and_goes_on_later() -> None:
    old = journey(STEPS)
    service = Service.of(journeys={"j": old})
    service.step(NOW_S, [enter()], {"ann": IN})
    paused = {1: old, 2: journey(STEPS, paused=True)}
    service.plan = Plan(Definitions(OPEN, journeys={"j": paused}))
    service.step(NOW_S + DAY_S, [enter(1, NOW_S + DAY_S, "zoe")], {"ann": IN, "zoe": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "inactive": 1}
    service.plan = Plan(Definitions(OPEN, journeys={"j": {1: old}}))
    service.step(NOW_S + DAY_S + 2 * HOUR_S, [], {"ann": IN, "zoe": IN})
    assert texts(service) == ["hello", "again"]


def test_users_leave_a_journey_that_is_archived() -> None:
    service = Service.of(journeys={"j": journey(STEPS)})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.plan = Plan(Definitions(OPEN, journeys={"j": {1: journey(STEPS, archived=True)}}))
    service.step(NOW_S + DAY_S, [], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "gone": 1}


def test_a_template_that_fails_withholds_and_is_told_once_an_hour() -> None:
    def failing(_message: object, _context: object) -> Mapping[str, str]:
        raise MessageFailed("body, line 1: 'name' is undefined")

    service = Service.of({"c": campaign()}, render=failing)
    crowd = [enter(1, NOW_S, f"user-{n}") for n in range(5)]
    facts: dict[str, Facts | None] = {each.user: IN for each in crowd}
    service.step(NOW_S, crowd, facts)
    service.step(NOW_S + HOUR_S, [enter(3, NOW_S + HOUR_S, each.user) for each in crowd], facts)
    assert (service.taken, service.counts("c")) == ([], {"message": 10})
    assert [alert.words for alert in service.alerts] == ["body, line 1: 'name' is undefined"] * 2


def test_properties_of_the_event_are_there_for_the_message() -> None:
    seen = []

    def render(_message: object, context: Mapping[str, Any]) -> Mapping[str, str]:
        seen.append(context["event"])
        return {"body": "x"}

    trigger = {"event": "Cart", "properties": ["colour"]}
    service = Service.of({"c": campaign(trigger=trigger)}, render=render)
    assert service.plan.events()["Cart"] == {"colour"}
    service.step(NOW_S, [event("Cart", 1, NOW_S, colour="red")], {"ann": IN})
    assert seen == [{"colour": "red"}]


def test_a_message_of_a_journey_waits_for_the_morning_and_the_journey_with_it() -> None:
    service = Service.of(journeys={"j": journey(STEPS, quiet_hours={"from": "14:00", "to": "16:00"})})
    service.step(NOW_S, [enter()], {"ann": IN})
    four_s = NOW_S // DAY_S * DAY_S + 16 * HOUR_S
    assert unpack_row(service.rows["ann"]).next_s() == four_s
    service.step(four_s, [], {"ann": IN})
    assert texts(service) == ["hello"]
    assert unpack_row(service.rows["ann"]).journeys["j"].due_s == four_s + DAY_S


def test_after_an_outage_a_journey_goes_on_without_stale_messages() -> None:
    service = Service.of(journeys={"j": journey(STEPS, max_trigger_age="2h")})
    service.step(NOW_S, [enter()], {"ann": IN})
    service.step(NOW_S + DAY_S + 6 * HOUR_S, [], {"ann": IN})
    assert service.counts("j") == {"entered": 1, "sent": 1, "stale": 1}
    assert unpack_row(service.rows["ann"]).journeys["j"].step == "till"


def test_a_split_goes_by_what_holds_and_chance_by_the_user() -> None:
    steps = {
        "split": {"split": [{"when": {"trait": "vip", "equals": True}, "then": "vip"}], "otherwise": "chance"},
        "vip": send_step("Vip", then="end"),
        "chance": {"shares": [{"share": 0.5, "then": "a"}, {"share": 0.5, "then": "b"}]},
        "a": send_step("A", then="end"),
        "b": send_step("B", then="end"),
    }
    service = Service.of(journeys={"j": journey(steps)})
    assert list(service.plan.filters()) == ["j@1/split/0"]
    crowd = [enter(1, NOW_S, f"user-{n}") for n in range(300)]
    vip = replace_fits(IN, "j@1/split/0")
    service.step(NOW_S, crowd, {each.user: vip if n < 100 else IN for n, each in enumerate(crowd)})
    counts = service.now.steps["j"]
    assert (counts["vip"], counts["a"] + counts["b"]) == (100, 200)
    assert 70 <= counts["a"] <= 130


def replace_fits(facts: Facts, *names: str) -> Facts:
    return Facts(segments=facts.segments, fits=frozenset(names))


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
    plan = Plan(
        Definitions(
            OPEN,
            {
                "c": campaign(
                    trigger={"event": "Cart", "where": {"kind": "big"}}, filter={"trait": "vip", "equals": True}
                )
            },
            {"j": {1: journey({"till": {"wait_until": {"enters": "t"}, "at_most": "1d"}})}},
        )
    )
    assert plan.segments == {"s", "t"}
    assert plan.events() == {"Cart": {"kind"}, "Order": {"value"}}
    assert list(plan.filters()) == ["c"]
    assert plan.latest() == {"Order"}


def test_one_id_is_one_thing() -> None:
    with pytest.raises(ValueError, match="same id"):
        Plan(Definitions(OPEN, {"x": campaign()}, {"x": {1: journey(STEPS)}}))
