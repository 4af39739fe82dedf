"""Webhooks over HTTP: made, looked at, tried out, archived; and their secrets shown once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from config.errors import NoLog, NotStored
from config.loader import loads
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.redis_deliveries import Endpoint, Sent, Step, dead_field
from streams.api.keys import Role
from streams.api.services import ApiOptions
from streams.api.webhooks import MAX_WEBHOOKS, OVERLAP_S, SHOWN_S
from streams.runtime.deliveries.pace import Delivery
from tests.contract.worlds import RedisWorld
from tests.unit.api_world import NOW_S, ApiWorld
from tests.unit.crossing_examples import crossing
from tests.unit.test_deliveries_signing import SECRET, verified
from tests.unit.webhook_receiver import Receiver

URL = "https://hooks.example.org/tideline"
CATALOG = loads("""
version: 1
name: Shop
predictions:
  orders_7d: {name: Orders, goal: {did: Order}, window: 7d}
  seen: {name: Only looked at, goal: {did: Order}, window: 7d, access: preview}
segments:
  gone: {name: Gone, filter: {prediction: orders_7d, score: {min: 90}}, archived: true}
""")


@pytest.fixture
def api(redis_world: RedisWorld) -> Iterator[ApiWorld]:
    yield from open_api(redis_world, ApiOptions())


@pytest.fixture
def private_api(redis_world: RedisWorld) -> Iterator[ApiWorld]:
    yield from open_api(redis_world, ApiOptions(webhooks_private=True, webhooks_timeout_s=5.0))


def open_api(redis_world: RedisWorld, options: ApiOptions) -> Iterator[ApiWorld]:
    log = MemoryTransitionLog(2)
    log.put(1, crossing(1))
    world = ApiWorld(options, store_url=redis_world.url, prefix=redis_world.prefix, transitions=log)
    world.definitions.tell_file(CATALOG)
    yield world
    world.webhooks.close()


def ask(api: ApiWorld, method: str, path: str, role: Role = Role.WRITE, **more: Any) -> tuple[int, Any]:
    answer = api.ask(method, path, headers=api.headers(role), **more)
    return answer.status_code, answer.json()


def made(api: ApiWorld, **more: Any) -> dict[str, Any]:
    status, found = ask(api, "POST", "/v1/webhooks", json={"url": URL} | more)
    assert status == 201, found
    view: dict[str, Any] = found
    return view


def test_a_webhook_is_made_and_its_secret_is_shown_this_once(api: ApiWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    view = made(api, name="Mine", segments=["orders_7d.high"], direction="entered", origins=["live", "decay"])
    secret = view.pop("secret")
    assert secret.startswith("whsec_")
    assert (view["url"], view["name"], view["segments"]) == (URL, "Mine", ["orders_7d.high"])
    assert (view["created_at"], view["archived_at"], view["circuit"]) == ("2026-05-28T20:26:40Z", None, "closed")
    for role in (Role.READ, Role.WRITE, Role.ADMIN):
        assert ask(api, "GET", f"/v1/webhooks/{view['id']}", role) == (200, view)
        assert ask(api, "GET", "/v1/webhooks", role) == (200, {"items": [view]})
    assert api.webhooks.secrets(view["id"]).current == secret
    assert api.webhooks.progress(view["id"]).positions == [0, 1], "it is told of what comes from now on"
    assert secret not in caplog.text
    assert made(api, secret=SECRET)["secret"] == SECRET


def again(api: ApiWorld, path: str, key: str, body: Any) -> tuple[int, Any, bool]:
    """Ask under an idempotency key; whether it was answered as before as well."""
    headers = api.headers(Role.WRITE) | {"Idempotency-Key": key}
    answer = api.ask("POST", path, headers=headers, json=body)
    return answer.status_code, answer.json(), answer.headers.get("idempotency-replayed") == "true"


def test_one_that_is_asked_for_twice_is_made_once_and_shows_its_secret_again(api: ApiWorld) -> None:
    first = again(api, "/v1/webhooks", "mine", {"url": URL})
    assert (first[0], first[2]) == (201, False)
    assert again(api, "/v1/webhooks", "mine", {"url": URL}) == (201, first[1], True)
    assert len(api.webhooks.all()) == 1
    other = again(api, "/v1/webhooks", "mine", {"url": URL, "name": "Another"})
    assert (other[0], other[1]["type"]) == (422, "urn:tideline:problem:idempotency-key-reused")
    assert again(api, "/v1/webhooks", "yours", {"url": URL})[1]["id"] != first[1]["id"]
    assert ask(api, "DELETE", f"/v1/webhooks/{first[1]['id']}")[0] == 200
    assert again(api, "/v1/webhooks", "mine", {"url": URL})[0] == 422, "it is archived"


def test_a_twin_at_the_same_moment_gets_the_same_secret(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has not seen it when it looks, and loses when it stores."""
    _, first, _ = again(api, "/v1/webhooks", "mine", {"url": URL})
    get, blind = api.webhooks.get, [True]

    def look(endpoint_id: str) -> Endpoint:
        if blind.pop() if blind else False:
            raise NotStored("not yet")
        return get(endpoint_id)

    monkeypatch.setattr(api.webhooks, "get", look)
    assert again(api, "/v1/webhooks", "mine", {"url": URL}) == (201, first, True)


