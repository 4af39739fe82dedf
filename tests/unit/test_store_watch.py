"""The watch over the store: real servers as they are set, and a scrape that never waits."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import redis

from benchmarks._ports import free_port
from config.errors import StoreUnavailable
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.store_watch import EVERY_S, Promise, StoreFacts, StoreWatch, look, store_metrics

FACTS = StoreFacts(Promise.ALL, {})


def test_a_server_is_seen_as_it_is_set(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        found = look(server.url, 0)
        assert found.promise is Promise.ALL
        (condition,) = found.servers.values()
        assert condition.used_bytes > 0
        client = redis.Redis.from_url(server.url)
        client.config_set("appendfsync", "everysec")
        assert look(server.url, 0).promise is Promise.MOST
        client.config_set("appendonly", "no")
        assert look(server.url, 0).promise is Promise.NOTHING
        client.config_set("maxmemory", 1 << 30)
        client.close()
        families = {family.name: family.samples for family in store_metrics(look(server.url, 0))}
        assert [sample.value for sample in families["tideline_store_promise"]] == [0]
        assert [sample.value for sample in families["tideline_store_memory_limit_bytes"]] == [1 << 30]


def test_a_scrape_does_not_wait_for_a_server_and_looks_once_in_a_while() -> None:
    may_answer, looks, now_s = Event(), list[str](), [0.0]

    def slow(url: str, _replicas: int) -> StoreFacts:
        looks.append(url)
        assert may_answer.wait(30)
        return FACTS

    watch = StoreWatch("redis://a", 0, looking=slow, pace_s=lambda: now_s[0])
    assert watch.latest() is None
    now_s[0] = 3 * EVERY_S
    assert watch.latest() is None, "one look at a time, however long it takes"
    may_answer.set()
    watch.wait()
    assert len(looks) == 1
    assert watch.latest() is FACTS, "it is old, so the next look has begun"
    watch.wait()
    now_s[0] += EVERY_S - 1.0
    assert watch.latest() is FACTS
    watch.wait()
    assert looks == ["redis://a"] * 2


def test_a_store_that_does_not_answer_has_no_series() -> None:
    answers: list[StoreFacts | StoreUnavailable] = [FACTS, StoreUnavailable("away")]
    now_s = [0.0]

    def asked(_url: str, _replicas: int) -> StoreFacts:
        found = answers.pop(0)
        if isinstance(found, StoreFacts):
            return found
        raise found

    watch = StoreWatch("redis://a", 0, looking=asked, pace_s=lambda: now_s[0])
    watch.latest()
    watch.wait()
    assert watch.latest() is FACTS
    now_s[0] = EVERY_S
    watch.latest()
    watch.wait()
    assert watch.latest() is None
    assert all(not family.samples for family in store_metrics(watch.latest()))


def test_nobody_there_is_told_by_the_look() -> None:
    watch = StoreWatch(f"redis://127.0.0.1:{free_port()}", 0)
    watch.latest()
    watch.wait()
    assert watch.latest() is None
