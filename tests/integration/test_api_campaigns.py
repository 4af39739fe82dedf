"""Previews and figures over HTTP, of a service of three shards: against its users, and books that were stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from math import inf
from typing import Any

import pytest
from aiohttp import web

from config.campaign_checks import read_messaging
from config.campaigns import Campaign
from config.journeys import Journey
from config.written import written
from streams.adapters.campaign_definitions import Wanted, defined, shared
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_deliveries import Secrets
from streams.api.keys import Role
from streams.api.services import ApiOptions
from streams.api.views import time_text
from streams.campaigns.ports import Commit, Due
from streams.campaigns.profiles import Profile, pack_profile
from streams.campaigns.state import Assignment, Book, Row, Tally, pack
from streams.core.partition import shard_of
from streams.runtime.campaigns.two_logs import Past, Place
from streams.runtime.deliveries.signing import write_secret
from tests.campaign_world import campaign, journey, send_step
from tests.integration.service_world import SHARDS, ServiceWorld
from tests.integration.test_api_estimates import said
from tests.unit.api_world import NOW_S, ApiWorld
from tests.unit.test_campaigns_lift import group
from tests.unit.webhook_receiver import Receiver

SECRET = write_secret(b"a secret of the tests, 32 bytes!")
LADDER: dict[str, Any] = {"unit": "amount", "prediction": "orders_2d", "edges": [80, 90], "values": [6, 3, 0]}
UPPER = {"prediction": "orders_2d", "score": {"min": 62.5}}
MESSAGING = {
    "holdout": 0.05,
    "channels": {
        "app": {"kind": "log"},
        "a": {"kind": "webhook", "consent": {"trait": "country", "in": ["A"]}},
        "never": {"kind": "webhook", "consent": {"withdrawn": "Unsubscribed"}},
    },
}
GOOD: dict[str, Any] = {
    "name": "Upper",
    "segment": "upper",
    "conversion": {"event": "Order", "window": "2d"},
    "channels": ["app"],
    "skip_recent_goal": 0,
    "control": 0.1,
    "offer": LADDER,
    "prediction": "orders_2d",
    "message": {"parts": {"body": "Hello {{ user.name | default('you') }}, {{ offer.value }} off, {{ score }}"}},
}


@pytest.fixture
def api(world: ServiceWorld) -> Iterator[ApiWorld]:
    api = ApiWorld(store_url=world.url)
    kept = api.campaigns.kept()
    api.campaigns.write(0, [shared(kept, written(read_messaging(MESSAGING)), "key", NOW_S)])
    yield api
    api.stored.close()


@pytest.fixture
def store(world: ServiceWorld) -> Iterator[RedisCampaigns]:
    with closing(RedisCampaigns(world.url)) as store:
        yield store


def post(api: ApiWorld, path: str, body: Any, status: int = 200, role: Role = Role.READ) -> Any:
    answer = api.ask("POST", f"/v1/campaigns/{path}", json=body, headers=api.headers(role))
    assert answer.status_code == status, answer.text
    return answer.json()


def shown(api: ApiWorld, user: str) -> Any:
    """The user over HTTP."""
    answer = api.ask("GET", f"/v1/users/{user}", headers=api.headers(Role.READ))
    assert answer.status_code == 200, answer.text
    return answer.json()


def estimated(api: ApiWorld, *parts: dict[str, Any]) -> int:
    path = "/v1/predictions/orders_2d/estimate"
    answer = api.ask("POST", path, json={"filter": {"all": list(parts)}}, headers=api.headers(Role.READ))
    return int(answer.json()["users"])


def test_a_ladder_is_previewed_over_all_users(world: ServiceWorld, api: ApiWorld) -> None:
    found = post(api, "preview", {"definition": GOOD | {"segment": "new"}, "segment": UPPER})
    users = [(score, likelihood) for score, likelihood, _ in said(world) if score >= 62.5]
    assert found["users"] == found["reachable"] == len(users) > 50
    assert found["left_out"] == {"goal": 0, "consent": 0}
    treated = 0.95 * 0.9
    assert found["messages"] == pytest.approx(len(users) * treated)
    assert found["anyway"] == pytest.approx(sum(p for _, p in users) * treated, rel=1e-5)
    assert found["basis"] == {"prediction_id": "orders_2d", "window_s": 172_800.0}
    (offer,) = found["offers"]
    steps = [(0.0, 80.0), (80.0, 90.0), (90.0, 101.0)]
    on = [[p for score, p in users if low <= score < high] for low, high in steps]
    assert [rung["users"] for rung in offer["rungs"]] == [len(each) for each in on]
    assert min(len(each) for each in on) > 5
    for rung, each, value in zip(offer["rungs"], on, LADDER["values"], strict=True):
        assert rung["cost_at_most"] == pytest.approx(len(each) * value * treated)
        assert rung["cost_at_least"] == pytest.approx(sum(each) * value * treated, rel=1e-5)
    assert offer["cost_at_least"] < offer["cost_at_most"]


def test_a_segment_that_exists_is_who_is_in_it(api: ApiWorld) -> None:
    found = post(api, "preview", {"definition": GOOD})
    members = api.ask("GET", "/v1/segments/upper", headers=api.headers(Role.READ)).json()["members"]
    assert found["users"] == members > 0
    narrower = post(api, "preview", {"definition": GOOD | {"filter": {"trait": "country", "equals": "A"}}})
    assert 0 < narrower["users"] < found["users"]


def test_a_segment_that_is_only_asked_about_may_rest_on_no_preview(api: ApiWorld) -> None:
    asked = {"definition": GOOD | {"segment": "new"}, "segment": {"not": {"prediction": "shown_2d", "category": "low"}}}
    refused = post(api, "preview", asked, status=409)
    assert (refused["id"], refused["state"]) == ("shown_2d", "preview")


def test_whom_rules_leave_out_is_counted_once(api: ApiWorld) -> None:
    upper, recent = {"segment": "upper"}, {"event": "Order", "since": {"max": "4d"}}
    from_a = {"trait": "country", "equals": "A"}
    given = GOOD | {"channels": ["a"], "skip_recent_goal": "4d"}
    found = post(api, "preview", {"definition": given})
    assert found["left_out"]["goal"] == estimated(api, upper, recent) > 0
    assert found["reachable"] == estimated(api, upper, {"not": recent}, from_a) > 0
    assert sum(found["left_out"].values()) + found["reachable"] == found["users"]


def test_what_is_not_kept_of_users_is_not_told(api: ApiWorld) -> None:
    given = {name: value for name, value in GOOD.items() if name not in ("offer", "prediction")}
    messaging = MESSAGING | {"channels": {"x": {"kind": "log", "consent": {"given": "View", "withdrawn": "Order"}}}}
    kept = api.campaigns.kept()
    api.campaigns.write(kept.revision, [shared(kept, written(read_messaging(messaging)), "key", NOW_S)])
    found = post(api, "preview", {"definition": given | {"channels": ["x"]}})
    assert found["left_out"] == {"goal": 0, "consent": None}
    assert (found["basis"], found["no_basis"], found["anyway"]) == (None, "no prediction is named", None)


def a_user(world: ServiceWorld, *, is_upper: bool, nth: int = 0) -> str:
    """Somebody whose score is like that."""
    found = []
    at = list(world.shards[0].shard.definitions.prediction_ids).index("orders_2d")
    for run, row, user in world.everybody():
        c, rows = run.shard.definitions.layout.columns, run.shard.users.rows
        score = float(rows.f[row, c.f_score + at])
        if rows.b[row, c.b_audience + at] and (score >= 92.0 if is_upper else score < 50.0):
            found.append(user)
    return found[nth]


def test_one_users_message_has_what_the_store_says_of_them(world: ServiceWorld, api: ApiWorld) -> None:
    user, other = a_user(world, is_upper=True), a_user(world, is_upper=False)
    found = post(api, "preview-message", {"definition": GOOD, "user_id": user})
    score = next(each["score"] for each in shown(api, user)["predictions"] if each["id"] == "orders_2d")
    (channel,) = found["channels"]
    assert (channel["channel"], channel["open"]) == ("app", True)
    assert channel["texts"]["body"].startswith("Hello you, 0 off, ")
    assert float(channel["texts"]["body"].rpartition(" ")[2]) == pytest.approx(score, abs=0.01)
    assert (found["offer"]["value"], found["offer"]["rung"], found["failed"], found["against"]) == (0.0, 2, None, [])
    reasons = [
        each["reason"] for each in post(api, "preview-message", {"definition": GOOD, "user_id": other})["against"]
    ]
    assert reasons == ["left"]
    nobody = post(api, "preview-message", {"definition": GOOD, "user_id": "nobody"})
    assert [each["reason"] for each in nobody["against"]] == ["unknown", "left", "no_score", "message"]
    assert nobody["failed"] is not None
    assert nobody["against"][0]["words"] == "there is no such user"


def test_what_campaigns_know_of_the_user_is_looked_at(
    world: ServiceWorld, api: ApiWorld, store: RedisCampaigns
) -> None:
    user = a_user(world, is_upper=True, nth=1)
    kept = api.campaigns.kept()
    rules = Campaign.model_validate(GOOD | {"reentry": "once", "channels": ["app", "never"]}, context={})
    api.campaigns.write(kept.revision, [defined(kept, Wanted("campaign", "c", written(rules), {}), "key", NOW_S)])
    row = Row(assigned={"c": Assignment(1, "k", NOW_S, NOW_S, NOW_S, NOW_S, "treated", 0)})
    claim = store.claim(shard_of(user, SHARDS))
    place = Place(read_s=-inf, since_s={"Order": -inf, "Unsubscribed": -inf})
    commit = Commit(
        claim.number + 1,
        place.to_bytes(),
        b"s",
        rows={user: (pack(row), Due(inf, {}))},
        profiles={user: pack_profile(Profile(traits={"name": "Ann"}))},
    )
    fresh = post(api, "preview-message", {"id": "c", "user_id": user})
    # Before campaigns have read the log, nobody is known to have agreed by events.
    assert [each["open"] for each in fresh["channels"]] == [True, False]
    assert shown(api, user)["traits_as_sent"] is None
    store.commit(claim, commit)
    assert shown(api, user)["traits_as_sent"] == {"name": "Ann"}
    found = post(api, "preview-message", {"id": "c", "user_id": user})
    assert [each["reason"] for each in found["against"]] == ["again"]
    assert found["group"] == "treated"
    assert [each["open"] for each in found["channels"]] == [True, True]
    assert found["channels"][0]["texts"]["body"].startswith("Hello Ann, ")
    as_new = post(api, "preview-message", {"definition": GOOD, "user_id": user})
    assert as_new["against"] == []


def test_figures_say_what_is_being_read_and_since_when_the_rest_is_known(api: ApiWorld, store: RedisCampaigns) -> None:
    kept = api.campaigns.kept()
    rules = Campaign.model_validate(GOOD | {"channels": ["never"], "skip_recent_goal": "1d"}, context={})
    api.campaigns.write(kept.revision, [defined(kept, Wanted("campaign", "r", written(rules), {}), "key", NOW_S)])
    event = rules.conversion.event
    claim = store.claim(SHARDS + 2)  # which belongs to no user of other tests
    place = Place(events=90, since_s={event: NOW_S, "Unsubscribed": inf}, past=Past(("Unsubscribed",), 0, 30, 80))
    store.commit(claim, Commit(claim.number + 1, place.to_bytes(), b""))
    found = api.ask("GET", "/v1/campaigns/r/figures", headers=api.headers(Role.READ)).json()
    assert "Unsubscribed" in found["reading"]["events"]
    assert 50 <= found["reading"]["left"] <= found["reading"]["records"]
    assert found["known_since"] == {event: time_text(NOW_S)}


def test_a_preview_asks_for_recommendations_once_and_under_an_id_of_its_own(world: ServiceWorld) -> None:
    user, message = a_user(world, is_upper=True), {"parts": {"body": "{{ recommendations[0].name }}"}}
    body = {"definition": GOOD | {"message": message | {"recommendations": {"from": "never"}}}, "user_id": user}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response([{"name": "Shoes"}])

    async def ask() -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
        async with Receiver(answer) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/recs"
            lacking = await asyncio.to_thread(post, api, "preview-message", body, role=Role.WRITE)
            await asyncio.to_thread(
                channels.put, "never", json.dumps({"kind": "webhook", "url": url}).encode(), Secrets(SECRET)
            )
            found = await asyncio.to_thread(post, api, "preview-message", body, role=Role.WRITE)
            return lacking, found, receiver.requests

    api = ApiWorld(store_url=world.url, options=ApiOptions(webhooks_private=True))
    kept = api.campaigns.kept()
    api.campaigns.write(kept.revision, [shared(kept, written(read_messaging(MESSAGING)), "key", NOW_S)])
    with closing(RedisChannels(world.url)) as channels:
        lacking, found, requests = asyncio.run(ask())
        channels.remove("never")
    api.stored.close()
    assert ([each["reason"] for each in lacking["against"]], lacking["channels"][0]["texts"]) == (
        ["recommendations"], {},
    )  # fmt: skip
    assert (found["failed"], found["channels"][0]["texts"]) == (None, {"body": "Shoes"})
    ((_, _, headers, told),) = requests
    assert headers["webhook-id"].startswith("test-")
    assert (json.loads(told)["user_id"], headers["webhook-signature"][:3]) == (user, "v1,")


def test_each_step_of_a_journey_can_be_tried(world: ServiceWorld, api: ApiWorld) -> None:
    steps = {"a": {"send": {"parts": {"body": "A"}}}, "w": {"wait": "1d"}, "b": {"send": {"parts": {"body": "B"}}}}
    given = {key: value for key, value in GOOD.items() if key not in ("message", "offer")} | {"steps": steps}
    user = a_user(world, is_upper=True)
    for step, text in ((None, "A"), ("b", "B")):
        found = post(api, "preview-message", {"definition": given, "user_id": user, "step": step})
        assert found["channels"][0]["texts"] == {"body": text}
    post(api, "preview-message", {"definition": given, "user_id": user, "step": "w"}, status=404)


def test_figures_are_the_sum_of_the_books_of_all_partitions(api: ApiWorld, store: RedisCampaigns) -> None:
    definitions: dict[str, Campaign | Journey] = {"f": campaign(offer=None), "j": journey({"go": send_step()})}
    for id_, each in definitions.items():
        kept = api.campaigns.kept()
        wanted = Wanted("campaign" if isinstance(each, Campaign) else "journey", id_, written(each), {})
        api.campaigns.write(kept.revision, [defined(kept, wanted, "key", NOW_S)])
    for partition in (SHARDS, SHARDS + 1):  # which belong to no user of other tests
        claim = store.claim(partition)
        tallies = {"treated:-1:1": group(1_000, 500), "control:-1:1": group(1_000, 100), "holdout:-1:1": Tally(5, 1)}
        books = {
            "f": Book(counts={"sent": 3, "quiet": 1, "goal": 2, "waited_quiet": 4, "control": 1}, tallies=tallies),
            "j": Book(counts={"entered": 2}, steps={"go": 2}, inside={1: 1}),
        }
        packed = {id_: pack(book) for id_, book in books.items()}
        rows = {f"u{partition}": (b"", Due(inf, {"f": 1.0}))}
        store.commit(claim, Commit(claim.number + 1, Place().to_bytes(), b"", rows=rows, books=packed))
    answer = api.ask("GET", "/v1/campaigns/f/figures", headers=api.headers(Role.READ))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["sent"], found["control"], found["waiting_for_rate"]) == (6, 2, 2)
    assert (found["withheld"], found["waited"]) == ({"goal": 4, "quiet": 2}, {"quiet": 8})
    assert list(found["withheld"]) == ["goal", "quiet"]
    rate = found["overall"]["rate"]
    assert (rate["verdict"], rate["why"], rate["words"]) == ("more", None, "the treated do more")
    assert rate["difference"]["estimate"] == pytest.approx(0.4)
    assert found["groups"]["holdout"]["users"] == 10
    assert (found["version"], found["state"], found["journey"]) == (1, "on", None)
    journey_ = api.ask("GET", "/v1/journeys/j/figures", headers=api.headers(Role.READ)).json()["journey"]
    assert (journey_["entered"], journey_["inside"], journey_["steps"]) == (4, 2, {"go": 4})
