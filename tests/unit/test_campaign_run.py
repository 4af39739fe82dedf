"""A partition of campaigns at work: what it reads, when it decides, and what a stop anywhere leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.campaigns import Messaging
from config.errors import BrokerError, Fenced, StoreIncompatible, StoreUnavailable
from streams.campaigns.effects import SENT
from streams.campaigns.ports import Seen
from streams.core.partition import shard_of
from streams.runtime.campaigns import partition_run
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.partition_run import Defined
from streams.runtime.campaigns.two_logs import Place
from tests.campaign_run_world import CATALOG, NOW_S, Crash, FailingStore, World, delete, identify, track
from tests.campaign_world import campaign, journey, plan_of, send_step

HOUR_S = 3_600.0


def enter(world: World, *users: str, at_s: float = NOW_S) -> None:
    for user in users:
        world.events.append(track(user, "Enter", at_s, f"enter {user} {at_s}"))


def order(world: World, user: str, number: int = 1, at_s: float = NOW_S + 1.0) -> None:
    world.events.append(track(user, "Order", at_s, f"order {user} {number}", value=20.0))


# --- reading ---------------------------------------------------------------------------------------------------------


def test_whoever_enters_is_sent_to_once_and_that_is_told() -> None:
    world = World()
    enter(world, "ann", "bo")
    world.settle()
    world.settle()
    assert [(each.user, each.campaign) for each in world.receiver.sends] == [("ann", "c"), ("bo", "c")]
    assert all(each.event_s is not None and each.event_s <= each.at_s for each in world.receiver.sends)
    assert [each.event for each in world.receiver.notes.values()] == [SENT, SENT]
    assert world.run.place.events == len(world.events.records) == 4, "the notes have been read, too"


def test_a_conversion_behind_the_message_counts_once() -> None:
    world = World()
    enter(world, "ann")
    world.settle()
    order(world, "ann")
    order(world, "ann")
    order(world, "bo")
    world.settle()
    assert (world.rows["ann"].assigned["c"].converted, world.rows["ann"].assigned["c"].revenue) == (1, 20.0)
    assert list(world.rows) == ["ann"]


def test_nothing_is_taken_that_the_shard_has_not_stored() -> None:
    world = World()
    world.run.assign()
    enter(world, "ann")
    world.steps(5)
    assert world.run.place.events == 0
    world.settle()
    assert world.run.place.events == 2


def test_an_event_waits_for_transitions_that_were_stored_before_it() -> None:
    """Else a journey would miss what happens right behind the crossing that leads into it."""
    steps = {"wait": {"wait_until": {"event": "Order"}, "at_most": "7d", "then": "thank"}, "thank": send_step()}
    world = World(plan_of(journeys={"j": journey(steps, exit_on="nothing")}))
    world.run.assign()
    enter(world, "ann")
    order(world, "ann")
    world.shard.store()
    world.steps(5)
    assert world.run.place == Place(read_s=-inf, since_s={"Order": -inf})
    world.settle()
    assert [(each.step, each.event_s) for each in world.receiver.sends] == [("thank", None)]


def test_facts_are_as_old_as_the_shard_is_behind() -> None:
    world = World()
    enter(world, "ann")
    world.events.append(track("bo", "View", NOW_S, "v"), log_time_s=NOW_S + 1.0)
    world.run.assign()
    world.shard.store(1)
    world.shard.publish()
    while world.run.step(NOW_S + HOUR_S):
        pass
    assert world.book().counts == {"waited_behind": 1}
    world.shard.store()
    world.now_s = NOW_S + HOUR_S + 61.0
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann"]


def test_an_event_that_has_just_come_makes_no_facts_old() -> None:
    world = World()
    enter(world, "ann")
    world.now_s = NOW_S + HOUR_S
    world.events.append(track("bo", "View", NOW_S, "v"), log_time_s=world.now_s)
    world.run.assign()
    world.shard.store(1)
    world.shard.publish()
    world.steps(3)
    assert world.book().counts == {"sent": 1}


def test_a_shard_whose_store_was_set_back_says_nothing_that_counts() -> None:
    world = World()
    enter(world, "ann")
    world.settle()
    world.shard.stored = 0
    enter(world, "bo", at_s=NOW_S + 1.0)
    world.transitions.append(world.transitions.records[0].value.replace(b"ann", b"bo"))
    world.steps(5)
    assert world.book().counts == {"sent": 1, "waited_behind": 1}


def test_what_others_have_written_into_the_logs_is_passed_over() -> None:
    world = World()
    for junk in (b"null", b"{", b'{"type":"x"}', b"\xff", b'{"id":"a","type":"other","subject":"ann"}'):
        world.events.append(junk)
        world.transitions.append(junk)
    world.shard.stored = len(world.events.records)
    enter(world, "ann")
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann"]


def test_an_event_that_is_dated_ahead_counts_as_of_its_arrival() -> None:
    world = World()
    enter(world, "ann")
    world.settle()
    order(world, "ann", at_s=NOW_S + 100.0 * HOUR_S)
    world.now_s = NOW_S + 60.0
    world.settle()
    assert world.rows["ann"].assigned["c"].converted == 1


# --- what profiles know ----------------------------------------------------------------------------------------------


def test_traits_and_latest_times_are_known_from_the_beginning_of_the_log() -> None:
    world = World(plan_of({"c": campaign(message={"parts": {"body": "{{ user.name }}, {{ user.tags | first }}"}})}))
    world.events.append(identify("ann", NOW_S - 9.0, name="Ann", tags=["x"], age=None))
    order(world, "ann", at_s=NOW_S - 8.0 * 86_400.0)
    enter(world, "ann")
    world.settle()
    assert world.receiver.sends[0].texts == {"open": {"body": "Ann, x"}}
    assert world.profiles["ann"].latest_s == {"Order": NOW_S - 8.0 * 86_400.0}
    assert world.run.place.since_s == {"Order": -inf}


def test_who_has_just_ordered_is_left_alone_by_what_the_log_says() -> None:
    world = World(plan_of({"c": campaign(skip_recent_goal="1d")}))
    order(world, "ann", at_s=NOW_S - HOUR_S)
    enter(world, "ann", "bo")
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["bo"]
    assert world.book().counts == {"goal": 1, "sent": 1}


def test_consent_by_events_counts_where_they_were_asked_for_from_the_beginning() -> None:
    consent = {"given": "Subscribed", "withdrawn": "Unsubscribed"}
    asks = Messaging.model_validate({"holdout": 0, "channels": {"open": {"kind": "log", "consent": consent}}})
    world = World(plan_of({"c": campaign()}, messaging=asks))
    for user in ("ann", "bo"):
        world.events.append(track(user, "Subscribed", NOW_S - 9.0, f"{user} s"))
    world.events.append(track("bo", "Unsubscribed", NOW_S - 5.0, "u"))
    enter(world, "ann", "bo", "cy")
    world.settle()
    assert world.run.place.since_s == dict.fromkeys(("Order", "Subscribed", "Unsubscribed"), -inf)
    assert [each.user for each in world.receiver.sends] == ["ann"]
    assert world.book().counts == {"sent": 1, "consent": 2}


def test_what_the_log_did_not_keep_is_not_known() -> None:
    world = World(plan_of({"c": campaign(skip_recent_goal="1d", max_trigger_age="1h")}))
    world.events.append(track("ann", "View", NOW_S - 2.0 * HOUR_S, "v"), log_time_s=NOW_S - 2.0 * HOUR_S)
    world.events.append(track("ann", "View", NOW_S - HOUR_S, "w"), log_time_s=NOW_S - HOUR_S)
    world.events.begin = 1
    enter(world, "ann")
    world.settle()
    assert world.run.place.since_s == {"Order": NOW_S - HOUR_S}
    assert (world.run.place.missed, world.book().counts) == (0, {"behind": 1})


def test_a_gap_is_counted_and_nothing_is_known_across_it() -> None:
    world = World()
    enter(world, "ann")
    world.settle()
    for n in range(3):
        world.events.append(track("ann", "View", NOW_S, f"v{n}"), log_time_s=NOW_S + n)
    stored = Place.from_bytes(world.store.copy(0).position)
    world.events.begin = 4
    world.start()
    world.settle()
    assert world.run.place.since_s == {"Order": NOW_S + 2.0}
    assert (world.run.place.missed, world.run.place.events) == (4 - stored.events, 5)


def test_a_log_that_was_made_anew_is_read_from_its_beginning() -> None:
    world = World()
    enter(world, "ann", "bo")
    world.settle()
    for log in (world.events, world.transitions):
        log.records.clear()
    world.shard.stored = 0
    order(world, "ann")
    world.start()
    world.settle()
    assert (world.run.place.log, world.run.place.events) == (1, 1)
    assert world.rows["ann"].assigned["c"].converted == 1


def test_a_deleted_user_leaves_nothing_and_what_comes_late_of_them_is_not_learned() -> None:
    world = World()
    world.events.append(identify("ann", NOW_S - 5.0, name="Ann"))
    enter(world, "ann", at_s=NOW_S - 4.0)
    world.settle()
    world.events.append(delete("ann", NOW_S - 2.0))
    world.events.append(identify("ann", NOW_S - 3.0, name="Ann"))
    world.settle()
    assert (world.rows, world.profiles, world.receiver.purged) == ({}, {}, ["ann"])
    world.events.append(identify("ann", NOW_S, name="Anna"))
    world.events.append(identify("ann", NOW_S - 3.0, name="Ann"))
    world.settle()
    assert world.profiles["ann"].traits == {"name": "Anna"}


def test_who_comes_back_in_the_batch_of_the_deletion_begins_anew() -> None:
    world = World()
    world.events.append(identify("ann", NOW_S - 5.0, name="Ann", plan="gold"))
    world.events.append(delete("ann", NOW_S - 2.0))
    world.events.append(identify("ann", NOW_S, name="Anna"))
    world.settle()
    assert world.profiles["ann"].traits == {"name": "Anna"}


def test_a_user_of_another_shard_is_not_known_here() -> None:
    world = World()
    world.start(shard=Shard(1, 2))
    users = [f"user{n}" for n in range(20)]
    enter(world, *users)
    for user in users:
        world.events.append(identify(user, NOW_S, name=user))
    world.settle()
    ours = [user for user in users if shard_of(user, 2) == 1]
    assert [each.user for each in world.receiver.sends] == ours
    assert 0 < len(ours) < len(users)


# --- time ------------------------------------------------------------------------------------------------------------


def test_timers_wait_until_the_backlog_is_read() -> None:
    """After an outage a wait must not time out whose event lies in the log."""
    steps = {
        "wait": {"wait_until": {"event": "Order"}, "at_most": "1h", "then": "thank", "otherwise": "remind"},
        "thank": send_step("Thank you"),
        "remind": send_step("Still there?"),
    }
    world = World(plan_of(journeys={"j": journey(steps, exit_on="nothing")}))
    enter(world, "ann", "bo")
    world.settle()
    world.events.append(track("ann", "Order", NOW_S + 60.0, "o"), log_time_s=NOW_S + 60.0)
    world.shard.store()
    world.now_s = NOW_S + 6.0 * HOUR_S
    world.start()
    world.settle()
    assert {each.user: each.step for each in world.receiver.sends} == {"ann": "thank", "bo": "remind"}


def test_many_who_are_due_keep_no_crossing_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_run, "USERS", 2)
    steps = {"wait": {"wait": "1h"}, "go": send_step()}
    world = World(plan_of({"c": campaign()}, {"j": journey(steps, segment="other")}))
    world.define(plan_of({"c": campaign()}, {"j": journey(steps)}))
    enter(world, *(f"user{n}" for n in range(9)))
    world.settle()
    world.receiver.sends.clear()
    enter(world, "ann", at_s=NOW_S + 2.0 * HOUR_S)
    world.now_s = NOW_S + 2.0 * HOUR_S
    world.settle()
    places = [each.user for each in world.receiver.sends if each.campaign == "c" or each.user != "ann"]
    assert sorted(places) == sorted(["ann", *(f"user{n}" for n in range(9))])
    assert places.index("ann") < 8, "it did not wait for all of them"


def test_a_scheduled_campaign_reaches_every_member_once_across_a_stop() -> None:
    at_s = NOW_S + HOUR_S
    trigger = {"at": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M"), "timezone": "UTC"}
    world = World(plan_of({"c": campaign(trigger=trigger)}))
    users = [f"user{n}" for n in range(7)]
    enter(world, *users)
    world.settle()
    assert world.receiver.sends == []
    world.now_s = at_s + 60.0
    while len(world.receiver.sends) < 3:
        world.shard.store()
        world.steps(1)
    world.start()
    world.settle()
    world.now_s += HOUR_S
    world.settle()
    assert [each.user for each in world.receiver.sends] == users


def test_a_scheduled_campaign_that_is_edited_on_its_way_begins_again_with_its_members() -> None:
    at_s = NOW_S + HOUR_S
    trigger = {"at": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M"), "timezone": "UTC"}
    plan = plan_of({"c": campaign(trigger=trigger)})
    world = World(plan)
    users = [f"user{n}" for n in range(7)]
    enter(world, *users)
    world.settle()
    world.now_s = at_s + 60.0
    while len(world.receiver.sends) < 3:
        world.shard.store()
        world.steps(1)
    enter(world, "another", at_s=world.now_s)  # stands before those who have had it
    world.define(plan_of({"c": campaign(trigger=trigger, name="Edited")}))
    world.settle()
    assert sorted(each.user for each in world.receiver.sends) == ["another", *users]


def test_a_rate_lets_through_so_many_a_minute() -> None:
    world = World(plan_of({"c": campaign(rate={"sends": 2, "per": "minute"})}))
    enter(world, *(f"user{n}" for n in range(5)))
    for minute, expected in enumerate((2, 4, 5)):
        world.now_s = NOW_S + 60.0 * minute
        world.settle()
        assert len(world.receiver.sends) == expected


# --- owning and failing ----------------------------------------------------------------------------------------------


def test_who_lost_the_partition_does_nothing_more() -> None:
    world = World()
    world.settle()
    old, new = world.run, world.start()
    new.assign()
    enter(world, "ann")
    world.shard.store()
    world.shard.publish()
    world.run = old
    with pytest.raises(Fenced):
        world.steps(3)
    world.run = new
    assert not old.is_loaded
    world.settle()
    assert len(world.receiver.sends) == 1


def test_who_takes_a_partition_looks_first_at_what_is_defined() -> None:
    """By what was known here before, a campaign that was made just now is none, and who had what of it is forgotten."""
    world = World.of(c=campaign(reentry="once"))
    known = [Defined(plan_of({}), CATALOG)]
    world.events.append(track("ann", "Enter", NOW_S, "m1"))
    world.settle()
    world.start(defined=lambda: known[0], look=lambda: known.insert(0, world.defined))
    for number, event in enumerate(["Leave", "Enter"]):
        world.events.append(track("ann", event, NOW_S + 1.0 + number, f"again {number}"))
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann"]
    assert world.book().counts == {"sent": 1, "again": 1}


def test_who_cannot_read_what_is_defined_does_not_stop_one_who_can() -> None:
    """A process of an older release, after somebody has saved what only the newer one knows."""
    world = World()
    enter(world, "ann")
    world.settle()
    able = world.run

    def look() -> None:
        raise StoreIncompatible("revision 7 is of a newer release")

    with pytest.raises(StoreIncompatible):
        world.start(look=look).assign()
    world.run = able
    enter(world, "bo")
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann", "bo"]


def test_a_store_that_was_set_back_decides_again_under_the_same_ids() -> None:
    store = FailingStore()
    world = World(store=store)
    enter(world, "ann")
    world.settle()
    before = store.copy(0)
    enter(world, "bo")
    world.settle()
    store.set_back(0, before)
    world.start()
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann", "bo"]
    assert len({each.id for each in world.receiver.sends}) == 2
    assert world.told == Seen("g1", world.run._number)


def test_a_new_owner_finds_out_from_what_was_told_that_the_store_was_set_back() -> None:
    store = FailingStore()
    world = World(store=store)
    enter(world, "ann")
    world.settle()
    assert world.told is not None
    world.told = Seen(world.told.generation, world.told.number + 5)
    world.start()
    world.settle()
    assert store.claim(0).generation != "g0"


def test_nothing_is_published_before_it_is_told_elsewhere() -> None:
    world = World()

    def refuse(_: Seen) -> None:
        raise BrokerError("full")

    world.start(tell=refuse)
    world.run.assign()
    enter(world, "ann")
    world.shard.store()
    world.shard.publish()
    with pytest.raises(BrokerError):
        world.steps(3)
    assert world.receiver.given == 0
    world.start()
    world.settle()
    assert [each.user for each in world.receiver.sends] == ["ann"]


@pytest.mark.parametrize("call", ["commit", "trim"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_store_that_does_not_answer_for_a_moment_is_asked_again(call: str, is_done: bool) -> None:
    store = FailingStore()
    world = World(store=store)
    faults = {(call, is_done): 2}

    def fault(at: str, done: bool) -> Exception | None:
        if not faults.get((at, done)):
            return None
        faults[at, done] -= 1
        return StoreUnavailable("away")

    store.fault = fault
    enter(world, "ann")
    world.settle()
    assert faults == {(call, is_done): 0}
    assert (len(world.receiver.sends), world.receiver.given) == (1, 2)


@dataclass
class Chaos:
    """Stops a process at the n-th place where it could be stopped."""

    after: int = 0

    def __call__(self, *_: Any) -> Exception | None:
        self.after -= 1
        return Crash() if self.after == 0 else None


class Cut:
    """An outlet that stops in the middle."""

    def __init__(self, publish: Callable[[Any], None], chaos: Chaos) -> None:
        self._publish = publish
        self._chaos = chaos

    def publish(self, outs: Any) -> None:
        for each in outs:
            self._publish([each])
            if (error := self._chaos()) is not None:
                raise error


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 4)),
        st.tuples(st.just("order"), st.integers(0, 4)),
        st.tuples(st.just("again"), st.integers(0, 4)),
        st.tuples(st.just("identify"), st.integers(0, 4)),
        st.tuples(st.just("store"), st.integers(1, 3)),
        st.tuples(st.just("publish"), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(1, 3)),
        st.tuples(st.just("stop"), st.integers(1, 9)),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_a_stop_anywhere_loses_nothing_and_nobody_gets_two(actions: list[tuple[str, int]]) -> None:
    world, chaos = World(store=FailingStore()), Chaos()
    assert isinstance(world.store, FailingStore)
    world.store.fault = chaos
    world.receiver._events = None  # what is counted below are the events of the test

    def start() -> None:
        world.start(outlet=Cut(world.receiver.publish, chaos))

    start()
    entered: list[str] = []
    orders: dict[str, int] = {}
    traits: dict[str, int] = {}
    for n, (action, number) in enumerate(actions):
        user = f"user{number}"
        if action == "enter" and user not in entered:
            enter(world, user)
            entered.append(user)
        elif action == "order":
            order(world, user, n, NOW_S + 1.0 if user in entered else NOW_S - 1.0)
            orders[user] = orders.get(user, 0) + (user in entered)
        elif action == "again" and world.events.records:
            world.events.append(world.events.records[-1 - number % len(world.events.records)].value)
        elif action == "identify":
            world.events.append(identify(user, NOW_S, n=n))
            traits[user] = n
        elif action == "store":
            world.shard.store(number)
        elif action == "publish":
            world.shard.publish(number)
        else:
            chaos.after = number if action == "stop" else 0
            try:
                for _ in range(number):
                    if not world.run.is_loaded:
                        world.run.assign(world.told)
                    world.run.step(NOW_S)
            except Crash:
                start()
    chaos.after = 0
    start()
    world.settle()
    assert sorted(each.user for each in world.receiver.sends) == sorted(entered)
    assert len({each.id for each in world.receiver.sends}) == len(entered)
    assert len(world.receiver.notes) == len(entered)
    assert {user: row.assigned["c"].converted for user, row in world.rows.items()} == {
        user: orders.get(user, 0) for user in entered
    }
    known = {user: profile.traits["n"] for user, profile in world.profiles.items() if profile.traits}
    assert known.keys() == traits.keys()


def test_events_that_were_told_late_hold_up_no_journey() -> None:
    """The log has just taken them, so no outage has held them up."""
    waits = {"wait_until": {"event": "Cart"}, "at_most": "7d", "otherwise": "end"}
    world = World(plan_of(journeys={"j": journey({"a": send_step("a"), "till": waits, "b": send_step("b")})}))
    for event, at_s in (("Enter", NOW_S - 300.0), ("Cart", NOW_S - 290.0)):
        world.events.append(track("ann", event, at_s, event), log_time_s=NOW_S)
        world.settle()
    assert [send.step for send in world.receiver.sends] == ["a"]
    world.now_s += 61.0
    for _ in range(4):
        world.settle()
    assert [send.step for send in world.receiver.sends] == ["a", "b"]
