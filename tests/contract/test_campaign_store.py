"""What every store of campaigns has to do: be owned by one at a time, store all or nothing, and find who is due.

A new adapter adds its way of being made to `store`, and has passed when this does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf

import pytest

from config.errors import Fenced
from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.campaigns.ports import CampaignStore, Claim, Commit, Due, Seen, queue_order
from streams.campaigns.state import Book, pack
from tests.contract.worlds import RedisWorld


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[CampaignStore]:
    if request.param == "memory":
        yield MemoryCampaigns()
        return
    url = request.getfixturevalue(f"{request.param}_url")
    with closing(RedisWorld(url)) as world, closing(RedisCampaigns(url, prefix=world.prefix)) as found:
        yield found


def due(next_s: float = inf, **queued: float) -> Due:
    return Due(next_s, queued)


def commit(claim: Claim, number: int | None = None, **given: object) -> Commit:
    fields = {"number": claim.number + 1 if number is None else number, "position": b"p", "state": b"s"} | given
    return Commit(**fields)  # type: ignore[arg-type]


def test_a_partition_that_was_never_written_is_empty(store: CampaignStore) -> None:
    claim = store.claim(3)
    assert (claim.partition, claim.number, claim.position) == (3, 0, None)
    assert store.state(claim) is None
    assert (store.books(claim), store.rows(claim, ["ann"]), store.outbox(claim)) == ({}, {}, [])
    assert (store.profiles(claim, ["ann"]), store.rows(claim, [])) == ({}, {})
    assert (store.due(claim, 1e18, 10), store.queued(claim, "c", 10)) == ([], [])


def test_what_is_committed_is_found_by_the_next_owner(store: CampaignStore) -> None:
    first = store.claim(0)
    rows = {"ann": (b"row", due(5.0)), "zoë\n": (b"\xff\x00", due())}
    store.commit(first, commit(first, rows=rows, books={"c": b"book"}, outbox=[b"1", b"2"]))
    second = store.claim(0)
    assert (second.number, second.position, second.generation) == (1, b"p", first.generation)
    assert second.epoch > first.epoch
    assert store.state(second) == b"s"
    assert store.rows(second, ["ann", "bo", "zoë\n"]) == {"ann": b"row", "zoë\n": b"\xff\x00"}
    assert store.books(second) == {"c": b"book"}
    assert store.outbox(second) == [(1, b"1"), (1, b"2")]


def test_nobody_is_due_before_anything_was_read(store: CampaignStore) -> None:
    claim = store.claim(0)
    store.commit(claim, commit(claim, rows={"ann": (b"row", due(5.0)), "bo": (b"row", due(-5.0))}))
    assert store.due(claim, -inf, 10) == []
    assert store.due(claim, 0.0, 10) == ["bo"]


def test_partitions_have_nothing_to_do_with_each_other(store: CampaignStore) -> None:
    one, other = store.claim(0), store.claim(1)
    store.commit(one, commit(one, rows={"ann": (b"row", due(5.0))}, outbox=[b"1"]))
    assert store.rows(other, ["ann"]) == {}
    assert (store.due(other, 10.0, 5), store.outbox(other), store.claim(1).number) == ([], [], 0)


def test_an_owner_that_lost_the_partition_neither_writes_nor_reads(store: CampaignStore) -> None:
    old = store.claim(0)
    new = store.claim(0)
    with pytest.raises(Fenced):
        store.commit(old, commit(old, rows={"ann": (b"old", due())}))
    with pytest.raises(Fenced):
        store.trim(old, 1)
    with pytest.raises(Fenced):
        store.grants(old).raise_to("r", 10, 5, 1e12)
    with pytest.raises(Fenced):
        store.grants(old).lower_to("r", 0)
    assert store.rows(new, ["ann"]) == {}


def test_a_commit_is_the_next_one_and_may_be_said_again(store: CampaignStore) -> None:
    claim = store.claim(0)
    for number in (2, 3):
        with pytest.raises(Fenced):
            store.commit(claim, commit(claim, number))
    whole = commit(claim, 1, outbox=[b"1"])
    store.commit(claim, whole)
    store.commit(claim, whole)  # the reply was lost
    assert store.outbox(claim) == [(1, b"1")]


def test_rows_and_books_are_replaced_and_removed(store: CampaignStore) -> None:
    claim = store.claim(0)
    rows = {"ann": (b"1", due(5.0, c=1.0)), "bo": (b"2", due(6.0, c=2.0))}
    store.commit(claim, commit(claim, 1, rows=rows, books={"c": b"1", "d": b"2"}))
    store.commit(claim, commit(claim, 2, rows={"ann": (b"3", due())}, rows_removed=["bo"], books_removed=["d"]))
    assert store.rows(claim, ["ann", "bo"]) == {"ann": b"3"}
    assert store.books(claim) == {"c": b"1"}
    assert (store.due(claim, 1e18, 10), store.queued(claim, "c", 10)) == ([], [])


def test_profiles_are_kept_beside_rows(store: CampaignStore) -> None:
    claim = store.claim(0)
    store.commit(claim, commit(claim, 1, profiles={"ann": b"1", "zoë\n": b"\xff"}))
    store.commit(claim, commit(claim, 2, rows={"ann": (b"row", due())}, profiles_removed=["ann", "nobody"]))
    assert store.profiles(claim, ["ann", "zoë\n"]) == {"zoë\n": b"\xff"}
    assert store.rows(claim, ["ann", "zoë\n"]) == {"ann": b"row"}


def test_more_users_than_one_question_holds(store: CampaignStore) -> None:
    claim = store.claim(0)
    users = [f"user-{n}" for n in range(2_500)]
    store.commit(claim, commit(claim, 1, rows={user: (user.encode(), due(5.0, c=1.0)) for user in users}))
    assert store.rows(claim, users) == {user: user.encode() for user in users}
    store.commit(claim, commit(claim, 2, rows_removed=users[:2_000], outbox=[b"x"] * 2_500))
    assert store.due(claim, 5.0, 9_999) == sorted(users[2_000:])
    assert sorted(store.queued(claim, "c", 9_999)) == sorted(users[2_000:])
    assert store.outbox(claim) == [(2, b"x")] * 2_500


def test_a_user_moves_from_queue_to_queue(store: CampaignStore) -> None:
    claim = store.claim(0)
    for number, queues in ((1, {"c": 1.0, "d": 1.0}), (2, {"d": 2.0, "e": 2.0}), (3, {"e": 3.0})):
        store.commit(claim, commit(claim, number, rows={"ann": (b"", Due(inf, queues))}))
        assert [name for name in "cde" if store.queued(claim, name, 5) == ["ann"]] == list(queues)
        assert sorted(store.queues(claim, ["e", "d", "c", "none"])) == sorted(queues)
    store.commit(claim, commit(claim, 4, rows={"ann": (b"", due())}))
    assert store.queued(claim, "e", 5) == []
    assert store.queues(claim, []) == []


def test_who_is_due_is_found_by_time_and_who_never_is_is_not(store: CampaignStore) -> None:
    claim = store.claim(0)
    times = {"a": 30.0, "b": 10.0, "c": 10.0, "d": inf, "e": 31.0, "f": 10.5}
    store.commit(claim, commit(claim, rows={user: (b"", due(at_s)) for user, at_s in times.items()}))
    assert store.due(claim, 30.0, 10) == ["b", "c", "f", "a"]
    assert store.due(claim, 30.0, 2) == ["b", "c"]
    assert store.due(claim, 9.999, 10) == []


def test_a_queue_is_by_time_and_then_by_lot(store: CampaignStore) -> None:
    claim = store.claim(0)
    users = [f"user-{n}" for n in range(30)]
    since = {user: float(n // 10) for n, user in enumerate(users)}
    rows = {user: (b"", due(inf, c=at_s, other=-at_s)) for user, at_s in since.items()}
    store.commit(claim, commit(claim, rows=rows))
    expected = sorted(users, key=lambda user: queue_order("c", user, since[user]))
    assert expected != users
    assert store.queued(claim, "c", 100) == expected
    assert store.queued(claim, "c", 7) == expected[:7]
    assert store.queued(claim, "other", 1)[0] in users[20:]


def test_the_outbox_is_kept_in_order_until_it_is_trimmed(store: CampaignStore) -> None:
    claim = store.claim(0)
    for number in (1, 2, 3):
        store.commit(claim, commit(claim, number, outbox=[f"{number}{place}".encode() for place in "ab"]))
    store.trim(claim, 2)
    assert store.outbox(claim) == [(3, b"3a"), (3, b"3b")]
    store.trim(claim, 2)
    store.trim(claim, 3)
    assert store.outbox(claim) == []


def test_grants_of_all_partitions_never_exceed_the_limit(store: CampaignStore) -> None:
    one, other = (store.grants(store.claim(partition)) for partition in (0, 1))
    assert one.raise_to("r", 100, 60, 1e12) == 60
    assert one.raise_to("r", 100, 60, 1e12) == 60
    assert other.raise_to("r", 100, 60, 1e12) == 40
    assert one.raise_to("r", 100, 10, 1e12) == 60  # never less than it was
    one.lower_to("r", 20)
    one.lower_to("r", 70)  # more than there is: nothing happens
    one.lower_to("unknown", 5)
    assert other.raise_to("r", 100, 100, 1e12) == 80
    assert one.raise_to("another", 100, 100, 1e12) == 100


def test_a_grant_is_found_again_by_the_next_owner(store: CampaignStore) -> None:
    assert store.grants(store.claim(0)).raise_to("r", 100, 60, 1e12) == 60
    assert store.grants(store.claim(1)).raise_to("r", 100, 60, 1e12) == 40
    assert store.grants(store.claim(0)).raise_to("r", 100, 1, 1e12) == 60


def test_a_grant_may_be_as_large_as_a_budget(store: CampaignStore) -> None:
    limit = 2**52  # hundredths
    grants = store.grants(store.claim(0))
    assert grants.raise_to("r", limit, limit - 1, inf) == limit - 1
    assert store.grants(store.claim(1)).raise_to("r", limit, 5, inf) == 1


def test_a_store_that_stands_before_what_was_seen_was_set_back(store: CampaignStore) -> None:
    first = store.claim(0)
    store.commit(first, commit(first))
    assert store.grants(first).raise_to("r", 100, 60, 1e12) == 60
    same = store.claim(0, Seen(first.generation, 1))
    assert (same.generation, same.number) == (first.generation, 1)
    assert store.claim(0, Seen("another", 9)).generation == first.generation
    later = store.claim(0, Seen(first.generation, 2))
    assert (later.generation != first.generation, later.number) == (True, 1)
    # What was granted before counts as used: the commits that are lost may have used it.
    assert store.grants(later).raise_to("r", 100, 60, 1e12) == 40
    assert store.claim(0, Seen(first.generation, 2)).generation == later.generation


def test_hours_come_from_every_partition_and_need_no_claim(store: CampaignStore) -> None:
    for partition in (0, 1):
        claim = store.claim(partition)
        book = pack(Book(hours={500_000 + partition: 7}))
        store.commit(claim, commit(claim, books={"c": book, "d": pack(Book())}))
    found = store.hours(["c", "d", "none"])
    assert sorted(found["c"], key=str) == [{500_000: 7}, {500_001: 7}]
    assert (found["d"], found["none"]) == ([{}, {}], [])
    assert store.hours([]) == {}
