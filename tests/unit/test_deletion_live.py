"""Users who are deleted on a live stream: through a run, its store, and the log that remembers them."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.catalog import Catalog
from config.errors import SettingsError, StoreError, StoreIncompatible
from config.loader import loads
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.api.segment_calls import Arrival, Room, take_batch
from streams.commit import Patience
from streams.core.dead_letters import is_about
from streams.core.ledger import Deleted, ledger_name
from streams.ports import Identity, Message
from streams.runtime.deletion_log import KnownDeletions, deletion_key, mark_of, shard_deletions
from streams.runtime.ledger_key import KEY_FILE, ledger_key
from streams.runtime.place import Place
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from tests.property.strategies import tighten

START_S = 1_704_067_200.0
KEY = b"k" * 32
CATALOG = loads("""
version: 1
name: live
features: {events: [View, Order]}
remember: {Order: {properties: [item]}}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 6h}
segments:
  seen: {name: Seen, filter: {event: View, count: {min: 1}}}
""")


def record(kind: str, user: str, at_s: float, number: int, **more: Any) -> bytes:
    when = datetime.fromtimestamp(START_S + at_s, UTC).isoformat()
    return msgspec.json.encode({"type": kind, "userId": user, "timestamp": when, "messageId": f"m{number}", **more})


class Courier:
    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages

    def of(self, topic: str) -> list[Message]:
        return [message for message in self.sent if message.topic == topic]


class World:
    """One shard; its log and what it says outlive its store."""

    def __init__(self, catalog: Catalog = CATALOG) -> None:
        self.catalog, self.reads = catalog, 0
        self.server, self.sink, self.courier = MemoryServer(), ListSink(), Courier()
        self.run = self.start()

    def start(self, key: bytes = KEY) -> ShardRun:
        store = MemoryStore(self.server)
        store.prepare(1, Identity(catalog="c"))

        def deletions(shard: int) -> KnownDeletions:
            self.reads += 1
            records = ((m.key.encode(), m.data) for m in self.courier.of("deletions"))
            return shard_deletions(records, shard, mark_of(key))

        ports = Ports(
            store,
            self.sink,
            self.courier,
            Patience(lambda _: None),
            lambda: f"g{len(self.courier.sent)}",
            ledger_key=key,
            deletions=deletions,
        )
        self.run = ShardRun(self.catalog, ports, shard=0, shards=1, source="events-0")
        self.run.assign()
        return self.run

    def take(self, *values: bytes) -> None:
        at = self.run.position.offset
        self.run.step([Record(at + n, START_S + 1e6, value) for n, value in enumerate(values)], {}, None)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.sink.published]


def visit(user: str, at_s: float, number: int) -> bytes:
    return record("track", user, at_s, number, event="View")


def key_of(user: str, at_s: float) -> str:
    """The key in the log of a deletion so many seconds after the start."""
    return deletion_key(0, mark_of(KEY), ledger_name(KEY, user), START_S + at_s)


def test_exits_go_out_and_the_store_holds_a_hash_and_nothing_else() -> None:
    world = World()
    order = record("track", "ann", 1.0, 2, event="Order", properties={"item": "book"})
    world.take(visit("ann", 0.0, 1), order, visit("bob", 2.0, 3), b'{"type": "track", "userId": "ann"}')
    world.take(record("delete", "ann", 3.0, 4), visit("ann", 2.5, 5))
    last = world.told[-1]
    assert (last["subject"], last["causationid"], last["data"]["origin"]) == ("ann", "m4", "deleted")
    assert (last["data"]["score"], last["data"]["reasons"], last["data"]["in_segment"]) == (None, [], False)
    stored = world.server.shards[0]
    assert list(stored.rows) == ["bob"]
    assert stored.remembered == {}
    assert list(stored.deleted) == [ledger_name(KEY, "ann")]
    assert all(not is_about(data, "ann") for data in stored.dead_letters)
    assert [json.loads(data)["reason"] for data in stored.dead_letters] == ["deleted_user"]
    assert world.run.counts.refused_by["deleted_user"] == 1
    (message,) = world.courier.of("deletions")
    assert message.key == key_of("ann", 3.0)
    assert world.run.users == 1
    assert world.run.counts.deletions == 1
    assert stored.outbox == []  # not even the exit waits there for a commit that may not come for long
    assert stored.messages == []


def test_a_store_that_was_made_anew_brings_nobody_back_without_the_record() -> None:
    world = World()
    world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
    world.server = MemoryServer()
    world.start()
    world.take(visit("ann", 1.0, 3), visit("bob", 1.0, 4))
    assert list(world.server.shards[0].rows) == ["bob"]
    assert list(world.server.shards[0].deleted) == [ledger_name(KEY, "ann")]
    assert len(world.courier.of("deletions")) == 1, "the log has said it, and is not told again"
    world.take(visit("ann", 10.0, 5))
    assert sorted(world.server.shards[0].rows) == ["ann", "bob"]
    ids = [event["id"] for event in world.told]
    assert len(ids) == len(set(ids))


def test_a_new_store_has_who_was_deleted_before_anything_comes() -> None:
    world = World()
    world.take(record("delete", "ann", 3.0, 1))
    world.server = MemoryServer()
    world.start().step([], {}, START_S)
    assert list(world.server.shards[0].deleted) == [ledger_name(KEY, "ann")]
    assert len(world.courier.of("deletions")) == 1


def set_back(world: World, earlier: MemoryServer) -> None:
    """The store is as it was; the process has seen that it was further."""
    world.server.shards = earlier.copy().shards
    world.run.drop()


def test_a_store_that_went_back_brings_nobody_back_whose_deletion_the_log_of_events_has_lost() -> None:
    world = World()
    world.take(visit("ann", 0.0, 1), visit("bob", 1.0, 2), visit("eve", 1.0, 3))
    earlier = world.server.copy()
    world.take(record("delete", "ann", 3.0, 4), record("delete", "new", 3.0, 5))
    sent = len(world.courier.of("deletions"))
    set_back(world, earlier)
    world.run.assign()
    assert world.run.counts.set_back == 1
    world.take(visit("ann", 2.5, 6), visit("new", 2.5, 7))
    stored = world.server.shards[0]
    assert sorted(stored.rows) == ["bob", "eve"]
    assert set(stored.deleted) == {ledger_name(KEY, "ann"), ledger_name(KEY, "new")}
    assert (world.run.users, world.run.counts.refused_by) == (2, {"deleted_user": 2})
    exits = [event["data"]["origin"] for event in world.told if event["subject"] == "ann"]
    assert exits == ["live", "deleted", "deleted"], "the second one under another generation"
    ids = [event["id"] for event in world.told]
    assert len(ids) == len(set(ids))
    assert len(world.courier.of("deletions")) == sent, "the log knows them"


def test_a_store_that_went_back_and_reads_all_again_is_where_it_was() -> None:
    """The deletion is in the log of events still, behind what is read again, and a life after it."""
    world = World()
    world.take(visit("ann", 0.0, 1), visit("bob", 1.0, 2))
    earlier = world.server.copy()
    later = [visit("ann", 2.0, 3), record("delete", "ann", 3.0, 4), visit("ann", 9.0, 5), visit("bob", 10.0, 6)]
    world.take(*later)
    before = dict(world.server.shards[0].rows), dict(world.server.shards[0].deleted)
    set_back(world, earlier)
    world.run.assign()
    world.take(*later)
    assert sorted(world.server.shards[0].rows) == sorted(before[0])
    assert world.server.shards[0].deleted == before[1]
    assert world.run.counts.refused_by == {"deleted_user": 1}
    ids = [event["id"] for event in world.told]
    assert len(ids) == len(set(ids))


def test_a_process_that_dies_before_it_has_deleted_again_leaves_it_to_the_next() -> None:
    world = World()
    world.take(visit("ann", 0.0, 1), visit("bob", 1.0, 2))
    earlier = world.server.copy()
    world.take(record("delete", "ann", 3.0, 3))
    set_back(world, earlier)
    world.run.assign()  # a new generation, and no commit
    world.start()  # it knows of nothing
    world.take(visit("bob", 4.0, 4))
    assert list(world.server.shards[0].rows) == ["bob"]
    loads = world.reads
    world.start()
    assert world.reads == loads, "what was read is not read again"


def test_a_deletion_made_again_at_a_later_time_takes_the_place_of_the_first_in_the_log() -> None:
    """The clock of the store that went back was ahead of the deletion."""
    world = World()
    world.take(visit("ann", 0.0, 1), visit("bob", 150.0, 2))
    earlier = world.server.copy()
    world.take(record("delete", "ann", 100.0, 3))
    set_back(world, earlier)
    world.run.assign()
    world.take(visit("bob", 151.0, 4))
    told = [(m.key, bool(m.data)) for m in world.courier.of("deletions")]
    assert told == [(key_of("ann", 100.0), True), (key_of("ann", 150.0), True), (key_of("ann", 100.0), False)]


def test_a_deletion_that_only_the_log_knows_leaves_the_life_alone_that_began_after_it() -> None:
    world = World()
    world.take(record("delete", "eve", 1.0, 1), visit("ann", 200.0, 2), visit("bob", 150.0, 3))
    earlier = world.server.copy()
    world.take(visit("bob", 201.0, 4))
    for user, at_s, until_s in (("ann", 100.0, 199.0), ("bob", 160.0, 160.0)):
        data = Deleted(START_S + at_s, START_S + until_s, 1).to_bytes()
        world.courier.sent.append(Message("deletions", key_of(user, at_s), data))
    set_back(world, earlier)
    world.run.assign()
    world.take(visit("eve", 202.0, 5), visit("ann", 198.0, 6))
    assert sorted(world.server.shards[0].rows) == ["ann", "eve"], "bob's life began before his deletion"
    assert ledger_name(KEY, "ann") in world.server.shards[0].deleted
    assert world.run.counts.refused_by == {"deleted_user": 1}


def test_the_log_forgets_whom_the_ledger_forgets_and_a_new_store_keeps_the_bound() -> None:
    world = World(tighten(CATALOG, deleted_users=1))
    world.take(record("delete", "ann", 3.0, 1), record("delete", "bob", 4.0, 2))
    world.take(visit("cem", 4_000.0, 3))
    names = {"ann": key_of("ann", 3.0), "bob": key_of("bob", 4.0)}
    assert [(m.key, bool(m.data)) for m in world.courier.of("deletions")] == [
        (names["ann"], True),
        (names["bob"], True),
        (names["ann"], False),
    ]
    world.courier.sent.append(Message("deletions", names["ann"], Deleted(START_S + 3.0, 1.0, 0).to_bytes()))
    world.server = MemoryServer()
    world.start()
    world.take(visit("dan", 4_001.0, 4))
    assert list(world.server.shards[0].deleted) == [ledger_name(KEY, "bob")]
    assert (world.courier.of("deletions")[-1].key, world.courier.of("deletions")[-1].data) == (names["ann"], b"")


def test_a_store_that_was_made_anew_with_another_key_is_refused_and_with_the_first_one_goes_on() -> None:
    world = World()
    world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
    world.server = MemoryServer()
    with pytest.raises(StoreIncompatible, match=r"another TIDELINE_DELETION_KEY.*Set the first one"):
        world.start(b"x" * 32)
    world.start()
    world.take(visit("ann", 1.0, 3))
    assert world.server.shards[0].rows == {}


def test_records_of_the_log_of_deletions_that_nobody_can_read_stop_nothing() -> None:
    world = World()
    world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
    (good,) = world.courier.of("deletions")
    bad = [("", good.data), ("0:ab", good.data), (good.key, b"short"), (good.key + "x", good.data), ("\xe9", b"?")]
    infinite = Deleted(math.inf, 1.0, 1).to_bytes()
    world.courier.sent += [Message("deletions", key, data) for key, data in [*bad, (good.key, infinite)]]
    world.server = MemoryServer()
    run = world.start()
    assert run.counts.deletions_unreadable == 6
    world.take(visit("ann", 1.0, 3))
    assert world.server.shards[0].rows == {}


def test_a_deletion_takes_the_place_of_the_one_before() -> None:
    world = World()
    world.take(record("delete", "ann", 3.0, 1))
    world.take(visit("ann", 10.0, 2), record("delete", "ann", 20.0, 3))
    assert [(m.key, bool(m.data)) for m in world.courier.of("deletions")] == [
        (key_of("ann", 3.0), True),
        (key_of("ann", 20.0), True),
        (key_of("ann", 3.0), False),
    ]


def compacted(messages: Sequence[Message]) -> list[Message]:
    """As Kafka keeps them in the end: the last of each key, and none without data."""
    return [message for message in {message.key: message for message in messages}.values() if message.data]


@pytest.mark.parametrize("late", [0, 1])
def test_a_deletion_that_is_told_late_takes_none_back_that_came_after_it(late: int) -> None:
    """A worker was away between its commit and what it had to tell; another one has gone on meanwhile."""
    world = World()
    world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
    world.take(visit("ann", 10.0, 3), record("delete", "ann", 20.0, 4))
    world.take(visit("ann", 30.0, 5), record("delete", "ann", 40.0, 6))
    told = world.courier.of("deletions")
    world.courier.sent = compacted([*told, told[late]])
    world.server = MemoryServer()
    world.start()
    world.take(visit("ann", 35.0, 7))
    assert world.server.shards[0].rows == {}
    assert Deleted.of(world.server.shards[0].deleted[ledger_name(KEY, "ann")]).lives == 3


def test_who_is_forgotten_late_and_was_deleted_again_stays_deleted() -> None:
    world = World(tighten(CATALOG, deleted_users=1))
    world.take(record("delete", "ann", 3.0, 1), record("delete", "bob", 4.0, 2))
    world.take(visit("cem", 4_000.0, 3))
    forgotten = world.courier.of("deletions")[-1]
    assert (forgotten.key, forgotten.data) == (key_of("ann", 3.0), b"")
    world.take(record("delete", "ann", 8_000.0, 4))
    world.courier.sent = compacted([*world.courier.of("deletions"), forgotten])
    world.server = MemoryServer()
    world.start()
    world.take(visit("ann", 7_000.0, 5))
    assert world.server.shards[0].rows == {}


def test_of_a_user_who_is_in_the_log_several_times_all_is_known_in_any_order() -> None:
    key = f"0:{mark_of(KEY)}:{ledger_name(KEY, 'ann')}".encode()  # as earlier versions wrote it
    other = f"1:{mark_of(b'x' * 32)}:{ledger_name(KEY, 'ann')}".encode()
    first, second = Deleted(1.0, 5.0, 1), Deleted(3.0, 4.0, 2)
    for records in ([first, second], [second, first]):
        log = [(key, one.to_bytes()) for one in records]
        found = shard_deletions([(key, None), *log, (other, first.to_bytes())], 0, mark_of(KEY))
        assert found == KnownDeletions(((ledger_name(KEY, "ann"), Deleted(3.0, 5.0, 2).to_bytes()),), 0)
        assert shard_deletions([*log, (key, b"")], 0, mark_of(KEY)) == KnownDeletions(), "forgotten"
        timed = [(key_of("ann", one.at_s).encode(), one.to_bytes()) for one in records]
        for both in (timed, [log[0], timed[1]], [timed[0], log[1]]):
            assert shard_deletions(both, 0, mark_of(KEY)) == found


def test_a_deletion_that_is_sent_again_does_not_end_the_life_after_it() -> None:
    world = World()
    deletion = record("delete", "ann", 3.0, 2)
    world.take(visit("ann", 0.0, 1), deletion, visit("ann", 4.0, 3), deletion)
    assert list(world.server.shards[0].rows) == ["ann"]


def test_a_key_of_the_ingest_role_cannot_delete() -> None:
    item = {"type": "delete", "userId": "ann", "timestamp": "2024-01-01T00:00:00Z"}
    body = json.dumps({"batch": [item, {**item, "type": "Delete"}, {**item, "type": "track", "event": "View"}]})
    room = Room(1_000_000, lambda _: None)
    taken = take_batch(body.encode(), Arrival(START_S, lambda: "made"), room)
    assert [json.loads(data)["type"] for _, data in taken.records] == ["Delete", "track"]
    assert [unusable.index for unusable in taken.unusable] == [0, 1]
    twice = b'{"batch": [{"type": "track", "type": "delete", "userId": "ann", "event": "View"}]}'
    assert take_batch(twice, Arrival(START_S, lambda: "made"), room).records == []


def test_the_key_is_made_once_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    key = ledger_key(place)
    path = tmp_path / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ledger_key(place) == key
    assert list(tmp_path.iterdir()) == [path]
    other = ledger_key(Place(tmp_path, deletion_secret="x" * 32))
    assert len({key, other}) == 2
    elsewhere = Place(tmp_path / "none", url="redis://store:6379/0")
    with pytest.raises(SettingsError, match=r"TIDELINE_DELETION_KEY is not set.*openssl rand -hex 32"):
        ledger_key(elsewhere)
    assert not elsewhere.data_dir.exists()
    assert ledger_key(Place(tmp_path, url="redis://store:6379/0")) == key  # as `tideline up --kafka` has it
    path.write_text("short")
    with pytest.raises(StoreError, match="is no key"):
        ledger_key(place)


@pytest.mark.parametrize(
    ("raw", "is_it"),
    [
        (b'{"userId": "ann"}', True),
        (b'{"userId": "anna"}', False),
        (b'{"properties": {"friend": ["ann"]}}', True),
        (b'{"userId": "ann", broken', True),
        (b"ann,2024-05-31,12", True),
        (b"joann,2024-05-31,12", False),
        (b"anna\xff", False),
        (b"x;ann;\xff", True),
    ],
)
def test_dead_letters_are_about_whom_they_name(raw: bytes, is_it: bool) -> None:
    assert is_about(raw, "ann") == is_it
