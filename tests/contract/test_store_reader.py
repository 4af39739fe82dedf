"""Reading what shards have stored: users, segments, ranges of scores, transitions, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from config.errors import StoreIncompatible
from streams.adapters.redis_reader import RedisReader, ScanPlace, Score, ShardInfo, StaleScan
from streams.ports import CommitBatch
from tests.contract.example_store import IDENTITY, fill, transition
from tests.contract.worlds import RedisWorld


@pytest.fixture
def reader(redis_world: RedisWorld) -> Iterator[RedisReader]:
    fill(redis_world.open())
    with closing(RedisReader(redis_world.url, prefix=redis_world.prefix)) as reader:
        yield reader


def test_the_store_says_what_it_was_made_for(reader: RedisReader) -> None:
    info = reader.info
    assert (info.shards, info.catalog, info.input) == (4, "c0ffee", "d1ce")
    assert (info.predictions, info.segments) == (IDENTITY.predictions, IDENTITY.segments)


def test_a_user_has_scores_segments_and_remembered_properties(reader: RedisReader) -> None:
    ann = reader.user("ann")
    assert (ann.shard, ann.known, ann.segments) == (2, True, ("orders_7d.high",))
    assert ann.scores == {"orders_7d": Score(score=91.5, likelihood=0.3127, category="high")}
    assert ann.remembered == b'{"products":["p1"]}'
    assert reader.row("ann") == b"row"
    assert reader.user("eve").scores == {"churn_90d": Score(score=80.0, likelihood=None, category="high")}
    assert reader.user("dan").segments == ("buyers",)


def test_an_unknown_user_is_known_as_such(reader: RedisReader) -> None:
    nobody = reader.user("nobody")
    assert (nobody.known, nobody.scores, nobody.segments, nobody.remembered) == (False, {}, (), None)
    assert reader.row("nobody") is None


def test_members_come_from_all_shards(reader: RedisReader) -> None:
    assert sorted(reader.members("orders_7d.high")) == ["ann", "bob"]
    assert (reader.member_count("orders_7d.high"), reader.member_count("churn_90d.high")) == (2, 1)
    assert list(reader.members("no such segment")) == []


@pytest.mark.parametrize("count", [1, 100])
def test_members_come_page_by_page_from_all_shards(reader: RedisReader, count: int) -> None:
    found: list[str] = []
    place: ScanPlace | None = ScanPlace()
    shards = set()
    while place is not None:
        shards.add(place.shard)
        users, place = reader.members_page("orders_7d.high", place, count)
        found += users
    assert sorted(found) == ["ann", "bob"]
    assert shards == {0, 1, 2, 3}


def test_a_page_goes_on_only_at_the_server_that_gave_it(redis_world: RedisWorld) -> None:
    store = redis_world.open()
    store.prepare(1, IDENTITY)
    users = [f"user {number}" for number in range(3_333)]
    claim = store.claim(0, new_generation="g")
    store.commit(claim, CommitBatch(number=1, position=b"", members_added={"buyers": users}), None)
    with closing(RedisReader(redis_world.url, prefix=redis_world.prefix)) as reader:
        first, place = reader.members_page("buyers", ScanPlace(), 100)
        assert place is not None
        assert 0 < len(first) < 1_000
        found = list(first)
        with pytest.raises(StaleScan):
            reader.members_page("buyers", ScanPlace(place.shard, place.cursor, "another"), 100)
        while place is not None:
            more, place = reader.members_page("buyers", place, 100)
            found += more
    assert set(found) == set(users)


def test_a_segment_of_many_members_is_read_whole(redis_world: RedisWorld) -> None:
    store = redis_world.open()
    store.prepare(1, IDENTITY)
    users = [f"user {number}" for number in range(3_333)]
    claim = store.claim(0, new_generation="g")
    store.commit(claim, CommitBatch(number=1, position=b"", members_added={"buyers": users}), None)
    with closing(RedisReader(redis_world.url, prefix=redis_world.prefix)) as reader:
        found = list(reader.members("buyers"))
    assert len(found) == 3_333
    assert set(found) == set(users)


def test_users_by_score_are_sorted_over_all_shards(reader: RedisReader) -> None:
    assert reader.by_score("orders_7d") == [("ann", 91.0), ("bob", 77.0), ("dan", 74.0), ("cleo", 12.0)]
    assert reader.by_score("orders_7d", low=74.0, high=91.0) == [("bob", 77.0), ("dan", 74.0)]
    assert reader.by_score("orders_7d", limit=1) == [("ann", 91.0)]
    assert reader.score_count("orders_7d", low=74.0) == 3
    assert reader.score_count("orders_7d", low=74.0, high=77.0) == 1
    assert reader.by_score("no such prediction") == []


def test_transitions_and_dead_letters_come_newest_first(reader: RedisReader) -> None:
    assert [entry.data for entry in reader.transitions()] == [transition(2, "bob"), transition(1, "ann")]
    assert [(entry.shard, entry.entry_id) for entry in reader.transitions(1)] == [(2, "2-0")]
    assert [entry.data for entry in reader.dead_letters()] == [b'{"reason":"missing_user","position":17}']
    assert reader.dead_letter_count() == 1


def test_shards_tell_where_they_stand(reader: RedisReader) -> None:
    assert reader.shard_infos()[2] == ShardInfo(2, epoch=1, number=2, generation="made-by-example", users=2)
    assert reader.blob(0, "nothing") is None


def test_no_store_below_the_prefix_is_said(redis_world: RedisWorld) -> None:
    with pytest.raises(StoreIncompatible, match="no store"):
        RedisReader(redis_world.url, prefix=redis_world.prefix)
    fill(redis_world.open())
    redis_world.client.hset(f"{redis_world.prefix}:meta", "format", "99")
    with pytest.raises(StoreIncompatible, match="format 99"):
        RedisReader(redis_world.url, prefix=redis_world.prefix)
