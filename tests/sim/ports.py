"""The ports of one run (a shard's or a learner's), with what can go wrong at each call.

Before a call the world may stop this worker for ever (`Crash`) or for a while, in which others work. Then the call
itself goes as a word says that is drawn for it:

ok: it is answered. request: lost before the other side saw it. reply: done, but the answer is lost. late: a commit that
reaches the store some time later. part: a publish of which a first part was taken. full: no room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from config.errors import BrokerUnavailable, Fenced, StoreFull, StoreUnavailable
from streams.adapters.memory_store import MemoryStore
from streams.ports import Claim, CommitBatch, Identity, Loaded, Message, OutboxEntry
from streams.runtime.witness import Witness
from tests.sim.audit_time import Tick
from tests.sim.books import Commit, Place
from tests.sim.evidence import log_time_of, position_of, read_clock, read_frozen

if TYPE_CHECKING:
    from tests.sim.world import World


class Crash(BaseException):
    """The process ends here, and what it had in memory is gone. No handler of errors is run in a process that ended, so
    this is none that `except Exception` catches.
    """


class Late(NamedTuple):
    """A commit on its way."""

    store: SimStore
    claim: Claim
    batch: CommitBatch
    trim: int | None


class SimStore:
    """A worker's handle on the store of one place."""

    def __init__(self, world: World, worker: int, place: Place, store: MemoryStore) -> None:
        self.world, self.worker, self.place, self.store = world, worker, place, store
        self._started_s: dict[tuple[int, int], float] = {}
        """The shard's clock at the beginning of the batch: epoch and number of a commit -> seconds since 1970."""

    def prepare(self, shards: int, identity: Identity) -> None:
        self.store.prepare(shards, identity)

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        word = self._word("claim", ["request", "reply"])
        claim = self.store.claim(shard, new_generation=new_generation, last_number=last_number)
        self.world.note(f"worker {self.worker} claims {self.place}: {claim.epoch} {claim.number} {claim.generation}")
        self.world.was_claimed(self.place, self.worker, claim.generation)
        self.world.auditor.on_claim(self.place, claim.epoch, claim.generation)
        self._lose(word, "claim")
        self.world.writer[self.place] = self.worker
        return claim

    def load(self, claim: Claim) -> Loaded:
        word = self._word("load", ["request", "part"])
        loaded = self.store.load(claim)
        loaded.rows = self._rows(loaded.rows, word == "part")
        return loaded

    def _rows(self, rows: Iterator[list[Any]], ends_early: bool) -> Iterator[list[Any]]:
        """The rows; the world goes on while they are read, and the check at their end finds out."""
        self.world.port(self.worker, "rows")
        if ends_early:
            raise StoreUnavailable("simulated: no answer within a load")
        yield from rows

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        started_s = self.world.workers[self.worker].started_s.get(self.place, math.nan)
        self._started_s[claim.epoch, batch.number] = started_s
        word = self._word("commit", ["request", "reply", "late", "full"])
        if self.world.is_cut_off(self.worker, self.place):
            raise StoreUnavailable("simulated: the server of this connection is no more")
        if word == "full":
            raise StoreFull("simulated: full")
        if word == "late":
            self.world.late.append(Late(self, claim, batch, trim))
            raise StoreUnavailable("simulated: the commit is on its way")
        self.carry_out(claim, batch, trim)
        self.world.was_written(self.place, self.worker)
        self._lose(word, "commit")

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        word = self._word("stage", ["request", "reply"])
        self.store.stage(claim, batch, part)
        self._lose(word, "stage")

    def carry_out(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        """The store does it, or refuses. Raises Fenced."""
        try:
            self.store.commit(claim, batch, trim)
        except Fenced:
            self.world.faults["stale commit refused"] += 1
            self.world.note(f"refused: commit {batch.number} of epoch {claim.epoch} on {self.place}")
            raise
        self.tell(claim, batch)

    def tell(self, claim: Claim, batch: CommitBatch) -> None:
        """Let the auditor know what the store has taken."""
        self.world.note(f"stored: commit {batch.number} of epoch {claim.epoch} on {self.place}")
        self.world.auditor.on_commit(
            self.place,
            claim.epoch,
            Commit(
                batch.number,
                claim.generation,
                position_of(batch.position),
                tuple(batch.outbox),
                tuple((m.topic, m.key, m.data) for m in batch.messages),
                tuple(batch.dead_letters),
                self._tick(claim, batch),
                self._frozen(batch),
            ),
        )

    def _frozen(self, batch: CommitBatch) -> dict[str, tuple[float, dict[str, bytes]]]:
        """What is said of everybody by predictions that are frozen, where a commit has replaced all there is."""
        if batch.replaces is None:
            return {}
        scores = self.store.server.shards[self.place[1]].scores
        found = read_frozen(batch.blobs["shard"], list(self.world.plan.catalog.predictions))
        return {name: (at_s, dict(scores.get(name, {}))) for name, at_s in found.items()}

    def _tick(self, claim: Claim, batch: CommitBatch) -> Tick:
        if "shard" not in batch.blobs:
            return Tick()
        clock_s, started_s = read_clock(batch.blobs["shard"]), self._started_s[claim.epoch, batch.number]
        offset, log_time_s = position_of(batch.position), log_time_of(batch.position)
        return Tick(offset, clock_s, log_time_s, self.world.latest_worker_s(), started_s)

    def confirm(self, claim: Claim, number: int) -> bool:
        word = self._word("confirm", ["request", "reply"])
        found = self.store.confirm(claim, number)
        self.world.faults["confirmed after a lost reply"] += found
        self._lose(word, "confirm")
        return found

    def peek(self, shard: int, name: str) -> bytes | None:
        word = self._word("peek", ["request", "reply"])
        found = self.store.peek(shard, name)
        self._lose(word, "peek")
        return found

    def promises(self) -> str:
        return "simulated"

    def close(self) -> None:
        """Nothing is held."""

    def _word(self, call: str, words: Sequence[str]) -> str:
        """What becomes of this call. Raises StoreUnavailable for a lost request, and Crash."""
        self.world.port(self.worker, call)
        word = self.world.word(self.world.plan.weather.store, words)
        if word != "ok":
            self.world.count(f"store {call}: {word}")
        if word == "request":
            raise StoreUnavailable(f"simulated: {call} was lost")
        return word

    def _lose(self, word: str, call: str) -> None:
        if word == "reply":
            raise StoreUnavailable(f"simulated: the reply to {call} was lost")


class SimBroker:
    """A worker's producer and consumer, for one place: sink, courier, and what the group is told."""

    def __init__(self, world: World, worker: int, place: Place) -> None:
        self.world, self.worker, self.place = world, worker, place

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        self._carry("publish", entries, ())

    def send(self, messages: Sequence[Message]) -> None:
        self._carry("send", (), messages)

    def carry(self, entries: Sequence[OutboxEntry], messages: Sequence[Message]) -> None:
        self._carry("carry", entries, messages)

    def _carry(self, call: str, entries: Sequence[OutboxEntry], messages: Sequence[Message]) -> None:
        """In any order: of a part that is taken nobody knows how much are transitions and how much messages."""
        goods: list[OutboxEntry | Message] = [*entries, *messages]
        taken, error = self._how_many(call, len(goods))
        if taken < len(goods) and entries and messages:
            first = self.world.chance.randint(max(0, taken - len(messages)), min(taken, len(entries)))
            goods = [*entries[:first], *messages[: taken - first]]
        if error is not None:
            self._leave_under_way(goods)
        for good in goods[:taken]:
            if isinstance(good, Message):
                self.world.send(self.place, good)
            else:
                self.world.publish(self.place, good[1])
        if error is not None:
            raise error

    def _leave_under_way(self, goods: Sequence[OutboxEntry | Message]) -> None:
        """A client that gives a request up does not call it back: models may still arrive, long after others."""
        models = [good for good in goods if isinstance(good, Message) and good.topic == "models"]
        if models:
            self.world.count("a model is under way")
            self.world.under_way += [(self.place, model) for model in models]

    def tell(self, witness: Witness) -> None:
        topic, number = self.place
        self.world.port(self.worker, "tell")
        self.world.workers[self.worker].memory(topic).tell(number, witness)

    def close(self) -> None:
        """Nothing is held."""

    def _how_many(self, call: str, n: int) -> tuple[int, Exception | None]:
        self.world.port(self.worker, call)
        word = self.world.word(self.world.plan.weather.sink, ["refused", "part", "reply", "full"])
        if word == "ok":
            return n, None
        self.world.count(f"broker {call}: {word}")
        taken = {"refused": 0, "part": self.world.chance.randint(0, n), "reply": n, "full": 0}[word]
        if word == "full":
            return taken, StoreFull("simulated: no room")
        kinds = (StoreUnavailable, BrokerUnavailable)
        return taken, kinds[self.world.chance.randrange(2)](f"simulated: {call}, {word}")
