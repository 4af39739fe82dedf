"""What was given up on its way to others, in the console: seen, and sent again after a look."""

from __future__ import annotations

import asyncio
from contextlib import closing

import msgspec
import pytest
from msgspec.structs import replace

from streams.adapters.redis_deliveries import Step, dead_field
from streams.adapters.redis_desks import RedisDesks
from streams.api.keys import Role
from streams.campaigns.effects import Send
from streams.console.visit import BASE
from streams.runtime.channels.desk import Step as DeskStep
from streams.runtime.channels.desk import Taken
from streams.runtime.channels.stored import StoredDesks
from streams.runtime.deliveries.pace import Delivery
from tests.integration.test_console_pages import Person
from tests.unit.api_world import NOW_S, ApiWorld

URL = "https://example.org/hook"


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


@pytest.fixture
def person(api: ApiWorld) -> Person:
    return Person(api)


def test_what_a_webhook_gave_up_is_seen_and_sent_again(api: ApiWorld, person: Person) -> None:
    assert person.get("/system").status_code == 200
    made = api.ask(
        "POST", "/v1/webhooks", json={"url": URL, "name": "Shop <1>"}, headers=api.headers(Role.WRITE)
    ).json()
    assert "Shop <1> webhook 0 0" in person.page("/system").replace("\u00a0", " ")
    assert api.webhooks.claim("me", 30.0)
    step = Step(api.webhooks.progress(made["id"]))
    for number in (1, 2):
        delivery = Delivery(f"d{number}", "ann", b"{}", number, NOW_S, 9, NOW_S, "answered 500")
        step.dead[dead_field(number, delivery.id)] = msgspec.msgpack.encode(delivery)
    api.webhooks.step("me", made["id"], step)
    api.webhooks.release("me")
    address = f"/system/failures?kind=webhook&id={made['id']}"
    assert address.replace("&", "&amp;") in person.get("/system").text
    text = person.page(address)
    assert "What “Shop <1>” has not taken" in text
    assert text.count("ann 9 ") == 2
    assert "answered 500" in text
    reader = Person(api, Role.READ)
    assert "Send all 2 again" not in reader.page(address)
    assert reader.post("/system/failures", kind="webhook", id=made["id"]).status_code == 403
    assert "Send all 2 again" in text
    assert person.post("/system/failures", kind="webhook", id=made["id"]).status_code == 303
    assert (api.webhooks.dead_count(made["id"]), len(api.webhooks.redriven(made["id"]))) == (0, 2)
    assert "Nothing was given up" in person.page(address)


def test_what_was_given_up_of_a_list_elsewhere_is_seen_and_the_list_is_compared(api: ApiWorld, person: Person) -> None:
    new = {"form": "webhook", "segment_id": "orders_3d.high", "url": URL, "name": "Ads"}
    made = api.ask("POST", "/v1/audiences", json=new, headers=api.headers(Role.WRITE)).json()
    assert api.webhooks.claim("me", 30.0)
    api.webhooks.step("me", made["id"], Step(replace(api.webhooks.progress(made["id"]), differing=3)))
    api.webhooks.release("me")
    assert "Ads audience elsewhere 0 3" in person.page("/system").replace("\u00a0", " ")
    address = f"/system/failures?kind=audience&id={made['id']}"
    assert "Compare the whole list" in person.page(address)
    assert "Compare the whole list" not in Person(api, Role.READ).page(address)
    before = api.webhooks.asked(made["id"])
    assert person.post("/system/failures", kind="audience", id=made["id"]).status_code == 303
    assert api.webhooks.asked(made["id"]) == before + 1


def test_nothing_else_is_sent_again(person: Person) -> None:
    for kind, id_ in (("webhook", "nope"), ("channel", "nope"), ("user", "ann"), ("", "")):
        assert person.get("/system/failures", kind=kind, id=id_).status_code == 404
        assert person.post("/system/failures", kind=kind, id=id_).status_code == 404


def test_a_channel_of_campaigns_stands_beside_webhooks(person: Person) -> None:
    assert person.post("/campaigns/new-channel", kind="log").status_code == 303
    assert "log channel of campaigns 0 0" in person.page("/system")
    assert "Nothing was given up" in person.page("/system/failures?kind=channel&id=log")
    assert person.post("/system/failures", kind="channel", id="log").status_code == 303


def test_each_shard_says_how_far_it_is_behind(person: Person) -> None:
    text = person.page("/system")
    assert "Behind" in text
    assert "days" in text.partition("Behind")[2].replace("\u00a0", " ")


def given_up(desks: RedisDesks, channel: str, *campaigns: str) -> None:
    """The channel has given up a message of each."""
    found = []
    for number, campaign in enumerate(campaigns, 1):
        each = Send(
            f"id-{number}", 0, "g", number, f"user-{number}", campaign, 1, None, "enter", (channel,),
            {channel: {"body": "Hello"}}, {}, None, NOW_S, NOW_S + 60.0,
        )  # fmt: skip
        body = msgspec.msgpack.encode(each)
        found.append(Delivery(each.id, each.user, body, number, NOW_S, 15, words="answered 500 <b>", expires_s=NOW_S))
    assert desks.claim("me", 30.0)
    asyncio.run(StoredDesks(desks, "me", lambda: NOW_S).step(channel, Taken(), DeskStep(dead=found)))
    desks.release("me")


def test_what_a_campaign_gave_up_is_on_its_page_and_sent_again(api: ApiWorld, person: Person, url: str) -> None:
    assert person.post("/campaigns/new-channel", kind="topic").status_code == 303
    definition = {
        "segment": "orders_3d.high",
        "conversion": {"event": "Order Completed"},
        "channels": ["topic"],
        "message": {"parts": {"body": "Hello"}},
    }
    for id_ in ("one", "two"):
        body = {"id": id_, "name": f"Number {id_}", **definition}
        assert api.ask("POST", "/v1/campaigns", json=body, headers=api.headers(Role.WRITE)).status_code == 201
    with closing(RedisDesks(url)) as desks:
        assert "Given up" not in person.page("/campaigns/one")
        given_up(desks, "topic", "one", "two", "one")
        text = person.page("/campaigns/one")
        assert "Given up 2 " in text
        assert [user in text for user in ("user-1 topic 15", "user-2", "user-3 topic 15")] == [True, False, True]
        assert text.count("answered 500 <b>") == 2
        assert "Send all 2 again" in text
        reader = Person(api, Role.READ)
        assert "Send all 2 again" not in reader.page("/campaigns/one")
        assert reader.post("/campaigns/one/redrive").status_code == 403
        assert api.ask("POST", f"{BASE}/campaigns/one/redrive", data={}, headers=person.headers).status_code == 403
        assert person.post("/campaigns/one/redrive").headers["location"] == f"{BASE}/campaigns/one"
        assert (len(desks.asked("topic")), desks.counted("topic", "dead")) == (2, 1), "those of others are left"
        assert "Given up" not in person.page("/campaigns/one")
        assert "Send 1 again" in person.page("/campaigns/two")
        assert person.post("/campaigns/two/redrive").status_code == 303
        assert person.post("/campaigns/nope/redrive").status_code == 404
