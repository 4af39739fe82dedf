"""Events that campaigns name later: what the log held of them before is read again, and nothing is sent until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.campaigns import EventConsent, Messaging
from config.errors import BrokerUnavailable
from streams.campaigns.consent import agreed
from streams.campaigns.effects import Send
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan
from streams.campaigns.profiles import Known, with_profile
from streams.runtime.campaigns import past as reading
from streams.runtime.campaigns import two_logs
from streams.runtime.campaigns.two_logs import Past, Place
from tests.campaign_run_world import NOW_S, Crash, FailingStore, ListLog, World, delete, text_of, track
from tests.campaign_world import campaign, plan_of

HOUR_S = 3_600.0
GIVEN, WITHDRAWN = "Subscribed", "Unsubscribed"


@pytest.fixture(autouse=True)
def small_pages() -> Iterator[None]:
    """So that a few records take several rounds, and both logs have to be read side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PAGE", 2)
        patch.setattr(two_logs, "PAGE", 3)
        yield


def asks(given: str | None = GIVEN, **campaigns: Any) -> Plan:
    """Consent by events, which the plan before did not know."""
    consent = {"withdrawn": WITHDRAWN} | ({} if given is None else {"given": given})
    channels = {"open": {"kind": "log"}, "mail": {"kind": "log", "consent": consent}}
    messaging = Messaging.model_validate({"holdout": 0, "channels": channels}, context={})
    return plan_of(campaigns or {"c": campaign(channels=["mail"])}, messaging=messaging)


def say(world: World, user: str, event: str, at_s: float) -> None:
    world.events.append(track(user, event, at_s, f"{event} {user} {at_s}"), log_time_s=at_s)


def enter(world: World, *users: str, at_s: float = NOW_S) -> None:
    for user in users:
        say(world, user, "Enter", at_s)


def later(world: World) -> None:
    """What had to wait is asked again."""
    world.now_s += 61.0
    for _ in range(4):  # timers run behind rounds of the logs
        world.settle()


def before(world: World) -> None:
    """Ann agrees, Bo takes it back, Cy says nothing, and others do other things, before anybody asks for it."""
    for n in range(9):
        say(world, f"other{n}", "View", NOW_S - 100.0 + n)
    for user in ("ann", "bo"):
        say(world, user, GIVEN, NOW_S - 50.0)
    say(world, "bo", WITHDRAWN, NOW_S - 40.0)
    world.settle()


def sent(world: World) -> list[str]:
    return [each.user for each in world.receiver.sends]


def test_who_has_opted_out_before_anybody_asked_is_not_sent_to() -> None:
    world = World()
    before(world)
    world.define(asks(None))
    enter(world, "ann", "bo", "cy")
    world.settle()
    later(world)
    assert sorted(sent(world)) == ["ann", "cy"]
    assert world.run.place.since_s == {"Order": -inf, WITHDRAWN: -inf}


def test_nothing_is_sent_before_all_of_it_is_read_and_how_far_that_is_can_be_seen() -> None:
    world = World()
    before(world)
    end = world.run.place.events
    world.define(asks())
    world.steps(1)
    assert world.run.place.past == Past((GIVEN, WITHDRAWN), 0, 2, end)
    assert world.run.place.left == end - 2
    assert set(world.run.place.reading) == {GIVEN, WITHDRAWN}
    assert world.run.place.since_s == {"Order": -inf, GIVEN: inf, WITHDRAWN: inf}
    enter(world, "ann", "bo")
    while world.run.place.left:
        world.shard.store()
        world.shard.publish()
        world.steps(1)
        assert sent(world) == []
    assert world.book().counts == {"waited_behind": 2}
    world.settle()
    later(world)
    assert (sent(world), world.book().counts["consent"]) == (["ann"], 1)
    assert (world.run.place.left, set(world.run.place.reading)) == (0, set())


