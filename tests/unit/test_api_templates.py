"""Ready-made campaigns over HTTP: each can be made as it comes."""

from __future__ import annotations

from typing import Any

import pytest

from streams.api.keys import Role
from streams.campaigns.strategies.make import strategies
from tests.unit.test_api_campaigns import MESSAGING
from tests.unit.test_api_definitions import World, problem

STAYS: dict[str, Any] = {"name": "Stays away", "kind": "churn", "goal": {"did_not": "Order"}, "window": "30d"}


@pytest.fixture
def world() -> World:
    world = World()
    world.make("prediction", "stays", STAYS)
    world.good("PUT", "/v1/messaging", MESSAGING, If_Match="*")
    return world


def fill(world: World, name: str, **asked: Any) -> Any:
    return world.call("POST", f"/v1/templates/{name}", asked, role=Role.READ)


def test_all_are_described_in_both_languages(world: World) -> None:
    found = world.good("GET", "/v1/templates")["items"]
    assert [each["name"] for each in found] == strategies()
    for each in found:
        assert set(each["title"]) == set(each["description"]) == {"en", "fr"}
        assert all(len(text) > 20 for text in each["description"].values())
    ranges = {each["name"]: (each["kind"], each["prediction_kind"], each["range"]) for each in found}
    assert ranges["reminder"] == ("campaign", "event", "high")
    assert ranges["three_day_blast"] == ("journey", "event", "low")
    assert ranges["sliding_scale"] == ("campaign", "event", [0, 75])
    assert ranges["churn_rescue"][1:] == ("churn", "high")


@pytest.mark.parametrize("name", strategies())
@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_is_filled_in_can_be_made(world: World, name: str, language: str) -> None:
    prediction = "stays" if name in strategies("churn") else "orders"
    answer = fill(world, name, prediction=prediction, channels=["push"], language=language, order_value=60)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    if found["segment"] is not None:
        world.make("segment", found["segment"]["id"], found["segment"]["definition"])
    made = world.good("POST", f"/v1/{found['kind']}s", {"id": found["id"], **found["definition"]})
    assert made["definition"] == found["definition"]


def test_what_is_filled_in_can_be_called_something_else(world: World) -> None:
    asked = {"prediction": "orders", "channels": ["push"]}
    found = fill(world, "sliding_scale", id="spring", **asked).json()
    assert (found["id"], found["segment"]["id"], found["definition"]["segment"]) == ("spring",) * 3
    assert fill(world, "sliding_scale", **asked).json()["id"] == "sliding_scale_orders"
    assert fill(world, "sliding_scale", id="No Id", **asked).status_code == 422


def test_a_channel_that_messaging_does_not_have_is_told_with_the_one_that_is_meant(world: World) -> None:
    found = fill(world, "reminder", prediction="orders", channels=["log", "pushh"]).json()
    assert found["errors"][0]["where"] == "body.channels.1"
    assert found["errors"][0]["detail"].endswith("no channel 'pushh'; it has push, log; did you mean 'push'?")


def test_recommendations_are_asked_of_a_webhook_of_messaging(world: World) -> None:
    asked = {"prediction": "orders", "channels": ["log"]}
    found = fill(world, "recommendations", recommender="push", **asked).json()
    assert found["definition"]["message"]["recommendations"]["from"] == "push"
    made = world.good("POST", "/v1/campaigns", {"id": found["id"], **found["definition"]})
    assert made["definition"] == found["definition"]
    assert "recommendations" not in fill(world, "recommendations", **asked).json()["definition"]["message"]
    for name, recommender, words in (
        ("recommendations", "pushh", "did you mean 'push'?"),
        ("recommendations", "log", "a channel of the kind webhook is asked, and log is no such one"),
        ("reminder", "push", "reminder asks for no recommendations"),
    ):
        answer = fill(world, name, recommender=recommender, **asked)
        assert problem(answer) == (422, "invalid-parameters")
        assert answer.json()["errors"][0]["detail"].endswith(words)


def test_a_segment_is_named_in_the_language(world: World) -> None:
    asked = {"prediction": "orders", "channels": ["push"], "min": 80, "max": 95}
    english, french = (fill(world, "reminder", language=language, **asked).json() for language in ("en", "fr"))
    assert english["segment"]["definition"]["name"].endswith(": 80 to 95")
    assert french["segment"]["definition"]["name"].endswith(" : 80 à 95")


def test_a_range_of_its_own_comes_with_a_segment(world: World) -> None:
    found = fill(world, "reminder", prediction="orders", channels=["push"], min=80, max=95).json()
    assert found["segment"]["definition"]["filter"] == {"prediction": "orders", "score": {"min": 80, "max": 95}}
    assert found["definition"]["segment"] == found["segment"]["id"] == found["id"]
    assert fill(world, "reminder", prediction="orders", channels=["push"], category="low").json()["segment"] is None


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("none", {"prediction": "orders", "channels": ["push"]}, (404, "not-found")),
        ("reminder", {"prediction": "none", "channels": ["push"]}, (404, "not-found")),
        ("reminder", {"prediction": "seen", "channels": ["push"]}, (409, "not-targetable")),
        ("reminder", {"prediction": "stays", "channels": ["push"]}, (422, "invalid-parameters")),
        ("reminder", {"prediction": "orders", "channels": ["pushh"]}, (422, "invalid-parameters")),
        ("reminder", {"prediction": "orders"}, (422, "invalid-parameters")),
        ("reminder", {"prediction": "orders", "channels": ["push"], "language": "de"}, (422, "invalid-parameters")),
        ("reminder", {"prediction": "orders", "channels": ["push"], "min": 1, "category": "low"},
         (422, "invalid-parameters")),
        ("reminder", {"prediction": "orders", "channels": ["push"], "min": 60, "max": 50}, (422, "invalid-definition")),
    ],
)  # fmt: skip
def test_what_cannot_be_filled_in_is_told(
    world: World, name: str, asked: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(fill(world, name, **asked)) == expected


def test_nothing_is_stored(world: World) -> None:
    revision = world.campaigns.revision()
    fill(world, "reminder", prediction="orders", channels=["push"])
    assert world.campaigns.revision() == revision
