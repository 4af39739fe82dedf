"""What campaigns are told of users is what their shard has stored of them, in a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from math import inf
from typing import Any

import msgspec
import numpy as np
import pytest

from config.catalog import Catalog
from config.errors import CatalogMoved, StoreIncompatible
from config.loader import loads
from models.snapshot import BINS, PredictionSnapshot, Snapshot, Status
from streams.adapters.memory_sinks import ListCourier, ListSink
from streams.adapters.redis_reader import RedisReader
from streams.campaigns.inputs import Facts
from streams.core.definitions import segment_ids_of
from streams.core.questions import question_of
from streams.ports import Identity
from streams.runtime.campaigns.shard_facts import StoredShardFacts
from streams.runtime.definitions import FixedCatalog
from streams.runtime.deletion_log import mark_of
from streams.runtime.latest_models import model_key
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from tests.campaign_world import campaign, journey, plan_of, send_step
from tests.contract.worlds import PATIENCE, RedisWorld

CATALOG = """
version: 1
name: shop
features:
  events: [View, Order]
  traits: {plan: {values: [free, gold]}}
history: [View]
remember:
  View: {properties: [product], cleared_by: [Order]}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 1d}
segments:
  viewers: {name: Viewed, filter: {event: View, count: {min: 1}}}
  fans: {name: Viewed twice, filter: {event: View, count: {min: 2}}}
