"""A store that went back in time while nobody watched: what was told before anything was published shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count

import pytest

from config.errors import BrokerUnavailable, Fenced
from streams.adapters.memory_sinks import ListCourier
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.ports import Identity, OutboxEntry
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from streams.runtime.witness import Witness
from tests.unit.test_live_faults import CATALOG, T0, record

NAMES = count(1)


class Group:
    """What the consumer group remembers, and the topic of transitions: an id must not get two payloads."""

    def __init__(self) -> None:
        self.told: Witness | None = None
        self.payloads: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        self.courier = ListCourier()

    def tell(self, witness: Witness) -> None:
        if self.errors:
            raise self.errors.pop()
        self.told = witness

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        for _, data in entries:
            assert self.told is not None
            name = json.loads(data)["id"]
            assert self.payloads.setdefault(name, data) == data, f"{name} has two payloads"

    def close(self) -> None:
        """Nothing is held."""

    def run(self, server: MemoryServer) -> ShardRun:
        """A fresh process."""
        store = MemoryStore(server)
        store.prepare(1, Identity(catalog="c"))
        ports = Ports(
            store, self, self.courier, Patience(lambda _: None, attempts=2), lambda: f"g{next(NAMES)}", self.tell
        )
        return ShardRun(CATALOG, ports, shard=0, shards=1, source="events-0")

    def assigned(self, server: MemoryServer) -> ShardRun:
        """One that has taken the shard."""
        run = self.run(server)
        run.assign(self.told)
        return run


def go_back(server: MemoryServer, copy: MemoryServer) -> None:
    server.shards = copy.copy().shards


def order(n: int, user: str) -> Record:
    return record(n, T0 + n, T0 + n, user=user)


def silence(run: ShardRun) -> None:
    """Two days in which nothing comes: buyers of yesterday are in other categories now."""
    run.step([], {}, T0 + 2 * 86_400.0)


def test_commits_that_moved_no_offset_are_missed() -> None:
    """What time alone brought, and a set-back took away."""
    server, group = MemoryServer(), Group()
    first = group.assigned(server)
    first.step([order(0, "ann")], {}, None)
    earlier = server.copy()
    silence(first)
    assert first.counts.commits == 2
    assert first.position.offset == 1, "where it was"
    before = server.shards[0].generation
    go_back(server, earlier)
    second = group.assigned(server)
    assert second.counts.set_back == 1
    assert server.shards[0].generation != before


def test_the_first_commits_are_missed_too() -> None:
    server, group = MemoryServer(), Group()
    first = group.assigned(server)
    earlier = server.copy()
    first.step([order(0, "ann")], {}, None)
    go_back(server, earlier)
    second = group.assigned(server)
    assert second.counts.set_back == 1
    second.step([order(0, "ann"), order(1, "ben")], {}, None)
    second.step([order(2, "ann")], {}, None)
    assert len(group.payloads) == 3, "ann's again under another id, and ben's"


def test_nothing_is_published_before_it_is_told() -> None:
    server, group = MemoryServer(), Group()
    first = group.assigned(server)
    earlier = server.copy()
    group.errors = [BrokerUnavailable("away")] * 2
    with pytest.raises(BrokerUnavailable):
        first.step([order(0, "ann")], {}, None)
    assert not group.payloads
    group.errors = [Fenced("another has it")]
    with pytest.raises(Fenced):
        first.assign(group.told)
    assert not group.payloads
    assert not first.is_loaded
    go_back(server, earlier)
    generation = server.shards[0].generation
    second = group.assigned(server)
    assert second.counts.set_back == 0, "a fresh process cannot know, and need not"
    assert server.shards[0].generation == generation


def test_a_commit_that_says_nothing_is_not_told() -> None:
    server, group = MemoryServer(), Group()
    run = group.assigned(server)
    run.step([order(0, "ann")], {}, None)
    told = group.told
    assert told is not None
    assert told.number == 1
    run.step([order(1, "ann")], {}, None)
    assert run.counts.commits == 2
    assert group.told == told


def test_a_new_store_is_no_alarm() -> None:
    """As the hint to choose another TIDELINE_KEY_PREFIX has it."""
    group = Group()
    group.assigned(MemoryServer()).step([order(0, "ann")], {}, None)
    other = MemoryServer()
    run = group.assigned(other)
    assert run.counts.set_back == 0
    run.step([order(0, "ann")], {}, None)
    assert len(group.payloads) == 2, "under ids of its own"


def test_a_new_store_that_was_claimed_and_not_used_is_none_either() -> None:
    group = Group()
    group.assigned(MemoryServer()).step([order(0, "ann")], {}, None)
    other, told = MemoryServer(), group.told
    group.errors = [Fenced("another has it")]
    with pytest.raises(Fenced):
        group.assigned(other)
    assert group.told == told
    assert group.assigned(other).counts.set_back == 0


def test_a_store_that_is_emptied_under_a_run_is_noticed() -> None:
    server, group = MemoryServer(), Group()
    run = group.assigned(server)
    run.step([order(0, "ann")], {}, None)
    server.shards.clear()
    run.assign(group.told)
    assert run.counts.set_back == 1


def test_a_generation_that_nobody_was_told_of_is_not_gone_on_with() -> None:
    """It may be of a worker that found a set-back and ended, and it may be the one before."""
    server, group = MemoryServer(), Group()
    first = group.assigned(server)
    first.step([order(0, "ann")], {}, None)
    earlier = server.copy()
    first.step([order(1, "ben")], {}, None)
    go_back(server, earlier)
    group.assigned(server).step([order(1, "cleo")], {}, None)  # under a second generation
    go_back(server, earlier)
    third = group.assigned(server)
    assert third.counts.set_back == 1
    third.step([order(1, "dan")], {}, None)
    assert len(group.payloads) == 4


def test_partitions_that_go_to_and_fro_keep_their_generation() -> None:
    server, group = MemoryServer(), Group()
    runs = [group.run(server), group.run(server)]
    generations = set()
    for n in range(6):
        run = runs[n % 2]
        run.assign(group.told)
        run.step([order(n, "ann" if n % 3 else f"u{n}")], {}, None)
        generations.add(server.shards[0].generation)
    assert [run.counts.set_back for run in runs] == [0, 0]
    assert len(generations) == 1


def test_what_is_told_comes_back_from_its_text() -> None:
    witness = Witness("g1", 5)
    assert Witness.from_text(witness.to_text()) == witness
    for text in ("", "offset reset", "{}", '{"generation": 3}', "[1]"):
        assert Witness.from_text(text) is None
