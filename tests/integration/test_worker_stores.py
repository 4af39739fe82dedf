"""The stores of a worker, in a real server: what is said where it cannot go on in one."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from config.errors import Fenced, Stopped, StoreIncompatible
from config.loader import loads
from streams.adapters.memory_sinks import ListCourier, ListSink
from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.ports import CommitBatch
from streams.runtime import worker_stores
from streams.runtime.about import about_blobs
from streams.runtime.place import Place
from streams.runtime.worker_stores import WorkerStores
from tests.conftest import ROOT, SLOWNESS

CATALOG = """
version: 1
name: Shop
predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


def stores_of(url: str, prefix: str, catalog: str = CATALOG, file: str = "") -> WorkerStores:
    return WorkerStores(url, Place(Path("data"), url, prefix), loads(catalog), shards=3, learners=8, file_name=file)


def test_the_file_of_the_latest_start_counts_and_workers_with_an_older_one_end(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = stores_of(url, "one", file="/a/shop.yaml on one")
    first.check()
    assert caplog.text == ""
    ports = first.ports(ListSink(), ListCourier())
    claim = ports.store.claim(2, new_generation="g")
    ports.store.commit(claim, CommitBatch(1, b"", blobs=about_blobs(loads(CATALOG))), None)
    changed = stores_of(url, "one", CATALOG.replace("7d", "14d"), "/b/shop.yaml on two")
    changed.check()
    (told,) = [record.message for record in caplog.records]
    assert told.startswith("The catalog of /b/shop.yaml on two is in force from now on, and is another one")
    assert "(the last one was /a/shop.yaml on one)" in told
    taken = changed.ports(ListSink(), ListCourier()).store.claim(2, new_generation="no")
    assert (taken.number, taken.generation) == (1, "g")
    with pytest.raises(Fenced):
        ports.store.commit(claim, CommitBatch(2, b""), None)
    for late in (lambda: ports.store.claim(2, new_generation="no"), lambda: first.ports(ListSink(), ListCourier())):
        with pytest.raises(StoreIncompatible, match="another worker was started later") as raised:
            late()
        assert "/b/shop.yaml on two. That one is in force, and this worker has /a/shop.yaml on one" in str(raised.value)
    for stores in (first, changed):
        stores.close()


def test_a_store_that_may_forget_is_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    stores = stores_of(url, "forgets")
    assert stores.check().startswith("Store: Valkey ")
    assert caplog.records == []
    with closing(redis.Redis.from_url(url)) as client:
        client.config_set("appendfsync", "everysec")
        words = stores.check()
        client.config_set("appendfsync", "always")
    assert "a power cut may forget the last second" in words
    (told,) = caplog.records
    assert told.levelname == "WARNING"
    assert told.message.startswith(
        "The store may forget what it has acknowledged (docs/redis.md, What the server must promise): Valkey "
    )
    stores.close()


def test_names_of_what_was_defined_are_told_to_readers(url: str) -> None:
    stores = stores_of(url, "names")
    stores.check()
    more = loads(CATALOG.replace("predictions: {", "predictions: {more: {name: More, goal: {did: View}, window: 7d}, "))
    stores.ports(ListSink(), ListCourier()).name(more)
    stores.ports(ListSink(), ListCourier()).store.claim(0, new_generation="g")
    with closing(RedisReader(url, prefix="names")) as reader:
        assert reader.info.predictions == ("more", "orders")
        assert "more.high" in reader.info.segments
    stores.close()


def test_the_commands_that_begin_anew_under_the_same_prefix_leave_all_else(url: str) -> None:
    """Those of docs/kafka.md, for a log that is another one."""
    stores = stores_of(url, "tl")
    stores.check()
    for learners in (False, True):
        ports = stores.ports(ListSink(), ListCourier(), learners=learners)
        claim = ports.store.claim(1, new_generation="g")
        ports.store.commit(claim, CommitBatch(1, b"x", blobs=about_blobs(loads(CATALOG))), None)
    stores.close()
    kept = {"tl:api:keys": "keys", "tl:{definitions}:now": "definitions", "tl:campaigns:{1}:books": "books"}
    with closing(redis.Redis.from_url(url)) as client:
        client.mset(kept)
        commands = re.findall(r"^ +(redis-cli .*)$", (ROOT / "docs" / "kafka.md").read_text(), re.MULTILINE)
        assert len(commands) == 3
        for words in commands:
            scanned = re.search(r"--pattern '(.*)' \| xargs -r redis-cli unlink", words)
            client.unlink(*(client.scan_iter(scanned[1]) if scanned else words.split()[2:]))
        assert {key.decode() for key in client.scan_iter("tl:*")} == kept.keys()
    anew = stores_of(url, "tl", CATALOG.replace("7d", "14d"))
    anew.check()
    for learners in (False, True):
        claim = anew.ports(ListSink(), ListCourier(), learners=learners).store.claim(1, new_generation="h")
        assert (claim.number, claim.generation) == (0, "h")
    anew.close()


def test_a_stop_waits_for_a_store_that_hangs_no_longer_than_for_a_slow_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_stores, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        stores = stores_of(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "silent")
        stores.give_up()
        began_s = time.monotonic()
        with pytest.raises(Stopped):
            stores.ports(ListSink(), ListCourier())
        assert time.monotonic() - began_s < 5.0 * SLOWNESS


def test_other_shards_are_told_as_such(url: str) -> None:
    first = stores_of(url, "two")
    first.check()
    ports = first.ports(ListSink(), ListCourier())
    ports.store.commit(
        ports.store.claim(0, new_generation="g"), CommitBatch(1, b"", blobs=about_blobs(loads(CATALOG))), None
    )
    other = WorkerStores(url, Place(Path("data"), url, "two"), loads(CATALOG), shards=4, learners=8)
    with pytest.raises(
        StoreIncompatible, match=r"made for 3 partitions of the events \(shards\), not 4.*TIDELINE_SHARDS=3"
    ):
        other.check()
    for stores in (first, other):
        stores.close()


def test_errors_of_learners_speak_of_learners(url: str) -> None:
    stores = stores_of(url, "three")
    for learners, part in ((True, "learner 2"), (False, "partition 2")):
        store = stores.ports(ListSink(), ListCourier(), learners=learners).store
        claim = store.claim(2, new_generation="g")
        store.claim(2, new_generation="g")
        with pytest.raises(Fenced, match=f"^{part}: expected epoch"):
            store.commit(claim, CommitBatch(1, b""), None)
        with pytest.raises(StoreIncompatible, match="^learner 8" if learners else "^partition 8"):
            store.claim(8, new_generation="g")
    stores.close()
