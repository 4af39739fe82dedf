"""A segment made from a selection has the members that its estimate counted, at once and while nothing comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from config.catalog import Catalog, Segment
from config.errors import NoLog
from streams.api import taking_up
from streams.api.keys import Role
from streams.api.stored import STATE_S
from streams.api.taking_up import LOOKS, TakingUp
from streams.runtime.definitions import FixedCatalog
from tests.integration.service_world import SHARDS, ServiceWorld
from tests.integration.test_api_estimates import PATH, get, post, said
from tests.unit.api_world import ApiWorld

ASKED = ("members", "sizes", "export")
SELECTIONS: dict[str, Any] = {
    "warm": {"prediction": "orders_2d", "score": {"min": 35, "max": 72.5}},
    "top": {"prediction": "orders_2d", "category": ["medium", "high"]},
    "again": {"prediction": "loyal_2d", "score": {"min": 50}},
    "layers": {
        "all": [
            {"prediction": "orders_2d", "score": {"min": 20}},
            {"trait": "country", "in": ["A", "C"]},
            {"event": "View", "count": {"min": 1}, "within": "14d"},
            {"not": {"event": "Order", "since": {"max": "2d"}}},
            {"not": {"segment": "busy"}},
        ]
    },
}


def go_on_under(world: ServiceWorld, api: ApiWorld, catalog: Catalog, *, after_s: float = 60.0) -> None:
    """All shards, in a turn without events in which no time passes. `after_s`: what the API remembers is so old."""
    api.now_s += after_s
    for run in world.shards:
        run._wanted = FixedCatalog(catalog)
        run.step([], world.models, None)


def size(api: ApiWorld, segment: str) -> int:
    return int(get(api, f"/v1/segments/{segment}")["members"])


def test_its_size_is_the_estimate(world: ServiceWorld, api: ApiWorld) -> None:
    estimates = {}
    for name, tree in SELECTIONS.items():
        answer = post(api, {"filter": tree})
        assert answer.status_code == 200, answer.text
        estimates[name] = answer.json()["users"]
    assert get(api, f"{PATH}/estimate", min=35, max=72.5)["users"] == estimates["warm"]
    made = {name: Segment.model_validate({"name": name, "filter": tree}) for name, tree in SELECTIONS.items()}
    clocks_s = [run.shard.clock_s for run in world.shards]
    now = world.shards[0].catalog  # tests come in any order
    go_on_under(world, api, now.model_copy(update={"segments": {**now.segments, **made}}))
    assert {name: size(api, name) for name in SELECTIONS} == estimates
    assert min(estimates.values()) > 5
    assert [run.shard.clock_s for run in world.shards] == clocks_s


def test_a_prediction_is_there_at_once_and_others_keep_what_is_theirs(world: ServiceWorld, api: ApiWorld) -> None:
    now = world.shards[0].catalog
    before = get(api, "/v1/predictions")["items"]
    quality = get(api, f"{PATH}/quality")
    new = now.predictions["orders_2d"].model_copy(update={"name": "New", "window_s": 3 * 86_400.0})
    go_on_under(world, api, now.model_copy(update={"predictions": {"new_3d": new, **now.predictions}}), after_s=STATE_S)
    after = get(api, "/v1/predictions")["items"]
    assert [each["id"] for each in after] == ["new_3d", *(each["id"] for each in before)]
    assert after[1:] == before
    assert get(api, f"{PATH}/quality") == quality
    go_on_under(world, api, now, after_s=STATE_S)
    assert get(api, "/v1/predictions")["items"] == before


def test_a_filter_that_was_estimated_can_be_saved_as_it_was_answered(api: ApiWorld) -> None:
    for name, tree in SELECTIONS.items():
        answered = post(api, {"filter": tree}).json()["segment"]["filter"]
        kept = Segment.model_validate({"name": name, "filter": answered}).filter
        assert kept == Segment.model_validate({"name": name, "filter": tree}).filter


def test_with_entry_crossings_nobody_is_in_it_until_they_cross(world: ServiceWorld, api: ApiWorld) -> None:
    tree = SELECTIONS["warm"]
    estimate = post(api, {"filter": tree}).json()["users"]
    made = Segment.model_validate({"name": "Later", "filter": tree, "entry": "crossings"})
    now = world.shards[0].catalog
    go_on_under(world, api, now.model_copy(update={"segments": {**now.segments, "later": made}}))
    view = get(api, "/v1/segments/later")
    assert (view["members"], view["entry"]) == (0, "crossings")
    assert post(api, {"filter": tree}).json()["users"] == estimate > 5
    at_once = made.model_copy(update={"entry": "now"})
    go_on_under(world, api, now.model_copy(update={"segments": {**now.segments, "later": at_once}}))
    view = get(api, "/v1/segments/later")
    assert (view["members"], view["entry"]) == (estimate, "now")


def test_other_edges_make_other_categories_of_the_same_scores(world: ServiceWorld, api: ApiWorld) -> None:
    now = world.shards[0].catalog
    prediction = now.predictions["orders_2d"]
    edges = prediction.categories.model_copy(update={"medium": 30.0, "high": 61.0})
    edited = prediction.model_copy(update={"categories": edges})
    scores = sorted(score for score, _, _ in said(world))
    before = size(api, "orders_2d.high")
    go_on_under(world, api, now.model_copy(update={"predictions": {**now.predictions, "orders_2d": edited}}))
    assert sorted(score for score, _, _ in said(world)) == scores
    assert size(api, "orders_2d.high") == sum(score >= 61.0 for score in scores) != before
    assert size(api, "orders_2d.low") == sum(score < 30.0 for score in scores)
    assert get(api, f"{PATH}/estimate", category="high")["users"] == size(api, "orders_2d.high")


def ask(api: ApiWorld, segment: str, what: str) -> httpx.Response:
    return api.ask("GET", f"/v1/segments/{segment}/{what}", headers=api.headers(Role.READ))


@pytest.fixture
def new(world: ServiceWorld, api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """A segment is made in the API, and shards have not taken it up. Yields what they come to work with."""
    monkeypatch.setattr(taking_up, "LOOK_S", 0.0)
    api.transitions.failure = NoLog("there is none here")
    now = world.shards[0].catalog
    api.definitions.tell_file(now)
    body = {"id": "fresh", "name": "Fresh", "filter": SELECTIONS["warm"]}
    made = api.ask("POST", "/v1/segments", json=body, headers=api.headers(Role.WRITE))
    assert made.status_code == 201, made.text
    segment = Segment.model_validate({"name": "Fresh", "filter": SELECTIONS["warm"]})
    yield now.model_copy(update={"segments": {**now.segments, "fresh": segment}})
    go_on_under(world, api, now)


@pytest.mark.parametrize("what", ASKED)
def test_who_asks_for_members_of_a_new_segment_waits_until_all_shards_have_it(
    world: ServiceWorld, api: ApiWorld, new: Catalog, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, really = -1, TakingUp._known_by_all  # the first look is that of the question itself

    def look(one: TakingUp) -> frozenset[str]:
        nonlocal looks
        looks += 1
        if 0 < looks <= SHARDS:  # one shard after another
            run = world.shards[looks - 1]
            run._wanted = FixedCatalog(new)
            run.step([], world.models, None)
        return really(one)

    get(api, "/v1/predictions")  # states are known, and not looked at for two seconds
    monkeypatch.setattr(TakingUp, "_known_by_all", look)
    answer = ask(api, "fresh", what)
    assert (answer.status_code, looks) == (200, SHARDS)
    members = size(api, "fresh")
    found = answer.json()["members"] if what == "sizes" else len(ask(api, "fresh", "export").text.splitlines())
    assert found == members > 5
    if what == "members":
        assert len(answer.json()["items"]) == members


@pytest.mark.parametrize("what", ASKED)
def test_who_asks_for_members_that_no_shard_has_is_told_to_come_again(api: ApiWorld, new: Catalog, what: str) -> None:
    assert "fresh" in new.segments
    answer = ask(api, "fresh", what)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:tideline:problem:unavailable"
    assert "workers have not taken it up" in answer.json()["detail"]
    assert ask(api, "frehs", what).status_code == 404
    api.ask("POST", "/v1/segments/fresh/archive", headers=api.headers(Role.WRITE))
    archived = ask(api, "fresh", what)
    assert archived.status_code == 200, archived.text
    empty = {"members": '{"items":[],"next_cursor":null}', "export": ""}
    assert archived.json()["members"] == 0 if what == "sizes" else archived.text == empty[what]


@pytest.mark.usefixtures("new")
@pytest.mark.parametrize("what", ASKED)
def test_so_it_is_with_a_category_of_a_new_prediction(api: ApiWorld, what: str) -> None:
    body = {"id": "newer", "name": "Newer", "goal": {"did": "Order"}, "window": "3d"}
    made = api.ask("POST", "/v1/predictions", json=body, headers=api.headers(Role.WRITE))
    assert made.status_code == 201, made.text
    answer = ask(api, "newer.high", what)
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.text
    assert ask(api, "newer.higher", what).status_code == 404
    put_away = api.ask("POST", "/v1/predictions/newer/archive", headers=api.headers(Role.WRITE))
    assert put_away.status_code == 200, put_away.text
    archived = ask(api, "newer.high", what)
    assert archived.status_code == 200, archived.text
    empty = {"members": '{"items":[],"next_cursor":null}', "export": ""}
    assert archived.json()["members"] == 0 if what == "sizes" else archived.text == empty[what]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for every look at the catalogs of all shards from now on."""
    looks, really = list[None](), TakingUp._known_by_all

    def look(one: TakingUp) -> frozenset[str]:
        looks.append(None)
        return really(one)

    monkeypatch.setattr(TakingUp, "_known_by_all", look)
    return looks


@pytest.mark.usefixtures("new")
def test_all_who_wait_look_together(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, many = counted(monkeypatch), 8

    async def ask_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            path, headers = "/v1/segments/fresh/members", api.headers(Role.READ)
            return list(await asyncio.gather(*(client.get(path, headers=headers) for _ in range(many))))

    assert {answer.status_code for answer in asyncio.run(ask_all())} == {503}
    assert LOOKS < len(looks) <= many + LOOKS + many  # the first of each, and some who came while others waited


def test_pages_of_what_all_shards_have_are_looked_up_once_in_a_while(
    api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = counted(monkeypatch)
    assert [ask(api, segment, "members").status_code for segment in ("busy", "orders_2d.high", "busy")] == [200] * 3
    assert len(looks) == 1
    api.now_s += STATE_S
    assert ask(api, "busy", "members").status_code == 200
    assert len(looks) == 2
