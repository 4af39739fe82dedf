"""What was given up on its way to others, in the console: seen, and sent again after a look."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.memory_sessions import MemorySessions
from streams.adapters.redis_deliveries import Step, dead_field
from streams.api.keys import Role
from streams.console.app import console
from streams.runtime.deliveries.pace import Delivery
from streams.runtime.place import join_place
from tests.integration.shop_world import Shop
from tests.integration.test_console_pages import Person
from tests.unit.api_world import NOW_S, ApiWorld

URL = "https://example.org/hook"


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    with join_place(shop.job.place) as url:
        yield url


@pytest.fixture
def api(url: str) -> Iterator[ApiWorld]:
    world = ApiWorld(store_url=url, transitions=MemoryTransitionLog(1), extensions=(console(MemorySessions()),))
    yield world
    world.stored.close()


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
    assert "days" in text.partition("Behind")[2].partition("Counted so far")[0].replace("\u00a0", " ")
