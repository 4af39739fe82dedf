"""`commit_batch` against stores and sinks that fail: stored once, published once, or refused as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BrokerUnavailable, Fenced, StoreFull, StoreUnavailable
from streams.adapters.memory_sinks import ListCourier, ListSink
from streams.commit import Patience, commit_batch, publish_outbox
from streams.ports import Claim, CommitBatch, Identity, Loaded, Message, OutboxEntry, Store
from tests.contract.worlds import IDENTITY, MemoryWorld, World


class FaultyStore:
    """A store whose answers get lost as a script says, one word for each call of commit or confirm.

    ok: the call is answered; request: lost before the server saw it; reply: done, but the answer is lost;
    late: the request reaches the server only after the next call, as when it waits in a buffer of the network;
    full: the server has no room.
    """

    def __init__(self, store: Store, script: Sequence[str]) -> None:
        self.store = store
        self.script = list(script)
        self.waiting: tuple[Claim, CommitBatch, int | None] | None = None

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        word = self.script.pop(0) if self.script else "ok"
        earlier, self.waiting = self.waiting, None
        try:
            if word == "full":
                raise StoreFull("scripted: full")
            if word == "late":
                self.waiting = (claim, batch, trim)
            elif word != "request":
                self.store.commit(claim, batch, trim)
        finally:
            self.arrive(earlier)
        if word != "ok":
            raise StoreUnavailable(f"scripted: {word}")

    def arrive(self, request: tuple[Claim, CommitBatch, int | None] | None) -> None:
        """The server carries a late request out, or refuses it; nobody hears of either."""
        if request is not None:
            with suppress(Fenced):
                self.store.commit(*request)

    def confirm(self, claim: Claim, number: int) -> bool:
        word = self.script.pop(0) if self.script else "ok"
        earlier, self.waiting = self.waiting, None
        stored = self.store.confirm(claim, number)
        self.arrive(earlier)
        if word != "ok":
            raise StoreUnavailable(f"scripted: {word}")
        return stored

    def prepare(self, shards: int, identity: Identity) -> None:
        self.store.prepare(shards, identity)

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        return self.store.claim(shard, new_generation=new_generation, last_number=last_number)

    def load(self, claim: Claim) -> Loaded:
        return self.store.load(claim)

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        self.store.stage(claim, batch, part)

    def peek(self, shard: int, name: str) -> bytes | None:
        return self.store.peek(shard, name)

    def promises(self) -> str:
        return self.store.promises()

    def close(self) -> None:
        self.store.close()


class FaultySink(ListSink):
    """Publishes a part and fails, as often as the script says."""

    def __init__(self, parts: Sequence[int], error: type[BaseException] = StoreUnavailable) -> None:
        super().__init__()
        self.parts = list(parts)
        self.error = error

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        if self.parts:
            super().publish(entries[: self.parts.pop(0)])
            raise self.error("scripted: the sink is away")
        super().publish(entries)


class Pauses:
    """Stands for time: remembers what it was asked to sleep."""

    def __init__(self, attempts: int = 30) -> None:
        self.slept_s: list[float] = []
        self.patience = Patience(sleep=self.slept_s.append, attempts=attempts)


def batch(number: int, count: int = 2) -> CommitBatch:
    return CommitBatch(
        number=number,
        position=b"%d" % number,
        rows=[("ann", b"row %d" % number)],
        appends=[("pending:1", b"[%d]" % number)],
        outbox=[b"%d/%d" % (number, index) for index in range(count)],
    )


def run(world: World, script: Sequence[str], parts: Sequence[int] = ()) -> tuple[ListSink, Pauses]:
    """Three commits, the second one through the faults."""
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    sink, pauses = FaultySink(parts), Pauses()
    faulty = FaultyStore(store, script)
    trim = commit_batch(store, sink, claim, batch(1), trim=None, patience=pauses.patience)
    trim = commit_batch(faulty, sink, claim, batch(2), trim=trim, patience=pauses.patience)
    assert commit_batch(store, sink, claim, batch(3, 0), trim=trim, patience=pauses.patience) == 3
    return sink, pauses


def assert_three_commits(world: World, sink: ListSink) -> None:
    contents = world.contents(0)
    assert contents["meta"] == (1, 3, "g1", b"3", 2)
    assert contents["rows"] == {"ann": b"row 3"}
    assert contents["pending:1"] == b"[1][2][3]"
    assert contents["outbox"] == []
    assert sink.published == [b"1/0", b"1/1", b"2/0", b"2/1"]


SCRIPTS = [
    [],
    ["request"],
    ["reply"],
    ["late"],
    ["request", "request", "request", "ok"],
    ["reply", "request", "reply", "request"],
    ["request", "ok", "request", "ok", "reply", "reply"],
    ["late", "request", "reply"],
    ["late", "ok", "ok"],
    ["request", "ok", "late", "ok", "ok"],
]


@pytest.mark.parametrize("script", SCRIPTS, ids=" ".join)
def test_a_batch_is_stored_and_published_once_whatever_gets_lost(world: World, script: list[str]) -> None:
    sink, pauses = run(world, script)
    assert_three_commits(world, sink)
    assert bool(pauses.slept_s) == bool(script)


@given(
    script=st.lists(st.sampled_from(["ok", "request", "reply", "late"]), max_size=20),
    parts=st.lists(st.integers(0, 2), max_size=5),
)
def test_no_script_of_faults_loses_or_doubles_anything(script: list[str], parts: list[int]) -> None:
    world = MemoryWorld()
    sink, _ = run(world, script, parts)
    assert_three_commits(world, sink)


def test_a_new_owner_refuses_the_old_one_and_nothing_is_published(world: World) -> None:
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    sink, pauses = ListSink(), Pauses()
    store.claim(0, new_generation="g1")
    for script in ([], ["request"], ["request", "ok", "request"]):
        with pytest.raises(Fenced):
            commit_batch(FaultyStore(store, script), sink, claim, batch(1), trim=None, patience=pauses.patience)
    assert sink.published == []
    assert world.contents(0)["rows"] == {}


def test_patience_has_an_end_and_pauses_grow_to_a_bound(world: World) -> None:
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    pauses = Pauses(attempts=12)
    with pytest.raises(StoreUnavailable):
        commit_batch(
            FaultyStore(store, ["request"] * 100), ListSink(), claim, batch(1), trim=None, patience=pauses.patience
        )
    assert pauses.slept_s[0] == pauses.patience.first_pause_s
    assert max(pauses.slept_s) == pauses.patience.longest_pause_s
    assert world.contents(0)["meta"] == (1, 0, "g1", None, 0)


def test_a_full_store_is_not_tried_again(world: World) -> None:
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    full, sink = FaultyStore(store, ["full", "never reached"]), ListSink()
    with pytest.raises(StoreFull):
        commit_batch(full, sink, claim, batch(1), trim=None, patience=Pauses().patience)
    assert full.script == ["never reached"]
    assert sink.published == []


def test_a_stop_between_storing_and_publishing_is_made_good_at_the_next_start(world: World) -> None:
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    sink, patience = ListSink(), Pauses().patience
    trim = commit_batch(store, sink, claim, batch(1), trim=None, patience=patience)
    with pytest.raises(KeyboardInterrupt):
        commit_batch(store, FaultySink([0], KeyboardInterrupt), claim, batch(2), trim=trim, patience=patience)

    again = world.open()
    again.prepare(1, IDENTITY)
    claim = again.claim(0, new_generation="g1")
    trim = publish_outbox(sink, claim, again.load(claim), patience)
    assert sink.published == [b"1/0", b"1/1", b"2/0", b"2/1"]
    commit_batch(again, sink, claim, batch(3, 1), trim=trim, patience=patience)
    assert world.contents(0)["outbox"] == [("3-0", b"3/0")]


def test_publishing_the_outbox_of_a_new_shard_publishes_nothing(world: World) -> None:
    store = world.open()
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    sink = ListSink()
    assert publish_outbox(sink, claim, store.load(claim), Pauses().patience) == 0
    commit_batch(store, sink, claim, batch(1), trim=0, patience=Pauses().patience)
    assert sink.published == [b"1/0", b"1/1"]


# --- messages to other services --------------------------------------------------------------------------------------


class FaultyCourier(ListCourier):
    """Takes the first so many messages and then raises, once per entry of `parts`."""

    def __init__(self, parts: Sequence[int], error: type[BaseException] = BrokerUnavailable) -> None:
        super().__init__()
        self.parts = list(parts)
        self.error = error

    def send(self, messages: Sequence[Message]) -> None:
        if self.parts:
            super().send(messages[: self.parts.pop(0)])
            raise self.error("scripted: the courier is away")
        super().send(messages)


def speaking(number: int, count: int = 2) -> CommitBatch:
    """A batch with messages and no transitions."""
    messages = [Message("examples", f"p{index}", b"%d/\0%d" % (number, index)) for index in range(count)]
    return dataclasses.replace(batch(number, 0), messages=messages)


def claimed(world: World) -> tuple[Store, Claim]:
    store = world.open()
    store.prepare(1, IDENTITY)
    return store, store.claim(0, new_generation="g1")


def test_messages_are_sent_once_stored_and_leave_with_the_next_commit(world: World) -> None:
    store, claim = claimed(world)
    courier, patience = ListCourier(), Pauses().patience
    trim = commit_batch(store, ListSink(), claim, speaking(1), trim=None, patience=patience, courier=courier)
    assert courier.sent == speaking(1).messages
    assert store.load(dataclasses.replace(claim, number=1)).messages == speaking(1).messages
    commit_batch(store, ListSink(), claim, speaking(2), trim=trim, patience=patience, courier=courier)
    assert store.load(dataclasses.replace(claim, number=2)).messages == speaking(2).messages


def test_a_courier_that_is_away_is_given_all_again(world: World) -> None:
    store, claim = claimed(world)
    courier, pauses = FaultyCourier([1, 0]), Pauses()
    commit_batch(store, ListSink(), claim, speaking(1), trim=None, patience=pauses.patience, courier=courier)
    assert courier.sent == [speaking(1).messages[0], *speaking(1).messages]
    assert len(pauses.slept_s) == 2


def test_messages_of_a_stop_before_sending_are_sent_at_the_next_start(world: World) -> None:
    store, claim = claimed(world)
    patience = Pauses().patience
    gone = FaultyCourier([1], KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        commit_batch(store, ListSink(), claim, speaking(1, 1_500), trim=None, patience=patience, courier=gone)
    again, claim = claimed(world)
    courier = ListCourier()
    assert publish_outbox(ListSink(), claim, again.load(claim), patience, courier=courier) == 1
    assert courier.sent == speaking(1, 1_500).messages


def test_messages_without_a_courier_are_a_mistake_before_anything_is_stored(world: World) -> None:
    store, claim = claimed(world)
    with pytest.raises(ValueError, match="nobody takes them"):
        commit_batch(store, ListSink(), claim, speaking(1), trim=None, patience=Pauses().patience)
    assert store.confirm(claim, 1) is False
    store.commit(claim, speaking(1), None)
    again, claim = claimed(world)
    with pytest.raises(ValueError, match="nobody takes them"):
        publish_outbox(ListSink(), claim, again.load(claim), Pauses().patience)
