"""`tideline campaign` on an app in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from typer.testing import CliRunner

from streams.api.keys import Role
from streams.cli.app import app
from streams.client import OPERATIONS, Answer, ApiError, Client
from tests.contract.test_campaign_definitions import CAMPAIGN, JOURNEY
from tests.unit.test_api_campaigns import MESSAGING
from tests.unit.test_api_definitions import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    world.good("PUT", "/v1/messaging", MESSAGING, If_Match="*")
    world.good("POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN})
    world.good("POST", "/v1/journeys", {"id": "steps", **JOURNEY, "state": "paused"})

    def ask(
        _: Client,
        operation: str,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        method, template = OPERATIONS[operation]
        wanted = {name: value for name, value in (query or {}).items() if value is not None}
        url = template.format(**(path or {})) + ("?" + urlencode(wanted) if wanted else "")
        given = {name.replace("-", "_"): value for name, value in (headers or {}).items()}
        answer = world.call(method, url, body, Role.WRITE, **given)
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.json())
        return Answer(answer.status_code, answer.headers.get("etag", ""), answer.text)

    monkeypatch.setattr(Client, "ask", ask)
    monkeypatch.setenv("TIDELINE_API_KEY", "tl_write_id_secret")
    return world


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["campaign", *args], env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def state(world: World, kind: str, id_: str) -> str:
    return str(world.good("GET", f"/v1/{kind}s/{id_}")["state"])


@pytest.mark.usefixtures("world")
def test_campaigns_and_journeys_are_listed() -> None:
    code, out, _ = run("list")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.strip()]
    assert [row[:4] for row in rows[1:]] == [
        ["campaign", "cart", "on", "orders.high"],
        ["journey", "steps", "paused", "orders.high"],
    ]
    code, out, _ = run("list", "--status", "paused", "--json")
    assert (code, [each["id"] for each in json.loads(out)]) == (0, ["steps"])
    assert "There are none" in run("list", "--status", "over")[1]


def test_one_is_shown_with_who_changed_it(world: World) -> None:
    world.good("POST", "/v1/campaigns/cart/pause")
    code, out, _ = run("show", "cart")
    assert code == 0
    assert "Cart ✓ (campaign cart, by the api)" in out
    assert "It is paused since 2026-05-28T20:26:40Z." in out
    assert "segment: orders.high" in out
    assert [line.split()[1] for line in out.splitlines()[-2:]] == ["pause", "create"]
    found = json.loads(run("show", "steps", "--json")[1])
    assert (found["kind"], found["definition"]["steps"], len(found["changes"])) == ("journey", JOURNEY["steps"], 1)


def test_they_are_paused_resumed_archived_and_duplicated(world: World) -> None:
    assert run("pause", "cart")[0] == 0
    assert state(world, "campaign", "cart") == "paused"
    assert run("resume", "steps", "--dry-run")[0] == 0
    assert state(world, "journey", "steps") == "dry"
    assert run("resume", "cart")[0] == 0
    assert state(world, "campaign", "cart") == "on"
    code, out, _ = run("duplicate", "cart", "cart2", "--name", "Again")
    assert (code, "tideline campaign resume cart2" in out) == (0, True)
    assert world.good("GET", "/v1/campaigns/cart2")["name"] == "Again"
    assert run("archive", "cart")[0] == 0
    assert state(world, "campaign", "cart") == "archived"


def test_what_cannot_be_done_is_told(world: World) -> None:
    code, _, err = run("pause", "none")
    assert (code, "no campaign and no journey has the id 'none'" in err) == (1, True)
    run("archive", "cart")
    code, _, err = run("resume", "cart")
    assert (code, "archived for good" in " ".join(err.split())) == (1, True)
    assert "tideline campaign duplicate" in " ".join(err.split())
    told = [run("duplicate", "steps", "cart")[2], err]
    assert "the id 'cart' is taken; choose another one" in " ".join(told[0].split())
    assert not [words for words in told if "409" in words or "POST" in words or "PUT" in words]
    code, _, err = run("duplicate", "steps", "No Id")
    assert (code, "an id: small letters" in " ".join(err.split())) == (2, True)
    assert world.campaigns.kept().find("none") is None
