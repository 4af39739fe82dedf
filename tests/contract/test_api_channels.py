"""Channels of campaigns over HTTP, on a real server: where they deliver to, secrets, and what was not delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from config.campaigns import Channel, Messaging
from streams.adapters.campaign_definitions import memory_campaign_definitions
from streams.adapters.redis_desks import RedisDesks
from streams.api.keys import Role
from streams.api.services import ChannelStores
from streams.api.views import time_text
from streams.campaigns.effects import Alert
from streams.runtime.channels.desk import Failure, Step, Taken, send_of
from streams.runtime.channels.redriving import REDRIVEN_S
from streams.runtime.channels.stored import StoredDesks
from streams.runtime.deliveries.pace import Delivery
from tests.contract.worlds import RedisWorld
from tests.unit.api_world import NOW_S, ApiWorld
from tests.unit.test_channels_desk import send

PATH = "/v1/campaign-channels/push"
URL = "https://hooks.example.org/messages"
HOOK = {"kind": "webhook", "url": URL}
BRAZE = {"kind": "braze", "url": "https://rest.example.org", "campaign": "c-1"}
MAIL = {"kind": "email", "host": "mail.example.org", "sender": "Shop <news@shop.example>", "user": "shop"}


class Defined:
    """What campaigns share, in place of all that is defined of them."""

    def __init__(self, **kinds: str) -> None:
        channels = {id_: Channel.model_validate({"kind": kind}, context={}) for id_, kind in kinds.items()}
        self._messaging = Messaging(channels=channels)

    def kept(self) -> Any:
        return self

    def messaging(self) -> Messaging:
        return self._messaging


@pytest.fixture
def api(redis_world: RedisWorld) -> Iterator[ApiWorld]:
    defined: Any = Defined(push="webhook", lines="log")
    world = ApiWorld(store_url=redis_world.url, prefix=redis_world.prefix, campaigns=defined)
    yield world
    world.stored.close()
    world.webhooks.close()


@pytest.fixture
def stores(redis_world: RedisWorld) -> Iterator[ChannelStores]:
    found = ChannelStores.at(redis_world.url, prefix=redis_world.prefix)
    yield found
    found.close()


def ask(api: ApiWorld, method: str, path: str, role: Role = Role.WRITE, **more: Any) -> tuple[int, Any]:
    answer = api.ask(method, path, headers=api.headers(role), **more)
    return answer.status_code, answer.json()


def put(api: ApiWorld, settings: dict[str, Any], path: str = PATH, **more: Any) -> tuple[int, Any]:
    return ask(api, "PUT", path, json={"settings": settings, **more})


def test_a_webhook_is_set_and_its_secret_is_shown_once(api: ApiWorld, stores: ChannelStores) -> None:
    assert ask(api, "GET", PATH, Role.READ)[1]["lacks"] == "settings"
    status, view = put(api, HOOK)
    assert status == 200
    secret = view.pop("secret")
    assert secret.startswith("whsec_")
    assert (view["settings"], view["has_secret"], view["lacks"], view["kind"]) == (HOOK, True, None, "webhook")
    assert ask(api, "GET", PATH, Role.READ) == (200, view)
    again = put(api, HOOK | {"url": URL + "/2"})[1]
    assert (again["secret"], again["settings"]["url"]) == (None, URL + "/2")
    found = stores.settings.secrets("push")
    assert found is not None
    assert found.at(NOW_S) == [secret], "what is signed with stays when the address changes"
    assert secret not in str(ask(api, "GET", "/v1/campaign-channels", Role.READ))


def test_a_renewed_secret_is_good_beside_the_one_before_for_a_day(api: ApiWorld, stores: ChannelStores) -> None:
    before = put(api, HOOK)[1]["secret"]
    after = ask(api, "POST", f"{PATH}/secret")[1]["secret"]
    found = stores.settings.secrets("push")
    assert found is not None
    assert (found.at(NOW_S + 3_600.0), found.at(NOW_S + 90_000.0)) == ([after, before], [after])
    put(api, {"kind": "segment"}, "/v1/campaign-channels/other", secret="key")
    assert ask(api, "POST", "/v1/campaign-channels/other/secret")[0] == 422


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        ({"kind": "segment"}, {"secret": "key"}, "of the kind webhook"),
        (HOOK | {"url": "http://hooks.example.org"}, {}, "plain http"),
        (HOOK | {"url": "https://127.0.0.1/x"}, {}, "public internet"),
        (HOOK, {"secret": "whsec_short"}, "secret"),
    ],
)
def test_what_cannot_be_is_refused(api: ApiWorld, settings: dict[str, Any], more: dict[str, Any], words: str) -> None:
    status, problem = put(api, settings, **more)
    assert status == 422
    assert words in problem["detail"]
    assert ask(api, "GET", PATH, Role.READ)[1]["settings"] is None


def test_a_mail_server_by_a_private_address_is_refused(api: ApiWorld) -> None:
    status, problem = put(api, MAIL | {"host": "10.0.0.1"}, "/v1/campaign-channels/mail", secret="word")
    assert (status, "settings.host" in problem["detail"]) == (422, True)


@pytest.mark.parametrize("sender", ["Shop", "Shop <>", "news@shop.example\nBcc: all@shop.example", "@shop.example"])
def test_a_sender_that_no_mail_could_have_is_refused(api: ApiWorld, sender: str) -> None:
    status, problem = put(api, MAIL | {"sender": sender}, "/v1/campaign-channels/mail", secret="word")
    assert (status, "settings.sender: expected an address, such as" in problem["detail"]) == (422, True)
    for good in ("news@shop.example", "Läden <news@shop.example>"):
        assert put(api, MAIL | {"sender": good}, "/v1/campaign-channels/mail", secret="word")[0] == 200


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (BRAZE, {"url": "https://other.example.org"}),
        (MAIL, {"host": "other.example.org"}),
        (MAIL, {"security": "none"}),
    ],
)
def test_a_secret_is_not_shown_to_another_address(
    api: ApiWorld, stores: ChannelStores, settings: dict[str, Any], change: dict[str, Any]
) -> None:
    path = "/v1/campaign-channels/other"
    put(api, settings, path, secret="word")
    assert put(api, settings, path)[1]["has_secret"]
    assert not put(api, settings | change, path)[1]["has_secret"]
    assert stores.settings.secrets("other") is None


def test_what_is_unset_has_no_secret_any_more(api: ApiWorld, stores: ChannelStores) -> None:
    put(api, HOOK)
    assert ask(api, "DELETE", PATH)[1]["lacks"] == "settings"
    assert (stores.settings.all(), stores.settings.secrets("push")) == ({}, None)
    assert ask(api, "GET", "/v1/campaign-channels/none", Role.READ)[0] == 404


def test_all_that_are_defined_or_set_are_listed(api: ApiWorld) -> None:
    put(api, BRAZE, "/v1/campaign-channels/old", secret="key")
    found = ask(api, "GET", "/v1/campaign-channels", Role.READ)[1]["items"]
    assert [(view["id"], view["kind"], view["lacks"]) for view in found] == [
        ("lines", "log", None),
        ("old", None, None),
        ("push", "webhook", "settings"),
    ]


def test_settings_of_a_channel_that_messaging_does_not_have_come_with_a_warning(api: ApiWorld) -> None:
    status, view = put(api, HOOK, "/v1/campaign-channels/pushh")
    words = "messaging has no channel 'pushh'; it has push, lines; did you mean 'push'?"
    assert (status, view["settings"], view["warning"]) == (200, HOOK, words)
    assert ask(api, "GET", "/v1/campaign-channels/pushh", Role.READ)[1]["warning"] == words
    assert put(api, HOOK)[1]["warning"] is None
    assert ask(api, "DELETE", "/v1/campaign-channels/pushh")[1]["warning"] is None


def test_a_channel_that_fails_says_what_came_of_it_and_when_it_is_tried_next(
    api: ApiWorld, stores: ChannelStores
) -> None:
    def taken(failure: Failure | None) -> Any:
        step = StoredDesks(stores.desks, "me", lambda: NOW_S).step("push", Taken(failure=failure), Step())
        asyncio.run(step)
        return ask(api, "GET", PATH, Role.READ)[1]["failing"]

    assert ask(api, "GET", PATH, Role.READ)[1]["failing"] is None
    assert stores.desks.claim("me", 30.0)
    found = taken(Failure("ann", "answered 503", NOW_S - 5.0, NOW_S + 60.0, NOW_S + 60.0))
    at, next_attempt = time_text(NOW_S - 5.0), time_text(NOW_S + 60.0)
    assert found == {"result": "answered 503", "at": at, "next_attempt": next_attempt, "circuit": "open"}
    assert taken(Failure("ann", "answered 503", NOW_S - 5.0, NOW_S - 1.0, NOW_S - 1.0))["circuit"] == "half-open"
    found = taken(Failure("ann", "answered 500", NOW_S - 5.0, None, None))
    assert (found["next_attempt"], found["circuit"]) == (None, "closed")
    assert taken(None) is None


def ended(desks: RedisDesks, kind: str, *numbers: int) -> None:
    """So many deliveries of the channel have come to this end."""
    found = []
    for number in numbers:
        each = send(number, f"user-{number}", campaign="c" if number % 2 else "other", expires_s=NOW_S - 5.0)
        body = msgspec.msgpack.encode(each)
        found.append(Delivery(each.id, each.user, body, number, NOW_S, 15, words="answered 500", expires_s=NOW_S - 5.0))
    assert desks.claim("me", 30.0)
    step = Step(dead=found) if kind == "dead" else Step(unknown=found)
    asyncio.run(StoredDesks(desks, "me", lambda: NOW_S).step("push", Taken(order=9, counts={"dead": 2}), step))


def test_what_was_given_up_is_listed_and_sent_again(api: ApiWorld, stores: ChannelStores) -> None:
    ended(stores.desks, "dead", 1, 2, 3)
    ended(stores.desks, "unknown", 4)
    view = ask(api, "GET", PATH, Role.READ)[1]
    assert (view["dead"], view["unknown"], view["waiting"], view["counts"]) == (3, 1, 0, {"dead": 2})
    found = ask(api, "GET", f"{PATH}/failures", Role.READ)[1]["items"]
    assert [(each["id"], each["user_id"], each["attempts"], each["result"]) for each in found] == [
        (f"id-{n}", f"user-{n}", 15, "answered 500") for n in (1, 2, 3)
    ]
    assert len(ask(api, "GET", f"{PATH}/failures?campaign_id=other", Role.READ)[1]["items"]) == 1
    version = stores.desks.version()
    assert ask(api, "POST", f"{PATH}/redrive", json={"ids": ["id-1"]})[1] == {"redriven": 1}
    assert ask(api, "POST", f"{PATH}/redrive", json={"campaign_id": "c"})[1] == {"redriven": 1}
    assert ask(api, "POST", f"{PATH}/redrive", json={"state": "unknown"})[1] == {"redriven": 1}
    assert ask(api, "POST", f"{PATH}/redrive", json={}, role=Role.READ)[0] == 403
    asked = asyncio.run(StoredDesks(stores.desks, "me", lambda: NOW_S).asked("push"))
    assert [each.id for each in asked.values()] == ["id-1", "id-3", "id-4"]
    assert {each.expires_s for each in asked.values()} == {NOW_S + REDRIVEN_S}
    assert {send_of(each).expires_s for each in asked.values()} == {NOW_S + REDRIVEN_S}
    assert stores.desks.version() > version, "the owner of the channels looks"
    assert (stores.desks.counted("push", "dead"), ask(api, "GET", PATH, Role.READ)[1]["waiting"]) == (1, 3)


def test_people_see_what_they_were_told_the_latest_first(api: ApiWorld, stores: ChannelStores) -> None:
    assert stores.alerts.add(Alert("a", "c", "breaker", "too much"), NOW_S)
    assert stores.alerts.add(Alert("b", "c", "message", "it fails"), NOW_S + 1.0)
    assert not stores.alerts.add(Alert("a", "c", "breaker", "too much"), NOW_S + 2.0)
    found = ask(api, "GET", "/v1/campaign-alerts", Role.READ)[1]["items"]
    assert [(each["id"], each["kind"], each["words"]) for each in found] == [
        ("b", "message", "it fails"),
        ("a", "breaker", "too much"),
    ]


def test_definitions_are_asked_for_what_channels_there_are(redis_world: RedisWorld) -> None:
    world = ApiWorld(store_url=redis_world.url, prefix=redis_world.prefix, campaigns=memory_campaign_definitions())
    assert ask(world, "GET", "/v1/campaign-channels", Role.READ) == (200, {"items": []})
