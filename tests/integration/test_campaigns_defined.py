"""Campaigns with real servers: from the catalog file and the API into what the service of campaigns decides by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks._ports import free_port
from config.errors import CatalogError
from config.loader import loads
from streams.adapters.campaign_definitions import redis_campaign_definitions
from streams.runtime.campaigns.definitions import CampaignsFollower, follow_campaigns
from streams.runtime.campaigns.serve import CampaignsJob, run_campaigns
from streams.runtime.definitions import follow_definitions
from streams.runtime.place import Place
from tests.contract.test_campaign_definitions import CAMPAIGN, JOURNEY
from tests.integration.test_api_definitions import FILE, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SECTIONS = """
messaging: {channels: {push: {kind: webhook}}}
campaigns:
  filed:
    name: Of the file
    segment: top
    conversion: {event: Order}
    channels: [push]
    message: {parts: {body: Hello}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.kill_api()
    found.store.stop()


@contextmanager
def service(world: World, file: str) -> Iterator[CampaignsFollower]:
    """What workers bring into the store at their start, and what the service of campaigns opens."""
    url = str(world.settings.redis_url)
    with follow_definitions(url, "tl", loads(file)) as catalog, follow_campaigns(url, "tl", catalog) as campaigns:
        yield campaigns


def good(world: World, method: str, path: str, body: Any = None, **headers: str) -> Any:
    status, answer = world.ask(method, path, body, {name.replace("_", "-"): each for name, each in headers.items()})
    assert status in (200, 201), answer
    return answer


def activity(campaigns: CampaignsFollower, id_: str) -> str:
    return campaigns.refresh().defined.plan.activity(id_, 1e9)


def test_what_file_and_api_define_is_what_is_decided_by(world: World) -> None:
    with service(world, FILE + SECTIONS) as campaigns:
        assert activity(campaigns, "filed") == "on"
        made = good(world, "POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN, "state": "dry"})
        assert activity(campaigns, "cart") == "dry"
        good(world, "PUT", "/v1/campaigns/cart", CAMPAIGN | {"name": "New", "state": "on"}, If_Match=made["etag"])
        versions = campaigns.refresh().definitions.campaigns["cart"]
        assert {number: each.name for number, each in versions.items()} == {1: "Cart ✓", 2: "New"}
        assert activity(campaigns, "cart") == "on"
        since_s = campaigns.now.definitions.standings["cart"].since_s
        assert campaigns.trip("cart", since_s, since_s + 1.0)
        found = good(world, "GET", "/v1/campaigns/cart")
        assert (found["state"], found["version"]) == ("paused", 2)
        assert good(world, "GET", "/v1/campaigns/cart/history")["items"][0]["key_id"] == "breaker"
        good(world, "POST", "/v1/campaigns/cart/resume")
        assert not campaigns.trip("cart", since_s, since_s + 2.0)
        assert activity(campaigns, "cart") == "on"


def test_a_campaign_with_the_id_of_a_journey_stops_campaigns_and_no_worker(world: World) -> None:
    """The journey was made over HTTP; the file has never heard of it."""
    good(world, "PUT", "/v1/messaging", {"channels": {"push": {"kind": "webhook"}}}, If_Match='"0"')
    good(world, "POST", "/v1/journeys", {"id": "filed", **JOURNEY})
    with service(world, FILE + SECTIONS) as campaigns:  # a worker that scores begins, and what was in force still is
        assert (list(campaigns.now.definitions.campaigns), activity(campaigns, "filed")) == ([], "on")
    port = free_port()
    settings = world.settings.model_copy(update={"api_log": "embedded", "campaigns_port": port})
    with pytest.raises(CatalogError, match=r"campaigns\.filed: found the id of a journey that was made before"):
        run_campaigns(CampaignsJob(settings, Place(world.folder, str(settings.redis_url))), print)


def test_a_prediction_that_is_taken_back_stops_its_campaigns_at_once(world: World) -> None:
    with service(world, FILE + SECTIONS) as campaigns:
        returns = {"id": "returns", "name": "Returns", "goal": {"did": "Return"}, "window": "30d"}
        good(world, "POST", "/v1/predictions", returns)
        good(world, "POST", "/v1/campaigns", {"id": "cart", **CAMPAIGN, "segment": "returns.high"})
        assert activity(campaigns, "cart") == "on"
        done = good(world, "POST", "/v1/predictions/returns/access", {"access": "preview"})
        assert done["campaigns_paused"] == ["cart"]
        assert (activity(campaigns, "cart"), activity(campaigns, "filed")) == ("paused", "on")
        good(world, "POST", "/v1/predictions/returns/access", {"access": "live"})
        assert activity(campaigns, "cart") == "paused", "somebody has to put it on again"
        good(world, "POST", "/v1/campaigns/cart/resume")
        assert activity(campaigns, "cart") == "on"


def test_what_was_answered_is_there_after_a_kill_and_is_made_once(world: World) -> None:
    good(world, "PUT", "/v1/messaging", {"channels": {"push": {"kind": "webhook"}}}, If_Match='"0"')
    body = {"id": "cart", **CAMPAIGN}
    first = good(world, "POST", "/v1/campaigns", body, Idempotency_Key="one")
    world.kill_api()
    world.start_api()
    assert good(world, "GET", "/v1/campaigns/cart") == first
    good(world, "POST", "/v1/campaigns/cart/pause")
    status, _ = world.ask("POST", "/v1/campaigns", body, {"Idempotency-Key": "two"})
    assert status == 409
    with closing(redis_campaign_definitions(str(world.settings.redis_url))) as store:
        assert [change.action for _, change in store.history(None, 10)] == ["pause", "create", "create"]


def test_files_go_in_and_come_out_and_the_command_line_pauses(world: World) -> None:
    path = world.folder / "wanted.yaml"
    path.write_text(FILE + SECTIONS)
    code, out, err = world.run("apply", str(path), "--yes")
    assert (code, "Done: 2 definitions" in out) == (0, True), err
    assert world.run("campaign", "pause", "filed")[0] == 0
    listed = json.loads(world.run("campaign", "list", "--json")[1])
    assert [(each["id"], each["state"], each["source"]) for each in listed] == [("filed", "paused", "api")]
    code, text, _ = world.run("export")
    assert code == 0
    assert loads(text).sections.campaigns["filed"].state == "paused"
    path.write_text(text)
    code, out, _ = world.run("apply", str(path), "--plan")
    assert (code, "Nothing to do" in out) == (0, True)
