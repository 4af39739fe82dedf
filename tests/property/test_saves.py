"""Commits in the middle of a batch, and crashes before and after each: the run ends as the one left alone."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from models.examples import ExampleChunk
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.core.events import BadEvent, Event
from streams.core.pending_log import SPARE_BYTES
from streams.ports import Claim, Identity
from streams.runtime.lockstep import LockStep
from tests.conftest import examples
from tests.live_after import live_after
from tests.property.engine import Driver, Outcome
from tests.property.strategies import inputs, scenarios, tight_catalogs
from tests.property.test_core import same_bits
from tests.property.test_core_regressions import T0, catalog, event
from tests.reference.reference_shard import Advance, Input

CRASH_RATE = 0.25


class Crash(Exception):
    """The process ends here."""


class CrashingRun:
    """Takes inputs in batches of any size, saves whenever a save is due, and crashes around saves."""

    def __init__(self, catalog: Catalog, items: Sequence[Input], chance: random.Random) -> None:
        self.catalog, self.items, self.chance = catalog, items, chance
        self.server = MemoryServer()
        self.outcome = Outcome()
        self.saves_within = 0

    def to_the_end(self) -> None:
        while True:
            try:
                self._from_the_checkpoint()
                return
            except Crash:
                continue

    def _from_the_checkpoint(self) -> None:
        self._store = MemoryStore(self.server)
        self._store.prepare(1, Identity(catalog="c"))
        self._claim: Claim = self._store.claim(0, new_generation="g")
        self._number = self._claim.number
        loaded = self._store.load(self._claim)
        self._engine = LockStep.load(self.catalog, loaded, generation="g", shard=0, codec=None)
        self._uncommitted: list[ExampleChunk] = []
        self._engine.on_chunk = self._uncommitted.append
        self.outcome.engine = self._engine
        at = int(self._claim.position or 0)
        while at < len(self.items):
            item = self.items[at]
            if isinstance(item, Advance):
                self._engine.take((), item.time_s, save=partial(self._save, at, within=True))
                at += 1
            else:
                batch = self._batch_at(at)
                self._engine.take(batch, math.nan, save=partial(self._save_in_batch, at))
                at += len(batch)
            self._save(at)

    def _batch_at(self, at: int) -> list[Event | BadEvent]:
        batch: list[Event | BadEvent] = []
        for item in self.items[at : at + self.chance.choice([1, 5, 40, 200])]:
            if isinstance(item, Advance):
                break
            batch.append(item)
        return batch

    def _save_in_batch(self, first: int) -> None:
        self._save(first + self._engine.shard.next_item, within=True)

    def _save(self, position: int, *, within: bool = False) -> None:
        self.saves_within += within
        self._crash_perhaps()
        batch = self._engine.effects(self._number + 1, str(position).encode())
        self._store.commit(self._claim, batch, trim=self._number)
        self._number += 1
        self.outcome.transitions += batch.outbox
        self.outcome.dead_letters += batch.dead_letters
        self.outcome.chunks += self._uncommitted
        self._uncommitted.clear()
        self._crash_perhaps()

    def _crash_perhaps(self) -> None:
        if self.chance.random() < CRASH_RATE:
            raise Crash


class Never(random.Random):
    """No crash, and batches as large as they come."""

    def random(self) -> float:
        return 1.0

    def choice(self, seq: Any) -> Any:
        return seq[-1]


def with_limits(catalog: Catalog, **limits: int) -> Catalog:
    return catalog.model_copy(update={"limits": catalog.limits.model_copy(update=limits)})


def without_empty(groups: Mapping[str, object]) -> dict[str, object]:
    return {name: group for name, group in groups.items() if group}


@settings(
    max_examples=examples(40),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.one_of(scenarios(), st.tuples(tight_catalogs(), inputs(), st.integers(1, 12))),
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 50]),
    st.sampled_from([0, 2_000, SPARE_BYTES]),
)
def test_saves_within_a_batch_and_crashes_around_them_change_nothing(
    case: tuple[Catalog, list[Input], int], seed: int, commit_users: int, commit_transitions: int, spare_bytes: int
) -> None:
    catalog, items, examples = case
    catalog = with_limits(catalog, commit_users=commit_users, commit_transitions=commit_transitions)
    whole = Driver(catalog, examples, store=True)
    whole.take(items)
    run = CrashingRun(catalog, items, random.Random(seed))
    with (
        live_after(examples),
        patch("streams.core.pending_log.SPARE_BYTES", spare_bytes),
        patch("streams.core.pending_log.OVERGROWN", min(spare_bytes, 4)),
        patch("streams.core.saving.PART_BYTES", max(spare_bytes, 500)),
    ):
        run.to_the_end()
    same_bits(run.outcome, whole.outcome)
    left, wanted = run.server.shards[0], whole.stored()
    for found, expected in ((left.scores, wanted.scores), (left.index, wanted.index), (left.members, wanted.members)):
        assert without_empty(found) == without_empty(expected)
    assert left.remembered == wanted.remembered
    assert run.outcome.dead_letters == whole.outcome.dead_letters
    assert run.outcome.engine is not None
    assert run.outcome.engine.shard.counters() == whole.engine.shard.counters()


def test_a_save_is_asked_for_within_a_batch_when_much_has_changed() -> None:

    items = [*(event(f"u{n}", T0 + n, n + 1) for n in range(50)), event("u0", T0 + 40 * 86_400.0, 99)]
    run = CrashingRun(with_limits(catalog(), commit_users=10), items, Never())
    run.to_the_end()
    assert run.saves_within > 1