"""
START_S = 1_790_000_000.0
KEY = b"a secret of the tests"


class Shop:
    """A shard in a store, and who tells of it."""

    def __init__(self, world: RedisWorld) -> None:
        self._world = world
        self._wanted = FixedCatalog(loads(CATALOG))
        self._offsets = count()
        self._clock_s = 0.0
        store = world.open()
        catalog = self._wanted.catalog
        store.prepare(1, identity(catalog))
        ports = Ports(
            store,
            ListSink(),
            ListCourier(),
            PATIENCE,
            lambda: "g",
            ledger_key=KEY,
            name=lambda catalog: store.prepare(1, identity(catalog)),
        )
        self.run = ShardRun(self._wanted, ports, shard=0, shards=1, source="events-0")
        self.told = StoredShardFacts(self.open, 0, clock=lambda: self._clock_s, ledger_key=KEY)

    def open(self) -> RedisReader:
        return RedisReader(self._world.url, prefix=self._world.prefix)

    def take(self, *events: bytes, models: Mapping[str, Snapshot] | None = None) -> None:
        """The shard has stored them; the state around them is asked for anew."""
        if not self.run.is_loaded:
            self.run.assign()
        records = [Record(next(self._offsets), START_S + 1e6, event) for event in events]
        self.run.step(records, models or {}, None)
        self._clock_s += 60.0

    def go_over(self, catalog: str) -> None:
        """Something else is defined; nobody who asks has been told."""
        self._wanted.catalog = loads(catalog)
        self.run.step([], {}, None)

    def facts(self, *users: str) -> dict[str, Facts]:
        return self.told.facts(users, 5.0)

    def close(self) -> None:
        self.told.close()


def identity(catalog: Catalog) -> Identity:
    return Identity("c", None, tuple(catalog.predictions), segment_ids_of(catalog), mark_of(KEY))


@pytest.fixture
def shop(redis_world: RedisWorld) -> Iterator[Shop]:
    with closing(Shop(redis_world)) as found:
        yield found


def event(user: str, name: str | None, at_s: float = 0.0, kind: str = "track", **more: Any) -> bytes:
    said = {"type": kind, "userId": user, "timestamp": datetime.fromtimestamp(START_S + at_s, UTC).isoformat()}
    return msgspec.json.encode(said | ({} if name is None else {"event": name}) | more)


def test_of_a_shard_without_a_commit_nobody_is_known(shop: Shop) -> None:
    assert shop.facts("ann") == {"ann": Facts(as_of_s=5.0, known=False)}
    assert (shop.told.lives_s(["ann"]), shop.told.members("fans", "", 5)) == ({}, ([], ""))


def test_without_a_store_that_is_said(redis_world: RedisWorld) -> None:
    def open_reader() -> RedisReader:
        return RedisReader(redis_world.url, prefix=redis_world.prefix)

    told = StoredShardFacts(open_reader, 0, clock=time.monotonic)
    with pytest.raises(StoreIncompatible, match="holds no store"):
        told.facts(["ann"], 5.0)


def test_memberships_scores_and_what_is_remembered_are_those_of_the_shard(shop: Shop) -> None:
    shop.told.use(plan_of({"c": campaign()}))
    shop.take(
        event("ann", "View", 1.0, properties={"product": "hat"}),
        event("bo", "View", 2.0, properties={"product": "bag"}),
        event("ann", "View", 3.0, properties={"product": "shoe"}),
        event("cleo", "Order", 4.0),
        event("bo", "Order", 5.0),
    )
    found = shop.facts("ann", "bo", "cleo", "nobody")
    assert [each.known for each in found.values()] == [True, True, True, False]
    assert {user: set(each.segments) for user, each in found.items()} == {
        "ann": {"viewers", "fans"},
        "bo": {"viewers"},
        "cleo": set(),
        "nobody": set(),
    }
    assert found["ann"].remembered == {"View": {"product": "shoe"}}
    assert found["bo"].remembered == {}
    assert {each.as_of_s for each in found.values()} == {5.0}
    with closing(shop.open()) as reader:
        stored = reader.scores("orders", ["ann", "bo", "cleo"])
    for user, score in zip(("ann", "bo", "cleo"), stored, strict=True):
        assert score is not None
        said = found[user].scores["orders"]
        assert said.score == pytest.approx(score.score, abs=0.01)
        assert said.category == score.category
        assert (said.likelihood, said.reasons) == (None, ()), "it warms up"


def test_filters_of_campaigns_and_splits_hold_or_not(shop: Shop) -> None:
    wants = {"all": [{"trait": "plan", "equals": "gold"}, {"event": "View", "count": {"min": 2}, "within": "2d"}]}
    steps = {
        "split": {"split": [{"when": {"segment": "fans"}, "then": "go"}], "otherwise": "end"},
        "go": send_step(),
    }
    impossible = campaign(filter={"trait": "colour", "equals": "red"})
    shop.told.use(plan_of({"c": campaign(filter=wants), "no": impossible}, {"j": journey(steps)}))
    shop.take(
        *(
            event(user, None, 1.0, "identify", traits={"plan": plan})
            for user, plan in (("ann", "gold"), ("bo", "free"))
        ),
        *(event(user, "View", 2.0 + n) for n in range(2) for user in ("ann", "bo")),
        event("cleo", "View", 3.0),
    )
    found = shop.facts("ann", "bo", "cleo")
    assert {user: set(each.fits) for user, each in found.items()} == {
        "ann": {"c", "j@1/split/0"},
        "bo": {"j@1/split/0"},
        "cleo": set(),
    }


@pytest.mark.parametrize(
    "message",
    [
        {"parts": {"body": "{{ reasons | first }}"}},
        {"parts": {"body": "x"}, "by_channel": {"push": {"body": "{{ reasons | first }}"}}},
    ],
)
def test_reasons_are_words_and_only_told_where_a_message_names_them(shop: Shop, message: Any) -> None:
    shop.take(event("ann", "View", 1.0))
    features = len(shop.run.shard.vocabulary.feature_names())
    weights = np.zeros(features)
    weights[list(shop.run.shard.vocabulary.feature_names()).index("total:View")] = 2.0
    live = PredictionSnapshot(Status.LIVE, weights, 0.0, np.zeros(features), 1, 0, version=1)
    counts = np.ones((1, BINS), np.int64)
    key = model_key(question_of(shop.run.catalog, "orders"), "orders")
    shop.take(event("ann", "View", 2.0), models={key: Snapshot(1, (live,), counts)})
    shop.told.use(plan_of({"c": campaign()}))
    assert shop.facts("ann")["ann"].scores["orders"].reasons == ()
    shop.told.use(plan_of({"c": campaign(message=message)}))
    said = shop.facts("ann")["ann"].scores["orders"]
    assert said.reasons == ("View in total: many",)
    assert said.likelihood is not None
    assert 0.5 < said.likelihood < 1.0


def test_a_deletion_ends_a_life_and_is_known_of_who_comes_back(shop: Shop) -> None:
    shop.take(event("ann", "View", 1.0), event("bo", "View", 1.0))
    shop.take(event("ann", None, 10.0, "delete"))
    assert shop.facts("ann")["ann"].known is False
    assert shop.told.lives_s(["ann", "bo", "nobody"]) == {"bo": -inf}
    shop.take(event("ann", "View", 20.0))
    assert shop.told.lives_s(["ann", "bo"]) == {"ann": START_S + 10.0, "bo": -inf}


def test_without_the_secret_nobody_is_told_who_was_deleted(shop: Shop) -> None:
    shop.take(event("ann", "View", 1.0))
    told = StoredShardFacts(shop.open, 0, clock=time.monotonic)
    with pytest.raises(StoreIncompatible, match="TIDELINE_DELETION_KEY"):
        told.lives_s(["ann"])
    told.close()


def test_members_come_in_pages_which_are_bounded_however_many_there_are(shop: Shop) -> None:
    users = [f"user{n}" for n in range(1_200)]
    shop.take(*(event(user, "View", float(n)) for n, user in enumerate(users)))
    found: list[str] = []
    page, cursor = shop.told.members("viewers", "", 100)
    found += page
    sizes = [len(page)]
    while cursor:
        page, cursor = shop.told.members("viewers", cursor, 100)
        found += page
        sizes.append(len(page))
    assert 0 < max(sizes) <= 400, "about a hundred: twice as many, and again, while the server moves its table"
    assert len(sizes) >= 3
    assert set(found) == set(users)
    stale, again = shop.told.members("viewers", "17:another-server", 100)
    assert (bool(stale), bool(again)) == (True, True), "it begins anew"
    assert shop.told.members("unknown", "", 100) == ([], "")


def test_definitions_that_change_meanwhile_are_found_out(shop: Shop) -> None:
    shop.take(*(event(user, "View", float(n)) for n in range(3) for user in ("ann", "bo")))
    assert set(shop.facts("ann")["ann"].segments) == {"viewers", "fans"}
    more = "".join(f"  more{n}: {{name: More {n}, filter: {{event: View, count: {{min: 3}}}}}}\n" for n in range(3))
    shop.go_over(CATALOG + more)
    with pytest.raises(CatalogMoved):
        shop.facts("ann")
    assert set(shop.facts("ann")["ann"].segments) == {"viewers", "fans", "more0", "more1", "more2"}
