"""`tideline campaign` on an app in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from typer.testing import CliRunner

from streams.adapters.redis_campaign_books import RedisCampaignBooks
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


def run(*args: str, answer: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["campaign", *args], input=answer, env={"COLUMNS": "100", "TERM": "dumb"})
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


def test_when_one_goes_out_next_is_shown(world: World) -> None:
    """It is Thursday, 2026-05-28 20:26:40 UTC."""
    weekly = {"every": "week", "on": ["monday"], "at": "10:00", "timezone": "Europe/Paris"}
    for id_, more, next_at in (
        ("weekly", {"trigger": weekly}, "2026-06-01T08:00:00Z"),
        ("dry", {"trigger": weekly, "state": "dry"}, "2026-06-01T08:00:00Z"),
        ("later", {"trigger": weekly, "starts": "2026-06-08 08:00"}, "2026-06-08T08:00:00Z"),
        ("soon", {"trigger": {"at": "2026-05-28 20:30"}}, "2026-05-28T20:30:00Z"),
        ("ends", {"trigger": weekly, "ends": "2026-06-01 08:00"}, None),
        ("past", {"trigger": {"at": "2026-05-28 20:20"}}, None),
    ):
        world.good("POST", "/v1/campaigns", {"id": id_, **CAMPAIGN, **more})
        assert world.good("GET", f"/v1/campaigns/{id_}")["next_at"] == next_at, id_
        words = "None of its times is still to come." if next_at is None else f"It goes out next at {next_at}."
        assert words in run("show", id_)[1], id_
    world.good("POST", "/v1/campaigns/weekly/pause")
    assert world.good("GET", "/v1/campaigns/weekly")["next_at"] is None
    for id_ in ("weekly", "cart", "steps"):
        assert "next" not in run("show", id_)[1].partition("Version")[0]


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


def test_one_is_forgotten_after_a_question(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisCampaignBooks, "books_of", lambda _self, _id: [])
    code, _, err = run("forget", "cart", "--yes")
    assert (code, "the campaign cart is not archived; tideline campaign archive cart ends it" in err) == (1, True)
    run("archive", "cart")
    code, _, err = run("forget", "cart", "--yes")
    assert (code, "archived just now: try again in 10 minutes" in " ".join(err.split())) == (1, True)
    monkeypatch.setattr("streams.api.campaign_edits.SETTLED_S", -1.0)  # the clock stands still here
    code, _, err = run("forget", "cart")
    assert (code, "give --yes" in err) == (2, True), "nobody is there to be asked"
    monkeypatch.setattr("streams.cli.screen.can_ask", lambda: True)
    code, _, err = run("forget", "cart", answer="n\n")
    assert (code, "Forget the campaign cart (Cart ✓) with its figures?" in err) == (1, True)
    assert state(world, "campaign", "cart") == "archived"
    code, out, _ = run("forget", "cart", answer="y\n")
    assert (code, "The campaign cart is forgotten." in out) == (0, True)
    assert world.campaigns.kept().forgotten == {"cart"}


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
