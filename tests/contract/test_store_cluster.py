"""The store in a real cluster: shards on several nodes, slots that move, nodes that die."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from benchmarks._ports import free_port
from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from streams.adapters.memory_sinks import ListSink
from streams.adapters.redis_erase import erase_store
from streams.adapters.redis_nodes import Nodes
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_store import RedisStore, WaitFor
from streams.commit import Patience, commit_batch, patiently
from streams.ports import Claim, CommitBatch
from tests.contract.example_store import fill
from tests.contract.redis_servers import Cluster, Server, await_true, has_all, raw, raw_info, slot_of_shard
from tests.contract.worlds import IDENTITY, PATIENCE, RedisWorld

NO_PATIENCE = Patience(sleep=lambda _: None, attempts=1)
SHARDS = 6
USERS = 3_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes whose slots tests may move."""
    with Cluster(tmp_path_factory.mktemp("moving")) as cluster:
        yield cluster


@pytest.fixture
def own(cluster: Cluster) -> Iterator[RedisWorld]:
    with closing(RedisWorld(cluster.url)) as world:
        yield world


def batch(number: int, users: int = 1) -> CommitBatch:
    return CommitBatch(
        number=number,
        position=b"%d" % number,
        rows=[(f"user {index}", b"row %d" % number) for index in range(users)],
        # A name that is new each time: a key that a slot on its way does not have on either node.
        appends=[(f"pending:{number}", b"[%d]" % number)],
        outbox=[b"%d" % number],
    )


def ready(world: RedisWorld, shards: int = SHARDS, **options: Any) -> tuple[RedisStore, list[Claim]]:
    store = world.open(**options)
    store.prepare(shards, IDENTITY)
    return store, [store.claim(shard, new_generation="g1") for shard in range(shards)]


def holders(cluster: Cluster, prefix: str) -> list[set[bytes]]:
    """The keys of a prefix on each node."""
    return [set(raw(node, "KEYS", f"{prefix}:*")) for node in cluster.nodes]


def other_node(cluster: Cluster, slot: int) -> Server:
    source = cluster.owner(slot)
    return next(node for node in cluster.nodes[:3] if node is not source)


def test_shards_are_spread_over_the_nodes_and_each_is_whole_on_one(cluster: Cluster, own: RedisWorld) -> None:
    store, claims = ready(own)
    for claim in claims:
        store.commit(claim, batch(1), None)
    found = holders(cluster, own.prefix)
    assert all(found), "a node without a shard proves nothing"
    bases = [{key.rpartition(b"}")[0] for key in keys if b"{" in key} for keys in found]
    assert sum(map(len, bases)) == SHARDS


def test_another_identity_fences_the_claims_on_every_node(cluster: Cluster, own: RedisWorld) -> None:
    store, claims = ready(own)
    assert len({cluster.owner(slot_of_shard(own.prefix, claim.shard)) for claim in claims}) == 3
    other = own.open()
    other.prepare(2, replace(IDENTITY, catalog="other"))
    for claim in claims:
        with pytest.raises(Fenced):
            store.commit(claim, batch(1), None)
    with pytest.raises(StoreIncompatible, match="catalog"):
        store.claim(0, new_generation="g1")
    assert b"replacing" not in own.client.hgetall(f"{own.prefix}:meta")


def test_one_commit_on_any_node_keeps_the_identity(own: RedisWorld) -> None:
    store, claims = ready(own)
    store.commit(claims[-1], batch(1), None)
    with pytest.raises(StoreIncompatible, match="catalog"):
        own.open().prepare(2, replace(IDENTITY, catalog="other"))
    assert b"replacing" not in own.client.hgetall(f"{own.prefix}:meta")
    store.commit(claims[-1], batch(2), 1)
    store.claim(0, new_generation="g1")  # the identity holds


def test_nobody_claims_while_an_identity_is_replaced_and_the_next_start_ends_what_was_left(own: RedisWorld) -> None:
    store, claims = ready(own)
    own.client.hset(f"{own.prefix}:meta", "replacing", "by somebody who died")
    with pytest.raises(StoreUnavailable, match="another start"):
        store.claim(0, new_generation="g1")
    store.commit(claims[1], batch(1), None)  # was claimed before
    again = own.open()
    again.prepare(SHARDS, IDENTITY)
    assert b"replacing" not in own.client.hgetall(f"{own.prefix}:meta")
    assert again.claim(1, new_generation="g2").number == 1


def test_a_slot_that_was_moved_between_commits_is_followed(cluster: Cluster, own: RedisWorld) -> None:
    store, claims = ready(own)
    sink = ListSink()
    slot = slot_of_shard(own.prefix, 0)
    commit_batch(store, sink, claims[0], batch(1), trim=None, patience=PATIENCE)
    for number in range(2, 6):
        cluster.move(slot, other_node(cluster, slot))
        commit_batch(store, sink, claims[0], batch(number), trim=number - 1, patience=PATIENCE)
    assert sink.published == [b"%d" % number for number in range(1, 6)]
    loaded = store.load(store.claim(0, new_generation="g2", last_number=5))
    assert dict(loaded.appended) == {f"pending:{number}": b"[%d]" % number for number in range(1, 6)}