def test_a_secret_that_is_renewed_twice_by_one_request_is_renewed_once(api: ApiWorld) -> None:
    view = made(api)
    path = f"/v1/webhooks/{view['id']}/secret"
    first = again(api, path, "renew", None)
    assert (first[0], first[2]) == (200, False)
    assert again(api, path, "renew", None) == (200, first[1], True)
    stored = api.webhooks.secrets(view["id"])
    assert (stored.current, stored.previous) == (first[1]["secret"], view["secret"])
    assert again(api, path, "once more", None)[1]["secret"] != stored.current
    assert api.webhooks.secrets(view["id"]).previous == stored.current


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/audiences"])
def test_who_asks_again_is_shown_its_own_secret_only_and_for_a_day(api: ApiWorld, path: str) -> None:
    body = {"url": URL} | ({"segment_id": "orders_7d.high", "form": "webhook"} if path == "/v1/audiences" else {})
    first = again(api, path, "mine", body)[1]
    for age_s, is_shown in ((SHOWN_S - 1, True), (SHOWN_S, False)):
        api.now_s = age_s
        status, found, is_again = again(api, path, "mine", body)
        assert (status, is_again, found["secret"]) == (201, True, first["secret"] if is_shown else None)


def test_a_secret_that_was_renewed_is_not_shown_to_who_made_the_webhook(api: ApiWorld) -> None:
    first = again(api, "/v1/webhooks", "mine", {"url": URL})[1]
    path = f"/v1/webhooks/{first['id']}/secret"
    renewed = again(api, path, "renew", None)[1]["secret"]
    assert renewed != first["secret"]
    assert again(api, "/v1/webhooks", "mine", {"url": URL})[1]["secret"] is None
    assert again(api, path, "renew", None)[1]["secret"] == renewed
    api.now_s = SHOWN_S
    status, found, is_again = again(api, path, "renew", None)
    assert (status, found["secret"], is_again) == (200, None, True)
    assert api.webhooks.secrets(first["id"]).current == renewed


def test_one_that_is_made_before_there_is_a_log_gets_all_of_it(api: ApiWorld) -> None:
    api.transitions.failure = NoLog("there is no log")
    assert api.webhooks.progress(made(api)["id"]).positions is None


