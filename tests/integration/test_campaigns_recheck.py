"""A second look at late messages, on the store of a service: by shards' rows, profiles, and as of when both are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from math import inf
from typing import Any

import pytest

from config.campaigns import Channel, Messaging
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.campaigns.ports import Commit
from streams.campaigns.profiles import Profile, pack_profile
from streams.campaigns.question import Wait, Withhold
from streams.core.partition import shard_of
from streams.runtime.campaigns.opened import Where
from streams.runtime.campaigns.two_logs import Place
from streams.runtime.channels.rechecking import StoredRecheck, StoredUsers
from tests.campaign_world import campaign
from tests.integration.service_world import LEDGER_KEY, SHARDS, ServiceWorld
from tests.integration.test_api_campaigns import a_user
from tests.unit.test_channels_desk import NOW_S, send

CONSENT: dict[str, Any] = {
    "open": {"kind": "log"},
    "trait": {"kind": "webhook", "consent": {"trait": "agreed"}},
    "event": {"kind": "webhook", "consent": {"withdrawn": "Unsubscribed"}},
}
MESSAGING = Messaging(
    holdout=0.0, channels={id_: Channel.model_validate(each, context={}) for id_, each in CONSENT.items()}
)


def plan(state: Any = "on") -> Plan:
    made = campaign(segment="upper", channels=list(CONSENT))
    standings = {"c": Standing(state)}
    return Plan(Definitions(MESSAGING, {"c": {1: made}}, standings=standings, kinds={"orders_2d": "event"}))


@pytest.fixture
def store(world: ServiceWorld) -> Iterator[RedisCampaigns]:
    with closing(RedisCampaigns(world.url, prefix="tl")) as found:
        yield found


@pytest.fixture
def users(world: ServiceWorld) -> Iterator[StoredUsers]:
    with closing(StoredUsers(Where(world.url, "tl", LEDGER_KEY), SHARDS)) as found:
        yield found


def told(store: RedisCampaigns, user: str, read_s: float, profile: Profile, **since_s: float) -> None:
    """What campaigns have stored of a user, and up to when they have read."""
    claim = store.claim(shard_of(user, SHARDS))
    place = Place(since_s=since_s)
    commit = Commit(claim.number + 1, place.to_bytes(), b"s", profiles={user: pack_profile(profile)})
    store.commit(claim, commit)
    store.tell_read(claim.partition, read_s)


def look(users: StoredUsers, user: str, channel: str = "open", **given: Any) -> Withhold | Wait | None:
    """What speaks against a message of an hour ago."""
    recheck = StoredRecheck(users, lambda: given.get("plan", plan()), lambda: NOW_S)
    late = send(1, user, at_s=NOW_S - 3_600.0, expires_s=given.get("expires_s", NOW_S + 60.0))
    (found,) = asyncio.run(recheck([late], channel))
    return found


def test_what_still_holds_is_delivered(world: ServiceWorld, store: RedisCampaigns, users: StoredUsers) -> None:
    user = a_user(world, is_upper=True)
    told(store, user, NOW_S - 10.0, Profile({"agreed": True}), Order=-inf, Unsubscribed=-inf)
    assert [look(users, user, channel) for channel in CONSENT] == [None, None, None]


def test_what_has_changed_since_then_is_a_reason(
    world: ServiceWorld, store: RedisCampaigns, users: StoredUsers
) -> None:
    upper, lower = a_user(world, is_upper=True), a_user(world, is_upper=False)
    gone = Profile({"agreed": False}, {"Unsubscribed": NOW_S - 60.0})
    for user in (upper, lower):
        told(store, user, NOW_S - 10.0, gone, Order=-inf, Unsubscribed=-inf)
    assert look(users, lower) == Withhold("left")
    assert look(users, upper, "trait") == look(users, upper, "event") == Withhold("consent")
    assert look(users, "nobody at all") in (Withhold("unknown"), Withhold("behind"))
    assert look(users, upper, expires_s=NOW_S - 1.0) == Withhold("stale")
    assert look(users, upper, plan=plan("archived")) == Withhold("inactive")
    assert isinstance(look(users, upper, plan=plan("paused")), Wait)


def test_nothing_is_decided_on_what_campaigns_have_not_read(
    world: ServiceWorld, store: RedisCampaigns, users: StoredUsers
) -> None:
    user = a_user(world, is_upper=True)
    told(store, user, NOW_S - 3_000.0, Profile({"agreed": True}), Order=-inf, Unsubscribed=-inf)
    found = look(users, user, expires_s=NOW_S + 3_600.0)
    assert isinstance(found, Wait)
    assert found.reason == "behind"


def test_of_an_event_that_nobody_asked_for_before_its_past_is_waited_for(
    world: ServiceWorld, store: RedisCampaigns, users: StoredUsers
) -> None:
    user = a_user(world, is_upper=True)
    told(store, user, NOW_S - 10.0, Profile(), Order=-inf)
    found = look(users, user, "event", expires_s=NOW_S + 3_600.0)
    assert isinstance(found, Wait)
    assert found.reason == "behind"
    told(store, user, NOW_S - 10.0, Profile(), Order=-inf, Unsubscribed=NOW_S - 86_400.0)
    assert look(users, user, "event") == Withhold("consent"), "who withdrew before that is not known"
