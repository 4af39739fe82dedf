"""Campaigns as they are kept, in memory, in a server and in a cluster: one suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from math import inf
from typing import Any

import msgspec
import pytest

from config.campaigns import Campaign, Messaging
from config.errors import StoreIncompatible, StoreUnavailable
from config.journeys import Journey
from streams.adapters.campaign_definitions import (
    BREAKER,
    EARLIER_KEPT,
    CampaignDefinitions,
    Head,
    Wanted,
    applied,
    defined,
    gone,
    memory_campaign_definitions,
    redis_campaign_definitions,
    shared,
    stood,
)
from streams.adapters.documents import Answer, AnsweredBefore, DefinitionsChanged
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_store import WaitFor
from tests.contract.worlds import RedisWorld

CAMPAIGN: dict[str, Any] = {
    "name": "Cart ✓",
    "segment": "orders.high",
    "conversion": {"event": "Order"},
    "channels": ["push"],
    "message": {"parts": {"body": "Hello"}},
}
JOURNEY: dict[str, Any] = {
    **{key: value for key, value in CAMPAIGN.items() if key != "message"},
    "steps": {"go": {"send": {"parts": {"body": "Hello"}}}},
}
HISTORY = 5
DAY_S = 86_400.0


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[CampaignDefinitions]:
    if request.param == "memory":
        yield memory_campaign_definitions(history=HISTORY)
        return
    world = RedisWorld(request.getfixturevalue(f"{request.param}_url"))
    with (
        closing(world),
        closing(redis_campaign_definitions(world.url, prefix=world.prefix, history=HISTORY)) as found,
    ):
        yield found


def put(store: CampaignDefinitions, id_: str, now_s: float, **changed: Any) -> None:
    """Make or edit a campaign."""
    kept = store.kept()
    store.write(kept.revision, [defined(kept, Wanted("campaign", id_, CAMPAIGN | changed, {}), "ann", now_s)])


def head(store: CampaignDefinitions, id_: str) -> Head:
    found = store.kept().find(id_)
    assert found is not None
    return found.head


def stand(store: CampaignDefinitions, id_: str, action: Any, now_s: float) -> None:
    store.write(store.revision(), [stood(store.kept(), head(store, id_), action, "ann", now_s)])


def test_nothing_is_there_before_the_first_change(store: CampaignDefinitions) -> None:
    kept = store.kept()
    assert (store.revision(), kept.revision, kept.campaigns, kept.common) == (0, 0, (), None)
    assert kept.definitions({}).messaging == Messaging()
    assert (store.history(None, 10), store.answered("a")) == ([], None)


def test_campaigns_journeys_and_what_they_share_are_read_as_they_were_written(store: CampaignDefinitions) -> None:
    kept = store.kept()
    steps = [
        shared(kept, {"channels": {"push": {"kind": "webhook"}}}, "ann", 10.0),
        defined(kept, Wanted("journey", "zz", JOURNEY, {}, state="dry"), "ann", 10.0, 1),
        defined(kept, Wanted("campaign", "aa", CAMPAIGN, {"orders": "event"}, source="file"), "ann", 10.0, 2),
    ]
    store.write(0, steps)
    kept = store.kept()
    assert store.revision() == kept.revision == 1
    assert [(each.head.id, each.head.kind, each.head.source) for each in kept.campaigns] == [
        ("zz", "journey", "api"),
        ("aa", "campaign", "file"),
    ]
    found = kept.definitions({"churn": "churn"})
    assert isinstance(found.campaigns["aa"][1], Campaign)
    assert isinstance(found.journeys["zz"][1], Journey)
    assert found.campaigns["aa"][1].name == "Cart ✓"
    assert list(found.messaging.channels) == ["push"]
    assert found.kinds == {"orders": "event", "churn": "churn"}
    assert (found.standings["zz"].state, found.standings["zz"].since_s) == ("dry", 10.0)
    assert (found.standings["aa"].state, found.standings["aa"].created_s) == ("on", 10.0)


def test_an_edit_makes_a_version_and_leaves_the_standing_as_it_is(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    stand(store, "cart", "pause", 20.0)
    put(store, "cart", 30.0, name="New")
    found = store.kept().definitions({})
    assert {number: each.name for number, each in found.campaigns["cart"].items()} == {1: "Cart ✓", 2: "New"}
    assert (found.standings["cart"].state, found.standings["cart"].since_s) == ("paused", 20.0)
    now = head(store, "cart")
    assert (now.version, now.changed, now.changed_s, now.made) == (2, 3, 30.0, (1, 0))


def test_every_standing_is_later_than_the_one_before_also_by_a_clock_that_was_set_back(
    store: CampaignDefinitions,
) -> None:
    put(store, "cart", 10.0)
    since = [10.0]
    for action, now_s in (("pause", 10.0), ("resume", 5.0), ("dry", 10.0), ("archive", 10.0)):
        stand(store, "cart", action, now_s)
        since.append(head(store, "cart").stands.since_s)
    assert since == sorted(set(since))
    assert head(store, "cart").stands.state == "archived"
    assert head(store, "cart").stands.created_s == 10.0


def test_who_was_not_first_is_told_and_changes_nothing(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    old = store.kept()
    put(store, "cart", 20.0, name="Second")
    answer = Answer("q", "hash", 200, {}, "{}")
    with pytest.raises(DefinitionsChanged):
        store.write(old.revision, [defined(old, Wanted("campaign", "cart", CAMPAIGN, {}), "bob", 30.0)], answer)
    assert (head(store, "cart").version, store.answered("q"), store.revision()) == (2, None, 2)


def test_an_answer_is_kept_with_its_change(store: CampaignDefinitions) -> None:
    answer = Answer("q", "hash", 201, {"ETag": '"1"'}, '{"id": "cart"}')
    kept = store.kept()
    store.write(0, [defined(kept, Wanted("campaign", "cart", CAMPAIGN, {}), "ann", 10.0)], answer)
    with pytest.raises(AnsweredBefore) as error:
        store.write(1, [defined(store.kept(), Wanted("campaign", "b", CAMPAIGN, {}), "ann", 20.0)], answer)
    assert (error.value.answer, store.answered("q"), store.kept().find("b")) == (answer, answer, None)


def test_the_history_says_who_did_what_and_has_a_bound(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    put(store, "cart", 20.0, name="New")
    stand(store, "cart", "pause", 30.0)
    (_, paused), (place, edited) = store.history(None, 2)
    assert (paused.action, paused.state, paused.before, paused.after) == ("pause", "paused", None, None)
    assert (edited.action, edited.key_id, edited.version, edited.before, edited.after) == (
        "edit", "ann", 2, CAMPAIGN, CAMPAIGN | {"name": "New"},
    )  # fmt: skip
    assert [change.action for _, change in store.history(place, 10)] == ["create"]
    for now_s in range(40, 50):
        stand(store, "cart", "resume", float(now_s))
    assert len(store.history(None, 100)) == HISTORY


def test_a_trip_pauses_the_standing_under_which_it_happened_and_no_other(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    assert not store.trip("cart", 9.0, 11.0)
    assert not store.trip("other", 10.0, 11.0)
    assert store.trip("cart", 10.0, 11.0)
    assert head(store, "cart").stands.state == "paused"
    assert head(store, "cart").stands.why
    assert not store.trip("cart", 10.0, 12.0), "a repetition does nothing"
    assert [change.key_id for _, change in store.history(None, 10)] == [BREAKER, "ann"]
    stand(store, "cart", "resume", 20.0)
    assert not store.trip("cart", 10.0, 21.0), "people have put it on again"
    assert head(store, "cart").stands.why is None
    stand(store, "cart", "pause", 30.0)
    assert not store.trip("cart", 30.0, 31.0), "it is paused"


def test_of_many_who_trip_at_once_one_does_while_others_edit(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    found: list[bool] = []
    wrong: list[BaseException] = []

    def trip() -> None:
        try:
            found.append(store.trip("cart", 10.0, 11.0))
        except BaseException as error:  # noqa: BLE001  told in the test's own thread
            wrong.append(error)

    threads = [threading.Thread(target=trip) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(5):
        with suppress(DefinitionsChanged):
            put(store, f"c{number}", 12.0)
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(found) == [False] * 5 + [True]
    assert head(store, "cart").stands.state == "paused"


def test_of_one_that_is_forgotten_only_the_id_is_kept(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    put(store, "cart", 20.0, name="New")
    put(store, "other", 20.0)
    stand(store, "cart", "archive", 30.0)
    kept = store.kept()
    found = kept.find("cart")
    assert found is not None
    step = gone(found, "ann", 40.0)
    store.write(kept.revision, [step])
    assert store.kept() == applied(kept, [step])
    assert [each.head.id for each in store.kept().campaigns] == ["other"]
    assert store.kept().forgotten == {"cart"}
    (_, change), *_ = store.history(None, 5)
    assert (change.action, change.id, change.before) == ("forget", "cart", CAMPAIGN | {"name": "New"})
    put(store, "third", 50.0)
    assert store.kept().forgotten == {"cart"}, "it stays"


OF_BEFORE: list[tuple[dict[str, Any], float | None]] = [
    ({"trigger": {"every": "day", "at": "10:00"}}, 30 * DAY_S),
    ({"trigger": {"at": "2026-12-24 10:00"}}, 30 * DAY_S),
    ({"trigger": {"every": "day", "at": "10:00"}, "reentry": "always"}, 0.0),
    ({"trigger": {"every": "day", "at": "10:00"}, "reentry": "once"}, None),
    ({"trigger": {"event": "Cart"}}, 30 * DAY_S),
    ({}, 30 * DAY_S),
]


@pytest.mark.parametrize(("said", "after_s"), OF_BEFORE)
def test_what_was_saved_when_a_schedule_reached_nobody_twice_in_30_days_still_means_that(
    store: CampaignDefinitions, said: dict[str, Any], after_s: float | None
) -> None:
    kept = store.kept()
    step = defined(kept, Wanted("campaign", "cart", CAMPAIGN | said, {}), "ann", 10.0)
    assert step.version is not None
    store.write(kept.revision, [step._replace(version=msgspec.structs.replace(step.version, triggered_s=None))])
    assert store.kept().definitions({}).campaigns["cart"][1].again_after_s == after_s
    found = store.kept().find("cart")
    assert found is not None
    shown = found.current.definition
    put(store, "cart", 20.0, **shown | {"name": "New"})
    assert store.kept().definitions({}).campaigns["cart"][2].again_after_s == after_s  # as it was shown


def test_how_one_stood_before_is_known_of_the_last_standings(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    for action, now_s in (("pause", 20.0), ("resume", 30.0), ("dry", 40.0)):
        stand(store, "cart", action, now_s)
    put(store, "cart", 50.0, name="New")
    found = store.kept().definitions({}).standings["cart"]
    assert list(found.spans()) == [
        (40.0, inf, "dry"), (30.0, 40.0, "on"), (20.0, 30.0, "paused"), (10.0, 20.0, "on"),
    ]  # fmt: skip
    for number in range(30):
        stand(store, "cart", "pause" if number % 2 else "resume", 60.0 + number)
    since = [since_s for since_s, _, _ in store.kept().definitions({}).standings["cart"].spans()]
    assert since == [89.0 - number for number in range(EARLIER_KEPT + 1)]


def test_since_when_a_trigger_is_what_it_is_outlives_edits_of_other_things(store: CampaignDefinitions) -> None:
    weekly = {"every": "week", "on": ["monday"], "at": "10:00"}
    said: list[tuple[float, dict[str, Any]]] = [
        (10.0, {}),
        (20.0, {"name": "New"}),
        (30.0, {"trigger": weekly}),
        (40.0, {"trigger": weekly, "name": "B"}),
    ]
    found = []
    for now_s, more in said:
        put(store, "cart", now_s, **more)
        store.forget_versions({"cart": []}, before_s=1e9)
        found.append(store.kept().definitions({}).standings["cart"].triggered_s)
    assert found == [10.0, 10.0, 30.0, 30.0]


def test_versions_that_nobody_needs_are_forgotten_once_they_were_replaced_long_ago(store: CampaignDefinitions) -> None:
    for number in range(4):
        put(store, "cart", 10.0 * (number + 1), name=f"V{number + 1}")
    put(store, "other", 10.0)
    put(store, "other", 20.0, name="New")
    assert store.forget_versions({"cart": [2]}, before_s=35.0) == 1  # 3 was replaced at 40
    assert list(store.kept().definitions({}).campaigns["cart"]) == [2, 3, 4]
    assert store.forget_versions({"cart": []}, before_s=1e9) == 2
    revision = store.revision()
    assert store.forget_versions({"cart": []}, before_s=1e9) == 0
    assert store.revision() == revision
    found = store.kept().definitions({}).campaigns
    assert (list(found["cart"]), list(found["other"])) == ([4], [1, 2])
    assert [change.action for _, change in store.history(None, 2)] == ["edit", "create"]


# --- in a server -----------------------------------------------------------------------------------------------------


def test_an_id_that_was_forgotten_stands_where_older_processes_do_not_look(redis_world: RedisWorld) -> None:
    """They share the store while others are brought up to date, and read every field as a campaign."""
    with closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store:
        put(store, "cart", 10.0)
        put(store, "other", 10.0)
        stand(store, "cart", "archive", 20.0)
        kept = store.kept()
        found = kept.find("cart")
        assert found is not None
        store.write(kept.revision, [gone(found, "ann", 30.0)])
        base = f"{redis_world.prefix}:campaigns:{{definitions}}:"
        assert set(redis_world.client.hkeys(base + "now")) == {b"revision", b"campaign:other", b"version:other@1"}
        assert redis_world.client.smembers(base + "marks") == {b"cart"}
        redis_world.client.hset(base + "now", "forgotten:old", b"1")  # where they stood for a while
        assert store.kept().forgotten == {"cart", "old"}


def test_who_was_not_first_forgets_nobody(redis_world: RedisWorld) -> None:
    with closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store:
        put(store, "cart", 10.0)
        stand(store, "cart", "archive", 20.0)
        kept = store.kept()
        put(store, "other", 25.0)
        with pytest.raises(DefinitionsChanged):
            store.write(kept.revision, [gone(kept.campaigns[0], "ann", 30.0)])
        assert store.kept().forgotten == frozenset()


def test_campaigns_and_segments_do_not_disturb_each_other(redis_world: RedisWorld) -> None:
    with (
        closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store,
        closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as others,
    ):
        put(store, "cart", 10.0)
        assert (store.revision(), others.revision(), others.kept().entries) == (1, 0, ())


def test_a_trip_without_the_copies_that_are_asked_for_is_not_acknowledged(redis_world: RedisWorld) -> None:
    wait_for = WaitFor(replicas=1, on_disk=False, timeout_s=0.05)
    with closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store:
        put(store, "cart", 10.0)
    opened = redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix, wait_for=wait_for)
    with closing(opened) as store:
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.trip("cart", 10.0, 11.0)
        assert not store.trip("cart", 10.0, 12.0), "it is paused already"


_WITHOUT_VERSIONS = (
    b'{"kind":"campaign","id":"x","source":"api","version":1,"made":[1,0],"changed":1,"changed_s":1,'
    b'"stands":{"state":"on","since_s":1,"created_s":1}}'
)


@pytest.mark.parametrize(
    ("field", "data"),
    [("campaign:x", b"{"), ("messaging", b'{"definition": {}}'), ("campaign:x", _WITHOUT_VERSIONS)],
)
def test_what_cannot_be_read_is_told(redis_world: RedisWorld, field: str, data: bytes) -> None:
    with closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store:
        redis_world.client.hset(f"{redis_world.prefix}:campaigns:{{definitions}}:now", field, data)
        with pytest.raises(StoreIncompatible, match="by a version of Tideline"):
            store.kept()


def test_a_definition_of_another_version_of_tideline_is_told(redis_world: RedisWorld) -> None:
    with closing(redis_campaign_definitions(redis_world.url, prefix=redis_world.prefix)) as store:
        put(store, "cart", 10.0, trigger={"moon": "full"})
        with pytest.raises(StoreIncompatible, match="by a version of Tideline"):
            store.kept().definitions({})


def test_a_server_that_is_away_is_told() -> None:
    with closing(redis_campaign_definitions("unix:///no/such/socket")) as store:
        for ask in (store.revision, store.kept, lambda: store.trip("cart", 1.0, 2.0)):
            with pytest.raises(StoreUnavailable):
                ask()
