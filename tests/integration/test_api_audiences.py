"""Audiences over HTTP, on the store of a shop: which segments may be kept elsewhere, and what is shown of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.redis_reader import RedisReader
from streams.api.keys import Role
from streams.runtime.deliveries.audience import SEGMENT_URL, StoredMembers
from streams.runtime.place import join_place
from tests.integration.shop_world import Shop
from tests.unit.api_world import ApiWorld

HIGH = "orders_3d.high"
URL = "https://lists.example.org/tideline"


@pytest.fixture(scope="module")
def url(own_shop: Shop) -> Iterator[str]:
    with join_place(own_shop.job.place) as url:
        yield url


@pytest.fixture
def api(url: str) -> Iterator[ApiWorld]:
    world = ApiWorld(store_url=url, transitions=MemoryTransitionLog(1))
    yield world
    world.stored.close()
    world.webhooks.close()


def ask(api: ApiWorld, method: str, path: str, role: Role = Role.WRITE, **more: Any) -> tuple[int, Any]:
    answer = api.ask(method, path, headers=api.headers(role), **more)
    return answer.status_code, answer.json()


def test_one_is_made_looked_at_compared_and_archived(api: ApiWorld) -> None:
    status, view = ask(
        api, "POST", "/v1/audiences", json={"segment_id": HIGH, "form": "webhook", "url": URL, "name": "Likely"}
    )
    assert status == 201
    secret = view.pop("secret")
    assert secret.startswith("whsec_")
    path = f"/v1/audiences/{view['id']}"
    assert (view["segment_id"], view["form"], view["comparing"]) == (HIGH, "webhook", True)
    assert ask(api, "GET", path, Role.READ) == (200, view)
    assert view in ask(api, "GET", "/v1/audiences", Role.READ)[1]["items"]
    assert view["id"] not in str(ask(api, "GET", "/v1/webhooks", Role.READ)[1])
    assert ask(api, "GET", path.replace("audiences", "webhooks"))[0] == 404
    asked = api.webhooks.asked(view["id"])
    assert ask(api, "POST", f"{path}/compare")[0] == 200
    assert api.webhooks.asked(view["id"]) == asked + 1
    assert ask(api, "DELETE", path)[1]["archived_at"] is not None
    assert ask(api, "POST", f"{path}/compare")[0] == 404


@pytest.mark.parametrize("more", [{"form": "webhook", "url": URL}, {"form": "segment", "write_key": "abc"}])
def test_one_that_is_asked_for_twice_is_made_once(api: ApiWorld, more: dict[str, str]) -> None:
    headers = api.headers(Role.WRITE) | {"Idempotency-Key": more["form"]}
    first, second = (
        api.ask("POST", "/v1/audiences", headers=headers, json={"segment_id": HIGH} | more) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["secret"] == second.json()["secret"]
    assert (first.json()["secret"] is None) == (more["form"] == "segment")
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


def test_segment_gets_its_own_address_and_its_key_is_not_shown(api: ApiWorld) -> None:
    body = {"segment_id": HIGH, "form": "segment", "write_key": "writeKey123"}
    status, view = ask(api, "POST", "/v1/audiences", json=body)
    assert (status, view["url"], view["secret"]) == (201, SEGMENT_URL, None)
    assert "writeKey123" not in str(view) + str(ask(api, "GET", "/v1/audiences")[1])
    assert api.webhooks.secrets(view["id"]).current == "writeKey123"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"segment_id": "no", "form": "webhook", "url": URL}, 422),
        ({"segment_id": HIGH, "url": URL}, 422),
        ({"segment_id": HIGH, "form": "webhook"}, 422),
        ({"segment_id": HIGH, "form": "segment"}, 422),
        ({"segment_id": HIGH, "form": "webhook", "url": URL, "write_key": "x"}, 422),
        ({"segment_id": HIGH, "form": "webhook", "url": "https://10.0.0.1/"}, 422),
        ({"segment_id": HIGH, "form": "segment", "write_key": "a:b"}, 422),
    ],
)
def test_what_cannot_be_one_is_refused(api: ApiWorld, body: dict[str, Any], status: int) -> None:
    assert ask(api, "POST", "/v1/audiences", json=body)[0] == status


def test_one_that_is_not_there_is_told(api: ApiWorld) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/compare")):
        assert ask(api, method, f"/v1/audiences/au_none{action}")[0] == 404


def test_members_are_those_of_the_store(url: str) -> None:
    with closing(RedisReader(url)) as reader:
        wanted = set(reader.members(HIGH))
        assert reader.are_members(HIGH, [*sorted(wanted), "nobody"]) == [True] * len(wanted) + [False]
    assert wanted
    members = StoredMembers(url, "tl")
    assert {user for page in members.pages(HIGH) for user in page} == wanted
    assert members.are_members(HIGH, ["nobody", *sorted(wanted)[:3]]) == [False, True, True, True]
    assert members.are_members(HIGH, []) == []
