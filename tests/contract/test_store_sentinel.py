"""The store behind a real sentinel: a primary that dies or is demoted, and a replica that lacks the last commit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks._ports import free_port
from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from streams.adapters.memory_sinks import ListSink
from streams.adapters.redis_pack import command
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_store import RedisStore
from streams.commit import Patience, commit_batch, patiently
from streams.ports import Claim, CommitBatch
from tests.contract.example_store import fill
from tests.contract.redis_servers import Sentinels, await_true, has_all, raw_info
from tests.contract.worlds import IDENTITY, PATIENCE

NO_PATIENCE = Patience(sleep=lambda _: None, attempts=1)
FAILOVER = Patience(time.sleep, attempts=600, longest_pause_s=0.05)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path) as servers:
        yield servers


@pytest.fixture
def store(servers: Sentinels) -> Iterator[RedisStore]:
    with closing(RedisStore(servers.url, patience=PATIENCE)) as store:
        store.prepare(1, IDENTITY)
        yield store


def batch(number: int) -> CommitBatch:
    return CommitBatch(number=number, position=b"%d" % number, rows=[("ann", b"row")], outbox=[b"%d" % number])


def taken(store: RedisStore) -> Claim:
    return store.claim(0, new_generation="g1")


def replica_has_all(servers: Sentinels) -> None:
    await_true(lambda: has_all(servers.primary, servers.replica), "a replica that has all")


def test_commits_go_on_after_the_primary_was_killed(servers: Sentinels, store: RedisStore) -> None:
    assert "failover" in store.promises()
    claim, sink = taken(store), ListSink()
    commit_batch(store, sink, claim, batch(1), trim=None, patience=NO_PATIENCE)
    replica_has_all(servers)
    servers.primary.process.kill()
    for number in (2, 3):
        commit_batch(store, sink, claim, batch(number), trim=number - 1, patience=FAILOVER)
    servers.await_failover()
    assert sink.published == [b"1", b"2", b"3"]
    with closing(RedisReader(servers.url)) as reader:
        assert (reader.shard_infos()[0].number, reader.shard_infos()[0].generation) == (3, "g1")


def test_a_replica_without_the_last_commit_is_a_store_that_went_back(servers: Sentinels, store: RedisStore) -> None:
    claim, sink = taken(store), ListSink()
    commit_batch(store, sink, claim, batch(1), trim=None, patience=NO_PATIENCE)
    replica_has_all(servers)
    os.kill(servers.replica.process.pid, signal.SIGSTOP)
    servers.primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")  # what follows is sent to nobody
    commit_batch(store, sink, claim, batch(2), trim=1, patience=NO_PATIENCE)
    servers.primary.process.kill()
    os.kill(servers.replica.process.pid, signal.SIGCONT)
    with pytest.raises(Fenced, match="found epoch 1 of generation g1 after commit 1"):
        commit_batch(store, sink, claim, batch(3), trim=2, patience=FAILOVER)
    again = store.claim(0, new_generation="g2", last_number=2)
    assert (again.number, again.generation) == (1, "g2")
    commit_batch(store, sink, again, batch(2), trim=1, patience=NO_PATIENCE)
    with pytest.raises(Fenced):
        store.commit(claim, batch(3), 2)


def test_a_commit_whose_reply_the_failover_took_is_published_once(
    servers: Sentinels, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, sink = taken(store), ListSink()
    wire = store._nodes.of(b"")
    exchange = wire.exchange

    def exchange_and_die(commands: Sequence[bytes], *, on_same_line: bool = False) -> list[Any]:
        if commands[0] == command(b"MULTI"):
            monkeypatch.undo()
            exchange(commands, on_same_line=on_same_line)
            replica_has_all(servers)
            servers.primary.process.kill()
        return exchange(commands, on_same_line=on_same_line)

    monkeypatch.setattr(wire, "exchange", exchange_and_die)
    commit_batch(store, sink, claim, batch(1), trim=None, patience=FAILOVER)
    assert servers.primary.process.ended.is_set()
    assert sink.published == [b"1"]
    assert store.confirm(claim, 1) is True


@pytest.mark.slow
def test_a_primary_that_was_demoted_is_left(servers: Sentinels, store: RedisStore) -> None:
    claim, sink = taken(store), ListSink()
    commit_batch(store, sink, claim, batch(1), trim=None, patience=NO_PATIENCE)
    replica_has_all(servers)
    servers.fail_over()
    await_true(lambda: b"role:slave" in raw_info(servers.primary), "the old primary that follows")
    for number in (2, 3):
        commit_batch(store, sink, claim, batch(number), trim=number - 1, patience=FAILOVER)
    assert sink.published == [b"1", b"2", b"3"]


def test_a_line_to_a_server_that_became_a_replica_is_given_up(servers: Sentinels, store: RedisStore) -> None:
    """Also where the sentinel did not cut the line: what the old primary says of itself is enough."""
    claim = taken(store)
    servers.primary.client.replicaof("127.0.0.1", servers.replica.port)  # as a sentinel does, without the cut
    with pytest.raises(StoreUnavailable, match="read only"):
        store.commit(claim, batch(1), None)


def test_a_primary_that_was_cut_off_and_refuses_is_left(servers: Sentinels, store: RedisStore) -> None:
    """It does not know that there is another one, and nobody cuts the line to it: it lacks its replica."""
    claim, sink = taken(store), ListSink()
    commit_batch(store, sink, claim, batch(1), trim=None, patience=NO_PATIENCE)
    replica_has_all(servers)
    servers.primary.client.config_set("min-replicas-to-write", 1)
    servers.replica.client.replicaof("NO", "ONE")
    await_true(lambda: b"connected_slaves:0" in raw_info(servers.primary), "a primary that is alone")
    sentinel = servers.sentinel.client
    sentinel.execute_command("SENTINEL REMOVE", servers.SERVICE)
    with pytest.raises(StoreUnavailable, match="misses replicas"):
        store.commit(claim, batch(2), 1)
    sentinel.execute_command("SENTINEL MONITOR", servers.SERVICE, "127.0.0.1", servers.replica.port, 1)
    commit_batch(store, sink, claim, batch(2), trim=1, patience=FAILOVER)
    assert raw_info(servers.replica).startswith(b"# Replication\r\nrole:master")
    servers.primary.process.kill()
    assert store.confirm(claim, 2) is True


def test_a_service_or_sentinels_that_are_not_there_are_named(servers: Sentinels) -> None:
    with pytest.raises(StoreUnavailable, match="knows no service 'other'"):
        RedisStore(servers.url.replace("/tideline", "/other"), patience=NO_PATIENCE)
    nobody = f"redis+sentinel://:hunter2@127.0.0.1:{free_port()}/tideline"
    with pytest.raises(StoreUnavailable, match=r"no sentinel names a primary \(redis://127\.0\.0\.1:\d+ does") as told:
        RedisStore(nobody, patience=NO_PATIENCE)
    assert "hunter2" not in str(told.value)
    one_of_two = servers.url.replace("://", f"://127.0.0.1:{free_port()},")
    RedisStore(one_of_two, patience=NO_PATIENCE).close()
    plain = f"redis+sentinel://127.0.0.1:{servers.primary.port}/tideline"
    with pytest.raises(StoreIncompatible, match="is no sentinel"):
        RedisStore(plain, patience=NO_PATIENCE)


def test_sentinels_have_a_login_of_their_own(servers: Sentinels) -> None:
    servers.sentinel.client.execute_command("ACL", "SETUSER", "guest", "on", ">guard?", "+@all")
    servers.sentinel.client.execute_command("ACL", "SETUSER", "default", "resetpass", "-@all", "+auth", "+hello")
    with pytest.raises(StoreIncompatible, match="sentinel_username"):
        RedisStore(servers.url, patience=NO_PATIENCE)
    with pytest.raises(StoreIncompatible, match="login") as refused:
        RedisStore(servers.url + "?sentinel_username=guest&sentinel_password=hunter2", patience=NO_PATIENCE)
    assert "hunter2" not in str(refused.value)
    servers.primary.client.config_set("requirepass", "inner")
    url = servers.url.replace("://", "://:inner@") + "?sentinel_username=guest&sentinel_password=guard%3F"
    with closing(RedisStore(url, patience=NO_PATIENCE)) as store:
        fill(store)
    with closing(RedisReader(url)) as reader:
        assert sorted(reader.members("orders_7d.high")) == ["ann", "bob"]


def test_patience_covers_a_failover(servers: Sentinels, store: RedisStore) -> None:
    """A claim, as at a rebalance, while there is no primary."""
    servers.primary.process.kill()
    assert patiently(FAILOVER, lambda: taken(store)).epoch == 1
