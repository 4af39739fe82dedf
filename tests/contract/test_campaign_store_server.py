"""Campaigns in a real server: set back, cut off, cleaned up halfway, and written to by others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest

from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.redis_erase import erase_store
from streams.adapters.redis_keys import campaign_keys, shared_campaign_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_store import WaitFor
from streams.adapters.redis_traces import scanned_keys, times_in
from streams.campaigns.effects import Note
from streams.campaigns.ports import CampaignStore, Claim, Commit, Due
from tests.contract.cutting_proxy import REPLY, REQUEST, CuttingProxy
from tests.contract.worlds import IDENTITY, RedisWorld


@pytest.fixture
def store(redis_world: RedisWorld) -> Iterator[RedisCampaigns]:
    with closing(RedisCampaigns(redis_world.url, prefix=redis_world.prefix)) as found:
        yield found


def commit(store: CampaignStore, claim: Claim, number: int, **given: object) -> None:
    fields: dict[str, object] = {"number": number, "position": b"p%d" % number, "state": b"s"}
    store.commit(claim, Commit(**fields | given))  # type: ignore[arg-type]


def test_an_owner_finds_out_that_its_store_was_set_back(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    claim = store.claim(0)
    commit(store, claim, 1)
    copy = redis_world.copy()
    commit(store, claim, 2, rows={"ann": (b"row", Due(5.0, {}))})
    redis_world.set_back(copy)
    with pytest.raises(Fenced, match="commit 3 after 1"):
        commit(store, claim, 3)
    again = store.claim(0)
    assert (again.number, again.position) == (1, b"p1")
    assert again.generation != claim.generation
    commit(store, again, 2)


def test_one_that_was_emptied_begins_anew(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    claim = store.claim(0)
    commit(store, claim, 1)
    redis_world.set_back({})
    with pytest.raises(Fenced):
        commit(store, claim, 2)
    again = store.claim(0)
    assert (again.number, again.position, again.generation != claim.generation) == (0, None, True)


def test_a_claim_of_before_a_set_back_is_no_claim_behind_it(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    commit(store, store.claim(0), 1)
    copy = redis_world.copy()
    before = store.claim(0)
    redis_world.set_back(copy)
    with closing(RedisCampaigns(redis_world.url, prefix=redis_world.prefix)) as other:
        assert other.claim(0).epoch == before.epoch
        with pytest.raises(Fenced):
            commit(store, before, 2)


def test_grants_go_on_when_only_they_were_set_back(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    claim = store.claim(0)
    assert store.grants(claim).raise_to("r", 10, 6, 1e12) == 6
    redis_world.client.delete(shared_campaign_keys(redis_world.prefix).epochs)
    assert store.grants(claim).raise_to("r", 10, 8, 1e12) == 8


def test_a_grant_is_forgotten_when_its_period_is_over(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    grants = store.grants(store.claim(0))
    key = shared_campaign_keys(redis_world.prefix).grant("r")
    grants.raise_to("r", 10, 6, time.time() + 3_600.0)
    assert 3_500 < redis_world.client.ttl(key) <= 3_600
    grants.raise_to("r", 10, 6, float("inf"))
    assert redis_world.client.ttl(key) == -1


def test_a_part_that_is_missing_is_refused(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    commit(store, store.claim(0), 1, rows={"ann": (b"row", Due(5.0, {}))})
    redis_world.client.delete(campaign_keys(redis_world.prefix, 0).meta)
    with pytest.raises(StoreIncompatible, match="not whole"):
        store.claim(0)


def test_a_commit_of_which_a_part_failed_ends_the_partition(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    claim = store.claim(0)
    redis_world.client.set(campaign_keys(redis_world.prefix, 0).profiles, b"somebody else's")
    with pytest.raises(StoreIncompatible, match="in part"):
        commit(store, claim, 1, profiles={"ann": b"1"})
    with pytest.raises(StoreIncompatible, match="not whole"):
        store.claim(0)


def test_erasing_the_store_leaves_what_campaigns_know(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    redis_world.open().prepare(2, IDENTITY)
    commit(store, store.claim(0), 1, rows={"ann": (b"row", Due(5.0, {}))})
    erase_store(redis_world.url, prefix=redis_world.prefix)
    assert store.rows(store.claim(0), ["ann"]) == {"ann": b"row"}


def test_whoever_is_kept_is_found_as_a_trace(redis_world: RedisWorld, store: RedisCampaigns) -> None:
    claim = store.claim(0)
    commit(store, claim, 1, rows={"ann": (b"row", Due(5.0, {"c": 1.0}))}, profiles={"ann": b"1"})
    note = Note("id", "ann", "Tideline Message Sent", 1.0, {})
    commit(store, claim, 2, rows={"bo": (b"row", Due(5.0, {"c": 1.0}))}, outbox=[msgspec.msgpack.encode(note)])
    assert traces(redis_world, "ann") == {"rows", "profiles", "due", "queued", "queue:c", "outbox"}
    commit(store, claim, 3, rows_removed=["ann"], profiles_removed=["ann"])
    store.trim(claim, 3)
    assert traces(redis_world, "ann") == set()
    assert traces(redis_world, "bo") == {"rows", "due", "queued", "queue:c"}


def traces(world: RedisWorld, user: str) -> set[str]:
    """Kinds of keys that name the user."""
    with closing(open_nodes(world.url, timeout_s=5.0)) as nodes:
        found = [(wire, key) for wire in nodes.primaries() for key in scanned_keys(wire, world.prefix)]
        named = [key for wire, key in found if times_in(wire, nodes, key, user)]
    return {key.partition(b"}:")[2].decode() for key in named}


@pytest.mark.parametrize("direction", [REQUEST, REPLY])
def test_a_line_cut_at_any_byte_neither_loses_nor_doubles_a_commit(
    server_url: str, tmp_path: Path, direction: str
) -> None:
    socket = Path(unquote(server_url.removeprefix("unix://")))
    with closing(RedisWorld(server_url)) as world, CuttingProxy(tmp_path / "proxy.sock", socket) as proxy:
        with closing(RedisCampaigns(proxy.url, prefix=world.prefix, timeout_s=5.0)) as store:
            claim = store.claim(0)
            cuts = range(0, 600, 15) if direction == REQUEST else range(0, 160, 4)
            for number, after in enumerate(cuts, start=1):
                proxy.cut(direction, after)
                until_it_is_there(store, claim, number)
            expected = [(number, b"once") for number in range(1, len(cuts) + 1)]
        assert proxy.cuts > 20
    with closing(RedisCampaigns(server_url, prefix=world.prefix)) as last:
        found = last.claim(0)
        assert last.outbox(found) == expected
        assert last.queued(found, "c", 5) == ["ann"]


def until_it_is_there(store: CampaignStore, claim: Claim, number: int) -> None:
    """As a service does: again after every lost line."""
    for _ in range(5):
        try:
            commit(store, claim, number, rows={"ann": (b"row", Due(5.0, {"c": float(number)}))}, outbox=[b"once"])
            return
        except StoreUnavailable:
            continue
    raise AssertionError(f"commit {number} does not come through")


def test_a_commit_that_misses_its_copies_is_waited_for_again(server_url: str) -> None:
    with closing(RedisWorld(server_url)) as world:
        wait_for = WaitFor(replicas=1, on_disk=False, timeout_s=0.05)
        with closing(RedisCampaigns(server_url, prefix=world.prefix, wait_for=wait_for)) as store:
            claim = store.claim(0)
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                    commit(store, claim, 1, outbox=[b"once"])
            assert store.outbox(claim) == [(1, b"once")]