@pytest.mark.parametrize(
    "body",
    [
        *[
            {},
            {"url": ""},
            {"url": "http://hooks.example.org/"},
            {"url": "https://127.0.0.1/"},
            {"url": "https://[::1]/"},
        ],
        *[{"url": "https://ann:pw@hooks.example.org/"}, {"url": URL, "secret": "whsec_short"}, {"url": URL, "x": 1}],
        *[{"url": URL, "direction": "sideways"}, {"url": URL, "origins": ["never"]}, {"url": URL, "segments": [""]}],
        *[{"url": URL, "segments": ["x"] * 101}, {"url": ["x"]}, [], "x"],
    ],
)
def test_what_cannot_be_one_is_refused(api: ApiWorld, body: Any) -> None:
    status, problem = ask(api, "POST", "/v1/webhooks", json=body)
    assert (status, problem["type"]) == (422, "urn:tideline:problem:invalid-parameters")
    assert "whsec_short" not in json.dumps(problem)
    assert ":pw@" not in json.dumps(problem)
    assert api.webhooks.all() == []


def test_there_are_only_so_many(api: ApiWorld) -> None:
    first = made(api)
    for _ in range(MAX_WEBHOOKS - 1):
        made(api)
    status, problem = ask(api, "POST", "/v1/webhooks", json={"url": URL})
    assert (status, problem["type"]) == (409, "urn:tideline:problem:too-many")
    ask(api, "DELETE", f"/v1/webhooks/{first['id']}")
    made(api)


def test_archived_is_for_good(api: ApiWorld) -> None:
    view = made(api)
    path = f"/v1/webhooks/{view['id']}"
    api.now_s = 60.0
    for _ in range(2):
        status, found = ask(api, "DELETE", path)
        assert (status, found["archived_at"]) == (200, "2026-05-28T20:27:40Z")
        api.now_s = 61.0
    for action in ("test", "secret", "redrive"):
        assert ask(api, "POST", f"{path}/{action}", json={})[0] == 404
    assert ask(api, "GET", f"{path}/deliveries")[0] == 200
    assert ask(api, "GET", path)[1]["archived_at"] is not None


def test_another_secret_and_the_one_before_for_a_day(api: ApiWorld) -> None:
    view = made(api, secret=SECRET)
    status, found = ask(api, "POST", f"/v1/webhooks/{view['id']}/secret")
    assert status == 200
    stored = api.webhooks.secrets(view["id"])
    assert found["secret"] == stored.current != SECRET
    assert stored.at(NOW_S + OVERLAP_S - 1) == [stored.current, SECRET]
    assert stored.at(NOW_S + OVERLAP_S) == [stored.current]


def test_deliveries_are_shown_with_what_came_of_them(api: ApiWorld) -> None:
    view = made(api)
    path = f"/v1/webhooks/{view['id']}"
    assert api.webhooks.claim("me", 30.0)

    def packed(number: int, words: str) -> bytes:
        delivery = Delivery(f"d{number}", "ann", b"{}", number, NOW_S, 2, NOW_S + 60.0, words)
        return msgspec.msgpack.encode(delivery)

    progress = api.webhooks.progress(view["id"])
    progress.last_words, progress.open_until_s = "answered 500", NOW_S + 10.0
    step = Step(progress, put={f"d{number}": packed(number, "answered 500") for number in (9, 3)})
    step.dead[dead_field(1, "d1")] = packed(1, "answered 400")
    step.recent.append(Sent("d2", "zoë", NOW_S, 1, "answered 200"))
    api.webhooks.step("me", view["id"], step)

    def shown(state: str) -> list[tuple[str, str, str]]:
        status, found = ask(api, "GET", f"{path}/deliveries", Role.READ, params={"state": state})
        assert status == 200
        assert all(item["state"] == state for item in found["items"])
        return [(item["id"], item["user_id"], item["result"]) for item in found["items"]]

    assert shown("waiting") == [("d3", "ann", "answered 500"), ("d9", "ann", "answered 500")]
    assert shown("dead") == [("d1", "ann", "answered 400")]
    assert shown("delivered") == [("d2", "zoë", "answered 200")]
    _, found = ask(api, "GET", path)
    assert (found["waiting"], found["dead"], found["circuit"], found["last_result"]) == (2, 1, "open", "answered 500")
    assert ask(api, "POST", f"{path}/redrive", json={"ids": ["no"]}) == (200, {"redriven": 0})
    assert ask(api, "POST", f"{path}/redrive", json={}) == (200, {"redriven": 1})
    assert (shown("dead"), list(api.webhooks.redriven(view["id"]))) == ([], [dead_field(1, "d1")])
    assert ask(api, "GET", path)[1]["waiting"] == 3


