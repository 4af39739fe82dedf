"""Which webhooks and audiences rest on a definition, and whether something may be sent about a segment."""

from __future__ import annotations

import pytest

from config.loader import loads
from streams.adapters.definition_store import Kept
from streams.adapters.redis_deliveries import Endpoint
from streams.api.definitions_view import DefinitionsView
from streams.api.problems import Problem
from streams.api.targets import check_segments, status_of
from tests.unit.api_world import NOW_S, NoEndpoints
from tests.unit.test_api_definitions import LOYAL, RETURNS, World

URL = "https://hooks.example.org/tideline"
FILE = """
version: 1
name: Shop
history: [Cart]
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
  seen: {name: Only looked at, goal: {did: Cart}, window: 7d, access: preview}
  old: {name: Old, goal: {did: Cart}, window: 7d, archived: true}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
  gone: {name: Gone, filter: {event: Cart, count: {min: 1}}, archived: true}
"""


def hook(id_: str, *segments: str, archived_s: float | None = None) -> Endpoint:
    return Endpoint(id_, URL, "A name", NOW_S, segments, archived_s=archived_s)


def audience(id_: str, segment: str) -> Endpoint:
    return Endpoint(id_, URL, "A list", NOW_S, audience=segment)


@pytest.fixture
def world() -> World:
    """A prediction, a segment of it, one on that, and endpoints of all kinds."""
    world = World()
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    world.make("segment", "upon", {"name": "Upon", "filter": {"segment": "loyal"}})
    assert isinstance(world.webhooks, NoEndpoints)
    world.webhooks.endpoints = [
        hook("wh_all"),
        hook("wh_two", "upon", "top"),
        hook("wh_category", "returns.high"),
        hook("wh_archived", "loyal", archived_s=NOW_S),
        audience("au_loyal", "loyal"),
    ]
    return world


def view_of(world: World) -> DefinitionsView:
    file = world.definitions.file()
    assert file is not None
    return DefinitionsView.of(file, world.definitions.kept())


def on(world: World, kind: str, id_: str) -> dict[str, list[str]]:
    found = world.good("GET", f"/v1/{kind}s/{id_}/definition")
    return {each["id"]: each["segments"] for each in found["endpoints"]}


def test_a_definition_tells_which_webhooks_and_audiences_rest_on_it(world: World) -> None:
    of_returns = {"wh_two": ["upon"], "wh_category": ["returns.high"], "au_loyal": ["loyal"]}
    assert on(world, "prediction", "returns") == of_returns
    assert on(world, "segment", "loyal") == {"wh_two": ["upon"], "au_loyal": ["loyal"]}
    assert on(world, "segment", "upon") == {"wh_two": ["upon"]}
    assert on(world, "segment", "top") == {"wh_two": ["top"]}
    assert on(world, "prediction", "orders") == {"wh_two": ["top"]}
    (found,) = world.good("GET", "/v1/segments/upon/definition")["endpoints"]
    assert found == {"kind": "webhook", "id": "wh_two", "name": "A name", "segments": ["upon"]}
    kinds = [each["kind"] for each in world.good("GET", "/v1/segments/loyal/definition")["endpoints"]]
    assert kinds == ["webhook", "audience"]


def test_what_is_taken_back_tells_what_it_pauses_and_those_come_back_with_it(world: World) -> None:
    def statuses() -> dict[str, str]:
        view = view_of(world)
        return {each.id: status_of(view, each) for each in world.webhooks.all()}

    before = dict.fromkeys(("wh_all", "wh_two", "wh_category", "au_loyal"), "active") | {"wh_archived": "archived"}
    assert statuses() == before
    taken = world.good("POST", "/v1/predictions/returns/access", {"access": "preview"})
    assert taken["archived_too"] == ["loyal", "upon"]
    assert [each["id"] for each in taken["endpoints"]] == ["wh_two", "wh_category", "au_loyal"]
    assert statuses() == before | {"wh_category": "paused", "au_loyal": "paused"}, "the other one still has top"
    world.good("POST", "/v1/predictions/returns/access", {"access": "live"})
    assert statuses() == before


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ("tap", "Did you mean top?"),
        ("orders.hihg", "Did you mean orders.high?"),
        ("orders", "no segment is called 'orders'"),
        ("no.high", "no segment is called 'no.high'"),
    ],
)
def test_a_segment_that_there_is_not_is_named_with_its_place(segment: str, words: str) -> None:
    view = DefinitionsView.of(loads(FILE), Kept(0, ()))
    with pytest.raises(Problem) as caught:
        check_segments(view, ["top", segment, "orders.low"], "body.segments.{}")
    (error,) = caught.value.members["errors"]
    assert (caught.value.status_code, error["where"]) == (422, "body.segments.1")
    assert words in error["detail"]


@pytest.mark.parametrize(
    ("segment", "names"),
    [("gone", "segments.gone"), ("seen.low", "predictions.seen"), ("old.low", "predictions.old")],
)
def test_what_cannot_be_targeted_says_what_to_do(segment: str, names: str) -> None:
    view = DefinitionsView.of(loads(FILE), Kept(0, ()))
    check_segments(view, ["top", "orders.high"], "body.segments.{}")
    with pytest.raises(Problem) as caught:
        check_segments(view, ["top", segment], "body.segments.{}")
    assert caught.value.status_code == 409
    assert caught.value.members["how"] == f"change {names} in the catalog file of the service"


def test_a_paused_segment_leads_to_its_prediction(world: World) -> None:
    world.good("POST", "/v1/predictions/returns/access", {"access": "demo"})
    view = view_of(world)
    with pytest.raises(Problem) as caught:
        check_segments(view, ["upon"], "body.segment_id")
    assert caught.value.members["id"] == "returns"
    assert caught.value.members["how"] == 'POST /v1/predictions/returns/access with {"access": "live"}'


def test_where_nothing_is_defined_yet_nothing_is_known_against_an_endpoint() -> None:
    assert status_of(None, hook("wh_1", "top")) == "active"
    assert status_of(None, hook("wh_1", "top", archived_s=NOW_S)) == "archived"
