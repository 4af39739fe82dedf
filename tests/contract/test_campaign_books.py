"""What every reader of books has to do: find those of all partitions, while others own them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf

import pytest

from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.adapters.redis_campaign_books import KnownOfUser, RedisCampaignBooks
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.campaigns.figures import BookReader
from streams.campaigns.ports import CampaignStore, Claim, Commit, Due
from streams.campaigns.profiles import Profile, pack_profile
from streams.campaigns.state import Book, Row, pack
from tests.contract.worlds import RedisWorld

Pair = tuple[CampaignStore, BookReader]


@pytest.fixture(params=["memory", "server", "cluster"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "memory":
        memory = MemoryCampaigns()
        yield memory, memory
        return
    url = request.getfixturevalue(f"{request.param}_url")
    with (
        closing(RedisWorld(url)) as world,
        closing(RedisCampaigns(url, prefix=world.prefix)) as store,
        closing(RedisCampaignBooks(url, prefix=world.prefix)) as reader,
    ):
        yield store, reader


def stored(store: CampaignStore, claim: Claim, sent: int, waiting: list[str]) -> None:
    rows = {user: (b"row", Due(inf, {"c": 1.0})) for user in waiting}
    books = {"c": pack(Book(counts={"sent": sent})), "d": pack(Book(counts={"sent": 100}))}
    store.commit(claim, Commit(claim.number + 1, b"p", b"s", rows=rows, books=books))


def test_nothing_is_found_before_anything_is_committed(pair: Pair) -> None:
    store, reader = pair
    assert (reader.books_of("c"), reader.waiting_for_rate("c")) == ([], 0)
    store.claim(0)
    assert (reader.books_of("c"), reader.waiting_for_rate("c")) == ([], 0)


def test_books_and_queues_of_all_partitions_are_found_and_no_owner_is_disturbed(pair: Pair) -> None:
    store, reader = pair
    one, other = store.claim(0), store.claim(7)
    stored(store, one, 3, ["ann", "bo"])
    stored(store, other, 5, ["cy"])
    assert sorted(book.counts["sent"] for book in reader.books_of("c")) == [3, 5]
    assert (reader.waiting_for_rate("c"), reader.waiting_for_rate("d")) == (3, 0)
    assert reader.books_of("e") == []
    store.commit(one, Commit(one.number + 2, b"p", b"s", books={"c": pack(Book(counts={"sent": 4}))}))
    assert sorted(book.counts["sent"] for book in reader.books_of("c")) == [4, 5]


@pytest.mark.parametrize("where", ["server", "cluster"])
def test_what_is_known_of_one_user_is_found(where: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{where}_url")
    with (
        closing(RedisWorld(url)) as world,
        closing(RedisCampaigns(url, prefix=world.prefix)) as store,
        closing(RedisCampaignBooks(url, prefix=world.prefix)) as reader,
    ):
        assert reader.known_of(2, "ann") == KnownOfUser(None, None, None)
        claim = store.claim(2)
        row, profile = Row(sends_s=[5.0]), Profile(traits={"name": "Ann"})
        rows, profiles = {"ann": (pack(row), Due(inf, {}))}, {"ann": pack_profile(profile)}
        store.commit(claim, Commit(claim.number + 1, b"place", b"s", rows=rows, profiles=profiles))
        assert reader.known_of(2, "ann") == KnownOfUser(row, profile, b"place")
        assert reader.known_of(2, "bo") == KnownOfUser(None, None, b"place")