def test_a_campaign_that_rests_on_nothing_new_goes_on_meanwhile() -> None:
    world = World()
    before(world)
    world.define(asks(c=campaign(), d=campaign(channels=["mail"])))
    enter(world, "bo")
    while world.run.place.events < len(world.events.records) or not sent(world):
        world.shard.store()
        world.shard.publish()
        world.steps(1)
    assert world.run.place.past is not None, "it has not waited for it"
    assert [each.campaign for each in world.receiver.sends] == ["c"]


def test_of_a_conversion_that_is_named_later_it_is_known_who_has_just_done_it() -> None:
    world = World()
    say(world, "bo", "Visit", NOW_S - HOUR_S)
    world.settle()
    rules = campaign(conversion={"event": "Visit"}, skip_recent_goal="1d", max_trigger_age="4h")
    world.define(plan_of({"c": rules}))
    enter(world, "ann", "bo")
    world.settle()
    later(world)
    assert (sent(world), world.book().counts["goal"]) == (["ann"], 1)


def test_what_is_asked_for_while_something_is_read_is_read_behind_it() -> None:
    world = World()
    before(world)
    say(world, "ann", "Visit", NOW_S - 30.0)
    world.settle()
    world.define(asks())
    world.steps(1)
    late = plan_of({"d": campaign(conversion={"event": "Visit"})}, messaging=asks().messaging)
    world.define(late)
    world.steps(1)
    assert world.run.place.unread == ("Visit",)
    assert world.run.place.past is not None
    world.settle()
    assert world.profiles["ann"].latest_s == {GIVEN: NOW_S - 50.0, "Visit": NOW_S - 30.0}
    assert set(world.run.place.since_s.values()) == {-inf}


def test_what_nobody_asks_for_any_more_is_not_read_to_its_end() -> None:
    world = World()
    before(world)
    world.define(asks())
    world.steps(1)
    world.define(plan_of({"c": campaign()}))
    world.settle()
    assert world.run.place.past is None
    assert world.run.place.since_s == {"Order": -inf}
    world.define(asks())
    world.settle()
    assert world.profiles["bo"].latest_s == {GIVEN: NOW_S - 50.0, WITHDRAWN: NOW_S - 40.0}


def test_what_a_user_did_before_they_were_deleted_is_not_learned_again() -> None:
    world = World()
    before(world)
    world.events.append(delete("ann", NOW_S - 20.0))
    world.events.append(delete("bo", NOW_S - 20.0))
    say(world, "ann", "View", NOW_S - 10.0)
    world.settle()
    world.define(asks())
    world.settle()
    assert world.profiles == {}
    say(world, "ann", GIVEN, NOW_S)
    world.settle()
    assert world.profiles["ann"].latest_s == {GIVEN: NOW_S}


# --- logs that have lost something -----------------------------------------------------------------------------------


def cut(world: World) -> float:
    """The log loses the withdrawal of Bo and all before it; when its oldest record came."""
    oldest = next(each.offset for each in world.events.records if b"Unsubscribed" in each.value) + 1
    world.events.begin = oldest
    return world.events.records[oldest].log_time_s


def test_where_the_log_has_lost_its_beginning_only_what_was_given_since_then_is_consent() -> None:
    world = World()
    before(world)
    say(world, "cy", "View", NOW_S - 30.0)
    for user, at_s in (("bo", NOW_S - 60.0), ("cy", NOW_S - 20.0), ("di", NOW_S - 31.0)):
        say(world, user, GIVEN, at_s)
    world.settle()
    since_s = cut(world)
    world.define(asks())
    world.settle()
    assert world.run.place.since_s == {"Order": -inf, GIVEN: since_s, WITHDRAWN: since_s}
    enter(world, "ann", "bo", "cy", "di")
    world.settle()
    assert (sent(world), world.book().counts) == (["cy"], {"sent": 1, "consent": 3})


def test_where_the_log_has_lost_its_beginning_nobody_has_agreed_by_silence() -> None:
    world = World()
    before(world)
    say(world, "cy", "View", NOW_S - 30.0)
    world.settle()
    cut(world)
    world.define(asks(None))
    world.settle()
    enter(world, "ann", "bo", "cy")
    world.settle()
    assert (sent(world), world.book().counts) == ([], {"consent": 3})