def test_a_commit_waits_for_a_slot_on_its_way_and_is_stored_once(cluster: Cluster, own: RedisWorld) -> None:
    store, claims = ready(own)
    sink = ListSink()
    commit_batch(store, sink, claims[0], batch(1), trim=None, patience=PATIENCE)
    slot = slot_of_shard(own.prefix, 0)
    source, target = cluster.owner(slot), other_node(cluster, slot)
    cluster.begin_move(slot, source, target)
    assert cluster.move_keys(slot, source, target, count=2) == 2  # some are here, some there
    waited: list[float] = []

    def pause(pause_s: float) -> None:
        waited.append(pause_s)
        if len(waited) == 3:
            cluster.move_keys(slot, source, target)
            cluster.end_move(slot, target)

    commit_batch(store, sink, claims[0], batch(2), trim=1, patience=Patience(sleep=pause, attempts=30))
    assert len(waited) >= 3
    assert sink.published == [b"1", b"2"]
    contents = own.contents(0)
    assert contents["meta"] == (1, 2, "g1", b"2", 1)
    assert contents["appended"] == {"pending:1", "pending:2"}


def test_a_load_that_a_moving_slot_interrupts_is_no_half_load(cluster: Cluster, own: RedisWorld) -> None:
    """A scan's cursor says nothing to another node: going on there would leave users out."""
    store, claims = ready(own)
    store.commit(claims[0], batch(1, USERS), None)
    slot = slot_of_shard(own.prefix, 0)
    chunks = store.load(claims_after(store)).rows
    next(chunks)
    cluster.move(slot, other_node(cluster, slot))
    with pytest.raises(StoreUnavailable):
        list(chunks)
    assert len(dict(pair for chunk in store.load(claims_after(store)).rows for pair in chunk)) == USERS


def claims_after(store: RedisStore) -> Claim:
    return patiently(PATIENCE, lambda: store.claim(0, new_generation="g2"))


def test_a_load_does_not_go_on_over_another_connection(redis_world: RedisWorld) -> None:
    """Another process may be behind it, after a restart or a failover."""
    store, claims = ready(redis_world, shards=1)
    store.commit(claims[0], batch(1, USERS), None)
    chunks = store.load(store.claim(0, new_generation="g1")).rows
    next(chunks)
    nodes: Nodes = store._nodes
    wire = nodes.of(f"{redis_world.prefix}:{{0}}:rows".encode())
    wire.drop()
    wire.ask("PING")  # another load, or a commit, that uses the same line
    with pytest.raises(StoreUnavailable, match="lost while"):
        list(chunks)


def test_erasing_takes_the_keys_of_every_node_and_no_others(cluster: Cluster, own: RedisWorld) -> None:
    store, claims = ready(own)
    for claim in claims:
        store.commit(claim, batch(1), None)
    own.client.set(f"{own.prefix}:{{0}}", "somebody's")
    own.client.set(f"{own.prefix}x:{{0}}:meta", "somebody's")
    count = sum(len(keys) for keys in holders(cluster, own.prefix)) - 1
    assert erase_store(own.url, prefix=own.prefix) == count
    assert set().union(*holders(cluster, own.prefix)) == {f"{own.prefix}:{{0}}".encode()}
    with pytest.raises(Fenced):
        store.commit(claims[0], batch(2), None)
    assert erase_store(own.url, prefix=own.prefix) == 0


def test_an_erasure_that_was_cut_short_is_refused_by_all_and_continued(redis_world: RedisWorld) -> None:
    own = redis_world
    store, claims = ready(own)
    for claim in claims:
        store.commit(claim, batch(1), None)
    own.client.hset(f"{own.prefix}:meta", "format", "half-erased")  # and then the line was lost
    with pytest.raises(StoreIncompatible, match="half-erased"):
        own.open().prepare(SHARDS, IDENTITY)
    with pytest.raises(StoreIncompatible, match="half-erased"):
        RedisReader(own.url, prefix=own.prefix)
    assert erase_store(own.url, prefix=own.prefix) > SHARDS
    assert own.keys() == []


def test_what_is_left_of_shards_is_erased_also_without_the_key_of_the_store(redis_world: RedisWorld) -> None:
    """As an erasure of an older version left it, which began with that key: a run would go on from the rest."""
    own = redis_world
    store, claims = ready(own)
    for claim in claims:
        store.commit(claim, batch(1), None)
    own.client.delete(f"{own.prefix}:meta")
    own.client.set(f"{own.prefix}x:{{0}}:meta", "somebody's")
    assert erase_store(own.url, prefix=own.prefix) > SHARDS
    assert own.keys() == []
    assert own.client.get(f"{own.prefix}x:{{0}}:meta") == b"somebody's"
    own.client.delete(f"{own.prefix}x:{{0}}:meta")
    assert erase_store(own.url, prefix=own.prefix) == 0


