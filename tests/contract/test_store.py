"""What every store does: claims, commits, fences, outbox, bounds. One suite over memory and a real Valkey."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.errors import Fenced, StoreIncompatible
from streams.core.events import BadEvent, DeadReason
from streams.ports import Claim, CommitBatch, Loaded, Store
from tests.contract.worlds import IDENTITY, RedisWorld, World


def prepared(world: World, shards: int = 2, **bounds: int) -> Store:
    store = world.open(**bounds)
    store.prepare(shards, IDENTITY)
    return store


def taken(store: Store, shard: int = 0) -> Claim:
    return store.claim(shard, new_generation="g1")


def rows_of(loaded: Loaded) -> dict[str, bytes]:
    return {user: row for chunk in loaded.rows for user, row in chunk}


def full_batch(number: int = 1) -> CommitBatch:
    """Something in every list."""
    return CommitBatch(
        number=number,
        position=b"at 17",
        rows=[("ann", b"row of ann"), ("bob", b"\x00\xff\r\n")],
        scores={"orders_7d": [("ann", b'{"score":73.2}')], "churn_90d": [("bob", b"{}")]},
        index={"orders_7d": [("ann", 73.2), ("bob", 1e-9)]},
        members_added={"orders_7d.high": ["ann", "bob"]},
        appends=[("pending:12", b"abc"), ("dedupe:3", b"\x01\x02"), ("pending:12", b"def")],
        blobs={"clock": b"12.5", "learner": b""},
        outbox=[b'{"id":"1"}', b'{"id":"2"}'],
        dead_letters=[b"bad one", b"bad two"],
        remembered=[("ann", b'{"cart":1}'), ("bob", b'{"cart":2}')],
    )


def test_a_new_shard_is_empty_and_takes_the_offered_generation(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    assert claim == Claim(shard=0, epoch=1, number=0, generation="g1", position=None)
    loaded = store.load(claim)
    assert (loaded.blobs, loaded.outbox) == ({}, [])
    assert (list(loaded.rows), list(loaded.appended), list(loaded.remembered)) == ([], [], [])


def test_another_handle_loads_everything_that_was_committed(world: World) -> None:
    store = prepared(world)
    store.commit(taken(store), full_batch(), None)
    other = prepared(world)
    claim = other.claim(0, new_generation="not used")
    assert claim == Claim(shard=0, epoch=2, number=1, generation="g1", position=b"at 17")
    loaded = other.load(claim)
    assert loaded.blobs == {"clock": b"12.5", "learner": b""}
    assert loaded.outbox == [("1-0", b'{"id":"1"}'), ("1-1", b'{"id":"2"}')]
    assert rows_of(loaded) == {"ann": b"row of ann", "bob": b"\x00\xff\r\n"}
    assert list(loaded.appended) == [("dedupe:3", b"\x01\x02"), ("pending:12", b"abcdef")]
    assert dict(pair for chunk in loaded.remembered for pair in chunk) == {"ann": b'{"cart":1}', "bob": b'{"cart":2}'}
    contents = world.contents(0)
    assert contents["scores:orders_7d"] == {"ann": b'{"score":73.2}'}
    assert contents["scores:churn_90d"] == {"bob": b"{}"}
    assert contents["index:orders_7d"] == {"ann": 73.2, "bob": 1e-9}
    assert contents["members:orders_7d.high"] == {"ann", "bob"}
    assert contents["dead"] == [b"bad one", b"bad two"]


def test_removals_take_away_what_they_name_and_nothing_else(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, full_batch(), None)
    removal = CommitBatch(
        number=2,
        position=b"at 18",
        scores_removed={"orders_7d": ["ann", "nobody"]},
        index_removed={"orders_7d": ["bob"], "churn_90d": ["nobody"]},
        members_removed={"orders_7d.high": ["bob"]},
        drops=["dedupe:3", "dedupe:999"],
        remembered=[("ann", None)],
        removed_users=["bob", "nobody"],
    )
    store.commit(claim, removal, 1)
    contents = world.contents(0)
    assert contents["rows"] == {"ann": b"row of ann"}
    assert contents["remember"] == {}
    assert "scores:orders_7d" not in contents
    assert contents["scores:churn_90d"] == {"bob": b"{}"}
    assert contents["index:orders_7d"] == {"ann": 73.2}
    assert contents["members:orders_7d.high"] == {"ann"}
    assert contents["appended"] == {"pending:12"}
    assert "dedupe:3" not in contents


def test_within_a_commit_removals_come_first(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, full_batch(), None)
    again = CommitBatch(
        number=2,
        position=b"",
        rows=[("ann", b"new row")],
        scores={"orders_7d": [("ann", b"new")]},
        scores_removed={"orders_7d": ["ann"]},
        members_added={"orders_7d.high": ["ann"]},
        members_removed={"orders_7d.high": ["ann", "bob"]},
        appends=[("pending:12", b"rewritten")],
        drops=["pending:12"],
        removed_users=["ann"],
    )
    store.commit(claim, again, None)
    contents = world.contents(0)
    assert contents["rows"] == {"ann": b"new row", "bob": b"\x00\xff\r\n"}
    assert contents["scores:orders_7d"] == {"ann": b"new"}
    assert contents["members:orders_7d.high"] == {"ann"}
    assert contents["pending:12"] == b"rewritten"
    assert contents["appended"] == {"pending:12", "dedupe:3"}


def test_the_older_claim_is_fenced_everywhere_and_stores_nothing(world: World) -> None:
    store = prepared(world)
    old = taken(store)
    store.commit(old, full_batch(), None)
    new = taken(prepared(world))
    before = world.contents(0)
    with pytest.raises(Fenced):
        store.commit(old, full_batch(2), None)
    with pytest.raises(Fenced):
        store.load(replace(old, number=1))
    for number in (1, 2):
        with pytest.raises(Fenced):
            store.confirm(old, number)
    assert world.contents(0) == before
    store.commit(new, full_batch(2), None)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_only_the_next_number_is_taken(world: World, number: int) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, full_batch(), None)
    before = world.contents(0)
    with pytest.raises(Fenced, match="after commit"):
        store.commit(claim, full_batch(number), None)
    assert world.contents(0) == before
    store.commit(claim, full_batch(2), None)


def test_confirm_tells_whether_a_commit_was_stored(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    assert store.confirm(claim, 1) is False
    store.commit(claim, full_batch(), None)
    assert store.confirm(claim, 1) is True
    assert store.confirm(claim, 2) is False
    with pytest.raises(Fenced):
        store.confirm(claim, 3)


def test_a_lost_claim_is_noticed_at_the_end_of_a_load(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, full_batch(), None)
    loaded = store.load(taken(store))
    taken(prepared(world))
    with pytest.raises(Fenced):
        list(loaded.rows)


@pytest.mark.parametrize(
    ("shards", "identity", "named"),
    [
        (3, IDENTITY, "shards"),
        (2, replace(IDENTITY, catalog="other"), "catalog"),
        (2, replace(IDENTITY, input="other"), "input"),
        (2, replace(IDENTITY, input=None), "input"),
        (2, replace(IDENTITY, format=99), "format"),
    ],
)
def test_a_store_made_for_something_else_is_refused(world: World, shards: int, identity: object, named: str) -> None:
    store = prepared(world)
    store.commit(taken(store, 1), full_batch(), None)
    before = world.contents(0), world.contents(1)
    with pytest.raises(StoreIncompatible, match=named):
        world.open().prepare(shards, identity)  # type: ignore[arg-type]
    assert (world.contents(0), world.contents(1)) == before
    prepared(world)  # and the first identity still holds


def test_another_format_is_refused_even_without_a_commit(world: World) -> None:
    prepared(world)
    with pytest.raises(StoreIncompatible, match="format"):
        world.open().prepare(2, replace(IDENTITY, format=99))


OTHER = replace(IDENTITY, catalog="other", input="another")


def test_what_never_committed_gives_way_and_its_claims_are_fenced(world: World) -> None:
    old = prepared(world)
    first, second = taken(old, 0), taken(old, 1)
    new = world.open()
    new.prepare(1, OTHER)
    for claim in (first, second):  # before the new owner has claimed anything
        with pytest.raises(Fenced):
            old.commit(claim, full_batch(), None)
        with pytest.raises(Fenced):
            old.load(claim)
    with pytest.raises(StoreIncompatible):
        old.claim(0, new_generation="g1", last_number=0)
    claim = new.claim(0, new_generation="g2")
    assert (claim.number, claim.generation, claim.position) == (0, "g2", None)
    assert claim.epoch > first.epoch
    new.commit(claim, full_batch(), None)
    with pytest.raises(StoreIncompatible):
        world.open().prepare(2, IDENTITY)


def test_a_commit_that_comes_first_keeps_the_store(world: World) -> None:
    old, new = prepared(world), world.open()
    claim = taken(old)
    old.commit(claim, full_batch(), None)
    with pytest.raises(StoreIncompatible, match="catalog"):
        new.prepare(2, OTHER)
    old.commit(claim, full_batch(2), 1)


def test_a_store_takes_the_names_of_a_later_start(world: World) -> None:
    prepared(world)
    world.open().prepare(2, replace(IDENTITY, predictions=("another",), segments=()))


def test_the_secret_of_the_ledger_is_for_good_once_it_is_known(world: World) -> None:
    store = prepared(world)  # a run that has deleted nobody knows none yet
    store.commit(taken(store), full_batch(), None)
    world.open().prepare(2, replace(IDENTITY, ledger="aa"))
    prepared(world)
    for goes_on in (False, True):
        with pytest.raises(StoreIncompatible, match="ledger"):
            world.open().prepare(2, replace(IDENTITY, ledger="bb", goes_on=goes_on))
    again = world.open()
    again.prepare(2, replace(IDENTITY, catalog="other", ledger="aa", goes_on=True))
    again.commit(taken(again), full_batch(2), None)
    with pytest.raises(StoreIncompatible, match="ledger"):
        world.open().prepare(2, replace(IDENTITY, catalog="other", ledger="bb"))


def test_another_secret_of_a_store_in_redis_is_refused_with_what_to_do(redis_world: RedisWorld) -> None:
    store = redis_world.open()
    store.prepare(2, replace(IDENTITY, ledger="aa"))
    store.commit(taken(store), full_batch(), None)
    with pytest.raises(StoreIncompatible, match=r"ledger aa, not bb\. .*TIDELINE_DELETION_KEY.*set the first one"):
        redis_world.open().prepare(2, replace(IDENTITY, ledger="bb", goes_on=True))


@pytest.mark.parametrize("shard", [-1, 2])
def test_only_prepared_shards_can_be_claimed(world: World, shard: int) -> None:
    with pytest.raises(StoreIncompatible):
        world.open().claim(0, new_generation="g1")
    with pytest.raises(StoreIncompatible):
        prepared(world).claim(shard, new_generation="g1")


def test_shards_do_not_see_each_other(world: World) -> None:
    store = prepared(world)
    first, second = taken(store, 0), taken(store, 1)
    store.commit(first, full_batch(), None)
    store.commit(second, CommitBatch(number=1, position=b"x", rows=[("cleo", b"c")]), None)
    assert world.contents(1)["rows"] == {"cleo": b"c"}
    assert set(world.contents(0)["rows"]) == {"ann", "bob"}
    store.commit(first, full_batch(2), None)
    assert rows_of(store.load(taken(store, 1))) == {"cleo": b"c"}


# --- a store that goes back in time ----------------------------------------------------------------------------------


def test_a_store_that_was_set_back_fences_and_gets_a_new_generation(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, full_batch(1), None)
    copy = world.copy()
    store.commit(claim, full_batch(2), 1)
    world.set_back(copy)
    before = world.contents(0)
    with pytest.raises(Fenced):
        store.commit(claim, full_batch(3), 2)
    assert world.contents(0) == before
    again = store.claim(0, new_generation="g2", last_number=2)
    assert (again.number, again.generation, again.epoch) == (1, "g2", 2)
    store.commit(again, full_batch(2), 1)


def test_a_store_that_was_not_set_back_keeps_its_generation(world: World) -> None:
    store = prepared(world)
    store.commit(taken(store), full_batch(1), None)
    assert store.claim(0, new_generation="g2", last_number=1).generation == "g1"
    assert store.claim(0, new_generation="g2", last_number=0).generation == "g1"


def test_a_writer_from_before_a_set_back_is_fenced_even_where_epoch_and_number_meet(world: World) -> None:
    store = prepared(world)
    empty = world.copy()
    old = taken(store)
    store.commit(old, full_batch(1), None)
    world.set_back(empty)
    new = prepared(world).claim(0, new_generation="g2", last_number=1)
    store.commit(new, full_batch(1), None)
    assert (new.epoch, new.generation) == (old.epoch, "g2")
    with pytest.raises(Fenced):
        store.commit(old, full_batch(2), None)
    with pytest.raises(Fenced):
        store.confirm(old, 1)


def test_two_claims_of_one_epoch_after_a_set_back_do_not_take_each_others_commits_for_their_own(world: World) -> None:
    store = prepared(world)
    copy = world.copy()
    lost = taken(store)
    world.set_back(copy)
    held = taken(prepared(world))
    assert (lost.epoch, lost.generation, lost.number) == (held.epoch, held.generation, held.number)
    store.commit(held, full_batch(1), None)
    with pytest.raises(Fenced):
        store.confirm(lost, 1)
    with pytest.raises(Fenced):
        store.commit(lost, full_batch(2), 1)
    assert store.confirm(held, 1) is True


def test_an_emptied_store_is_prepared_anew_by_the_next_claim(world: World) -> None:
    empty = world.copy()
    store = prepared(world)
    store.commit(taken(store), full_batch(1), None)
    world.set_back(empty)
    claim = store.claim(0, new_generation="g2", last_number=1)
    assert (claim.number, claim.generation, claim.position) == (0, "g2", None)
    store.commit(claim, full_batch(1), None)
    with pytest.raises(StoreIncompatible):
        world.open().prepare(3, IDENTITY)


# --- outbox and dead letters -----------------------------------------------------------------------------------------


def outbox_batch(number: int, count: int) -> CommitBatch:
    return CommitBatch(number=number, position=b"", outbox=[f"{number}/{index}".encode() for index in range(count)])


def test_the_outbox_keeps_the_order_until_it_is_trimmed(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    for number in range(1, 13):
        store.commit(claim, outbox_batch(number, 12), None)
    wanted = [f"{number}/{index}".encode() for number in range(1, 13) for index in range(12)]
    assert [data for _, data in store.load(taken(store)).outbox] == wanted


def test_an_outbox_of_many_transitions_is_loaded_whole(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, outbox_batch(1, 1_500), None)
    store.commit(claim, outbox_batch(2, 1_000), None)
    found = [data for _, data in store.load(taken(store)).outbox]
    assert found == outbox_batch(1, 1_500).outbox + outbox_batch(2, 1_000).outbox


def test_published_transitions_leave_the_outbox_with_a_later_commit(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, outbox_batch(1, 2), None)
    store.commit(claim, outbox_batch(2, 1), 1)
    assert world.contents(0)["outbox"] == [("2-0", b"2/0")]
    store.commit(claim, outbox_batch(3, 0), 2)
    assert world.contents(0)["outbox"] == []
    store.commit(claim, outbox_batch(4, 1), None)
    assert store.load(taken(store)).outbox == [("4-0", b"4/0")]


def test_published_transitions_stay_for_readers_up_to_a_bound(world: World) -> None:
    store = prepared(world, outbox_keep=3)
    claim = taken(store)
    store.commit(claim, outbox_batch(1, 2), None)
    store.commit(claim, outbox_batch(2, 2), 1)
    assert len(world.contents(0)["outbox"]) == 4
    store.commit(claim, outbox_batch(3, 1), 2)
    assert [data for _, data in world.contents(0)["outbox"]] == [b"1/1", b"2/0", b"2/1", b"3/0"]
    assert store.load(taken(store)).outbox == [("3-0", b"3/0")]


def test_a_kept_outbox_never_loses_what_is_not_published(world: World) -> None:
    store = prepared(world, outbox_keep=1)
    claim = taken(store)
    for number in range(1, 5):
        store.commit(claim, outbox_batch(number, 2), None)
    store.commit(claim, outbox_batch(5, 2), 2)  # 3 and 4 are not known to be published
    unpublished = [data for _, data in store.load(taken(store)).outbox]
    assert unpublished == [f"{number}/{index}".encode() for number in (3, 4, 5) for index in (0, 1)]


def test_dead_letters_have_a_bound_and_the_latest_stay(world: World) -> None:
    store = prepared(world, dead_letters=5)
    claim = taken(store)
    for number in range(1, 5):
        letters = [f"{number}/{index}".encode() for index in range(3)]
        store.commit(claim, CommitBatch(number=number, position=b"", dead_letters=letters), None)
    assert world.contents(0)["dead"] == [b"3/1", b"3/2", b"4/0", b"4/1", b"4/2"]


# --- odd and large input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        CommitBatch(number=1, position=b"", index={"orders_7d": [("ann", 1.0), ("bob", float("nan"))]}),
        CommitBatch(number=1, position=b"", appends=[("rows", b"x")]),
        CommitBatch(number=1, position=b"", appends=[("scores:orders_7d", b"x")]),
        CommitBatch(number=1, position=b"", drops=["pending"]),
        CommitBatch(number=0, position=b""),
    ],
)
def test_a_batch_that_cannot_be_stored_changes_nothing(world: World, bad: CommitBatch) -> None:
    store = prepared(world)
    claim = taken(store)
    before = world.contents(0)
    bad.rows = [("ann", b"row")]
    with pytest.raises(ValueError, match=r"NaN|appended name|numbered"):
        store.commit(claim, bad, None)
    assert world.contents(0) == before
    store.commit(claim, full_batch(), None)


@pytest.mark.parametrize("user", ["", " ", "{0}", "a\r\nb", "\x00", "ünï😀", "x" * 512, "$5\r\nhello", "tl:{0}:rows"])
def test_users_may_have_any_characters(world: World, user: str) -> None:
    store = prepared(world)
    batch = CommitBatch(
        number=1,
        position=b"",
        rows=[(user, b"row")],
        scores={"p": [(user, b"s")]},
        index={"p": [(user, 1.5)]},
        members_added={"g": [user]},
        remembered=[(user, b"r")],
    )
    store.commit(taken(store), batch, None)
    contents = world.contents(0)
    assert contents["rows"] == {user: b"row"}
    assert (contents["scores:p"], contents["index:p"], contents["members:g"]) == ({user: b"s"}, {user: 1.5}, {user})
    assert rows_of(store.load(taken(store))) == {user: b"row"}
    assert list(store.load(taken(store)).remembered) == [[(user, b"r")]]


def test_lists_longer_than_one_command_are_stored_whole(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    users = [f"user {index}" for index in range(2_501)]
    batch = CommitBatch(
        number=1,
        position=b"",
        rows=[(user, user.encode() * 30) for user in users],
        scores={"p": [(user, b"s") for user in users]},
        index={"p": [(user, float(index)) for index, user in enumerate(users)]},
        members_added={"g": users},
        remembered=[(user, b"r") for user in users],
    )
    store.commit(claim, batch, None)
    contents = world.contents(0)
    assert contents["rows"] == {user: user.encode() * 30 for user in users}
    assert contents["index:p"] == {user: float(index) for index, user in enumerate(users)}
    assert contents["members:g"] == set(contents["scores:p"]) == set(users)
    loaded = store.load(taken(store))
    assert rows_of(loaded) == contents["rows"]
    claim = taken(store)
    gone = users[:2_400]
    store.commit(
        claim,
        CommitBatch(
            number=2,
            position=b"",
            removed_users=gone,
            scores_removed={"p": gone},
            index_removed={"p": gone},
            members_removed={"g": gone},
        ),
        None,
    )
    contents = world.contents(0)
    left = set(users[2_400:])
    kept = (contents["rows"], contents["remember"], contents["scores:p"], contents["index:p"], contents["members:g"])
    assert all(set(part) == left for part in kept)


def test_rows_come_in_chunks(world: World) -> None:
    store = prepared(world)
    rows = [(f"user {index}", b"r" * 100) for index in range(3_000)]
    store.commit(taken(store), CommitBatch(number=1, position=b"", rows=rows), None)
    sizes = [len(chunk) for chunk in store.load(taken(store)).rows]
    assert len(sizes) > 3
    assert max(sizes) < 1_000


def test_keys_of_something_else_are_left_alone(redis_world: RedisWorld) -> None:
    redis_world.client.set(f"{redis_world.prefix}:{{0}}:rows", "a string of somebody")
    store = prepared(redis_world)
    with pytest.raises(StoreIncompatible, match="exist but"):
        taken(store)
    assert redis_world.client.get(f"{redis_world.prefix}:{{0}}:rows") == b"a string of somebody"


def test_a_meta_key_of_another_type_is_refused(redis_world: RedisWorld) -> None:
    redis_world.client.set(f"{redis_world.prefix}:meta", "a string")
    with pytest.raises(StoreIncompatible, match="another prefix"):
        prepared(redis_world)


def test_a_half_stored_commit_takes_the_shard_out_of_use(redis_world: RedisWorld) -> None:
    store = prepared(redis_world)
    claim = taken(store)
    redis_world.client.set(f"{redis_world.prefix}:{{0}}:rows", "put here behind our back")
    with pytest.raises(StoreIncompatible, match="in part"):
        store.commit(claim, full_batch(), None)
    with pytest.raises(StoreIncompatible, match="not whole"):
        taken(store)


def test_a_missing_chunk_is_noticed(redis_world: RedisWorld) -> None:
    store = prepared(redis_world)
    store.commit(taken(store), full_batch(), None)
    redis_world.client.delete(f"{redis_world.prefix}:{{0}}:pending:12")
    with pytest.raises(StoreIncompatible, match="missing"):
        list(store.load(taken(store)).appended)


@pytest.mark.parametrize("prefix", ["", "a b", "a{b}", "x" * 65])
def test_a_prefix_that_would_break_the_key_layout_is_refused(redis_world: RedisWorld, prefix: str) -> None:
    redis_world.prefix = prefix
    with pytest.raises(ValueError, match="prefix"):
        redis_world.open()


def test_deleted_users_are_kept_by_their_hashes_and_their_dead_letters_go(world: World) -> None:
    store = prepared(world)
    claim = taken(store)

    def letter(user: str) -> bytes:
        bad = BadEvent(DeadReason.BAD_EVENT, "no text", 1, b'{"userId": "%s", "event": 7}' % user.encode())
        return bad.to_json()

    first = CommitBatch(number=1, position=b"", dead_letters=[letter("ann"), letter("anna"), letter("ann")])
    store.commit(claim, first, None)
    gone = CommitBatch(number=2, position=b"", deleted=[("aa", b"1"), ("bb", b"2")], deleted_users=["ann"])
    gone.dead_letters = [letter("ann")]  # it came behind the deletion
    store.commit(claim, gone, None)
    assert world.contents(0)["dead"] == [letter("anna"), letter("ann")]
    assert dict(pair for chunk in store.load(taken(store)).deleted for pair in chunk) == {"aa": b"1", "bb": b"2"}


def test_what_is_known_of_a_deletion_can_be_replaced_and_forgotten(world: World) -> None:
    store = prepared(world)
    claim = taken(store)
    store.commit(claim, CommitBatch(number=1, position=b"", deleted=[("aa", b"1"), ("bb", b"2")]), None)
    store.commit(claim, CommitBatch(number=2, position=b"", deleted=[("aa", b"3"), ("bb", None)]), None)
    assert world.contents(0)["deleted"] == {"aa": b"3"}


def test_a_part_of_the_state_is_seen_without_a_claim(world: World) -> None:
    store, other = prepared(world), world.open()
    claim = taken(store)
    assert other.peek(0, "clock") is None, "it has a claim and no commit"
    store.commit(claim, full_batch(), None)
    assert [other.peek(0, name) for name in ("clock", "learner", "no_such")] == [b"12.5", b"", b""]
    assert other.peek(1, "clock") is None
    store.commit(claim, CommitBatch(number=2, position=b"at 18"), None)  # nobody was fenced
