"""A message that is sent to be seen, over HTTP: rendered for a user of the store, and put where its channel looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from config.campaign_checks import read_messaging
from config.written import written
from streams.adapters.campaign_definitions import Wanted, defined, shared
from streams.adapters.redis_desks import RedisDesks
from streams.api.keys import Role
from streams.campaigns.effects import Send
from streams.runtime.channels.desk import send_of
from streams.runtime.channels.stored import StoredDesks
from tests.campaign_world import campaign, journey, send_step
from tests.integration.service_world import ServiceWorld
from tests.integration.test_api_campaigns import a_user
from tests.unit.api_world import NOW_S, ApiWorld

MESSAGING = {
    "channels": {
        "app": {"kind": "webhook"},
        "mail": {"kind": "email", "consent": "none", "address": "email"},
        "never": {"kind": "webhook", "consent": {"trait": "never"}},
    },
}
PARTS = {"subject": "Hi", "body": "Hello {{ user.id }}, {{ score }}"}


@pytest.fixture
def api(world: ServiceWorld) -> Iterator[ApiWorld]:
    """With a campaign and a journey."""
    api = ApiWorld(store_url=world.url)
    store = api.campaigns
    store.write(0, [shared(store.kept(), written(read_messaging(MESSAGING)), "key", NOW_S)])
    channels = ["app", "mail", "never"]
    message = {"parts": PARTS}
    made = campaign(segment="upper", channels=channels, prediction="orders_2d", message=message)
    bad = campaign(segment="upper", channels=["app"], message={"parts": {"body": "{{ nothing }}"}})
    steps = journey({"go": send_step("First"), "on": send_step("Second")}, segment="upper", channels=["app"])
    for kind, id_, each in (("campaign", "c", made), ("campaign", "bad", bad), ("journey", "j", steps)):
        kept = store.kept()
        wanted = Wanted(kind, id_, written(each), {})  # type: ignore[arg-type]
        store.write(kept.revision, [defined(kept, wanted, "key", NOW_S)])
    yield api
    api.stored.close()


@pytest.fixture
def user(world: ServiceWorld) -> str:
    """Somebody who has a score."""
    return a_user(world, is_upper=True)


def ask(api: ApiWorld, path: str, role: Role = Role.WRITE, **body: Any) -> tuple[int, Any]:
    answer = api.ask("POST", f"/v1/{path}/test-send", json=body, headers=api.headers(role))
    return answer.status_code, answer.json()


def asked(world: ServiceWorld, channel: str) -> dict[str, Send]:
    """What waits for the owner of a channel, by its id."""
    with closing(RedisDesks(world.url)) as desks:
        found = asyncio.run(StoredDesks(desks, "me", lambda: NOW_S).asked(channel))
    return {delivery.id: send_of(delivery) for delivery in found.values()}


def test_it_waits_for_its_channel_as_it_was_shown(world: ServiceWorld, api: ApiWorld, user: str) -> None:
    status, shown = ask(api, "campaigns/c", user_id=user, channel="app")
    assert status == 200, shown
    assert shown["id"].startswith("test-")
    assert (shown["queued"], shown["look_at"]) == (True, "/v1/campaign-channels/app")
    assert api.ask("GET", shown["look_at"], headers=api.headers(Role.READ)).json()["waiting"] > 0
    assert shown["texts"]["subject"] == "Hi"
    assert shown["texts"]["body"].startswith(f"Hello {user}, ")
    send = asked(world, "app")[shown["id"]]
    assert (send.user, send.campaign, send.version, send.kind) == (user, "c", 1, "test")
    assert (send.channels, send.texts) == (("app",), {"app": shown["texts"]})
    assert send.expires_s > send.at_s == api.now_s + NOW_S


def test_what_its_channel_lacks_is_said(api: ApiWorld, user: str) -> None:
    path, headers = "/v1/campaign-channels/app", api.headers(Role.WRITE)
    given = {"settings": {"kind": "webhook", "url": "https://hooks.example.org/m"}}
    assert ask(api, "campaigns/c", user_id=user, channel="app")[1]["lacks"] == "settings"
    assert api.ask("PUT", path, json=given, headers=headers).status_code == 200
    assert ask(api, "campaigns/c", user_id=user, channel="app")[1]["lacks"] is None
    assert api.ask("DELETE", path, headers=headers).status_code < 300  # others share the store


def test_a_mail_goes_to_who_tries_it_in_the_users_place(world: ServiceWorld, api: ApiWorld, user: str) -> None:
    _, shown = ask(api, "campaigns/c", user_id=user, channel="mail", address="me@shop.example")
    assert shown["address"] == "me@shop.example"
    assert asked(world, "mail")[shown["id"]].addresses == {"mail": "me@shop.example"}


def test_each_message_of_a_journey_can_be_sent(api: ApiWorld, user: str) -> None:
    for step, text in ((None, "First"), ("on", "Second")):
        _, shown = ask(api, "journeys/j", user_id=user, channel="app", step=step)
        assert shown["texts"] == {"body": text}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("campaigns/c", {"channel": "never"}, 422, "has not agreed"),
        ("campaigns/c", {"channel": "mail"}, 422, "has not agreed"),  # no address is known
        ("campaigns/c", {"channel": "app", "address": "me@shop.example"}, 422, "of the kind webhook has none"),
        ("campaigns/c", {"channel": "none"}, 422, "does not go by"),
        ("campaigns/bad", {"channel": "app"}, 422, "the message fails"),
        ("campaigns/none", {"channel": "app"}, 404, "no campaign or journey"),
        ("journeys/j", {"channel": "app", "step": "none"}, 404, "no step"),
    ],
)
def test_what_may_not_be_sent_is_refused(
    world: ServiceWorld, api: ApiWorld, user: str, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    before = {channel: len(asked(world, channel)) for channel in ("app", "mail", "never", "none")}
    found, problem = ask(api, path, user_id=user, **body)
    assert found == status
    assert words in problem["detail"]
    assert {channel: len(asked(world, channel)) for channel in before} == before


def test_who_is_not_known_is_told_so_before_what_else_is_wrong(world: ServiceWorld, api: ApiWorld) -> None:
    before = len(asked(world, "app"))
    for path in ("campaigns/c", "campaigns/bad", "journeys/j"):
        status, problem = ask(api, path, user_id="nobody-is-called-so", channel="app")
        assert (status, problem["detail"]) == (404, "there is no user 'nobody-is-called-so'")
    assert len(asked(world, "app")) == before


def test_a_channel_that_is_no_more_sends_nothing(api: ApiWorld, user: str) -> None:
    kept = api.campaigns.kept()
    without = {"channels": {"other": {"kind": "log"}}}
    api.campaigns.write(kept.revision, [shared(kept, written(read_messaging(without)), "key", NOW_S)])
    status, problem = ask(api, "campaigns/c", user_id=user, channel="app")
    assert (status, "messaging has no 'app'" in problem["detail"]) == (422, True)


def test_who_only_reads_sends_nothing(api: ApiWorld, user: str) -> None:
    assert ask(api, "campaigns/c", Role.READ, user_id=user, channel="app")[0] == 403