def test_a_test_is_sent_at_once_and_signed(private_api: ApiWorld) -> None:
    received: list[tuple[dict[str, str], bytes]] = []

    async def doing() -> Any:
        async def answer(request: Any) -> Any:
            from aiohttp import web

            received.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
            return web.Response(status=202)

        async with Receiver(answer) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            view = await asyncio.to_thread(made, private_api, url=url, secret=SECRET)
            return await asyncio.to_thread(ask, private_api, "POST", f"/v1/webhooks/{view['id']}/test")

    status, found = asyncio.run(doing())
    ((headers, body),) = received
    assert (status, found) == (
        200,
        {"delivered": True, "status": 202, "result": "answered 202", "id": headers["webhook-id"]},
    )
    assert verified(SECRET, headers, body)
    assert json.loads(body)["type"] == "tideline.test.v1"


def test_a_test_says_what_is_wrong(api: ApiWorld) -> None:
    view = made(api, url="https://localhost/")
    status, found = ask(api, "POST", f"/v1/webhooks/{view['id']}/test")
    assert (status, found["delivered"]) == (200, False)
    assert found["result"] == (
        "not sent: the address is not one of the public internet; "
        "TIDELINE_WEBHOOKS_PRIVATE=true allows private addresses and plain http"
    )


def test_a_webhook_that_is_not_there_is_told(api: ApiWorld) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/secret"), ("POST", "/test")):
        assert ask(api, method, f"/v1/webhooks/wh_none{action}")[0] == 404
    assert ask(api, "POST", "/v1/webhooks/wh_none/redrive", json={})[0] == 404


AUDIENCE = {"form": "webhook", "url": URL}


@pytest.mark.parametrize(
    ("path", "where", "body"),
    [
        ("/v1/webhooks", "body.segments.0", lambda segment: {"url": URL, "segments": [segment, "orders_7d.low"]}),
        ("/v1/audiences", "body.segment_id", lambda segment: AUDIENCE | {"segment_id": segment}),
    ],
)
def test_a_segment_that_cannot_be_targeted_is_refused_when_it_is_named(
    api: ApiWorld, path: str, where: str, body: Callable[[str], dict[str, Any]]
) -> None:
    status, found = ask(api, "POST", path, json=body("orders_7d.hihg"))
    assert (status, found["type"]) == (422, "urn:tideline:problem:invalid-parameters")
    assert found["errors"][0]["where"] == where
    assert "Did you mean orders_7d.high?" in found["detail"]
    for segment, state in (("gone", "archived"), ("seen.high", "preview")):
        status, found = ask(api, "POST", path, json=body(segment))
        assert (status, found["type"]) == (409, "urn:tideline:problem:not-targetable")
        assert found["state"] == state
        assert "in the catalog file" in found["how"]
    assert api.webhooks.all() == []


def test_one_that_is_asked_for_again_is_answered_whatever_has_become_of_its_segment(api: ApiWorld) -> None:
    made_first = again(api, "/v1/webhooks", "twice", {"url": URL, "segments": ["orders_7d.high"]})
    api.definitions.tell_file(CATALOG.model_copy(update={"predictions": {}, "segments": {}}))
    assert again(api, "/v1/webhooks", "twice", {"url": URL, "segments": ["orders_7d.high"]})[:2] == (
        201,
        made_first[1] | {"status": "paused"},
    )
