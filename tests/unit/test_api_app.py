"""What holds for every request: the form of errors, ids, other origins, the document, health."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from config.errors import BrokerUnavailable, StoreError
from streams.api.keys import Role
from streams.api.problems import URN, Kind
from streams.api.services import ApiOptions
from tests.conftest import ROOT
from tests.unit.api_world import ApiWorld


@pytest.fixture
def world() -> ApiWorld:
    return ApiWorld()


def test_a_request_has_an_id_of_its_caller_or_a_new_one(world: ApiWorld) -> None:
    answer = world.ask("GET", "/nope", headers={"X-Request-Id": "from-me.1"})
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("from-me.1", "from-me.1")
    for odd in ("a b", "x" * 65, "a\tb", "é"):
        made = world.ask("GET", "/healthz", headers={"X-Request-Id": odd.encode("latin-1")}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)


def test_no_such_path_and_no_such_method(world: ApiWorld) -> None:
    assert world.ask("GET", "/v1/nope").json()["type"] == f"{URN}not-found"
    answer = world.ask("DELETE", "/v1/track")
    assert (answer.status_code, answer.json()["type"]) == (405, f"{URN}method-not-allowed")
    assert answer.headers["allow"] == "POST"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_bug_shows_nothing_of_the_inside(
    world: ApiWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_key_id: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(world.keys, "find", broken)
    with caplog.at_level(logging.ERROR):
        answer = world.ask("GET", "/metrics", headers=world.headers(Role.READ))
    assert (answer.status_code, answer.json()["type"]) == (500, f"{URN}internal")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["request_id"] in caplog.text


def test_an_error_of_the_store_is_logged_and_not_shown(
    world: ApiWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_key_id: str) -> None:
        raise StoreError("redis://secret:6379 refuses")

    monkeypatch.setattr(world.keys, "find", refuses)
    with caplog.at_level(logging.ERROR):
        answer = world.ask("GET", "/metrics", headers=world.headers(Role.READ))
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "redis://secret:6379 refuses" in caplog.text


def test_ready_is_when_store_and_log_answer(world: ApiWorld) -> None:
    assert world.ask("GET", "/healthz").json() == {"status": "ok"}
    assert world.ask("GET", "/readyz").json() == {"ready": True, "store": True, "log": True}
    world.log.failure = BrokerUnavailable("away")
    answer = world.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "store": True, "log": False})
    world.keys.is_away = True
    assert world.ask("GET", "/readyz").json()["store"] is False
    assert world.ask("GET", "/healthz").status_code == 200


def test_pages_of_other_origins_may_not_ask_unless_they_are_named(world: ApiWorld) -> None:
    asking = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert world.ask("OPTIONS", "/v1/track", headers=asking).status_code == 405
    assert "access-control-allow-origin" not in world.ask("GET", "/healthz", headers=asking).headers
    named = ApiWorld(ApiOptions(cors_origins=("https://shop.example",)))
    answer = named.ask("OPTIONS", "/v1/track", headers=asking)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    other = named.ask("OPTIONS", "/v1/track", headers=asking | {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{m} {path}", o) for path, methods in document["paths"].items() for m, o in methods.items()]


def test_the_document_describes_every_operation(world: ApiWorld) -> None:
    document = world.ask("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"key", "write_key"}
    found = operations(document)
    assert len({operation["operationId"] for _, operation in found}) == len(found)
    for name, operation in found:
        assert operation["summary"], name
        assert operation["tags"], name
        if "x-tideline-role" in operation:
            assert {"key": []} in operation["security"], name
            assert {"401", "403", "429", "500", "503"} <= operation["responses"].keys(), name
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name != "get /readyz":
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)


def test_there_are_no_pages_that_take_scripts_from_elsewhere(world: ApiWorld) -> None:
    assert {world.ask("GET", path).status_code for path in ("/docs", "/redoc")} == {404}


def test_only_what_authenticates_uses_asyncios_own_threads() -> None:
    """A store that hangs under anything else must not keep events out (streams/api/definer.py)."""
    users = {path.name for path in (ROOT / "streams/api").glob("*.py") if "asyncio.to_thread" in path.read_text()}
    assert users == {"auth.py", "health.py"}


def test_every_kind_of_problem_is_explained() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", page, re.MULTILINE))
    assert listed == {(kind.slug, str(kind.status)) for kind in Kind}


def test_every_route_is_in_the_page_about_the_api(world: ApiWorld) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    paths = {str(getattr(route, "path_format", "")) for route in world.app.routes}
    assert {path for path in paths if f"`{path}`" not in page and f" {path}`" not in page} == set()
