"""Any sequence of calls has the same outcome in every store, and leaves the same contents behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import TidelineError
from streams.ports import Claim, CommitBatch, Replaced, Store
from tests.contract.worlds import IDENTITY, MemoryWorld, RedisWorld, World

USERS = st.sampled_from(["ann", "bob", "cleo", "", "d\r\n{0}"])
NAMES = st.sampled_from(["p", "q"])
CHUNKS = st.sampled_from(["pending:1", "pending:2", "dedupe:1"])
DATA = st.binary(max_size=5)


def by_name(value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, list[Any]]]:
    return st.dictionaries(NAMES, st.lists(value, max_size=3), max_size=2)


BATCHES = st.builds(
    CommitBatch,
    number=st.just(0),
    position=DATA,
    rows=st.lists(st.tuples(USERS, DATA), max_size=4),
    scores=by_name(st.tuples(USERS, DATA)),
    scores_removed=by_name(USERS),
    index=by_name(st.tuples(USERS, st.floats(allow_nan=False))),
    index_removed=by_name(USERS),
    members_added=by_name(USERS),
    members_removed=by_name(USERS),
    appends=st.lists(st.tuples(CHUNKS, DATA), max_size=3),
    drops=st.lists(CHUNKS, max_size=2),
    blobs=st.dictionaries(NAMES, DATA, max_size=2),
    outbox=st.lists(DATA, max_size=3),
    dead_letters=st.lists(DATA, max_size=3),
    remembered=st.lists(st.tuples(USERS, st.none() | DATA), max_size=3),
    removed_users=st.lists(USERS, max_size=2),
    deleted=st.lists(st.tuples(USERS, st.none() | DATA), max_size=3),
    deleted_users=st.lists(USERS, max_size=1),
)
# (what, which of the claims, which number relative to the stored one, trim relative to the number, the batch)
CALLS = st.tuples(
    st.sampled_from(
        ["commit"] * 6
        + ["stage"] * 4
        + ["replace"] * 2
        + ["claim", "confirm", "load", "copy", "set back", "claim after"]
    ),
    st.sampled_from([-1] * 8 + [-2]),
    st.sampled_from([1] * 8 + [0, 2]),
    st.none() | st.sampled_from([0, 0, 1]),
    BATCHES,
)


class Run:
    """Carries calls out on one world and remembers what came of them."""

    def __init__(self, world: World, outbox_keep: int) -> None:
        self.world = world
        self.store: Store = world.open(dead_letters=4, outbox_keep=outbox_keep)
        self.store.prepare(1, IDENTITY)
        self.claims: list[Claim] = [self.store.claim(0, new_generation="g0")]
        self.copies = [world.copy()]
        self.number = self.parts = 0
        self.outcomes: list[Any] = []

    def call(self, what: str, which: int, ahead: int, behind: int | None, batch: CommitBatch) -> None:
        claim = self.claims[max(which, -len(self.claims))]
        try:
            outcome = self.carry_out(what, claim, ahead, behind, batch)
        except TidelineError as error:
            outcome = type(error)
        self.outcomes.append((what, outcome))

    def carry_out(self, what: str, claim: Claim, ahead: int, behind: int | None, batch: CommitBatch) -> Any:
        if what == "stage":
            batch.number = max(1, self.number + 1)
            batch.deleted, batch.deleted_users = [], []  # parts have none: who is deleted is no state that is replaced
            self.store.stage(claim, batch, self.parts + ahead)
            self.parts += ahead
        elif what in ("commit", "replace"):
            batch.number = max(1, self.number + ahead)
            if what == "replace":
                batch.replaces, self.parts = Replaced(self.parts, ("p", "q"), ("p", "q")), 0
            trim = None if behind is None else max(0, batch.number - 1 - behind)
            self.store.commit(claim, batch, trim)
            self.number = batch.number
        elif what == "confirm":
            return self.store.confirm(claim, max(1, self.number + ahead - 1))
        elif what == "copy":
            self.copies.append(self.world.copy())
        elif what == "set back":
            self.world.set_back(self.copies[-1])
        elif what == "load":
            loaded, self.parts = self.store.load(self.claims[-1]), 0
            rows = dict(pair for chunk in loaded.rows for pair in chunk)
            remembered = dict(pair for chunk in loaded.remembered for pair in chunk)
            return rows, loaded.blobs, loaded.outbox, list(loaded.appended), remembered
        else:
            last_number = self.number if what == "claim after" else None
            generation = f"g{len(self.claims)}"
            self.claims.append(self.store.claim(0, new_generation=generation, last_number=last_number))
            self.number = self.claims[-1].number
            return self.claims[-1]
        return None


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(calls=st.lists(CALLS, max_size=14), outbox_keep=st.sampled_from([0, 2]))
def test_memory_and_server_cannot_be_told_apart(
    server_url: str, calls: list[tuple[str, int, int, int | None, CommitBatch]], outbox_keep: int
) -> None:
    memory, redis = Run(MemoryWorld(), outbox_keep), Run(RedisWorld(server_url), outbox_keep)
    for call in calls:
        memory.call(*call)
        redis.call(*call)
        assert memory.outcomes[-1] == redis.outcomes[-1]
        assert memory.world.contents(0) == redis.world.contents(0)