def test_the_promise_is_that_of_the_weakest_node(cluster: Cluster, own: RedisWorld) -> None:
    assert "no crossing is said twice" in own.open().promises()
    last = cluster.nodes[2].client
    last.config_set("appendfsync", "everysec")
    assert "the last second" in own.open().promises()
    last.config_set("appendonly", "no")
    assert "since the last dump" in own.open().promises()
    with pytest.raises(StoreIncompatible, match="disk"):
        own.open(wait_for=WaitFor(replicas=0))
    last.config_set("appendonly", "yes")
    last.config_set("appendfsync", "always")
    last.config_set("maxmemory", "1gb")
    last.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreIncompatible, match="maxmemory-policy"):
        own.open()
    last.config_set("maxmemory", 0)
    last.config_set("maxmemory-policy", "noeviction")


def test_a_users_password_holds_on_every_node(cluster: Cluster) -> None:
    login = "shop:open%20sesame%3F@"
    for node in cluster.nodes:
        node.client.execute_command("ACL", "SETUSER", "shop", "on", ">open sesame?", "~*", "+@all")
        node.client.execute_command("ACL", "SETUSER", "default", "resetpass", "-@all", "+auth", "+hello")
    url = cluster.url.replace("://", f"://{login}")
    try:
        with closing(RedisStore(url, patience=PATIENCE, prefix="secret")) as store:
            fill(store)
        with closing(RedisReader(url, prefix="secret")) as reader:
            assert sorted(reader.members("orders_7d.high")) == ["ann", "bob"]
        with pytest.raises(StoreIncompatible) as refused:
            RedisStore(url.replace("sesame", "other"), patience=PATIENCE)
        assert "other" not in str(refused.value)
        with pytest.raises(StoreIncompatible):
            RedisStore(cluster.url, patience=PATIENCE)
    finally:
        for node in cluster.nodes:
            node.client.execute_command("AUTH", "shop", "open sesame?")
            node.client.execute_command("ACL", "SETUSER", "default", "nopass", "+@all")


def test_the_rights_of_the_documented_user_suffice(cluster: Cluster) -> None:
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER .*$", page, re.MULTILINE)
    for node in cluster.nodes:
        node.client.execute_command(*line.split())
    url = cluster.url.replace("://", "://tideline:s3cret@")
    with closing(RedisStore(url, patience=PATIENCE)) as store:
        assert "unknown" not in store.promises()
        fill(store)
        list(store.load(store.claim(2, new_generation="g2")).rows)
    with closing(RedisReader(url)) as reader:
        assert reader.by_score("orders_7d", limit=1) == [("ann", 91.0)]
    with pytest.raises(StoreIncompatible, match="rights"):
        erase_store(url, prefix="other")
    assert erase_store(url) > 4


def test_a_node_alone_and_a_server_alone_are_told_apart(cluster: Cluster, tmp_path: Path) -> None:
    urls = [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]
    meta_owner = cluster.owner(key_slot(b"alone:meta"))
    wrong = next(url for url in urls if str(meta_owner.port) not in url)
    refused = pytest.raises(StoreIncompatible, match=r"redis\+cluster://")
    with closing(RedisStore(wrong, patience=PATIENCE, prefix="alone")) as store, refused:
        store.prepare(SHARDS, IDENTITY)
    plain = Server(tmp_path / "plain", free_port())
    try:
        with pytest.raises(StoreIncompatible, match="no node of a cluster; use redis://HOST:PORT"):
            RedisStore(f"redis+cluster://127.0.0.1:{plain.port}", patience=PATIENCE)
    finally:
        plain.stop()


# --- nodes that die --------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Cluster]:
    """Three primaries, the first with a replica."""
    with Cluster(tmp_path, replicas=1, settings="cluster-replica-validity-factor 0\n") as cluster:
        yield cluster


def shard_of_first_node(cluster: Cluster, prefix: str) -> int:
    slots = cluster.slots_of(cluster.nodes[0])
    return next(shard for shard in range(SHARDS) if slot_of_shard(prefix, shard) in slots)


@pytest.mark.slow
def test_commits_go_on_after_the_failover_of_a_node(failing: Cluster) -> None:
    with closing(RedisWorld(failing.url)) as world:
        store, claims = ready(world, wait_for=None)
        sink = ListSink()
        claim = claims[shard_of_first_node(failing, world.prefix)]
        commit_batch(store, sink, claim, batch(1), trim=None, patience=PATIENCE)
        await_true(lambda: has_all(failing.nodes[0], failing.nodes[3]), "a replica that has all")
        failing.nodes[0].process.kill()
        patience = Patience(time.sleep, attempts=300, longest_pause_s=0.1)
        for number in (2, 3):
            commit_batch(store, sink, claim, batch(number), trim=number - 1, patience=patience)
        assert sink.published == [b"1", b"2", b"3"]
        assert store.confirm(claim, 3) is True
        assert b"role:master" in raw_info(failing.nodes[3])
        # The dead node is the first in the address: whoever comes anew asks the others.
        with closing(RedisReader(failing.url, prefix=world.prefix)) as reader:
            assert reader.shard_infos()[claim.shard].number == 3
