"""The Python client against a real API on a shop's store: every method is answered, and changes are what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.api.keys import Role
from streams.client import ApiError, Client
from streams.runtime.place import join_place
from tests.integration.api_process import ApiProcess
from tests.integration.shop_world import USERS, Shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RETURNS = {"name": "Returns", "goal": {"did": "Order Refunded"}, "window": "30d"}


@pytest.fixture(scope="module")
def client(own_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("api")
    port = free_port()
    with join_place(own_shop.job.place) as url:
        settings = load_settings(redis_url=url, data_dir=folder)
        with ApiProcess(settings, folder, port) as api, Client(api.url, api.keys[Role.ADMIN]) as client:
            yield client


def test_events_are_taken(client: Client) -> None:
    assert client.track("ann", "Viewed", {"product": "yacht"})["accepted"] == 1
    assert client.identify("ann", {"country": "A"})["accepted"] == 1
    assert client.batch([{"type": "track", "userId": "ann", "event": "Viewed"}] * 3)["accepted"] == 3


def test_what_is_stored_is_read(client: Client) -> None:
    found = {each["id"]: each for each in client.predictions()}
    # Another test makes one, which is listed from then on.
    assert [each for each in found if each != "returns_30d"] == ["orders_3d", "churn_5d", "rare_7d"]
    assert client.prediction("orders_3d").items() >= found["orders_3d"].items()
    assert client.distribution("orders_3d")["prediction_id"] == "orders_3d"
    assert client.quality("orders_3d", weeks=4)["prediction_id"] == "orders_3d"
    assert len(client.drivers("orders_3d", limit=3)["drivers"]) == 3
    whole = client.estimate("orders_3d", score_min=0)
    high = client.estimate("orders_3d", category="high")
    same = client.estimate("orders_3d", filter={"prediction": "orders_3d", "category": "high"})
    assert 0 < high["users"] == same["users"] < whole["users"]
    assert client.estimate_new(RETURNS)["goal"]["needed"] > 0
    sizes = {each["id"]: each["members"] for each in client.segments()}
    assert client.segment("keen")["members"] == sizes["keen"] == client.sizes("keen")["members"]
    members = {each["user_id"] for each in client.members("keen", limit=10)}
    assert members == {each["user_id"] for each in client.export("keen")}
    assert len(members) == sizes["keen"] <= USERS
    assert client.find_users("u1", limit=3)[0] == "u1"
    assert client.user("u1")["user_id"] == "u1"
    assert all(each["subject"] == "u1" for each in client.transitions("u1", limit=5))
    assert client.likelihoods("u1", "orders_3d", limit=3)
    assert client.webhooks() == []


def test_definitions_are_made_changed_and_taken_back(client: Client) -> None:
    made = client.create("segment", {"id": "viewers", "name": "Viewers", "filter": {"segment": "keen"}})
    read = client.definition("segment", "viewers")
    assert (read.data["definition"], read.etag) == (made.data["definition"], made.etag)
    with pytest.raises(ApiError, match="already") as twice:
        client.create("segment", {"id": "viewers", "name": "Viewers", "filter": {"segment": "keen"}})
    assert twice.value.kind == "already-exists"
    other = {"name": "Viewers of A", "filter": {"all": [{"segment": "keen"}, {"trait": "country", "equals": "A"}]}}
    edited = client.edit("segment", "viewers", other, read.etag)
    assert edited.etag != read.etag
    with pytest.raises(ApiError) as late:
        client.edit("segment", "viewers", other, read.etag)
    assert (late.value.status, late.value.kind) == (412, "precondition-failed")
    assert client.archive("segment", "viewers", edited.etag).data["archived"]
    assert not client.restore("segment", "viewers").data["archived"]
    actions = [change["action"] for change in client.changes("segment", "viewers", limit=2)]
    assert actions == ["restore", "archive", "edit", "create"]
    assert {"viewers", "keen"} <= {each["id"] for each in client.definitions()}


def test_predictions_are_made_and_a_whole_set_is_applied(client: Client) -> None:
    made = client.create("prediction", {"id": "returns_30d", **RETURNS, "access": "preview"})
    assert made.data["access"] == "preview"
    assert client.set_access("returns_30d", "live", made.etag).data["access"] == "live"
    wanted = yaml.safe_load(client.export_definitions())
    assert "returns_30d" in wanted["predictions"]
    del wanted["predictions"]["returns_30d"]
    plan = client.plan(wanted["predictions"], wanted["segments"])
    assert [(each["action"], each["id"]) for each in plan.data["changes"]] == [("archive", "returns_30d")]
    client.apply(wanted["predictions"], wanted["segments"], plan.etag)
    assert client.definition("prediction", "returns_30d").data["archived"]


def test_a_refusal_says_what_it_is(client: Client) -> None:
    with pytest.raises(ApiError, match="404") as refused:
        client.prediction("none")
    assert refused.value.kind == "not-found"
