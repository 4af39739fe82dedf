"""Distributions and estimates over HTTP, of a service of three shards, are what all its users come to."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest

from streams.adapters.redis_reader import RedisReader
from streams.api.everyone import Everyone, Tables
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.runtime.score_table import LIKELIHOOD_EDGES
from tests.integration.service_world import CATALOG, USERS, ServiceWorld
from tests.unit.api_world import ApiWorld

PATH = "/v1/predictions/orders_2d"


def get(api: ApiWorld, path: str, **params: Any) -> Any:
    answer = api.ask("GET", path, params=params, headers=api.headers(Role.READ))
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(api: ApiWorld, body: Any, path: str = f"{PATH}/estimate") -> httpx.Response:
    return api.ask("POST", path, json=body, headers=api.headers(Role.READ))


def said(world: ServiceWorld, name: str = "orders_2d") -> list[tuple[float, float, int]]:
    """(score, likelihood, category) of everybody in the audience."""
    found = []
    for run, row, _ in world.everybody():
        c, rows = run.shard.definitions.layout.columns, run.shard.users.rows
        p = list(CATALOG.predictions).index(name)
        if rows.b[row, c.b_audience + p]:
            z = float(rows.f[row, c.f_z + p])
            category = int(rows.b[row, c.b_category + p])
            found.append((float(rows.f[row, c.f_score + p]), 1.0 / (1.0 + math.exp(-z)), category))
    return found


def test_the_world_is_worth_asking_about(world: ServiceWorld, api: ApiWorld) -> None:
    assert sum(run.users > 50 for run in world.shards) == 3
    assert get(api, PATH)["status"] == "live"
    segments = get(api, "/v1/segments")["items"]
    assert {s["id"] for s in segments if 10 < s["members"] < USERS - 10} >= set(CATALOG.segments)


@pytest.mark.parametrize("name", ["orders_2d", "loyal_2d", "shown_2d"])
def test_a_distribution_is_over_all_users_of_all_shards(world: ServiceWorld, api: ApiWorld, name: str) -> None:
    found = get(api, f"/v1/predictions/{name}/distribution")
    users = said(world, name)
    assert found["audience"] == len(users) > 100
    scores = np.array([score for score, _, _ in users])
    likelihoods = np.array([likelihood for _, likelihood, _ in users])
    for k, bucket in enumerate(found["by_score"]):
        assert (bucket["low"], bucket["high"]) == (5.0 * k, 5.0 * k + 5.0)
        inside = (scores >= bucket["low"]) & ((scores < bucket["high"]) | (k == 19))
        assert bucket["users"] == inside.sum()
        if inside.any():
            assert bucket["mean_likelihood"] == pytest.approx(likelihoods[inside].mean(), rel=1e-6)
    counts, _ = np.histogram(likelihoods, LIKELIHOOD_EDGES)
    assert [bucket["users"] for bucket in found["by_likelihood"]] == counts.tolist()
    categories = [category for _, _, category in users]
    assert [group["users"] for group in found["by_category"]] == [categories.count(k) for k in range(3)]


def test_a_distribution_has_what_really_happened(world: ServiceWorld, api: ApiWorld) -> None:
    found = get(api, f"{PATH}/distribution")
    assert found["not_judged"] is None
    quality = world.learner.learner.predictions[0].quality.select()
    for groups, wanted in (("by_score", quality.score_buckets()), ("by_category", quality.categories())):
        got = [group["judged"] for group in found[groups]]
        assert [(each["moments"], each["actual_rate"]) for each in got] == [(b.weight, b.actual_rate) for b in wanted]
    moments = sum(group["judged"]["moments"] for group in found["by_likelihood"])
    assert moments == pytest.approx(sum(b.weight for b in quality.categories()))
    assert found["by_score"][19]["judged"]["actual_rate"] > found["by_score"][2]["judged"]["actual_rate"]


RANGES: list[tuple[dict[str, Any], Callable[[float, int], bool]]] = [
    ({}, lambda _score, _category: True),
    ({"min": 75}, lambda score, _: score >= 75),
    ({"min": 33.3, "max": 66.6}, lambda score, _: 33.3 <= score < 66.6),
    ({"max": 50}, lambda score, _: score < 50),
    ({"min": 95, "max": 100}, lambda score, _: score >= 95),
    ({"category": "high"}, lambda _, category: category == 2),
    ({"category": "medium", "min": 60}, lambda score, category: category == 1 and score >= 60),
]


@pytest.mark.parametrize(("params", "is_in"), RANGES)
def test_a_range_or_category_is_who_has_such_a_score(
    world: ServiceWorld, api: ApiWorld, params: dict[str, Any], is_in: Callable[[float, int], bool]
) -> None:
    found = get(api, f"{PATH}/estimate", **params)
    everyone = said(world)
    chosen = [likelihood for score, likelihood, category in everyone if is_in(score, category)]
    assert found["users"] == found["in_audience"] == len(chosen) > 0
    assert found["audience"] == len(everyone)
    assert found["expected"] == pytest.approx(sum(chosen), rel=1e-5)
    assert found["expected"] + found["expected_not"] == pytest.approx(len(chosen))
    assert found["expected_of_audience"] == pytest.approx(sum(likelihood for _, likelihood, _ in everyone), rel=1e-5)
    same = post(api, {"filter": found["segment"]["filter"]}).json()
    assert {name: same[name] for name in ("users", "in_audience", "audience")} == {
        name: found[name] for name in ("users", "in_audience", "audience")
    }
    assert same["expected"] == pytest.approx(found["expected"], rel=1e-5)


def test_the_ends_of_a_range_belong_to_one_side(world: ServiceWorld, api: ApiWorld) -> None:
    score = sorted(score for score, _, _ in said(world))[USERS // 2]
    below, above = get(api, f"{PATH}/estimate", max=score), get(api, f"{PATH}/estimate", min=score)
    assert below["users"] + above["users"] == below["audience"]
    assert below["users"] == sum(other < score for other, _, _ in said(world))


@pytest.mark.parametrize("name", CATALOG.segments)
def test_the_size_of_a_segment_is_the_estimate_of_its_filter(api: ApiWorld, name: str) -> None:
    tree = CATALOG.segments[name].filter.model_dump(mode="json", by_alias=True, exclude_none=True)
    answer = post(api, {"filter": tree})
    assert answer.status_code == 200, answer.text
    assert answer.json()["users"] == get(api, f"/v1/segments/{name}")["members"] > 0
    assert answer.json()["segment"]["reasons"] == []


def test_users_outside_of_the_audience_are_selected_and_not_expected(world: ServiceWorld, api: ApiWorld) -> None:
    body = {"filter": {"trait": "country", "equals": "A"}}
    found = post(api, body, "/v1/predictions/loyal_2d/estimate").json()
    assert found["users"] == get(api, "/v1/segments/from_a")["members"] > found["in_audience"] > 0
    assert found["audience"] == len(said(world, "loyal_2d"))
    assert found["expected"] + found["expected_not"] == pytest.approx(found["in_audience"])


def test_the_last_period_is_of_whole_weeks_and_buckets(world: ServiceWorld, api: ApiWorld) -> None:
    past = get(api, f"{PATH}/estimate", min=72, max=91)["last_period"]
    assert (past["min"], past["max"], past["category"]) == (70.0, 95.0, None)
    quality = world.learner.learner.predictions[0].quality
    first, last = quality.weeks[0], quality.weeks[-1]
    assert past["end"].startswith("2024-04-01") or past["end"].startswith("2024-03-25")
    buckets = [quality.select(first_week=w, last_week=w).score_buckets()[14:19] for w in range(first, last + 1)]
    by_week = [sum(bucket.weight for bucket in week) for week in buckets]
    assert past["moments"] in [sum(by_week[k:]) for k in range(len(by_week))] + by_week
    assert 0 < past["actual_rate"] < 1
    whole = get(api, f"{PATH}/estimate")["last_period"]
    parts = [get(api, f"{PATH}/estimate", category=name)["last_period"] for name in ("low", "medium", "high")]
    assert sum(part["moments"] for part in parts) == pytest.approx(whole["moments"])
    both = get(api, f"{PATH}/estimate", category="high", min=80)
    assert both["last_period"] is None
    assert "not by other filters" in both["no_last_period"]


def test_what_speaks_against_a_segment_is_said(api: ApiWorld) -> None:
    preview = get(api, "/v1/predictions/shown_2d/estimate", min=50)
    assert preview["users"] > 0
    assert preview["segment"]["possible"] is False
    assert "live prediction" in preview["segment"]["reasons"][0]
    empty = get(api, f"{PATH}/estimate", min=60, max=60)
    assert (empty["users"], empty["expected"], empty["segment"]["filter"]) == (0, 0.0, None)
    low = get(api, "/v1/predictions/loyal_2d/estimate", min=3)
    assert "could never be left" in low["segment"]["reasons"][0]
    assert get(api, f"{PATH}/estimate", min=50)["segment"] == {
        "filter": {"prediction": "orders_2d", "score": {"min": 50.0, "max": 100.0}},
        "possible": True,
        "reasons": [],
    }


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"event": "Yawn", "count": {"min": 1}}, "nothing is kept of the event 'Yawn'"),
        ({"event": "Order", "count": {"min": 1}, "within": "7d"}, "'Order' is not listed under history"),
        ({"trait": "shoe", "equals": 7}, "the trait 'shoe' is not kept"),
        ({"prediction": "nope", "score": {"min": 7}}, "there is no prediction 'nope'"),
        ({"segment": "nope"}, "there is no segment 'nope'"),
        ({"any": [{"all": [{"segment": "busy"}] * 64}] * 2}, "the filter has 131 parts"),
    ],
)
def test_what_is_not_kept_is_refused_with_the_reason(api: ApiWorld, tree: dict[str, Any], words: str) -> None:
    answer = post(api, {"filter": tree})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:tideline:problem:cannot-estimate")
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"filter": {}}, {"filter": {"event": "View"}}, {"filter": 3, "x": 1}, [], "x"])
def test_a_body_that_is_no_filter_is_refused(api: ApiWorld, body: Any) -> None:
    assert post(api, body).status_code == 422


def test_a_trait_value_that_nobody_has_selects_nobody(api: ApiWorld) -> None:
    found = post(api, {"filter": {"trait": "country", "equals": "nowhere"}}).json()
    assert (found["users"], found["expected"]) == (0, 0.0)


def test_a_pass_that_takes_too_long_is_ended(api: ApiWorld) -> None:
    seconds = count(step=3)
    everyone = Everyone(api.stored, 5.0, clock=lambda: float(next(seconds)))
    with (
        api.stored.reader() as reader,
        pytest.raises(Problem, match="TIDELINE_API_SCAN_S") as raised,
        everyone.scan(reader, api.stored.shard_states(reader)) as pages,
    ):
        list(pages)
    assert raised.value.kind is Kind.TAKES_TOO_LONG


def test_tables_are_made_anew_when_something_was_committed_and_they_are_old(
    world: ServiceWorld, api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []
    real = Everyone._make

    def make(self: Everyone, reader: RedisReader) -> Tables:
        made.append(api.now_s)
        return real(self, reader)

    monkeypatch.setattr(Everyone, "_make", make)
    for now_s in (0.0, 1.0, 1_000.0):
        api.now_s = now_s
        get(api, f"{PATH}/distribution")
    assert made == [0.0]
    world.take([{"type": "track", "userId": "user-1", "event": "View", "messageId": f"more-{id(api)}"}])
    api.now_s = 1_000.5
    get(api, f"{PATH}/distribution")
    assert made == [0.0, 1_000.5]
