"""The topic of deletions is read once for all shards that ask at the same time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from config.errors import BrokerUnavailable
from streams.core.ledger import Deleted, ledger_name
from streams.runtime.deletion_log import deletion_key, mark_of
from streams.runtime.kafka.deletions import DeletionsReader

KEY = b"k" * 32
SHARDS = 12


class Entry(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None


class Topic:
    """One partition; `reads` are the offsets from which it was read, `given` how many records that were."""

    def __init__(self) -> None:
        self.records: list[Entry] = []
        self.reads: list[int] = []
        self.given = 0
        self.is_away = False
        self.may_go = threading.Event()
        self.may_go.set()

    def delete(self, shard: int, user: str, at_s: float = 5.0, *, is_taken_back: bool = False) -> None:
        key = deletion_key(shard, mark_of(KEY), ledger_name(KEY, user), at_s).encode()
        self.records.append(Entry(len(self.records), key, b"" if is_taken_back else Deleted(at_s, at_s, 1).to_bytes()))

    def read(self, first: int) -> Generator[Entry, None, None]:
        self.reads.append(first)
        self.may_go.wait()
        for record in self.records[first:]:
            self.given += 1
            yield record
            if self.is_away:
                raise BrokerUnavailable("away")


def reader(topic: Topic) -> DeletionsReader:
    return DeletionsReader(topic.read, mark_of(KEY), lambda: range(SHARDS))


def names(found: DeletionsReader, shard: int) -> list[str]:
    return [name for name, _ in found.of_shard(shard).known]


def test_all_shards_that_ask_at_once_share_one_reading_and_hear_their_own() -> None:
    topic = Topic()
    for shard in range(SHARDS):
        topic.delete(shard, f"user-{shard}")
    topic.records.append(Entry(SHARDS, b"nonsense", b"?"))
    topic.may_go.clear()
    found = reader(topic)
    with ThreadPoolExecutor(SHARDS) as pool:
        asked = [pool.submit(found.of_shard, shard) for shard in range(SHARDS)]
        topic.may_go.set()
        heard = [one.result() for one in asked]
    expected = [[ledger_name(KEY, f"user-{shard}")] for shard in range(SHARDS)]
    assert [[name for name, _ in one.known] for one in heard] == expected
    assert [one.unreadable for one in heard] == [1] * SHARDS
    assert topic.given == SHARDS + 1, "each record was read once"
    assert topic.reads.count(0) == 1


def test_who_asks_later_hears_also_what_came_meanwhile() -> None:
    topic = Topic()
    topic.delete(0, "ann")
    topic.delete(1, "bob")
    topic.delete(1, "eve")
    found = reader(topic)
    assert names(found, 0) == [ledger_name(KEY, "ann")]
    topic.delete(1, "bob", is_taken_back=True)
    topic.delete(0, "cem")
    assert names(found, 1) == [ledger_name(KEY, "eve")]
    assert topic.reads == [0, 3]
    assert names(found, 0) == [ledger_name(KEY, user) for user in ("ann", "cem")]
    assert topic.reads == [0, 3, 0], "what was handed out is not kept"
    found.forget()
    assert names(found, 2) == []
    assert topic.reads == [0, 3, 0, 0]


def test_a_reading_that_fails_is_begun_anew() -> None:
    topic = Topic()
    topic.delete(0, "ann")
    topic.delete(0, "bob")
    topic.is_away = True
    found = reader(topic)
    with pytest.raises(BrokerUnavailable):
        found.of_shard(0)
    topic.is_away = False
    assert names(found, 0) == [ledger_name(KEY, user) for user in ("ann", "bob")]
    assert topic.reads == [0, 0]
