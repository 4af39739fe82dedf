"""Bodies that become a type: who may not send them is told so first, and what is wrong costs nobody else anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import TypeAdapter

from streams.api import bodies as module
from streams.api.bodies import MAX_OBJECTS, MAX_VALUES, check_size
from streams.api.estimate import EstimateRequest
from streams.api.keys import Role
from streams.api.problems import Problem
from streams.api.services import ApiOptions
from tests.unit.api_world import ApiWorld

PATHS = ("/v1/webhooks", "/v1/audiences", "/v1/webhooks/wh_1/redrive", "/v1/predictions/orders/estimate")
BROKEN = (b"{", b"[" * 1_000, b"{" + b" " * 600_000, b"\xff", b"")


@pytest.fixture
def world() -> ApiWorld:
    return ApiWorld()


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:tideline:problem:")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BROKEN, ids=("cut", "deep", "large", "no text", "none"))
def test_without_a_key_no_body_is_looked_at(world: ApiWorld, path: str, body: bytes) -> None:
    assert problem(world.ask("POST", path, content=body)) == (401, "unauthorized")
    weak = world.headers(Role.INGEST)
    assert problem(world.ask("POST", path, content=body, headers=weak)) == (403, "forbidden")


@pytest.mark.parametrize("path", PATHS)
def test_with_a_key_it_is_told_what_is_wrong(world: ApiWorld, path: str) -> None:
    def send(body: bytes, **more: str) -> tuple[int, str]:
        return problem(world.ask("POST", path, content=body, headers=world.headers(Role.WRITE) | more))

    assert send(b"{") == (400, "invalid-body")
    assert send(b"") == (400, "invalid-body")
    assert send(b"{" + b" " * 600_000) == (413, "too-large")
    assert send(b"{}", **{"content-type": "text/plain"}) == (415, "unsupported-media")
    assert send(b'{"no such": 1}') == (422, "invalid-parameters")
    assert send(msgspec.json.encode([{}] * (MAX_OBJECTS + 1))) == (413, "too-large")


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_is_not_waited_for(path: str) -> None:
    world, never = ApiWorld(options=ApiOptions(body_timeout_s=0.05)), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    answer = world.ask("POST", path, content=slow(), headers=world.headers(Role.WRITE))
    assert problem(answer) == (408, "timeout")


@pytest.mark.parametrize("path", PATHS)
def test_what_is_in_hand_counts_with_the_bodies_of_events(path: str) -> None:
    world = ApiWorld(options=ApiOptions(in_flight_bytes=100))
    for _ in range(3):  # what was refused was given back
        answer = world.ask("POST", path, content=b" " * 101, headers=world.headers(Role.WRITE))
        assert problem(answer) == (503, "overloaded")
        small = world.ask("POST", path, content=b'{"no such": 1}' + b" " * 80, headers=world.headers(Role.WRITE))
        assert problem(small) == (422, "invalid-parameters")


def test_many_mistakes_are_told_with_some_of_them(world: ApiWorld) -> None:
    """A body of 60 kB had an answer of 2.8 MB."""
    path = "/v1/predictions/orders/estimate"

    def send(filter_: Any) -> httpx.Response:
        return world.ask("POST", path, json={"filter": filter_}, headers=world.headers(Role.READ))

    many = send({"all": [{}] * 20_000})
    assert problem(many) == (413, "too-large")
    assert len(many.content) < 1_000
    some = send({"all": [{}] * 60})
    assert problem(some) == (422, "invalid-parameters")
    assert len(some.json()["errors"]) == 20
    assert some.json()["detail"].endswith("; and 41 more")
    named = send({"x" * 100_000: 1})
    assert problem(named) == (422, "invalid-parameters")
    assert len(named.content) < 10_000
    audience = {"form": "x" * 100_000}
    told = world.ask("POST", "/v1/audiences", json=audience, headers=world.headers(Role.WRITE))
    assert problem(told) == (422, "invalid-parameters")
    assert len(told.content) < 10_000


def test_they_are_checked_in_a_thread(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    checked = module.checked

    def seen(type_: TypeAdapter[Any], data: Any) -> Any:
        threads.append(threading.current_thread())
        return checked(type_, data)

    monkeypatch.setattr(module, "checked", seen)
    world.ask("POST", PATHS[0], json={}, headers=world.headers(Role.WRITE))
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("data", "is_fine"),
    [
        ([{}] * MAX_OBJECTS, True),
        ([{}] * (MAX_OBJECTS + 1), False),
        ([0] * (MAX_VALUES - 1), True),
        ([0] * MAX_VALUES, False),
        ([[]] * MAX_VALUES, False),
        ({str(number): number for number in range(MAX_VALUES // 2)}, False),
        (None, True),
    ],
)
def test_a_body_has_so_many_parts_at_most(data: Any, is_fine: bool) -> None:
    if is_fine:
        check_size(data)
    else:
        with pytest.raises(Problem, match="objects"):
            check_size(data)


def test_the_document_has_their_schemas(world: ApiWorld) -> None:
    document = world.app.openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert not [key for key in operation if key.startswith("x-tideline-schemas")], path
    text = msgspec.json.encode(document).decode()
    schemas = document["components"]["schemas"]
    for name in ("NewWebhook", "NewWebhookAudience", "NewSegmentAudience", "Redrive", "EstimateRequest"):
        assert f'"$ref":"#/components/schemas/{name}"' in text
        assert schemas[name]["additionalProperties"] is False
    assert schemas["EstimateRequest"]["examples"]


def test_what_is_read_is_the_type() -> None:
    given = {"filter": {"prediction": "orders", "score": {"min": 75}}}
    found = module.checked(TypeAdapter(EstimateRequest), given)
    assert found == EstimateRequest.model_validate(given)