def test_what_the_log_loses_while_it_is_read_is_not_known() -> None:
    world = World()
    before(world)
    say(world, "cy", "View", NOW_S - 30.0)
    world.settle()
    world.define(asks())
    world.steps(1)
    assert world.run.place.past is not None
    since_s = cut(world)
    world.settle()
    assert world.run.place.since_s == {"Order": -inf, GIVEN: since_s, WITHDRAWN: since_s}


def test_where_nothing_is_left_to_be_read_it_is_stored_all_the_same_what_is_known() -> None:
    """Previews and second looks go by the stored place, and would wait for what nobody reads."""
    world = World()
    before(world)
    enter(world, "ann")
    world.settle()
    world.events.begin = world.run.place.events
    world.define(asks())
    world.settle()
    since_s = Place.from_bytes(world.store.copy(0).position).since_s
    assert since_s == world.run.place.since_s == {"Order": -inf, GIVEN: NOW_S, WITHDRAWN: NOW_S}
    commits = world.run.counts.commits
    world.settle()
    assert world.run.counts.commits == commits, "once"


def test_a_log_that_was_made_anew_is_not_read_twice() -> None:
    world = World()
    before(world)
    world.define(asks())
    while Place.from_bytes(world.store.copy(0).position).past is None:
        world.steps(1)
    for log in (world.events, world.transitions):
        log.records.clear()
    world.shard.stored = 0
    say(world, "ann", GIVEN, NOW_S - 9.0)
    world.start()
    world.settle()
    assert (world.run.place.past, world.run.place.unread) == (None, ())
    assert world.run.place.since_s[WITHDRAWN] == NOW_S - 9.0


def test_a_place_that_was_stored_before_there_was_such_a_thing_is_read() -> None:
    old = msgspec.msgpack.encode({"events": 3, "transitions": 1, "since_s": {"Order": -inf}})
    assert Place.from_bytes(old) == Place(events=3, transitions=1, since_s={"Order": -inf})


def test_by_what_was_never_asked_for_nobody_has_agreed() -> None:
    known = reading.known_of(Place(since_s={"Order": -inf}), frozenset({"Order", WITHDRAWN}))
    assert known == Known({"Order": -inf, WITHDRAWN: inf}, frozenset({WITHDRAWN}))
    assert not agreed(EventConsent(withdrawn=WITHDRAWN), with_profile(Facts(as_of_s=inf), None, known))


def test_a_reader_that_cannot_be_closed_is_not_read_again() -> None:
    class Broken(ListLog):
        def close(self) -> None:
            raise BrokerUnavailable("it has gone")

    store, opened = FailingStore(), list[ListLog]()
    world = World(store=store)
    before(world)

    def open_log() -> ListLog:
        opened.append(Broken() if not opened else ListLog())
        opened[-1].records = world.events.records
        return opened[-1]

    run = world.start(past=open_log)
    world.settle()
    world.define(asks())
    world.steps(5)
    assert len(opened) == 1
    store.fault = lambda call, _: Crash() if call == "commit" else None
    with pytest.raises(Crash):  # and not what closing it says
        world.steps(60)
    store.fault = lambda _call, _is_done: None
    run.assign(world.told)
    world.settle()
    assert (len(opened), world.run.place.left) == (2, 0)


def test_what_partitions_do_not_know_is_told_together() -> None:
    known = {"Order": -inf, GIVEN: -inf, WITHDRAWN: -inf}
    places = [
        Place(events=50, since_s=known),
        Place(events=90, since_s=known | {WITHDRAWN: NOW_S, "Seen": NOW_S}),
        Place(events=70, since_s=known | {GIVEN: inf}, past=Past((GIVEN,), 10, 30, 60)),
        Place(events=20, since_s={"Order": -inf}),
    ]
    found = reading.reading_of(places, frozenset({"Order", GIVEN, WITHDRAWN}))
    assert found == ((GIVEN, WITHDRAWN), 30, 90, {WITHDRAWN: NOW_S})
    assert reading.reading_of(places, frozenset({"Order"})) == ((), 0, 0, {})
    waiting = Place(events=70, since_s=known | {GIVEN: inf}, unread=(GIVEN,))
    assert reading.reading_of([waiting], frozenset({GIVEN})) == ((GIVEN,), 70, 70, {})


