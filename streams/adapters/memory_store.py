"""The store in this process's memory: for tests, and for runs that keep nothing.

It behaves as the store in Redis does, epochs, numbers and outbox included; only its promise is smaller.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as replace_

from config.errors import Fenced, StoreIncompatible
from streams.core.dead_letters import Named
from streams.ports import (
    Claim,
    CommitBatch,
    Identity,
    Loaded,
    Message,
    OutboxEntry,
    append_order,
    check_batch,
    outbox_entries,
)

_CHUNK = 500
_OWNERS = itertools.count(1)


@dataclass(slots=True)
class MemoryShard:
    """What the store holds of one shard, readable as it is."""

    epoch: int = 0
    owner: str = ""
    number: int = 0
    generation: str = ""
    position: bytes | None = None
    published: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, bytes] = field(default_factory=dict)
    scores: dict[str, dict[str, bytes]] = field(default_factory=dict)
    index: dict[str, dict[str, float]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    appended: dict[str, bytearray] = field(default_factory=dict)
    outbox: list[OutboxEntry] = field(default_factory=list)
    messages: list[tuple[int, Message]] = field(default_factory=list)
    """With the number of their commit."""
    dead_letters: list[bytes] = field(default_factory=list)
    remembered: dict[str, bytes] = field(default_factory=dict)
    deleted: dict[str, bytes] = field(default_factory=dict)
    staged: MemoryShard | None = None
    """What was put aside to replace it."""
    parts: int = 0


@dataclass(slots=True)
class MemoryServer:
    """Plays the server: several `MemoryStore` can share one. `copy` and assignment of `shards` set it back in time."""

    shards: dict[int, MemoryShard] = field(default_factory=dict)
    made_for: tuple[int, Identity] | None = None

    def copy(self) -> MemoryServer:
        return copy.deepcopy(self)


class MemoryStore:
    """A `Store` over a `MemoryServer`."""

    def __init__(self, server: MemoryServer | None = None, *, dead_letters: int = 10_000, outbox_keep: int = 0) -> None:
        """`dead_letters` and `outbox_keep` are the bounds that `RedisStore` has."""
        self.server = server or MemoryServer()
        self._made_for: tuple[int, Identity] | None = None
        self._dead_letters = dead_letters
        self._outbox_keep = outbox_keep

    def prepare(self, shards: int, identity: Identity) -> None:
        self._put_identity(shards, identity, replace=True)
        self._made_for = (shards, identity)

    def _put_identity(self, shards: int, identity: Identity, *, replace: bool) -> None:
        made_for = self.server.made_for
        if made_for is not None and not identity.ledger:
            identity = replace_(identity, ledger=made_for[1].ledger)
        if made_for is not None and not made_for[1].ledger:
            made_for = made_for[0], replace_(made_for[1], ledger=identity.ledger)
        if made_for is not None and _compared(*made_for) != _compared(shards, identity):
            same_but_catalog = _compared(shards, replace_(identity, catalog=made_for[1].catalog)) == _compared(
                *made_for
            )
            if replace and identity.goes_on and same_but_catalog:
                self.server.made_for = (shards, identity)
                return
            committed = any(shard.number for shard in self.server.shards.values())
            if committed or not replace or made_for[1].format != identity.format:
                raise StoreIncompatible(
                    f"the store was made for {_compared(*made_for)}, not {_compared(shards, identity)}"
                )
            for shard in self.server.shards.values():  # every claim for the identity that goes is fenced
                shard.epoch += 1
                shard.generation = ""
        self.server.made_for = (shards, identity)

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        if self._made_for is None or not 0 <= shard < self._made_for[0]:
            raise StoreIncompatible(f"shard {shard} is not one of the shards that this store was prepared for")
        self._put_identity(*self._made_for, replace=False)  # a server that was emptied meanwhile is noticed here
        stored = self.server.shards.setdefault(shard, MemoryShard())
        if not stored.generation or (last_number is not None and stored.number < last_number):
            stored.generation = new_generation
        stored.epoch += 1
        stored.owner = str(next(_OWNERS))
        return Claim(shard, stored.epoch, stored.number, stored.generation, stored.position, stored.owner)

    def load(self, claim: Claim) -> Loaded:
        stored = self._held(claim, claim.number)
        stored.staged, stored.parts = None, 0
        return Loaded(
            blobs=dict(stored.blobs),
            outbox=[entry for entry in stored.outbox if _number(entry) > stored.published],
            messages=[message for number, message in stored.messages if number > stored.published],
            rows=self._checked_rows(claim, stored),
            appended=((name, bytes(stored.appended[name])) for name in sorted(stored.appended, key=append_order)),
            remembered=_chunks(stored.remembered),
            deleted=_chunks(stored.deleted),
        )

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        check_batch(batch)
        stored = self._held(claim, batch.number - 1)
        if batch.replaces is not None:
            if stored.parts != batch.replaces.parts:
                raise Fenced(f"shard {claim.shard}: {stored.parts} parts are put aside, not {batch.replaces.parts}")
            _replace(stored)
        _remove(stored, batch)
        _add(stored, batch)
        if trim is not None:
            stored.published = trim
        self._trim_outbox(stored, batch, trim)
        del stored.dead_letters[: max(0, len(stored.dead_letters) - self._dead_letters)]
        stored.number, stored.position = batch.number, batch.position

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        check_batch(batch)
        stored = self._held(claim, batch.number - 1)
        if stored.parts == part:
            return
        if stored.parts != part - 1:
            raise Fenced(f"shard {claim.shard}: {stored.parts} parts are put aside, and {part} was given")
        stored.staged = stored.staged or MemoryShard()
        _add_state(stored.staged, batch)
        stored.parts = part

    def confirm(self, claim: Claim, number: int) -> bool:
        stored = self.server.shards.get(claim.shard, MemoryShard())
        if _holds(stored, claim) and stored.number == number - 1:
            return False
        self._held(claim, number)
        return True

    def peek(self, shard: int, name: str) -> bytes | None:
        stored = self.server.shards.get(shard, MemoryShard())
        return stored.blobs.get(name, b"") if stored.number else None

    def promises(self) -> str:
        return "in memory: everything is forgotten when the process ends"

    def close(self) -> None:
        """Nothing is held that would have to be given back."""

    def _held(self, claim: Claim, number: int) -> MemoryShard:
        """The shard, if the claim holds and `number` is its last commit. Raises Fenced."""
        stored = self.server.shards.get(claim.shard, MemoryShard())
        if not _holds(stored, claim) or stored.number != number:
            raise Fenced(
                f"shard {claim.shard}: expected epoch {claim.epoch} of generation {claim.generation} after commit "
                f"{number}, found epoch {stored.epoch} of generation {stored.generation} after commit {stored.number}"
            )
        return stored

    def _checked_rows(self, claim: Claim, stored: MemoryShard) -> Iterator[list[tuple[str, bytes]]]:
        yield from _chunks(stored.rows)
        self._held(claim, claim.number)

    def _trim_outbox(self, stored: MemoryShard, batch: CommitBatch, trim: int | None) -> None:
        if trim is None:
            return
        stored.messages = [entry for entry in stored.messages if entry[0] > trim]
        if self._outbox_keep == 0:
            stored.outbox = [entry for entry in stored.outbox if _number(entry) > trim]
        elif trim == batch.number - 1:
            del stored.outbox[: -(self._outbox_keep + len(batch.outbox))]


def _holds(stored: MemoryShard, claim: Claim) -> bool:
    return (stored.epoch, stored.owner, stored.generation) == (claim.epoch, claim.owner, claim.generation)


def _remove(stored: MemoryShard, batch: CommitBatch) -> None:
    for name in batch.drops:
        stored.appended.pop(name, None)
    for user in batch.removed_users:
        stored.rows.pop(user, None)
        stored.remembered.pop(user, None)
    for user, properties in batch.remembered:
        if properties is None:
            stored.remembered.pop(user, None)
    _forget_deleted(stored, batch)
    for prediction, users in batch.scores_removed.items():
        for user in users:
            stored.scores.get(prediction, {}).pop(user, None)
    for prediction, users in batch.index_removed.items():
        for user in users:
            stored.index.get(prediction, {}).pop(user, None)
    for segment, users in batch.members_removed.items():
        stored.members.get(segment, set()).difference_update(users)


def _forget_deleted(stored: MemoryShard, batch: CommitBatch) -> None:
    for name, data in batch.deleted:
        if data is None:
            stored.deleted.pop(name, None)
    if batch.deleted_users:
        named = Named(batch.deleted_users, batch.id_fields)
        stored.dead_letters = [one for one in stored.dead_letters if not named.in_letter(one)]


def _replace(stored: MemoryShard) -> None:
    staged = stored.staged or MemoryShard()
    for name in ("rows", "scores", "index", "members", "appended", "remembered", "blobs"):
        setattr(stored, name, getattr(staged, name))
    stored.staged, stored.parts = None, 0


def _add(stored: MemoryShard, batch: CommitBatch) -> None:
    _add_state(stored, batch)
    stored.outbox += outbox_entries(batch)
    stored.messages += [(batch.number, message) for message in batch.messages]
    stored.dead_letters += batch.dead_letters


def _add_state(stored: MemoryShard, batch: CommitBatch) -> None:
    """What a part that is put aside may hold."""
    stored.blobs.update(batch.blobs)
    stored.rows.update(batch.rows)
    stored.remembered.update((user, data) for user, data in batch.remembered if data is not None)
    stored.deleted.update((name, data) for name, data in batch.deleted if data is not None)
    for prediction, scores in batch.scores.items():
        stored.scores.setdefault(prediction, {}).update(scores)
    for prediction, ranks in batch.index.items():
        stored.index.setdefault(prediction, {}).update(ranks)
    for segment, users in batch.members_added.items():
        stored.members.setdefault(segment, set()).update(users)
    for name, data in batch.appends:
        stored.appended.setdefault(name, bytearray()).extend(data)


def _compared(shards: int, identity: Identity) -> dict[str, int | str | None]:
    return {
        "format": identity.format,
        "shards": shards,
        "catalog": identity.catalog,
        "input": identity.input,
        "ledger": identity.ledger,
    }


def _chunks(items: dict[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    pairs = list(items.items())
    for start in range(0, len(pairs), _CHUNK):
        yield pairs[start : start + _CHUNK]


def _number(entry: OutboxEntry) -> int:
    return int(entry[0].partition("-")[0])
