"""Predictions, users and segments over HTTP are what the store holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from models.snapshot import Status
from streams.adapters.definition_store import Past
from streams.adapters.redis_keys import store_meta
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_reader import RedisReader, ScanPlace, ShardInfo, StaleScan
from streams.api import warm_up
from streams.api.app import Parts
from streams.api.exports import AT_ONCE
from streams.api.keys import Role
from streams.api.pages import members_cursor
from streams.api.read_predictions import Standings
from streams.api.stored import STATE_S
from streams.api.users import user_view
from streams.api.views import time_text
from streams.api.warm_up import warm_up_view
from streams.core.definitions import compile_definitions
from streams.runtime.lookup import look_up
from streams.runtime.stored import StoredState, read_state, together
from streams.runtime.summary import Warmup
from tests.integration.shop_world import Shop
from tests.unit.api_world import ApiWorld

HIGH = "orders_3d.high"


@pytest.fixture(scope="module")
def reader(url: str) -> Iterator[RedisReader]:
    with closing(RedisReader(url)) as reader:
        yield reader


@pytest.fixture(scope="module")
def state(reader: RedisReader) -> StoredState:
    return read_state(reader)


@pytest.fixture
def api(url: str) -> Iterator[ApiWorld]:
    world = ApiWorld(store_url=url)
    yield world
    world.stored.close()


def get(api: ApiWorld, path: str, **params: Any) -> httpx.Response:
    return api.ask("GET", path, params=params, headers=api.headers(Role.READ))


def good(api: ApiWorld, path: str, **params: Any) -> Any:
    answer = get(api, path, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:tideline:problem:")


def test_predictions_have_their_status_and_audience(api: ApiWorld, shop: Shop) -> None:
    items = good(api, "/v1/predictions")["items"]
    assert [item["id"] for item in items] == ["orders_3d", "churn_5d", "rare_7d"]
    for item, summary in zip(items, shop.outcome.summary.predictions, strict=True):
        assert item["audience"] == summary.audience
        assert (item["status"], item["score_name"]) == (summary.status, summary.score_name)
        assert [c["users"] for c in item["categories"]] == [c.users for c in summary.categories]
        assert good(api, f"/v1/predictions/{item['id']}").items() >= item.items()
        assert (item["warm_up"] is None) == (summary.warmup is None)
        if summary.warmup is not None:
            told = item["warm_up"]["users_with_goal"], item["warm_up"]["needed"], item["warm_up"]["outcomes"]
            assert told == (summary.warmup.users_with_goal, summary.warmup.needed, summary.warmup.labels)
    assert items[0]["audience"] > 0
    assert items[0]["warm_up"] is None
    assert items[2]["warm_up"]["expected_at"] is None, "nobody buys a yacht"


STATUS_ROUTES = ("", "/distribution", "/quality", "/drivers", "/estimate")


def statuses(api: ApiWorld, id_: str) -> set[str]:
    """What all routes of a prediction say of it, and the list."""
    listed = {item["id"]: item["status"] for item in good(api, "/v1/predictions")["items"]}
    return {listed[id_], *(good(api, f"/v1/predictions/{id_}{route}")["status"] for route in STATUS_ROUTES)}


@pytest.mark.parametrize(
    ("changed", "phase", "status"),
    [
        ({}, None, "live"),
        ({"access": "preview"}, None, "preview (scores shown, not targetable)"),
        ({}, "joining", "learning from history"),
        ({"archived": True}, None, "archived"),
        ({"archived": True, "access": "demo"}, "reading", "archived"),
    ],
)
def test_all_routes_say_the_same_of_where_a_prediction_stands(
    api: ApiWorld, state: StoredState, changed: dict[str, Any], phase: str | None, status: str
) -> None:
    orders = state.catalog.predictions["orders_3d"].model_copy(update=changed)
    predictions = {**state.catalog.predictions, "orders_3d": orders}
    api.definitions.tell_file(state.catalog.model_copy(update={"predictions": predictions}))
    if phase is not None:
        api.definitions.learning = Past(phase, ["orders_3d"], 1, 2, 3.0)
    assert statuses(api, "orders_3d") == {status}


def test_what_no_shard_knows_yet_is_listed_and_has_nothing_to_show(api: ApiWorld) -> None:
    made = {"id": "new", "name": "New", "goal": {"did": "Order Completed"}, "window": "2d"}
    answer = api.ask("POST", "/v1/predictions", json=made, headers=api.headers(Role.WRITE))
    assert answer.status_code == 201, answer.text
    found = good(api, "/v1/predictions/new")
    assert good(api, "/v1/predictions")["items"][-1].items() <= found.items()
    assert (found["status"], found["audience"], found["warm_up"]) == ("learning from history", 0, None)
    assert [category["users"] for category in found["categories"]] == [0, 0, 0]
    for route in STATUS_ROUTES[1:]:
        answer = get(api, f"/v1/predictions/new{route}")
        assert problem(answer) == (404, "not-found")
        assert "the prediction 'new' is learning from history and has no scores" in answer.json()["detail"]


def test_a_warm_up_is_over_when_as_many_have_come_as_it_takes(
    state: StoredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first_s, *_) = (start_s for start_s, _ in state.learner.predictions[0].quality.by_week())
    known_s = state.clock_s - 3 * 86_400.0 - first_s

    def expected(users: int) -> str | None:
        found = Warmup(users, 100, None, None, 1_000, None)
        monkeypatch.setattr(warm_up, "warmup_of", lambda *_: found)
        view = warm_up_view(state, 0)
        assert view is not None
        return view.expected_at

    assert expected(50) == time_text(state.clock_s + known_s)
    assert expected(25) == time_text(state.clock_s + 3 * known_s)
    assert (expected(0), expected(100), expected(250)) == (None, None, None)


def test_shards_are_added_up(state: StoredState) -> None:
    one, three = (Standings(states).view("orders_3d") for states in ([state], [state, state, state]))
    assert three.audience == 3 * one.audience > 0
    assert [c.users for c in three.categories] == [3 * c.users for c in one.categories]


def test_of_each_prediction_the_newest_model_counts_whichever_shard_has_it(state: StoredState) -> None:
    """Models of several learners reach the shards one by one."""
    snapshot = state.snapshot
    assert snapshot is not None
    orders, *others = snapshot.predictions
    assert orders.status == Status.LIVE
    older = replace(orders, status=Status.WARMING, version=orders.version - 1)
    newer = [replace(one, version=one.version + 1) for one in others]
    behind = replace(snapshot, version=snapshot.version + 1, predictions=(older, *newer))
    for states in ([state, replace(state, snapshot=behind)], [replace(state, snapshot=behind), state]):
        both = together(states).snapshot
        assert both is not None
        assert (both.version, both.predictions) == (snapshot.version + 1, (orders, *newer))
        assert Standings(states).status("orders_3d") == "live"


def test_a_user_is_not_read_by_the_definitions_of_before(
    api: ApiWorld, reader: RedisReader, state: StoredState
) -> None:
    """A state is known for two seconds; a shard that takes up others meanwhile has rows with other columns."""
    user = next(iter(reader.members(HIGH)))
    found = good(api, f"/v1/users/{user}")
    more = {**state.catalog.segments, "again": state.catalog.segments["keen"]}
    other = state.catalog.model_copy(update={"segments": more})
    wrong = replace(state, catalog=other, definitions=compile_definitions(other, state.vocabulary))
    (cached,) = api.stored._states.values()
    cached.state = wrong
    assert good(api, f"/v1/users/{user}") == found
    (cached,) = api.stored._states.values()
    cached.state = wrong
    assert problem(get(api, f"/v1/segments/{HIGH}/members")) == (503, "unavailable")
    assert good(api, f"/v1/segments/{HIGH}/members")["items"]


def test_a_user_is_told_as_the_command_line_tells(api: ApiWorld, reader: RedisReader, state: StoredState) -> None:
    user = next(iter(reader.members(HIGH)))
    found = good(api, f"/v1/users/{user}")
    detail = look_up(reader, state, user)
    assert detail is not None
    assert found == msgspec.json.decode(user_view(detail, Standings([state])).model_dump_json())
    assert HIGH in [segment["id"] for segment in found["segments"]]
    (orders,) = [p for p in found["predictions"] if p["id"] == "orders_3d"]
    assert orders["category"] == "high"
    assert orders["reasons"]
    assert found["last_seen"].endswith("Z")


@pytest.mark.parametrize(
    "path",
    [
        *["/v1/users/nobody", "/v1/users/a%2Fb", "/v1/users/a/b", "/v1/users/%00", "/v1/users/", "/v1/predictions/no"],
        *["/v1/segments/no", "/v1/segments/no/members", "/v1/segments/no/export"],
    ],
)
def test_what_is_not_there_is_told(api: ApiWorld, path: str) -> None:
    assert problem(get(api, path)) == (404, "not-found")


def test_segments_have_their_sizes(api: ApiWorld, reader: RedisReader, state: StoredState) -> None:
    items = good(api, "/v1/segments")["items"]
    assert {item["id"]: item["members"] for item in items} == state.members
    assert next(item for item in items if item["id"] == HIGH)["predictions"] == ["orders_3d"]
    assert good(api, f"/v1/segments/{HIGH}")["members"] == reader.member_count(HIGH) > 0
    assert {item["status"] for item in items} == {"active"}


def pages(api: ApiWorld, segment: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    cursor: dict[str, str] = {}
    while True:
        page = good(api, f"/v1/segments/{segment}/members", limit=limit, **cursor)
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_all_members_come_in_pages(api: ApiWorld, reader: RedisReader, limit: int) -> None:
    for segment in (HIGH, "keen"):
        users = [member["user_id"] for page in pages(api, segment, limit) for member in page]
        assert set(users) == set(reader.members(segment))


def test_a_member_has_scores_and_since_when(api: ApiWorld, reader: RedisReader) -> None:
    member = good(api, f"/v1/segments/{HIGH}/members", limit=1)["items"][0]
    (score,) = reader.scores("orders_3d", [member["user_id"]])
    assert score is not None
    assert member["scores"]["orders_3d"] == {"score": score.score, "likelihood": score.likelihood, "category": "high"}
    assert member["since"].startswith("2024-0")
    assert member["entry_count"] >= 1


@pytest.mark.parametrize("cursor", ["x", "", "!!", "kw", members_cursor("keen", ScanPlace(0, 1, "x")), "é"])
def test_a_cursor_of_elsewhere_is_refused(api: ApiWorld, cursor: str) -> None:
    assert problem(get(api, f"/v1/segments/{HIGH}/members", cursor=cursor)) == (404, "invalid-cursor")


@pytest.mark.parametrize(
    "place",
    [ScanPlace(0, 5, "another start"), ScanPlace(1), ScanPlace(-1), ScanPlace(0, -1), ScanPlace(0, (1 << 64) - 1)],
)
def test_a_cursor_of_another_server_or_shard_is_refused(api: ApiWorld, place: ScanPlace) -> None:
    answer = get(api, f"/v1/segments/{HIGH}/members", cursor=members_cursor(HIGH, place))
    assert problem(answer) == (404, "invalid-cursor")


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1_001}, {"limit": "many"}, {"cursor": "x" * 2_001}])
def test_parameters_have_bounds(api: ApiWorld, params: dict[str, Any]) -> None:
    answer = get(api, f"/v1/segments/{HIGH}/members", **params)
    assert problem(answer) == (422, "invalid-parameters")
    assert answer.json()["errors"][0]["where"] == f"query.{next(iter(params))}"


def test_everybody_comes_as_a_file(api: ApiWorld, reader: RedisReader) -> None:
    answer = get(api, f"/v1/segments/{HIGH}/export")
    lines = [msgspec.json.decode(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    members = set(reader.members(HIGH))
    assert {line["user_id"] for line in lines} == members
    assert len(lines) == len(members)
    answer = get(api, f"/v1/segments/{HIGH}/export", format="csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert f'filename="{HIGH}.csv"' in answer.headers["content-disposition"]
    assert {row["user_id"] for row in rows} == members
    scores = {line["user_id"]: line["scores"]["orders_3d"]["score"] for line in lines}
    assert {row["user_id"]: float(row["orders_3d_score"]) for row in rows} == scores


def test_a_state_is_read_anew_after_a_moment(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = RedisReader.shard_info

    def look(reader: RedisReader, shard: int) -> ShardInfo:
        looked.append(shard)
        return real(reader, shard)

    monkeypatch.setattr(RedisReader, "shard_info", look)
    good(api, "/v1/predictions")
    good(api, "/v1/predictions")
    assert looked == [0]
    api.now_s = STATE_S
    good(api, "/v1/predictions")
    assert looked == [0, 0]


def test_a_shard_is_known_with_its_first_commit(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RedisReader.shard_info
    with monkeypatch.context() as before:
        before.setattr(RedisReader, "shard_info", lambda reader, shard: replace(real(reader, shard), number=0))
        assert problem(get(api, "/v1/predictions")) == (503, "unavailable")
    good(api, "/v1/predictions")


def test_a_store_that_is_away_or_empty_is_told() -> None:
    assert problem(get(ApiWorld(), "/v1/predictions")) == (503, "unavailable")


def test_an_empty_store_is_told(url: str) -> None:
    world = ApiWorld(store_url=url, prefix="empty")
    answer = get(world, "/v1/segments")
    assert problem(answer) == (503, "unavailable")
    assert "nothing is stored yet" in answer.json()["detail"]


def test_a_scan_does_not_go_on_at_another_server(reader: RedisReader) -> None:
    with pytest.raises(StaleScan):
        reader.members_page(HIGH, ScanPlace(0, 7, "another"), 10)


def test_exports_have_a_bound(url: str) -> None:
    parts: list[Parts] = []
    api = ApiWorld(store_url=url, extensions=(parts.append,))
    places = parts[0].services.exports.places
    path = f"/v1/segments/{HIGH}/export"
    assert get(api, path).status_code == 200
    assert places.taken == 0
    for n in range(AT_ONCE):
        places.take(f"key {n}")
    answer = get(api, path)
    assert problem(answer) == (503, "overloaded")
    assert answer.headers["retry-after"] == "10"
    places.give("key 0")
    assert get(api, path).status_code == 200
    api.stored.close()


def test_a_store_of_another_version_is_told_as_that(url: str) -> None:
    with closing(open_nodes(url, timeout_s=10.0)) as nodes:
        nodes.ask("HSET", store_meta("old"), "format", "1")
        world = ApiWorld(store_url=url, prefix="old")
        answer = get(world, "/v1/predictions")
        nodes.ask("DEL", store_meta("old"))
    assert problem(answer) == (503, "unavailable")
    assert "made by another version" in answer.json()["detail"]
