"""The core as the property tests drive it: a lock-step pair with a simple warm-up, and what comes out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from config.catalog import Catalog
from models.examples import ExampleChunk
from models.labels import example_hash
from streams.adapters.memory_store import MemoryServer, MemoryShard, MemoryStore
from streams.core.events import BadEvent, Event
from streams.core.kernel import look_phase, week_minute
from streams.core.ledger import ledger_name
from streams.core.users import user_key
from streams.ports import CommitBatch, Identity
from streams.runtime.lockstep import LockStep
from tests.live_after import live_after
from tests.reference.hashes import Hashes
from tests.reference.reference_shard import Advance, Input

WEEK_MINUTES = 10_080


def shard_hashes() -> Hashes:
    """The shard's own hashes, for the reference."""
    return Hashes(
        look_phase=lambda user: float(look_phase(np.uint64(user_key(user)))),
        week_phase=lambda user: (int(week_minute(np.uint64(user_key(user)))) - 0.5) / WEEK_MINUTES,  # rounded up to it
        keep=lambda user, time_s: float(example_hash(np.uint64(user_key(user)), time_s)),
        ledger=lambda user: ledger_name(b"", user),
    )


@dataclass(slots=True)
class Outcome:
    """What a run of the core gave, in order."""

    transitions: list[bytes] = field(default_factory=list)
    chunks: list[ExampleChunk] = field(default_factory=list)
    engine: LockStep | None = None
    dead_letters: list[bytes] = field(default_factory=list)

    def decoded(self) -> list[dict[str, Any]]:
        return [json.loads(t) for t in self.transitions]


def groups(items: Sequence[Input]) -> list[list[Event | BadEvent] | Advance]:
    """Inputs as the shard takes them: lists of events, with the advances between."""
    result: list[list[Event | BadEvent] | Advance] = []
    for item in items:
        if isinstance(item, Advance):
            result.append(item)
        elif result and isinstance(result[-1], list):
            result[-1].append(item)
        else:
            result.append([item])
    return result


class Driver:
    """Runs inputs through a lock-step pair, with a commit after each batch when `store` is given."""

    def __init__(self, catalog: Catalog, live_after: int, *, store: bool = False) -> None:
        self.catalog = catalog
        self.live_after = live_after
        self.outcome = Outcome()
        self.server = MemoryServer() if store else None
        if self.server is None:
            self.engine = self._fresh()
        else:
            self.restart()

    def _rule(self) -> AbstractContextManager[Any]:
        """The learner's warm-up ends after `live_after` examples while this is entered."""
        return live_after(self.live_after)

    def _fresh(self) -> LockStep:
        with self._rule():
            return LockStep(self.catalog, generation="g", on_chunk=self.outcome.chunks.append)

    def restart(self) -> None:
        """Throw the memory away and load from the store."""
        assert self.server is not None
        self.store = MemoryStore(self.server)
        self.store.prepare(1, Identity(catalog="c"))
        self.claim = self.store.claim(0, new_generation="g")
        self.number = self.claim.number
        loaded = self.store.load(self.claim)
        if loaded.blobs:
            with self._rule():
                self.engine = LockStep.load(self.catalog, loaded, generation="g", shard=0, codec=None)
            self.engine.on_chunk = self.outcome.chunks.append
        else:
            self.engine = self._fresh()

    def stored(self) -> MemoryShard:
        """What the store holds of the shard."""
        assert self.server is not None
        return self.server.shards[0]

    def take(self, items: Sequence[Input]) -> None:
        """One batch: all items, then a commit."""
        for group in groups(items):
            if isinstance(group, Advance):
                self.engine.take((), group.time_s)
            else:
                self.engine.take(group)
        batch = self.engine.effects(self.number + 1 if self.server else 1, b"p")
        self._note(batch)
        if self.server is not None:
            self.store.commit(self.claim, batch, trim=batch.number)
            self.number = batch.number

    def redefine(self, catalog: Catalog, past: LockStep | None = None) -> None:
        """Go on under another catalog, with the review of everybody and its commits."""
        self.begin_review(catalog, past)
        while self.engine.shard.is_reviewing:
            self.review()

    def begin_review(self, catalog: Catalog, past: LockStep | None = None) -> None:
        """The change without the review."""
        with self._rule():
            self.engine.redefine(catalog, generation="g", past=past)
        self.take([])

    def review(self) -> None:
        """One part of the users, and a commit."""
        self.engine.shard.review()
        self.take([])

    def _note(self, batch: CommitBatch) -> None:
        self.outcome.transitions += batch.outbox
        self.outcome.dead_letters += batch.dead_letters
        self.outcome.engine = self.engine


def seconds(text: str) -> float:
    """A time of a transition as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
