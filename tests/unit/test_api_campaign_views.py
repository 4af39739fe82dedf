"""Previews and figures over HTTP: what is refused. What they come to: tests/integration/test_api_campaigns.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest

from config.campaign_checks import read_messaging
from config.written import written
from streams.adapters.campaign_definitions import Wanted, defined, shared
from streams.api import campaign_previews
from streams.api.campaign_previews import CampaignPreviews
from streams.api.everyone import Everyone
from streams.api.keys import Role
from streams.campaigns.figures import ENDS
from streams.campaigns.question import Answer, Asked, Reason
from streams.campaigns.state import Row
from streams.campaigns.words import REASONS
from streams.runtime.campaigns.recommending import Endpoint
from tests.campaign_world import campaign, facts, journey, send_step
from tests.unit.api_world import NOW_S
from tests.unit.test_api_definitions import World

GOOD: dict[str, Any] = {
    "name": "Reminder",
    "segment": "orders.high",
    "conversion": {"event": "Order"},
    "channels": ["app"],
    "message": {"parts": {"body": "Hello"}},
}


@pytest.fixture
def world() -> World:
    """With one channel, a campaign and a journey."""
    world = World()
    campaigns = world.campaigns
    messaging = written(read_messaging({"channels": {"app": {"kind": "log"}}}))
    campaigns.write(0, [shared(campaigns.kept(), messaging, "key", NOW_S)])
    for kind, id_, each in (("campaign", "c", campaign()), ("journey", "j", journey({"go": send_step()}))):
        kept = campaigns.kept()
        wanted = Wanted(kind, id_, written(each), {})  # type: ignore[arg-type]
        campaigns.write(kept.revision, [defined(kept, wanted, "key", NOW_S)])
    return world


def ask(world: World, path: str, body: Any) -> tuple[int, str]:
    answer = world.call("POST", f"/v1/campaigns/{path}", body, role=Role.READ)
    told = answer.json()
    return answer.status_code, f"{told['type'].rpartition(':')[2]}: {told['detail']}"


def test_every_reason_has_words() -> None:
    assert REASONS.keys() == {*get_args(Reason), "inside", "paused"}
    assert REASONS.keys() & set(ENDS) == set(), "one word for two things"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"segment": "orders.best"}, "orders.best"),
        ({"channels": ["mail"]}, "unknown channel 'mail'"),
        ({"colour": "red"}, "colour"),
        ({"message": {}}, "parts"),
        ({"offer": {"unit": "amount"}}, "an offer"),
        ({"filter": {"segment": "none"}}, "none"),
        ({"steps": {"a": {"wait": "1d"}}}, "message"),  # a journey has no message of its own
    ],
)
@pytest.mark.parametrize("path", ["preview", "preview-message"])
def test_a_definition_that_is_not_right_is_refused_with_what_is_wrong(
    world: World, path: str, changed: dict[str, Any], words: str
) -> None:
    body = {"definition": GOOD | changed} | ({"user_id": "ann"} if path == "preview-message" else {})
    status, told = ask(world, path, body)
    assert (status, told.partition(":")[0]) == (422, "invalid-definition")
    assert words in told


@pytest.mark.parametrize("path", ["preview", "preview-message"])
def test_what_nobody_may_target_is_refused_as_where_it_is_made(world: World, path: str) -> None:
    user = {"user_id": "ann"} if path == "preview-message" else {}
    made = {"id": "gone", "name": "Gone", "goal": {"did": "Order"}, "window": "7d", "access": "live"}
    world.good("POST", "/v1/predictions", made)
    world.good("POST", "/v1/predictions/gone/archive")
    for segment, state in (("seen.high", "preview"), ("gone.high", "archived")):
        definition = GOOD | {"segment": segment}
        told = ask(world, path, {"definition": definition} | user)
        assert (told[0], told[1].partition(":")[0]) == (409, "not-targetable")
        assert state in told[1]
        answer = world.call("POST", "/v1/campaigns", {"id": "new"} | definition).json()
        assert told[1] == f"{answer['type'].rpartition(':')[2]}: {answer['detail']}"


def test_a_good_one_comes_to_a_store_in_which_there_is_nothing(world: World) -> None:
    for path, body in (
        ("preview", {"definition": GOOD}),
        ("preview-message", {"definition": GOOD, "user_id": "ann"}),
        ("preview-message", {"id": "c", "user_id": "ann"}),
    ):
        assert ask(world, path, body)[0] == 503


def test_a_campaign_whose_prediction_is_gone_is_still_looked_at(world: World) -> None:
    ladder = {"unit": "amount", "prediction": "gone", "edges": [50], "values": [5, 0]}
    kept = world.campaigns.kept()
    wanted = Wanted("campaign", "old", written(campaign(offer=ladder)), {"gone": "event"})
    world.campaigns.write(kept.revision, [defined(kept, wanted, "key", NOW_S)])
    assert ask(world, "preview-message", {"id": "old", "user_id": "ann"})[0] == 503  # nothing is stored of users


def test_a_segment_that_is_yet_to_be_made_comes_with_its_filter(world: World) -> None:
    new = GOOD | {"segment": "undecided"}
    assert ask(world, "preview", {"definition": new})[0] == 422
    filter_ = {"prediction": "orders", "score": {"min": 40, "max": 60}}
    assert ask(world, "preview", {"definition": new, "segment": filter_})[0] == 503
    assert ask(world, "preview", {"definition": new, "segment": {"colour": "red"}})[0] == 422


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"user_id": "ann"}, 422, "a definition, or the id"),
        ({"definition": GOOD}, 422, "user_id"),
        ({"definition": GOOD, "user_id": ""}, 422, "user_id"),
        ({"id": "none", "user_id": "ann"}, 404, "no campaign or journey 'none'"),
        ({"definition": GOOD, "user_id": "ann", "more": 1}, 422, "more"),
        ({"definition": "x", "user_id": "ann"}, 422, "definition"),
        ([], 422, "body"),
    ],
)
def test_a_message_of_nobody_or_of_nothing_is_refused(world: World, body: Any, status: int, words: str) -> None:
    found, told = ask(world, "preview-message", body)
    assert found == status
    assert words in told


def test_who_may_write_asks_for_recommendations_and_holds_up_nobody_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a signed request to somebody else, with what the caller chooses: not for a key that only reads."""
    turns: list[None] = []
    asked: list[tuple[str, int]] = []

    @contextmanager
    def turn(_: Everyone) -> Iterator[None]:
        turns.append(None)
        yield
        turns.pop()

    async def ask_once(_sender: Any, _endpoint: Any, each: Asked, _now_s: float) -> Answer:
        asked.append((each.id[:5], len(turns)))
        return Answer([{"name": "Shoes"}])

    monkeypatch.setattr(Everyone, "turn", turn)
    monkeypatch.setattr(CampaignPreviews, "_facts", lambda *_: (facts("orders.high"), Row()))
    monkeypatch.setattr(campaign_previews, "endpoint_of", lambda *_: Endpoint("https://shop.example", []))
    monkeypatch.setattr(campaign_previews, "ask_once", ask_once)
    kept = world.campaigns.kept()
    messaging = read_messaging({"channels": {"app": {"kind": "log"}, "recs": {"kind": "webhook"}}})
    world.campaigns.write(kept.revision, [shared(kept, written(messaging), "key", NOW_S)])
    text = "{% for each in recommendations %}{{ each.name }}{% else %}nothing{% endfor %}"
    message = {"parts": {"body": text}, "recommendations": {"from": "recs"}}
    body = {"definition": GOOD | {"message": message}, "user_id": "ann"}

    def shown(role: Role) -> tuple[str, str]:
        told = world.call("POST", "/v1/campaigns/preview-message", body, role=role).json()
        return told["channels"][0]["texts"]["body"], told["recommendations"]

    assert (shown(Role.READ), asked) == (("nothing", "not-asked"), [])
    assert shown(Role.WRITE) == ("Shoes", "asked")
    assert asked == [("test-", 0)]


def test_figures_of_what_there_is_not_are_not_found(world: World) -> None:
    for path, what in (
        ("campaigns/none", "no campaign 'none'"),
        ("campaigns/j", "no campaign 'j'"),
        ("journeys/c", "no journey 'c'"),
    ):
        answer = world.call("GET", f"/v1/{path}/figures", role=Role.READ)
        assert answer.status_code == 404
        assert what in answer.json()["detail"]


def test_figures_wait_for_a_store_that_answers(world: World) -> None:
    assert world.call("GET", "/v1/campaigns/c/figures", role=Role.READ).status_code == 503
