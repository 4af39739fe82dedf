"""A shard's whole state is replaced in one commit by what was put aside for it, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from config.errors import Fenced, StoreIncompatible
from streams.ports import Claim, CommitBatch, Replaced, Store
from tests.contract.worlds import IDENTITY, RedisWorld, World

OLD_NAMES = ("orders_7d",), ("orders_7d.high",)


def prepared(world: World) -> Store:
    store = world.open()
    store.prepare(2, IDENTITY)
    return store


def begun(world: World) -> tuple[Store, Claim]:
    """A shard with a state under one catalog."""
    store = prepared(world)
    claim = store.claim(0, new_generation="g")
    batch = CommitBatch(
        number=1,
        position=b"at 1",
        rows=[("ann", b"old"), ("bob", b"old")],
        scores={"orders_7d": [("ann", b"{}"), ("bob", b"{}")]},
        index={"orders_7d": [("ann", 91.0)]},
        members_added={"orders_7d.high": ["ann"]},
        appends=[("pending:1", b"old"), ("dedupe:7", b"old")],
        blobs={"catalog": b"old", "gone": b"old"},
        outbox=[b"a transition"],
        dead_letters=[b"a letter"],
        remembered=[("ann", b"old")],
    )
    store.commit(claim, batch, None)
    return store, claim


def parts() -> list[CommitBatch]:
    """Of the state under another one."""
    return [
        CommitBatch(number=2, position=b"", rows=[("ann", b"new")], scores={"returns": [("ann", b"{1}")]}),
        CommitBatch(number=2, position=b"", rows=[("bob", b"new")], members_added={"orders_7d.high": ["bob"]}),
        CommitBatch(number=2, position=b"", appends=[("pending:0", b"ne")], index={"returns": [("ann", 3.0)]}),
        CommitBatch(number=2, position=b"", appends=[("pending:0", b"w")], remembered=[("bob", b"new")]),
    ]


def last(count: int) -> CommitBatch:
    return CommitBatch(
        number=2,
        position=b"at 1",
        blobs={"catalog": b"new"},
        replaces=Replaced(count, *OLD_NAMES),
        rows=[("cleo", b"!")],
    )


def staged(store: Store, claim: Claim, count: int = 4) -> None:
    for number, part in enumerate(parts()[:count], start=1):
        store.stage(claim, part, number)


def test_what_was_put_aside_takes_the_place_of_all_in_one_commit(world: World) -> None:
    store, claim = begun(world)
    before = visible(world)
    staged(store, claim)
    assert visible(world) == before, "nobody sees it yet"
    store.commit(claim, last(4), 1)
    found = world.contents(0)
    assert found["rows"] == {"ann": b"new", "bob": b"new", "cleo": b"!"}
    assert {name: found[name] for name in found if ":" in name} == {
        "scores:returns": {"ann": b"{1}"},
        "index:returns": {"ann": 3.0},
        "members:orders_7d.high": {"bob"},
        "pending:0": b"new",
    }
    assert found["appended"] == {"pending:0"}
    assert (found["state"], found["remember"], found["parts"]) == ({"catalog": b"new"}, {"bob": b"new"}, 0)
    assert (found["dead"], found["outbox"]) == ([b"a letter"], [])
    other = prepared(world)
    assert other.claim(0, new_generation="no").number == 2


def visible(world: World) -> dict[str, object]:
    return {
        name: value for name, value in world.contents(0).items() if not name.startswith("staged") and name != "parts"
    }


def test_a_part_that_is_given_again_counts_once(world: World) -> None:
    store, claim = begun(world)
    for number, part in enumerate(parts(), start=1):
        store.stage(claim, part, number)
        store.stage(claim, part, number)
    store.commit(claim, last(4), 1)
    assert world.contents(0)["pending:0"] == b"new"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_a_stop_left_aside_is_gone_after_the_next_load(world: World, count: int) -> None:
    store, claim = begun(world)
    before = visible(world)
    staged(store, claim, count)
    other = prepared(world)
    second = other.claim(0, new_generation="no")
    loaded = other.load(second)
    assert dict(pair for chunk in loaded.rows for pair in chunk) == {"ann": b"old", "bob": b"old"}
    after = world.contents(0)
    assert not [name for name in after if name.startswith("staged")]
    assert after["parts"] == 0
    assert {**visible(world), "meta": None} == {**before, "meta": None}
    staged(other, second)
    other.commit(second, last(4), 1)
    assert world.contents(0)["state"] == {"catalog": b"new"}


@pytest.mark.parametrize(
    "late",
    [
        lambda store, claim: store.stage(claim, parts()[3], 4),
        lambda store, claim: store.commit(claim, last(3), 1),
        lambda store, claim: store.load(claim),
    ],
)
def test_whoever_lost_the_shard_puts_nothing_aside_and_deletes_nothing(
    world: World, late: Callable[[Store, Claim], object]
) -> None:
    store, claim = begun(world)
    staged(store, claim, 3)
    other = prepared(world)
    second = other.claim(0, new_generation="no")
    other.load(second)
    staged(other, second, 2)
    before = world.contents(0)
    with pytest.raises(Fenced):
        late(store, claim)
    assert world.contents(0) == before


@pytest.mark.parametrize(("given", "said"), [(3, 4), (4, 3), (0, 1)])
def test_parts_that_are_missing_are_noticed_and_nothing_is_replaced(world: World, given: int, said: int) -> None:
    store, claim = begun(world)
    staged(store, claim, given)
    before = world.contents(0)
    with pytest.raises(Fenced, match="put aside"):
        store.commit(claim, last(said), 1)
    assert world.contents(0) == before


def test_a_part_out_of_turn_is_refused(world: World) -> None:
    store, claim = begun(world)
    with pytest.raises(Fenced, match="put aside"):
        store.stage(claim, parts()[1], 2)


def test_a_key_that_is_gone_is_noticed_before_anything_is_replaced(redis_world: RedisWorld) -> None:
    store, claim = begun(redis_world)
    staged(store, claim)
    redis_world.client.delete(f"{redis_world.prefix}:{{0}}:staged:rows")
    with pytest.raises(Fenced, match="in 6 of 7 keys"):
        store.commit(claim, last(4), 1)
    assert redis_world.contents(0)["rows"] == {"ann": b"old", "bob": b"old"}


def test_another_catalog_goes_on_if_that_is_asked_for_and_claims_of_the_first_one_end(world: World) -> None:
    store, claim = begun(world)
    changed = replace(IDENTITY, catalog="another", segments=("new",))
    other = world.open()
    other.prepare(2, replace(changed, goes_on=True))
    store.commit(claim, CommitBatch(number=2, position=b"at 2"), None)  # until somebody else claims it
    assert other.claim(0, new_generation="no").number == 2
    with pytest.raises(Fenced):
        store.commit(claim, CommitBatch(number=3, position=b"at 3"), None)
    with pytest.raises(StoreIncompatible):
        store.claim(0, new_generation="no")
    with pytest.raises(StoreIncompatible):
        world.open().prepare(3, replace(changed, goes_on=True))
    with pytest.raises(StoreIncompatible):
        world.open().prepare(2, IDENTITY)
