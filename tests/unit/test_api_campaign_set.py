"""Campaigns in a whole set of definitions: planned, applied, exported; and by `tideline apply`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from config.loader import loads
from streams.adapters.campaign_definitions import CampaignDefinitions, stood
from streams.adapters.documents import Answer, DefinitionsChanged
from streams.api.keys import Role
from streams.runtime.campaigns.catalog_file import take_file
from tests.contract.test_campaign_definitions import CAMPAIGN, JOURNEY
from tests.unit.api_world import NOW_S
from tests.unit.test_api_campaigns import LOYAL, MESSAGING, OF_FILE, RETURNS, make, states
from tests.unit.test_api_definitions import FILE, World, problem

FILED = loads(FILE)


@pytest.fixture
def world() -> World:
    world = World()
    world.good("PUT", "/v1/messaging", MESSAGING, If_Match="*")
    make(world, "cart")
    make(world, "old")
    return world


def a_set(**given: Any) -> dict[str, Any]:
    return {"predictions": {}, "segments": {}, **given}


def plan(world: World, wanted: dict[str, Any]) -> tuple[Any, str]:
    answer = world.call("POST", "/v1/definitions/plan", wanted)
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers["etag"]


def apply(world: World, wanted: dict[str, Any], etag: str) -> httpx.Response:
    return world.call("PUT", "/v1/definitions", wanted, If_Match=etag)


def changes(planned: Any) -> list[tuple[str, str, str]]:
    return [(each["action"], each["kind"], each["id"]) for each in planned["changes"]]


def test_a_set_without_campaigns_leaves_them_as_they_are(world: World) -> None:
    before = states(world)
    planned, etag = plan(world, a_set())
    assert changes(planned) == []
    assert apply(world, a_set(), etag).status_code == 200
    assert states(world) == before


def test_a_set_makes_changes_and_archives_campaigns_with_what_they_rest_on(world: World) -> None:
    wanted = a_set(
        predictions={"returns": RETURNS},
        segments={"loyal": LOYAL},
        campaigns={"cart": CAMPAIGN | {"name": "New"}, "for_loyal": CAMPAIGN | {"segment": "loyal"}},
        journeys={"steps": JOURNEY | {"state": "dry"}},
    )
    planned, etag = plan(world, wanted)
    assert changes(planned) == [
        ("create", "prediction", "returns"),
        ("create", "segment", "loyal"),
        ("edit", "campaign", "cart"),
        ("create", "campaign", "for_loyal"),
        ("archive", "campaign", "old"),
        ("create", "journey", "steps"),
    ]
    assert planned["changes"][2]["differences"] == [{"path": "name", "before": "Cart ✓", "after": "New"}]
    assert states(world) == {"cart": "on", "old": "on"}, "a plan changes nothing"
    done = apply(world, wanted, etag)
    assert (done.status_code, changes(done.json())) == (200, changes(planned))
    assert states(world) == {"cart": "on", "old": "archived", "for_loyal": "on", "steps": "dry"}
    again, _ = plan(world, wanted)
    assert (changes(again), again["unchanged"]) == ([], 6)


def test_channels_of_a_set_are_those_that_its_campaigns_may_name(world: World) -> None:
    mail = {"channels": {"mail": {"kind": "webhook"}}}
    both = a_set(messaging=mail, campaigns={"cart": CAMPAIGN | {"channels": ["mail"]}}, journeys={})
    planned, etag = plan(world, both)
    assert changes(planned)[0] == ("edit", "messaging", "messaging")
    assert apply(world, both, etag).status_code == 200
    assert world.good("GET", "/v1/messaging")["definition"] == mail
    assert world.good("GET", "/v1/campaigns/cart")["definition"]["channels"] == ["mail"]
    less = a_set(messaging={}, campaigns={"cart": CAMPAIGN | {"channels": ["mail"]}})
    assert problem(world.call("POST", "/v1/definitions/plan", less)) == (422, "invalid-definition")
    alone = a_set(messaging={"channels": {"log": {"kind": "log"}}})
    assert "campaigns.cart.channels[0]" in world.call("POST", "/v1/definitions/plan", alone).text


def test_nothing_is_applied_where_a_campaign_is_not_right(world: World) -> None:
    wanted = a_set(predictions={"returns": RETURNS}, campaigns={"cart": CAMPAIGN | {"segment": "tip"}})
    for method, path in (("POST", "/v1/definitions/plan"), ("PUT", "/v1/definitions")):
        assert problem(world.call(method, path, wanted, If_Match="*")) == (422, "invalid-definition")
    preview = a_set(predictions={"returns": RETURNS | {"access": "preview"}},
                    campaigns={"cart": CAMPAIGN | {"segment": "returns.high"}})  # fmt: skip
    assert problem(world.call("PUT", "/v1/definitions", preview, If_Match="*")) == (409, "not-targetable")
    world.good("DELETE", "/v1/campaigns/old")
    gone = a_set(campaigns={"cart": CAMPAIGN, "old": CAMPAIGN})
    assert problem(world.call("PUT", "/v1/definitions", gone, If_Match="*")) == (409, "archived")
    assert problem(world.call("PUT", "/v1/definitions", a_set(journeys={"cart": JOURNEY}), If_Match="*"))[0] == 409
    assert list(world.definitions.read().predictions) == []
    assert states(world) == {"cart": "on", "old": "archived"}


def test_a_plan_that_others_have_overtaken_is_refused(world: World) -> None:
    wanted = a_set(campaigns={"cart": CAMPAIGN | {"name": "New"}})
    _, etag = plan(world, wanted)
    world.good("POST", "/v1/campaigns/cart/pause")
    assert problem(apply(world, wanted, etag)) == (412, "precondition-failed")
    assert problem(world.call("PUT", "/v1/definitions", wanted)) == (428, "precondition-required")
    _, without = plan(world, a_set())
    assert apply(world, a_set(), without).status_code == 200, "what is not in a set may change meanwhile"


def test_what_a_set_takes_back_pauses_campaigns_and_the_others_are_applied(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    make(world, "resting", segment="returns.high")
    wanted = a_set(campaigns={
        "cart": CAMPAIGN | {"name": "New"}, "resting": CAMPAIGN | {"segment": "returns.high"}, "old": CAMPAIGN,
    })  # fmt: skip
    planned, etag = plan(world, wanted)
    assert changes(planned) == [("archive", "prediction", "returns"), ("edit", "campaign", "cart")]
    assert apply(world, wanted, etag).status_code == 200
    assert states(world) == {"cart": "on", "old": "on", "resting": "paused"}
    assert world.good("GET", "/v1/campaigns/cart")["name"] == "New"


class _Overtaken(CampaignDefinitions):
    """Somebody else is first, between the definitions and the campaigns."""

    def write(self, expected: int, steps: Any, answer: Answer | None = None) -> None:
        kept = self.kept()
        other = kept.find("cart")
        assert other is not None
        if any(step.change.action == "archive" for step in steps) and expected == kept.revision:
            super().write(expected, [stood(kept, other.head, "pause", "bob", NOW_S + 1.0)])
            raise DefinitionsChanged("others")
        super().write(expected, steps, answer)


def test_who_is_overtaken_between_the_two_steps_is_told(world: World) -> None:
    wanted = a_set(predictions={"returns": RETURNS}, campaigns={"cart": CAMPAIGN})
    _, etag = plan(world, wanted)
    world.campaigns.__class__ = _Overtaken
    answer = apply(world, wanted, etag)
    assert problem(answer) == (412, "precondition-failed")
    assert "predictions and segments are applied, and campaigns are not" in answer.text
    assert list(world.definitions.read().predictions) == ["returns"]
    assert states(world) == {"cart": "paused", "old": "on"}


def test_what_the_file_defines_stays_and_has_to_be_the_same() -> None:
    world = World()
    whole = loads(FILE + OF_FILE)
    take_file(world.campaigns, whole, lambda: NOW_S)
    world.good("POST", "/v1/campaigns/filed/pause")
    theirs = {"name": "Of the file", "segment": "orders.high", "conversion": {"event": "Order"},
              "channels": ["push"], "message": {"parts": {"body": "Hello"}}}  # fmt: skip
    planned, _ = plan(world, a_set(messaging={"channels": {"push": {"kind": "webhook"}}}, campaigns={"filed": theirs}))
    assert (changes(planned), planned["of_file"]) == ([], ["messaging", "campaigns.filed"])
    planned, _ = plan(world, a_set(campaigns={}))
    assert (changes(planned), planned["of_file"]) == ([], ["campaigns.filed"])
    answer = world.call("POST", "/v1/definitions/plan", a_set(campaigns={"filed": theirs | {"name": "Other"}}))
    assert problem(answer) == (409, "read-only")
    assert answer.json()["differs"] == ["campaigns.filed"]


def test_an_export_has_campaigns_as_they_stand_and_is_what_is_defined(world: World) -> None:
    world.good("POST", "/v1/campaigns/cart/pause")
    world.good("DELETE", "/v1/campaigns/old")
    text = world.call("GET", "/v1/definitions/export", role=Role.READ).text
    sections = loads(text).sections
    assert {id_: each.state for id_, each in sections.campaigns.items()} == {"cart": "paused"}
    assert sections.messaging is not None
    assert list(sections.messaging.channels) == ["push", "log"]
    wanted = a_set(messaging=MESSAGING, campaigns={"cart": CAMPAIGN | {"state": "paused"}})
    planned, _ = plan(world, wanted)
    assert (changes(planned), planned["unchanged"]) == ([], 3)