# --- against everything that ever happened ---------------------------------------------------------------------------

_SAYS = st.tuples(
    st.sampled_from([GIVEN, WITHDRAWN, WITHDRAWN, "Enter", "Leave", "View", "delete"]), st.sampled_from(["ann", "bo"])
)
_STEPS = st.one_of(_SAYS, st.tuples(st.sampled_from(["ask", "forget", "step", "step", "settle", "stop", "later"])))
_END: Final = [("ask",), ("Leave", "ann"), ("Enter", "ann"), ("later",), ("Enter", "cy"), ("settle",), ("later",)]


def has_agreed(said: Sequence[dict[str, Any]], user: str, by_silence: bool) -> bool:
    """By all that was said, one after the other; their times grow with it."""
    stands = by_silence
    for each in said:
        if each["userId"] == user and each["type"] == "delete":
            stands = by_silence
        elif each["userId"] == user and each["event"] in (GIVEN, WITHDRAWN):
            # Consent by silence ends with the first withdrawal.
            stands = each["event"] == GIVEN and (stands or not by_silence)
    return stands


def might_be_sent(world: World, send: Send, by_silence: bool) -> bool:
    """Whether the user had agreed at some moment between what the message is sent for and now."""
    said = [msgspec.json.decode(record.value) for record in world.events.records]
    entered = text_of(send.expires_s - 86_400.0)
    first = next(n for n, each in enumerate(said) if each["timestamp"] == entered)
    return any(has_agreed(said[:end], send.user, by_silence) for end in range(first + 1, len(said) + 1))


@given(st.lists(_SAYS, max_size=12), st.lists(_STEPS, min_size=5, max_size=30), st.booleans(), st.data())
def test_whenever_a_name_is_asked_for_nobody_is_sent_to_who_has_not_agreed(
    before: list[tuple[str, ...]], steps: list[tuple[str, ...]], by_silence: bool, data: st.DataObject
) -> None:
    store = FailingStore()
    world = World(store=store)
    world.define(plan_of({}))
    for n, (what, *users) in enumerate([*before, ("settle",), *steps, *_END]):
        already = len(world.receiver.sends)
        if users:
            happen(world, what, users[0], NOW_S + n)
        elif what == "stop":
            is_done = data.draw(st.booleans())
            store.fault = partial(_failing, is_done)
            step(world)
            store.fault = lambda _call, _is_done: None
            world.start()
        elif what == "step":
            world.shard.store(data.draw(st.integers(0, 5)))
            step(world)
        else:
            do(world, what, by_silence)
        for send in world.receiver.sends[already:]:
            assert might_be_sent(world, send, by_silence), (send.user, send.at_s)
    assert ("cy" in sent(world)) == by_silence, "it does send"


def _failing(wanted: bool, call: str, is_done: bool) -> Exception | None:
    return Crash() if call == "commit" and is_done == wanted else None


def happen(world: World, what: str, user: str, at_s: float) -> None:
    if what == "delete":
        world.events.append(delete(user, at_s), log_time_s=at_s)
    else:
        say(world, user, what, at_s)


def do(world: World, what: str, by_silence: bool) -> None:
    if what == "ask":
        world.define(asks(None if by_silence else GIVEN))
    elif what == "forget":
        world.define(plan_of({}))
    elif what == "settle":
        world.settle()
    else:
        assert what == "later"
        later(world)


def step(world: World) -> None:
    try:
        if not world.run.is_loaded:
            world.run.assign(world.told)
        world.steps(2)
    except Crash:
        world.start()
