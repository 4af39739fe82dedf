"""Waiting has an end by the clock, not only by the number of attempts: one that hangs takes long."""

from __future__ import annotations

import pytest

from config.errors import BrokerUnavailable, StoreUnavailable
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience, commit_batch, patiently
from streams.ports import Claim, CommitBatch, Identity

HANGS_S = 20.0


class Clock:
    """Goes on with each attempt, which hangs, and with each pause."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.attempts = 0

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    def hang(self) -> None:
        self.attempts += 1
        self.pass_s(HANGS_S)

    def patience(self, most_s: float) -> Patience:
        return Patience(self.pass_s, most_s=most_s, clock_s=lambda: self.now_s)


def test_attempts_that_hang_are_few() -> None:
    clock = Clock()

    def call() -> None:
        clock.hang()
        raise BrokerUnavailable("away")

    with pytest.raises(BrokerUnavailable):
        patiently(clock.patience(60.0), call)
    assert clock.attempts == 4
    assert clock.now_s < 1_000.0 + HANGS_S + 60.0 + HANGS_S


def test_a_commit_that_hangs_is_given_up_as_soon() -> None:
    clock = Clock()

    class Hanging(MemoryStore):
        def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
            clock.hang()
            raise StoreUnavailable(f"no reply to {batch.number} of {claim.shard}, {trim}")

    store = Hanging(MemoryServer())
    store.prepare(1, Identity(catalog="c"))
    claim = store.claim(0, new_generation="g")
    batch = CommitBatch(number=1, position=b"")
    with pytest.raises(StoreUnavailable):
        commit_batch(store, ListSink(), claim, batch, trim=None, patience=clock.patience(60.0))
    assert clock.attempts == 4


def test_what_answers_soon_is_asked_as_often_as_before() -> None:
    clock, asked = Clock(), list[int]()

    def call() -> int:
        asked.append(1)
        if len(asked) < 29:
            raise StoreUnavailable("loading")
        return len(asked)

    assert patiently(clock.patience(60.0), call) == 29
