"""A segment made from a selection has the members that its estimate counted, at once and while nothing comes."""

from __future__ import annotations

from typing import Any

from config.catalog import Catalog, Segment
from streams.api.stored import STATE_S
from streams.runtime.definitions import FixedCatalog
from tests.integration.service_world import ServiceWorld
from tests.integration.test_api_estimates import PATH, get, post, said
from tests.unit.api_world import ApiWorld

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
