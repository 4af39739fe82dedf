"""What is in force of campaigns: another object after each change, and nothing that does not fit the catalog."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from config.catalog import Catalog
from config.errors import StoreIncompatible, StoreUnavailable
from config.loader import loads
from streams.adapters.campaign_definitions import (
    CampaignDefinitions,
    Wanted,
    defined,
    memory_campaign_definitions,
    shared,
    stood,
)
from streams.adapters.documents import MemoryDocument
from streams.runtime.campaigns.definitions import CampaignsFollower, LiveCampaigns
from streams.runtime.definitions import FixedCatalog
from tests.contract.test_campaign_definitions import CAMPAIGN, JOURNEY, put

LADDER = {"unit": "percent", "prediction": "orders", "least": 0, "most": 20, "step": 5}


def catalog(access: str = "live") -> Catalog:
    return loads(
        f"""
version: 1
name: Shop
predictions:
  orders: {{name: Orders, goal: {{did: Order}}, window: 7d, access: {access}}}
  other: {{name: Other, goal: {{did: Order}}, window: 7d}}
"""
    )


@pytest.fixture
def store() -> CampaignDefinitions:
    found = memory_campaign_definitions()
    kept = found.kept()
    found.write(0, [shared(kept, {"channels": {"push": {"kind": "webhook"}}}, "ann", 1.0)])
    return found


def change(store: CampaignDefinitions, wanted: Wanted) -> None:
    kept = store.kept()
    store.write(kept.revision, [defined(kept, wanted, "ann", 10.0)])


def test_what_is_in_force_is_another_object_after_each_change_and_the_same_one_else(store: CampaignDefinitions) -> None:
    wanted = FixedCatalog(catalog())
    live = LiveCampaigns(store, wanted)
    first = live.now
    assert live.refresh() is first
    put(store, "cart", 10.0)
    second = live.refresh()
    assert second is not first
    assert second.defined is not first.defined
    assert list(second.definitions.campaigns) == ["cart"]
    assert second.defined.plan.activity("cart", 11.0) == "on"
    assert live.refresh() is second
    wanted.catalog = catalog()
    third = live.refresh()
    assert third is not second
    assert third.defined.catalog is wanted.catalog


def test_a_campaign_of_a_prediction_that_is_taken_back_rests_until_it_is_live_again(
    store: CampaignDefinitions, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "cart", 10.0)
    change(store, Wanted("campaign", "fine", CAMPAIGN | {"segment": "other.high"}, {}))
    wanted = FixedCatalog(catalog())
    live = LiveCampaigns(store, wanted)
    wanted.catalog = catalog("preview")
    with caplog.at_level(logging.WARNING):
        now = live.refresh()
    assert list(now.troubles) == ["cart"]
    assert "cart is paused for as long as this is so" in caplog.text
    assert (now.defined.plan.activity("cart", 11.0), now.defined.plan.activity("fine", 11.0)) == ("paused", "on")
    assert now.definitions.standings["cart"].since_s == 10.0
    wanted.catalog = catalog()
    assert live.refresh().defined.plan.activity("cart", 11.0) == "on"
    kept = store.kept().find("cart")
    assert kept is not None
    assert kept.head.stands.state == "on", "nobody has paused it"


def test_goals_of_predictions_are_asked_for_before_there_is_a_campaign(store: CampaignDefinitions) -> None:
    goals = {atom.event for each in catalog().predictions.values() for atom in each.goal.atoms}
    assert goals
    assert LiveCampaigns(store, FixedCatalog(catalog())).now.defined.plan.latest() == goals


def test_an_archived_campaign_stays_with_what_its_offer_went_by(store: CampaignDefinitions) -> None:
    change(store, Wanted("campaign", "cart", CAMPAIGN | {"offer": LADDER | {"prediction": "gone"}}, {"gone": "churn"}))
    kept = store.kept()
    found = kept.find("cart")
    assert found is not None
    store.write(kept.revision, [stood(kept, found.head, "archive", "ann", 20.0)])
    now = LiveCampaigns(store, FixedCatalog(catalog())).now
    assert not now.troubles
    assert now.defined.plan.kinds["gone"] == "churn"
    assert now.defined.plan.activity("cart", 21.0) == "archived"


def test_what_cannot_be_read_later_leaves_in_force_what_was(
    store: CampaignDefinitions, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "cart", 10.0)
    live = LiveCampaigns(store, FixedCatalog(catalog()))
    before = live.now
    put(store, "cart", 20.0, trigger={"moon": "full"})
    with caplog.at_level(logging.ERROR):
        assert live.refresh() is before
    for _ in range(2):  # who takes a partition must not work it by what was in force before
        with pytest.raises(StoreIncompatible):
            live.look()
        assert live.refresh() is before
    assert caplog.text.count("revision 3 of campaigns is not in force") == 1
    put(store, "cart", 30.0, name="Right again")
    kept = store.kept()
    assert kept.find("cart") is not None
    assert live.refresh() is before, "a version that users may be in cannot be read"
    store.forget_versions({"cart": []}, before_s=1e9)
    assert live.refresh().definitions.campaigns["cart"][3].name == "Right again"


class _Flaky(MemoryDocument):
    """Does not answer now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked = threading.Event()

    def revision(self) -> int:
        self.asked.set()
        if self.is_away:
            raise StoreUnavailable("away")
        return super().revision()


def test_a_follower_takes_changes_up_by_itself_also_after_a_store_that_was_away() -> None:
    document = _Flaky()
    store = CampaignDefinitions(document)
    follower = CampaignsFollower(LiveCampaigns(store, FixedCatalog(catalog())), store)
    first = follower.defined()
    done = follower.start()
    try:
        document.is_away = True
        document.asked.clear()
        assert document.asked.wait(10.0)
        document.is_away = False
        kept = store.kept()
        steps: list[Any] = [
            shared(kept, {"channels": {"push": {"kind": "webhook"}}}, "ann", 1.0),
            defined(kept, Wanted("journey", "cart", JOURNEY, {}), "ann", 10.0, 1),
        ]
        store.write(0, steps)
        for _ in range(50):  # it waits for questions, not for time
            document.asked.clear()
            assert document.asked.wait(10.0)
            if follower.defined() is not first:
                break
        assert list(follower.now.definitions.journeys) == ["cart"]
        assert follower.trip("cart", 10.0, 11.0)
        assert follower.refresh().defined.plan.activity("cart", 12.0) == "paused"
    finally:
        follower.close()
    done.result(timeout=1.0)
