"""Campaigns and journeys over HTTP: on a catalog file that is told, and definitions in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from config.errors import StoreUnavailable
from config.loader import loads
from streams.adapters.campaign_definitions import CampaignDefinitions, stood
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.api.keys import Role, id_of
from streams.campaigns.state import Book
from streams.client import OPERATIONS, Answer, Client
from streams.runtime.campaigns.catalog_file import take_file
from tests.contract.test_campaign_definitions import CAMPAIGN, JOURNEY
from tests.unit.api_world import NOW_S
from tests.unit.test_api_definitions import FILE, World, problem

MESSAGING = {"channels": {"push": {"kind": "webhook"}, "log": {"kind": "log"}}}
OF_FILE = """
messaging: {channels: {push: {kind: webhook}}}
campaigns:
  filed:
    name: Of the file
    segment: orders.high
    conversion: {event: Order}
    channels: [push]
    message: {parts: {body: Hello}}
"""


@pytest.fixture
def world() -> World:
    world = World()
    world.good("PUT", "/v1/messaging", MESSAGING, If_Match="*")
    return world


@pytest.fixture
def with_file() -> World:
    world = World()
    take_file(world.campaigns, loads(FILE + OF_FILE), lambda: NOW_S)
    return world


def make(world: World, id_: str = "cart", **changed: Any) -> Any:
    return world.good("POST", "/v1/campaigns", {"id": id_, **CAMPAIGN, **changed})


def tag(world: World, path: str) -> str:
    return world.call("GET", path).headers["etag"]


def test_a_campaign_is_made_and_read(world: World) -> None:
    answer = world.call("POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN})
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/campaigns/cart")
    found = answer.json()
    assert found == world.good("GET", "/v1/campaigns/cart")
    assert answer.headers["etag"] == found["etag"] == tag(world, "/v1/campaigns/cart")
    assert (found["state"], found["status"], found["version"], found["versions"]) == ("on", "on", 1, [1])
    assert (found["source"], found["kind"], found["problems"], found["why"]) == ("api", "campaign", [], None)
    assert found["since"] == found["created_at"] == found["changed_at"] == "2026-05-28T20:26:40Z"
    assert found["definition"] == CAMPAIGN
    assert found["rests_on"] == ["predictions.orders"]


@pytest.mark.parametrize(
    "change",
    [
        {"prediction": "orders", "segment": "top", "message": {"parts": {"body": "{{ score }}"}}},
        {"segment": "orders.high", "message": {"parts": {"body": "{{ likelihood }} {{ user.city }} {{ reasons[0] }}"}}},
        {"segment": "top", "trigger": {"event": "Cart", "properties": ["item"]},
         "message": {"parts": {"body": "{{ score | default('?') }} {{ event.item }} {{ campaign.name }}"}}},
        {"offer": {"unit": "percent", "prediction": "orders", "most": 10},
         "message": {"parts": {"body": "{{ offer.value }} {{ remembered.Cart.total }} {{ category }}"}}},
    ],
)  # fmt: skip
def test_what_may_be_known_of_some_user_may_be_named(world: World, change: dict[str, Any]) -> None:
    assert make(world, **change)["problems"] == []


def test_journeys_have_the_same_routes_and_share_ids_with_campaigns(world: World) -> None:
    make(world)
    found = world.good("POST", "/v1/journeys", {"id": "steps", **JOURNEY, "segment": "top"})
    assert (found["kind"], found["rests_on"]) == ("journey", ["segments.top"])
    assert problem(world.call("POST", "/v1/journeys", {"id": "cart", **JOURNEY})) == (409, "already-exists")
    assert problem(world.call("GET", "/v1/campaigns/steps")) == (404, "not-found")
    assert [each["id"] for each in world.good("GET", "/v1/campaigns")["items"]] == ["cart"]
    assert [each["id"] for each in world.good("GET", "/v1/journeys")["items"]] == ["steps"]


def test_an_edit_is_a_version_and_needs_what_was_read(world: World) -> None:
    first = make(world)["etag"]
    changed = CAMPAIGN | {"name": "New"}
    assert problem(world.call("PUT", "/v1/campaigns/cart", changed)) == (428, "precondition-required")
    found = world.good("PUT", "/v1/campaigns/cart", changed, If_Match=first)
    assert (found["name"], found["version"], found["versions"]) == ("New", 2, [1, 2])
    answer = world.call("PUT", "/v1/campaigns/cart", CAMPAIGN, If_Match=first)
    assert problem(answer) == (412, "precondition-failed")
    assert answer.headers["etag"] == found["etag"]
    again = world.good("PUT", "/v1/campaigns/cart", changed, If_Match=found["etag"])
    assert again == found, "the same definition is no version"


@pytest.mark.parametrize(
    ("change", "status", "slug", "words"),
    [
        ({"segment": "orders.hgh"}, 422, "invalid-definition", "PREDICTION.high"),
        ({"segment": "tip"}, 422, "invalid-definition", "did you mean 'top'?"),
        ({"segment": "seen.high"}, 409, "not-targetable", "the prediction 'seen' is preview"),
        ({"prediction": "seen"}, 409, "not-targetable", "change predictions.seen in the catalog file"),
        ({"filter": {"prediction": "seen", "score": {"min": 1}}}, 409, "not-targetable", "seen"),
        ({"offer": {"unit": "percent", "prediction": "seen", "most": 10}}, 409, "not-targetable", "seen"),
        ({"channels": ["mail"]}, 422, "invalid-definition", "unknown channel 'mail'"),
        ({"message": {"parts": {"body": "Hello {{ traits.name"}}}, 422, "invalid-definition", "body, line 1"),
        ({"message": {"parts": {"body": "{{ lipsum() }}"}}}, 422, "invalid-definition", "campaigns.cart.message"),
        ({"message": {"parts": {"body": "{{ user_id }}"}}}, 422, "invalid-definition", "did you mean 'user'?"),
        ({"message": {"parts": {"body": "{{ offer.value }}"}}}, 422, "invalid-definition", "the key offer beside it"),
        (
            {"segment": "top", "message": {"parts": {"body": "\n{{ score }}"}}},
            422,
            "invalid-definition",
            "body, line 2: 'score'",
        ),
        ({"message": {"parts": {"body": "{{ event.item }}"}}}, 422, "invalid-definition", "properties: [item]"),
        ({"message": {"parts": {"body": "{{ campaign.nam }}"}}}, 422, "invalid-definition", "did you mean 'name'?"),
        ({"triger": "enter"}, 422, "invalid-definition", "did you mean 'trigger'?"),
        ({"message": {"parts": {f"p{i}": "x" * 20_000 for i in range(8)}}}, 422, "invalid-definition", "131,072 bytes"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    world: World, change: dict[str, Any], status: int, slug: str, words: str
) -> None:
    answer = world.call("POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN, **change})
    assert problem(answer) == (status, slug)
    assert words in answer.text
    assert problem(world.call("GET", "/v1/campaigns/cart")) == (404, "not-found")


def test_a_mistake_in_messaging_keeps_nobody_from_making_campaigns(world: World) -> None:
    assert make(world, channels=["push", "log"])["channels"] == ["push", "log"]


def test_it_is_paused_put_on_a_dry_run_and_resumed(world: World) -> None:
    made = make(world)
    world.now_s += 60.0
    paused = world.good("POST", "/v1/campaigns/cart/pause", None, If_Match=made["etag"])
    assert (paused["state"], paused["status"], paused["since"]) == ("paused", "paused", "2026-05-28T20:27:40Z")
    assert paused["version"] == 1
    assert world.good("POST", "/v1/campaigns/cart/pause") == paused, "it is done once"
    assert problem(world.call("POST", "/v1/campaigns/cart/resume", None, If_Match=made["etag"]))[0] == 412
    assert world.good("POST", "/v1/campaigns/cart/dry-run")["state"] == "dry"
    found = world.good("POST", "/v1/campaigns/cart/resume")
    assert (found["state"], found["definition"]) == ("on", CAMPAIGN)
    history = world.good("GET", "/v1/campaigns/cart/history")["items"]
    assert [each["action"] for each in history] == ["resume", "dry", "pause", "create"]
    assert [each["state"] for each in history] == ["on", "dry", "paused", "on"]
    assert {each["key_id"] for each in history} == {id_of(world.made[Role.WRITE])}
    assert (history[0]["after"], history[-1]["before"], history[-1]["after"]) == (None, None, CAMPAIGN)


def test_a_campaign_begins_as_it_says_and_an_edit_leaves_how_it_stands(world: World) -> None:
    assert make(world, state="dry")["state"] == "dry"
    world.good("POST", "/v1/campaigns/cart/pause")
    found = world.good("PUT", "/v1/campaigns/cart", CAMPAIGN | {"name": "New"}, If_Match="*")
    assert (found["state"], found["version"], found["definition"]["state"]) == ("paused", 2, "dry")
    found = world.good("PUT", "/v1/campaigns/cart", CAMPAIGN | {"state": "on"}, If_Match="*")
    assert (found["state"], found["version"]) == ("on", 3)


def test_what_is_archived_stays_so_and_can_be_duplicated(world: World) -> None:
    made = make(world)
    found = world.good("DELETE", "/v1/campaigns/cart", None, If_Match=made["etag"])
    assert (found["state"], found["status"]) == ("archived", "archived")
    assert world.good("DELETE", "/v1/campaigns/cart") == found
    for method, path, body in (
        ("POST", "/resume", None), ("POST", "/pause", None), ("POST", "/dry-run", None), ("PUT", "", CAMPAIGN),
    ):  # fmt: skip
        answer = world.call(method, f"/v1/campaigns/cart{path}", body, If_Match="*")
        assert problem(answer) == (409, "archived"), path
        assert "/v1/campaigns/cart/duplicate" in answer.json()["detail"]
    answer = world.call("POST", "/v1/campaigns/cart/duplicate", {"id": "cart2", "name": "Second"})
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/campaigns/cart2")
    copy = answer.json()
    assert (copy["state"], copy["version"]) == ("paused", 1), "two that are on would both send"
    assert copy["definition"] == CAMPAIGN | {"name": "Second", "state": "paused"}
    assert problem(world.call("POST", "/v1/campaigns/cart/duplicate", {"id": "cart2"})) == (409, "already-exists")
    assert problem(world.call("POST", "/v1/campaigns/cart/duplicate", {})) == (422, "invalid-definition")
    assert problem(world.call("POST", "/v1/campaigns/cart/duplicate", {"id": "x", "of": "y"}))[0] == 422


def test_the_list_has_pages_and_a_status(world: World) -> None:
    for number in range(5):
        make(world, f"c{number}")
    make(world, "early", starts="2027-01-01")
    make(world, "over", ends="2026-01-01")
    world.good("POST", "/v1/campaigns/c1/pause")
    first = world.good("GET", "/v1/campaigns?limit=3")
    assert [each["id"] for each in first["items"]] == ["c0", "c1", "c2"]
    rest = world.good("GET", f"/v1/campaigns?limit=10&cursor={first['next_cursor']}")
    assert [each["id"] for each in rest["items"]] == ["c3", "c4", "early", "over"]
    assert rest["next_cursor"] is None
    for status, ids in (("paused", ["c1"]), ("early", ["early"]), ("over", ["over"]), ("archived", [])):
        assert [each["id"] for each in world.good("GET", f"/v1/campaigns?status={status}")["items"]] == ids
    on = world.good("GET", "/v1/campaigns?status=on&limit=2")
    assert [each["id"] for each in on["items"]] == ["c0", "c2"]
    more = world.good("GET", f"/v1/campaigns?status=on&limit=2&cursor={on['next_cursor']}")
    assert ([each["id"] for each in more["items"]], more["next_cursor"]) == (["c3", "c4"], None)
    for wrong in ("nonsense", first["next_cursor"][:-2]):
        assert problem(world.call("GET", f"/v1/campaigns?cursor={wrong}")) == (404, "invalid-cursor")
    assert problem(world.call("GET", f"/v1/journeys?cursor={first['next_cursor']}")) == (404, "invalid-cursor")


def test_the_history_of_one_has_pages_in_between_others(world: World) -> None:
    make(world)
    make(world, "other")
    for _ in range(2):
        for id_ in ("cart", "other"):
            world.good("POST", f"/v1/campaigns/{id_}/pause")
            world.good("POST", f"/v1/campaigns/{id_}/resume")
    page = world.good("GET", "/v1/campaigns/cart/history?limit=3")
    assert [each["action"] for each in page["items"]] == ["resume", "pause", "resume"]
    rest = world.good("GET", f"/v1/campaigns/cart/history?cursor={page['next_cursor']}")
    assert ([each["action"] for each in rest["items"]], rest["next_cursor"]) == (["pause", "create"], None)
    assert problem(world.call("GET", "/v1/campaigns/none/history")) == (404, "not-found")


def test_a_request_with_a_name_is_done_once(world: World) -> None:
    body = {"id": "cart", **CAMPAIGN}
    first = world.call("POST", "/v1/campaigns", body, Idempotency_Key="one")
    again = world.call("POST", "/v1/campaigns", body, Idempotency_Key="one")
    assert (first.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 201, "true")
    assert again.json() == first.json()
    other = world.call("POST", "/v1/campaigns", body | {"name": "Other"}, Idempotency_Key="one")
    assert problem(other) == (422, "idempotency-key-reused")
    assert problem(world.call("POST", "/v1/campaigns", body)) == (409, "already-exists")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("PUT", "/cart"), ("DELETE", "/cart"), ("POST", "/cart/pause"), ("POST", "/cart/duplicate")],
)
def test_changes_need_a_key_that_may_write(world: World, method: str, path: str) -> None:
    make(world)
    answer = world.call(method, f"/v1/campaigns{path}", CAMPAIGN, role=Role.READ)
    assert problem(answer) == (403, "forbidden")


# --- what they rest on -----------------------------------------------------------------------------------------------

RETURNS = {"name": "Returns", "goal": {"did": "Return"}, "window": "30d"}
LOYAL = {"name": "Loyal", "filter": {"prediction": "returns", "category": "low"}}


@pytest.fixture
def resting(world: World) -> World:
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    make(world, "by_category", segment="returns.high")
    make(world, "by_segment", segment="loyal", state="dry")
    make(world, "by_offer", offer={"unit": "percent", "prediction": "returns", "most": 10})
    make(world, "other")
    make(world, "resting", segment="loyal", state="paused")
    world.good("POST", "/v1/journeys", {"id": "steps", **JOURNEY, "filter": {"segment": "loyal"}})
    return world


def states(world: World) -> dict[str, str]:
    found = [*world.good("GET", "/v1/campaigns")["items"], *world.good("GET", "/v1/journeys")["items"]]
    return {each["id"]: each["state"] for each in found}


def test_a_definition_says_which_campaigns_rest_on_it(resting: World) -> None:
    resting.good("DELETE", "/v1/campaigns/by_offer")
    found = resting.good("GET", "/v1/predictions/returns/definition")["campaigns"]
    assert [(each["kind"], each["id"], each["state"]) for each in found] == [
        ("campaign", "by_category", "on"),
        ("campaign", "by_segment", "dry"),
        ("campaign", "resting", "paused"),
        ("journey", "steps", "on"),
    ]
    found = resting.good("GET", "/v1/segments/loyal/definition")["campaigns"]
    assert [each["id"] for each in found] == ["by_segment", "resting", "steps"]


@pytest.mark.parametrize(
    ("path", "body", "paused"),
    [
        ("/v1/predictions/returns/access", {"access": "preview"}, ["by_category", "by_segment", "by_offer", "steps"]),
        ("/v1/predictions/returns/archive", None, ["by_category", "by_segment", "by_offer", "steps"]),
        ("/v1/segments/loyal/archive", None, ["by_segment", "steps"]),
    ],
)
def test_what_is_taken_back_pauses_the_campaigns_that_rest_on_it(
    resting: World, path: str, body: Any, paused: list[str]
) -> None:
    before = states(resting)
    first = resting.call("POST", path, body, Role.WRITE, Idempotency_Key="once")
    assert first.json()["campaigns_paused"] == paused
    assert states(resting) == before | dict.fromkeys(paused, "paused")
    found = resting.good("GET", "/v1/campaigns/by_segment")
    assert "cannot be targeted" in found["why"]
    for name in ("resume", "dry-run"):
        assert problem(resting.call("POST", f"/v1/campaigns/by_segment/{name}")) == (409, "not-targetable")
    revision = resting.campaigns.revision()
    again = resting.call("POST", path, body, Role.WRITE, Idempotency_Key="once")
    assert (again.json(), resting.campaigns.revision()) == (first.json(), revision)


def test_it_is_put_on_again_by_hand_once_that_is_live(resting: World) -> None:
    resting.good("POST", "/v1/predictions/returns/access", {"access": "preview"})
    back = resting.good("POST", "/v1/predictions/returns/access", {"access": "live"})
    assert (back["campaigns_paused"], states(resting)["by_category"]) == ([], "paused")
    found = resting.good("POST", "/v1/campaigns/by_category/resume")
    assert (found["state"], found["why"]) == ("on", None)


def test_a_pause_that_failed_behind_its_change_is_made_when_the_change_is_asked_again(
    resting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: Any) -> None:
        raise StoreUnavailable("redis://inside:6379 does not answer")

    def ask() -> httpx.Response:
        return resting.call("POST", "/v1/predictions/returns/access", {"access": "preview"}, Idempotency_Key="once")

    with monkeypatch.context() as patch:
        patch.setattr(CampaignDefinitions, "write", is_away)
        assert ask().status_code == 503
    assert resting.good("GET", "/v1/predictions/returns/definition")["access"] == "preview"
    assert resting.good("GET", "/v1/campaigns/by_category")["state"] == "on"
    again = ask()
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert resting.good("GET", "/v1/campaigns/by_category")["state"] == "paused"


def test_one_that_was_paused_too_late_rests_and_says_why(resting: World) -> None:
    resting.good("POST", "/v1/predictions/returns/access", {"access": "preview"})
    kept = resting.campaigns.kept()
    found = kept.find("by_category")
    assert found is not None
    resting.campaigns.write(kept.revision, [stood(kept, found.head, "resume", "somebody", NOW_S + 1.0)])
    now = resting.good("GET", "/v1/campaigns/by_category")
    assert (now["state"], now["status"]) == ("on", "paused")
    assert now["problems"][0]["path"] == "campaigns.by_category.segment"


class _Direct(Client):
    """Asks an app in memory."""

    def __init__(self, world: World) -> None:
        super().__init__("http://api", "none")
        self.world = world

    def ask(
        self,
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
        answer = self.world.call(method, url, body, Role.WRITE, **given)
        assert answer.status_code in (200, 201), answer.text
        return Answer(answer.status_code, answer.headers.get("etag", ""), answer.text)


def test_the_client_makes_and_changes_them(world: World) -> None:
    client = _Direct(world)
    made = client.create_campaign("campaign", {"id": "cart", **CAMPAIGN})
    assert client.campaign("campaign", "cart") == made
    edited = client.edit_campaign("campaign", "cart", CAMPAIGN | {"name": "New"}, made.etag)
    assert edited.data["version"] == 2
    for how, state in (("pause", "paused"), ("dryRun", "dry"), ("resume", "on")):
        assert client.stand_campaign("campaign", "cart", how).data["state"] == state  # type: ignore[arg-type]
    assert client.duplicate_campaign("campaign", "cart", "cart2", "Copy").data["name"] == "Copy"
    assert client.archive_campaign("campaign", "cart").data["state"] == "archived"
    assert [each["id"] for each in client.campaigns(limit=1)] == ["cart", "cart2"]
    assert [each["id"] for each in client.campaigns(status="archived")] == ["cart"]
    assert list(client.campaigns("journey")) == []
    actions = [each["action"] for each in client.campaign_changes("campaign", "cart", limit=2)]
    assert actions == ["archive", "resume", "dry", "pause", "edit", "create"]
    shared = client.messaging()
    assert client.edit_messaging(MESSAGING | {"holdout": 0.2}, shared.etag).data["definition"]["holdout"] == 0.2


# --- what the file defines -------------------------------------------------------------------------------------------


def test_what_the_file_defines_is_read_only_but_for_how_it_stands(with_file: World) -> None:
    found = with_file.good("GET", "/v1/campaigns/filed")
    assert (found["source"], found["state"]) == ("file", "on")
    for method, body in (("PUT", CAMPAIGN), ("DELETE", None)):
        answer = with_file.call(method, "/v1/campaigns/filed", body, If_Match="*")
        assert problem(answer) == (409, "read-only")
        assert "the catalog file" in answer.json()["detail"]
    assert with_file.good("POST", "/v1/campaigns/filed/pause")["state"] == "paused"
    assert with_file.good("POST", "/v1/campaigns/filed/resume")["state"] == "on"
    assert with_file.good("POST", "/v1/campaigns/filed/duplicate", {"id": "mine"})["source"] == "api"
    assert problem(with_file.call("PUT", "/v1/messaging", MESSAGING, If_Match="*")) == (409, "read-only")
    assert with_file.good("GET", "/v1/messaging")["source"] == "file"


# --- what they share -------------------------------------------------------------------------------------------------


def test_messaging_is_read_and_changed() -> None:
    world = World()
    answer = world.call("GET", "/v1/messaging")
    assert answer.json() == {"source": None, "changed_at": None, "definition": {}}
    assert problem(world.call("PUT", "/v1/messaging", MESSAGING)) == (428, "precondition-required")
    changed = world.call("PUT", "/v1/messaging", MESSAGING, If_Match=answer.headers["etag"])
    assert changed.json() == {
        "source": "api", "changed_at": "2026-05-28T20:26:40Z", "definition": MESSAGING,
    }  # fmt: skip
    assert changed.headers["etag"] != answer.headers["etag"]
    assert problem(world.call("PUT", "/v1/messaging", MESSAGING, If_Match=answer.headers["etag"]))[0] == 412


def test_a_channel_that_campaigns_go_by_cannot_be_taken_away(world: World) -> None:
    make(world)
    less = {"channels": {"log": {"kind": "log"}}}
    answer = world.call("PUT", "/v1/messaging", less, If_Match="*")
    assert problem(answer) == (422, "invalid-definition")
    assert "campaigns.cart.channels[0]" in answer.text
    world.good("DELETE", "/v1/campaigns/cart")
    assert world.good("PUT", "/v1/messaging", less, If_Match="*")["definition"] == less


def test_a_mistake_in_what_they_share_is_told_with_its_place(world: World) -> None:
    answer = world.call("PUT", "/v1/messaging", {"channels": {"mail": {"kind": "email"}}}, If_Match="*")
    assert problem(answer) == (422, "invalid-definition")
    assert [each["path"] for each in answer.json()["problems"]] == ["messaging.channels.mail"]


def test_there_is_a_bound_of_those_that_are_not_archived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.api.campaigns_view.MAX_CAMPAIGNS", 2)
    make(world, "one")
    make(world, "two")
    answer: httpx.Response = world.call("POST", "/v1/campaigns", {"id": "three", **CAMPAIGN})
    assert problem(answer) == (409, "too-many")
    world.good("DELETE", "/v1/campaigns/one")
    make(world, "three")
    monkeypatch.setattr("streams.api.campaigns_view.MAX_KEPT", 3)
    answer = world.call("POST", "/v1/journeys", {"id": "four", **JOURNEY})
    assert problem(answer) == (409, "too-many")
    assert "/forget" in answer.json()["detail"]


def test_one_that_is_archived_and_over_can_be_forgotten_and_its_id_is_not_used_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(world)
    assert problem(world.call("POST", "/v1/campaigns/cart/forget")) == (409, "not-over")
    archived = world.good("DELETE", "/v1/campaigns/cart")
    answer = world.call("POST", "/v1/campaigns/cart/forget")
    assert problem(answer) == (409, "not-over")
    assert "in 10 minutes" in answer.json()["detail"]
    monkeypatch.setattr("streams.api.campaign_edits.SETTLED_S", -1.0)  # the clock stands still here
    monkeypatch.setattr(RedisCampaignBooks, "books_of", lambda _self, _id: [Book(open={1: 2}), Book(inside={1: 1})])
    answer = world.call("POST", "/v1/campaigns/cart/forget")
    assert (problem(answer), answer.json()["detail"][:7]) == ((409, "not-over"), "3 users")
    monkeypatch.setattr(RedisCampaignBooks, "books_of", lambda _self, _id: [Book(), Book()])
    assert problem(world.call("POST", "/v1/campaigns/cart/forget", If_Match=made["etag"])) == (
        412,
        "precondition-failed",
    )
    assert world.good("POST", "/v1/campaigns/cart/forget", None, If_Match=archived["etag"]) == archived
    assert problem(world.call("GET", "/v1/campaigns/cart")) == (404, "not-found")
    assert problem(world.call("POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN})) == (409, "already-exists")
    make(world, "another")


def test_an_edit_waits_for_versions_that_users_are_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.api.campaign_edits.MAX_VERSIONS", 2)
    make(world)
    world.good("PUT", "/v1/campaigns/cart", CAMPAIGN | {"name": "2"}, If_Match="*")
    answer = world.call("PUT", "/v1/campaigns/cart", CAMPAIGN | {"name": "3"}, If_Match="*")
    assert problem(answer) == (409, "too-many")
    world.campaigns.forget_versions({"cart": []}, before_s=NOW_S + 1.0)
    assert world.good("PUT", "/v1/campaigns/cart", CAMPAIGN | {"name": "3"}, If_Match="*")["versions"] == [2, 3]
