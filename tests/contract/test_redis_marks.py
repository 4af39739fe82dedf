"""How far a shard has stored and published, in a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from streams.adapters.redis_marks import Mark, RedisMarks
from streams.ports import CommitBatch
from tests.contract.worlds import IDENTITY, RedisWorld


@pytest.fixture
def marks(redis_world: RedisWorld) -> Iterator[RedisMarks]:
    with closing(RedisMarks(redis_world.url, prefix=redis_world.prefix)) as found:
        yield found


@pytest.mark.parametrize("keep", [0, 10])
def test_the_last_transition_is_pending_until_it_is_known_to_be_published(
    redis_world: RedisWorld, marks: RedisMarks, keep: int
) -> None:
    store = redis_world.open(outbox_keep=keep)
    store.prepare(2, IDENTITY)
    claim = store.claim(1, new_generation="g")
    assert marks.mark(1) == Mark(None, None)
    store.commit(claim, CommitBatch(number=1, position=b"p1", outbox=[b"a", b"b"]), None)
    assert marks.mark(1) == Mark(b"p1", b"b")
    store.commit(claim, CommitBatch(number=2, position=b"p2"), 1)
    assert marks.mark(1) == Mark(b"p2", None)
    store.commit(claim, CommitBatch(number=3, position=b"p3", outbox=[b"c"]), 2)
    assert marks.mark(1) == Mark(b"p3", b"c")
    assert marks.mark(0) == Mark(None, None)
