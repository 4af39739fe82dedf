"""Users are deleted anywhere in a log: as in the reference, however it is cut, whatever crashes; nothing is left."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog, Segment
from config.errors import StoreIncompatible
from models.labels import EVENT, NEXT, NOBODY, tail_of
from models.layout import FIRST_T
from streams.adapters.memory_store import MemoryShard, MemoryStore
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.ledger import Deleted, cluster_id, ledger_name
from streams.core.shard import Shard
from streams.ports import Identity
from streams.runtime.lockstep import LockStep
from tests.conftest import examples
from tests.live_after import live_after
from tests.property.engine import Driver, Outcome
from tests.property.strategies import batches, cuts, inputs, scenarios, tight_catalogs, tighten
from tests.property.test_core import compare, drive, same_bits
from tests.property.test_core_regressions import T0, catalog, event
from tests.property.test_saves import CrashingRun, with_limits, without_empty
from tests.reference.memberships import LIFE, fold
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
Case = tuple[Catalog, list[Input], int]
slow = settings(
    max_examples=examples(60),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
with_deletions = inputs(deletions=True, min_events=5, users=5)
tight_cases = st.tuples(tight_catalogs(), with_deletions, st.integers(1, 12))
any_cases = st.one_of(scenarios(deletions=True, min_events=5, users=5), tight_cases)


def deletion(user: str, at_s: float, number: int) -> Event:
    return Event(user, None, at_s, math.nan, number, None, None, number, at_s, deletes=True)


@slow
@given(scenarios(deletions=True, min_events=5, users=5))
def test_the_core_equals_the_reference(case: Case) -> None:
    compare(*case)


@slow
@given(tight_cases)
def test_bounds_bind_as_in_the_reference(case: Case) -> None:
    compare(*case)


@slow
@given(any_cases, st.data())
def test_cutting_stopping_and_resuming_change_nothing(case: Case, data: st.DataObject) -> None:
    catalog, items, examples = case
    whole = drive(catalog, items, examples)
    driver = Driver(catalog, examples, store=True)
    for batch in batches(items, data.draw(cuts(len(items)))):
        driver.take(batch)
        if data.draw(st.booleans()):
            driver.restart()
    same_bits(driver.outcome, whole)


def reasons(outcome: Outcome) -> list[tuple[str, int]]:
    letters = [msgspec.json.decode(letter) for letter in outcome.dead_letters]
    return [(letter["reason"], letter["position"]) for letter in letters]


def kept_letters(stored: MemoryShard) -> list[bytes]:
    """Without those that went with a deleted user: what was stored together with the deletion has left its place."""
    letters = [(letter, msgspec.json.decode(letter)) for letter in stored.dead_letters]
    return [letter for letter, said in letters if said["raw"] or said["reason"] == "deleted_user"]


@slow
@given(any_cases, st.integers(0, 2**32), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 50]))
def test_crashes_around_saves_within_a_batch_change_nothing(
    case: Case, seed: int, commit_users: int, commit_transitions: int
) -> None:
    catalog, items, examples = case
    catalog = with_limits(catalog, commit_users=commit_users, commit_transitions=commit_transitions)
    whole = Driver(catalog, examples, store=True)
    whole.take(items)
    run = CrashingRun(catalog, items, random.Random(seed))
    with live_after(examples):
        run.to_the_end()
    same_bits(run.outcome, whole.outcome)
    left, wanted = run.server.shards[0], whole.stored()
    for name in ("rows", "remembered", "deleted"):
        assert getattr(left, name) == getattr(wanted, name), name
    assert kept_letters(left) == kept_letters(wanted)
    for found, expected in ((left.scores, wanted.scores), (left.index, wanted.index), (left.members, wanted.members)):
        assert without_empty(found) == without_empty(expected)
    assert reasons(run.outcome) == reasons(whole.outcome)
    assert run.outcome.engine is not None
    assert run.outcome.engine.shard.counters() == whole.engine.shard.counters()


@slow
@given(any_cases, st.data())
def test_nothing_is_left_and_no_id_comes_again(case: Case, data: st.DataObject) -> None:
    catalog, items, examples = case
    user = data.draw(st.sampled_from(sorted({item.user for item in items if isinstance(item, Event)})))
    last_s = max(item.log_time_s for item in items if isinstance(item, Event))
    driver = Driver(catalog, examples, store=True)
    driver.take([*items, deletion(user, last_s + 1.0, 5_000)])
    told = len(driver.outcome.transitions)
    shard, stored = driver.engine.shard, driver.stored()
    assert shard.ledger.find(user) is not None
    assert user not in stored.rows
    assert user not in stored.remembered
    assert all(user not in some for kept in (stored.scores, stored.index, stored.members) for some in kept.values())
    assert ledger_name(b"", user) in stored.deleted
    check_unused_rows(shard)
    before = len(driver.outcome.chunks)
    driver.take([event("somebody else", last_s + 90 * 86_400.0, 5_001)])
    late = [chunk for chunk in driver.outcome.chunks[before:] if cluster_id(b"", user) in chunk.user.tolist()]
    assert late == []
    assert all(t["data"]["user_id"] != user for t in driver.outcome.decoded()[told:])
    ids = [t["id"] for t in driver.outcome.decoded()]
    assert len(ids) == len(set(ids))
    fold(plain(driver.outcome))


def plain(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "user": t["data"]["user_id"],
            "segment": t["data"]["segment_id"],
            "in_segment": t["data"]["in_segment"],
            "sequence": int(t["sequence"]),
        }
        for t in outcome.decoded()
    ]


def check_unused_rows(shard: Shard) -> None:
    """Rows, queue and pending examples hold exactly the users that there are, and F counts them alone."""
    users, c = shard.users, shard.definitions.layout.columns
    there = np.flatnonzero(users.rows.t[: len(users), FIRST_T] != 0.0)
    assert sorted(users.queue.heap[: users.queue.size[0]].tolist()) == there.tolist()
    assert len(there) == shard.counters()["users"]
    inside = users.rows.b[there, c.b_audience : c.b_audience + c.predictions].sum(axis=0)
    assert shard.population.counts.sum(axis=1).tolist() == inside.tolist()
    q = shard.pending
    at = np.arange(int(tail_of(shard.sealed["pending"])), int(q.n[NEXT])) % len(q.time_s)
    assert set(q.row[at].tolist()) <= {*there.tolist(), NOBODY}
    assert not q.x[at][q.row[at] == NOBODY].any()
    gone = np.setdiff1d(np.arange(len(users.buffer)), there)
    assert not users.rows.t[gone].any()
    slots = users.history.slot[gone]
    assert not users.history.hours[slots[slots >= 0]].any()


def test_a_user_who_comes_back_is_new() -> None:
    driver = Driver(catalog(), 1, store=True)
    driver.take([event("ann", T0, 1), event("ann", T0 + 10.0, 2), event("bob", T0 + 11.0, 3)])
    driver.take([deletion("ann", T0 + 20.0, 4), event("ann", T0 + 15.0, 5), event("ann", T0 + 20.0, 6)])
    assert "ann" not in driver.stored().rows
    letters = [msgspec.json.decode(letter) for letter in driver.stored().dead_letters]
    assert [(one["reason"], one["raw"], one["position"]) for one in letters] == [
        ("deleted_user", "", 5),
        ("deleted_user", "", 6),
    ]
    driver.restart()
    driver.take([event("ann", T0 + 20.25, 7)])
    shard = driver.engine.shard
    row = shard.users.find("ann")
    assert row is not None
    assert shard.users.rows.t[row, FIRST_T] == T0 + 20.25
    assert shard.users.users.order[row] == 0  # that of the first ann is free again
    assert shard.ledger.find("ann") == Deleted(T0 + 20.0, T0 + 20.0, 1)


def test_a_deletion_reaches_as_far_as_what_it_deletes() -> None:
    driver = Driver(catalog(), 1)
    driver.take([event("ann", T0 + 60.0, 1), deletion("ann", T0, 2), event("ann", T0 + 60.0, 3)])
    assert driver.engine.shard.ledger.find("ann") == Deleted(T0, T0 + 60.0, 1)
    assert driver.engine.shard.counters()["users"] == 0


def test_an_old_deletion_does_not_end_the_life_after_a_later_one() -> None:
    driver = Driver(catalog(), 1)
    driver.take([event("ann", T0, 1), deletion("ann", T0 + 60.0, 2), event("ann", T0 + 61.0, 3)])
    driver.take([deletion("ann", T0 + 30.0, 4)])
    assert driver.engine.shard.counters()["users"] == 1


def test_dead_letters_of_the_user_go() -> None:
    driver = Driver(catalog(), 1, store=True)
    raw = b'{"userId": "ann", "type": "track", "event": 1}'
    other = raw.replace(b"ann", b"anna")
    driver.take([event("ann", T0, 1), BadEvent(DeadReason.BAD_EVENT, "no text", 2, raw)])
    driver.take(
        [BadEvent(DeadReason.BAD_EVENT, "no text", 3, other), BadEvent(DeadReason.BAD_EVENT, "no text", 4, raw)]
    )
    assert len(driver.stored().dead_letters) == 3
    driver.take([BadEvent(DeadReason.BAD_EVENT, "no text", 5, raw), deletion("ann", T0 + 1.0, 6)])
    letters = [msgspec.json.decode(letter) for letter in driver.stored().dead_letters]
    assert [(one["position"], one["raw"]) for one in letters] == [(3, other.decode()), (5, "")]


HOUR_S = 3_600.0


def test_dead_letters_that_come_later_keep_no_bytes_of_the_deleted() -> None:
    driver = Driver(catalog(), 1, store=True)
    driver.take([event("ann", T0, 1), deletion("ann", T0 + 1.0, 2)])
    raws = [
        b'{"userId": "ann", "type": 1}',
        b'{"userId": "bob", "friend": "ann"}',
        b"ann;5;\xff",
        b'{"user_id": "ann"}',
    ]
    driver.take([BadEvent(DeadReason.BAD_EVENT, "no text", 3 + n, raw) for n, raw in enumerate(raws)])
    letters = [msgspec.json.decode(letter) for letter in driver.stored().dead_letters]
    assert [(one["position"], one["raw"]) for one in letters] == [(3, ""), (4, raws[1].decode()), (5, ""), (6, "")]


def test_the_ledger_forgets_the_longest_ago_at_the_next_whole_hour() -> None:
    driver = Driver(tighten(catalog(), deleted_users=2), 1, store=True)
    driver.take([event(f"u{n}", T0, n + 1) for n in range(4)])
    driver.take([deletion(f"u{n}", T0 + n + 1, n + 11) for n in range(4)])
    ledger = driver.engine.shard.ledger
    assert len(ledger) == 4
    driver.take([Advance(T0 + HOUR_S)])
    assert (len(ledger), ledger.forgotten) == (2, 2)
    assert set(driver.stored().deleted) == {ledger_name(b"", "u2"), ledger_name(b"", "u3")}


def test_who_was_forgotten_comes_back_with_ids_that_were_never_used() -> None:
    segment = {"name": "Seen", "filter": {"event": "Order", "count": {"min": 1}}}
    with_segment = catalog().model_copy(update={"segments": {"seen": Segment.model_validate(segment)}})
    driver = Driver(tighten(with_segment, deleted_users=1), 1, store=True)
    driver.take([event("ann", T0, 1), deletion("ann", T0 + 1.0, 2), event("ann", T0 + 2.0, 3)])
    # She is in the batch in which she is forgotten: her row was given before.
    driver.take(
        [
            deletion("ann", T0 + 3.0, 4),
            deletion("bob", T0 + 4.0, 5),
            event("bob", T0 + 5.0, 6),
            deletion("bob", T0 + 6.0, 7),
            event("cem", T0 + HOUR_S, 8),
            event("ann", T0 + 2.5, 9),
        ]
    )
    driver.restart()
    driver.take([event("dan", T0 + HOUR_S + 1.0, 10)])
    told = [t for t in driver.outcome.decoded() if t["data"]["in_segment"]]
    assert [(t["subject"], int(t["sequence"]) // LIFE) for t in told] == [
        ("ann", 0),
        ("ann", 1),
        ("bob", 0),
        ("cem", 2),
        ("ann", 2),
        ("dan", 2),
    ]
    assert len({t["id"] for t in driver.outcome.decoded()}) == len(driver.outcome.decoded())


def test_what_a_commit_saves_does_not_grow_with_the_deleted() -> None:
    driver = Driver(catalog(), 1, store=True)
    driver.take([event(f"u{n}", T0, n + 1) for n in range(3_000)])
    driver.take([deletion(f"u{n}", T0 + 1.0, n + 10_001) for n in range(3_000) if n % 3])
    assert len(driver.stored().blobs["shard"]) < 3_000
    driver.restart()
    driver.take([event(f"new{n}", T0 + 2.0, n + 20_001) for n in range(3)])
    users = driver.engine.shard.users
    rows = [users.find(f"new{n}") for n in range(3)]
    assert [int(users.users.order[row]) for row in rows if row is not None] == [1, 2, 4], "the smallest are given again"


def test_examples_of_the_deleted_make_room_for_those_of_the_living() -> None:
    driver = Driver(tighten(catalog(), pending_examples=16), 1, store=True)
    driver.take([event("ann", T0 + n, n + 1) for n in range(8)])
    driver.take([deletion("ann", T0 + 10.0, 20), *(event("bob", T0 + 11.0 + n, n + 21) for n in range(12))])
    q = driver.engine.shard.pending
    assert q.rates.tolist() == [1.0, 1.0, 1.0]
    driver.restart()
    driver.take([event("cem", T0 + 4 * 86_400.0, 50)])
    handed = [(chunk.user == cluster_id(b"", "bob")) & (chunk.kind == EVENT) for chunk in driver.outcome.chunks]
    assert sum(int(of_bob.sum()) for of_bob in handed) == 12


def test_sequences_of_another_life_begin_past_a_multiple() -> None:
    segment = {"name": "Seen", "filter": {"event": "Order", "count": {"min": 1}}}
    with_segment = catalog().model_copy(update={"segments": {"seen": Segment.model_validate(segment)}})
    driver = Driver(with_segment, 1, store=True)
    driver.take([event("ann", T0, 1), deletion("ann", T0 + 1.0, 2), event("ann", T0 + 2.0, 3)])
    driver.take([deletion("ann", T0 + 3.0, 4), event("ann", T0 + 4.0, 5)])
    told = [(int(t["sequence"]), t["data"]["origin"], t["data"]["entry_count"]) for t in driver.outcome.decoded()]
    lives = [(LIFE * n, 1) for n in range(3)]
    entered = [(base + 1, "live", count) for base, count in lives]
    assert told == [entered[0], (2, "deleted", 1), entered[1], (LIFE + 2, "deleted", 1), entered[2]]


def test_a_ledger_of_another_key_is_refused() -> None:
    driver = Driver(catalog(), 1, store=True)
    driver.take([event("ann", T0, 1), deletion("ann", T0 + 1.0, 2)])
    store = MemoryStore(driver.server)
    store.prepare(1, Identity(catalog="c"))
    loaded = store.load(store.claim(0, new_generation="g"))
    with pytest.raises(StoreIncompatible, match="another key"):
        LockStep.load(catalog(), loaded, generation="g", shard=0, codec=None, ledger_key=b"k" * 32)
