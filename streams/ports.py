"""The ports of a shard's runtime: the `Store` that keeps its state, the `Sink` that is told of transitions, and the
`Courier` of everything else that goes from one service to another. `EventLog` is where the events come in, and
`TransitionLog` is where transitions are read.

Every adapter of a port passes one contract suite (`tests/contract`). Values are bytes that the port does
not look into; users and names are `str`, stored as UTF-8.

The words of a commit (section 7 of the design, `streams/commit.py`):

epoch       how often the shard was claimed. The last one to claim owns the shard; everybody before is fenced.
number      of a commit, from 1 on, without a gap; 0 is a shard that was never committed.
generation  a text that goes into the ids of transitions. It changes when a store was rebuilt or set back to an
            older copy, so that an id never has two meanings.
outbox      the transitions of commits whose publication is not known to be complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import NamedTuple, Protocol, runtime_checkable

FORMAT = 6
"""Version of everything that is stored (key layout and rows). Another version is refused, never guessed at."""

OutboxEntry = tuple[str, bytes]
"""(entry id `"<number>-<index>"`, one transition as JSON). The id orders entries within a shard."""


class Message(NamedTuple):
    """What one service tells another through the log: labelled examples, snapshots, dead letters."""

    topic: str
    """The kind of topic (`config.settings.TopicKind`), not its name."""
    key: str
    """Messages with the same key stay in order; in a compacted topic the last of them is kept."""
    data: bytes
    """Nothing, in a compacted topic, takes back what the key has said."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a store was made for. Another format, catalog, input or number of shards is refused.

    `input` is the digest of the first file that is replayed, None for an endless input. Which others were read behind
    it is part of the shard's state, as it grows with the run.
    `predictions` and `segments` are written down for readers and not compared (the catalog's digest covers them).
    `ledger` is the mark of the secret under which deleted users are remembered; "" for one that is not known yet,
    which goes with any.
    `file` says where the catalog is, for people; it is written down with the catalog's digest, and not compared.
    `goes_on`: another catalog is no reason to refuse; whoever loads a shard goes on under its own.
    """

    catalog: str
    input: str | None = None
    predictions: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    ledger: str = ""
    format: int = FORMAT
    file: str = field(default="", compare=False)
    goes_on: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What goes when a shard's whole state is replaced, and how much was put aside for its place (`Store.stage`)."""

    parts: int
    predictions: tuple[str, ...]
    """Those that the state which goes may have scores of."""
    segments: tuple[str, ...]
    """Those that it may have members of."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write one shard, and where its last commit stood. It does not change with commits."""

    shard: int
    epoch: int
    number: int
    generation: str
    position: bytes | None
    """As the last commit gave it; None if there was none."""
    owner: str = field(default="", compare=False)
    """What no other claim has: where a failover lost a claim, the next one gets the same epoch."""


@dataclass(slots=True)
class CommitBatch:
    """The effects of one batch on one shard: all of it is stored, or nothing.

    Within one commit removals come before additions (so drop + append of one name rewrites it).
    The outbox is the only list whose order matters to readers.
    """

    number: int
    """The claim's number + 1 for the first commit, then one more each time."""
    position: bytes
    rows: list[tuple[str, bytes]] = field(default_factory=list)
    """(user, row). A user at most once."""
    scores: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    """prediction -> (user, JSON object with score, likelihood, category)."""
    scores_removed: dict[str, list[str]] = field(default_factory=dict)
    """prediction -> users without a score from now on."""
    index: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """prediction -> (user, score), for range reads. Not NaN."""
    index_removed: dict[str, list[str]] = field(default_factory=dict)
    members_added: dict[str, list[str]] = field(default_factory=dict)
    """segment -> users."""
    members_removed: dict[str, list[str]] = field(default_factory=dict)
    appends: list[tuple[str, bytes]] = field(default_factory=list)
    """(name like `pending:12` or `dedupe:3`, bytes to put behind what the name holds already)."""
    drops: list[str] = field(default_factory=list)
    """Appended names to delete."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Named parts of the shard's state, replaced as a whole."""
    outbox: list[bytes] = field(default_factory=list)
    """One transition each, in the order in which they are published."""
    messages: list[Message] = field(default_factory=list)
    """What goes to other services; published with the transitions, in this order, and kept until then as they are.
    Which of both comes first is not said."""
    dead_letters: list[bytes] = field(default_factory=list)
    remembered: list[tuple[str, bytes | None]] = field(default_factory=list)
    """(user, remembered properties); None removes them."""
    deleted: list[tuple[str, bytes | None]] = field(default_factory=list)
    """(keyed hash of a user who was deleted, what is known of that); None forgets it."""
    merged: frozenset[str] = frozenset()
    """Those of `deleted` that the log of deletions has said."""
    deletions_said: dict[str, float] = field(default_factory=dict)
    """Of those of `deleted` of whom it has said something else: when that deletion was, seconds since 1970 UTC."""
    deleted_users: list[str] = field(default_factory=list)
    """Users who were deleted: dead letters about them that are kept are erased."""
    id_fields: tuple[str, ...] = ()
    """Where dead letters in JSON say whom they are about (`streams.core.dead_letters`)."""
    removed_users: list[str] = field(default_factory=list)
    """Deletes row and remembered properties. Scores, index and memberships are removed by their own lists."""
    replaces: Replaced | None = None
    """What was put aside takes the place of the shard's rows, scores, indexes, members, blobs, remembered properties
    and appended names; before all else in this commit. Outbox, messages and dead letters stay."""


MAX_MESSAGE_BYTES = 7 << 20
"""Topics for messages take records of 8 MiB. A larger one would be stored, and then never be taken by anybody."""

_APPENDED_NAME = re.compile(r"(?!scores:|index:|members:|staged:)[a-z]+:[A-Za-z0-9_.-]+")


def append_order(name: str) -> tuple[str, int]:
    """Sorts appended names: what stands before the colon as text, then the numbers as numbers."""
    kind, _, number = name.partition(":")
    return kind, int(number)


def check_batch(batch: CommitBatch) -> None:
    """Refuse, before anything is sent, what a server would refuse in the middle of a transaction.

    Raises ValueError; the caller has a bug then.
    """
    if batch.number < 1:
        raise ValueError(f"commits are numbered from 1 on, not {batch.number}")
    for name in [*batch.drops, *(name for name, _ in batch.appends)]:
        if not _APPENDED_NAME.fullmatch(name):
            raise ValueError(f"appended name {name!r}: expected a form like pending:12")
    for message in batch.messages:
        if len(message.data) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message for {message.topic} has {len(message.data):,} bytes")
    for prediction, ranks in batch.index.items():
        if any(isnan(score) for _, score in ranks):
            raise ValueError(f"a score in the index of {prediction} is NaN")


def outbox_entries(batch: CommitBatch) -> list[OutboxEntry]:
    """The batch's transitions with the ids under which the store keeps them."""
    return [(f"{batch.number}-{index}", data) for index, data in enumerate(batch.outbox)]


@dataclass(slots=True)
class Loaded:
    """The state of a claimed shard. The iterators read from the store while they are consumed, once each.

    `rows` and `remembered` come in chunks of some hundred, in no order. A user can come twice, with the same
    bytes (the servers' scans allow it). The last chunk of `rows` is followed by a check that the claim
    still holds: `Fenced` if another process took the shard in the meantime.
    """

    blobs: dict[str, bytes]
    outbox: list[OutboxEntry]
    """What may not have been published yet, oldest first."""
    messages: list[Message]
    """The same of messages."""
    rows: Iterator[list[tuple[str, bytes]]]
    appended: Iterator[tuple[str, bytes]]
    """(name, everything appended to it), one name at a time, in `append_order`."""
    remembered: Iterator[list[tuple[str, bytes]]]
    deleted: Iterator[list[tuple[str, bytes]]]
    """(keyed hash, what is known) of deleted users, in no order; may be read before all others."""


class Store(Protocol):
    """Keeps the state of shards. Every method may raise `StoreUnavailable` when the server does not answer.

    After `StoreUnavailable` the adapter connects anew by itself with the next call.
    """

    def prepare(self, shards: int, identity: Identity) -> None:
        """Make the store usable for `identity` cut into `shards` shards; the first call writes both down.

        Where nothing was ever committed, another identity of the same format takes the place of the earlier one; all
        claims that were taken for that one are fenced in the same step, so nothing of it can be stored any more. One
        that `goes_on` takes the place of another that differs in the catalog alone, whatever was committed; claims for
        that one hold until somebody claims the shard.
        Raises `StoreIncompatible` naming what differs from what the store was made for.
        """

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        """Take the shard: a new epoch, with which every older claim is fenced.

        `new_generation` is stored if the shard has no generation yet, or if the stored number is lower than
        `last_number`, the last one that the caller knows to have been committed: then the store was set
        back to an older copy. Whoever compares `Claim.generation` sees it.

        Raises `StoreIncompatible` for a shard that is not one of `prepare`'s, whose data are not whole, or of a store
        that was prepared for something else since.
        """

    def load(self, claim: Claim) -> Loaded:
        """The state as the last commit left it. Raises `Fenced` if the claim no longer holds.

        What a `stage` without its commit has left is deleted.
        """

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        """Put a part of a whole new state aside, for the commit that `replaces` all; nobody reads it before.

        Of `batch` count its number (that of the commit to come) and what it adds: rows, scores, index, members,
        appends, remembered. Parts are numbered from 1 on; the last one given may be given again, and counts once.

        Raises what `commit` raises; Fenced also where the parts before are not there (any more). A load is needed then.
        """

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        """Store all of the batch in one atomic step, durably as far as `promises` says.

        `trim`: every transition of commits up to this number has been published and may leave the outbox.

        Raises:
            Fenced: the stored epoch, generation or number is not the one this batch stands on
                (another owner, or a store that went back in time). Nothing was stored.
            StoreUnavailable: no answer. It is not known whether the batch was stored; `confirm` tells.
            StoreFull: the server has no room. Nothing was stored.
            ValueError: see `check_batch`. Nothing was stored.
        """

    def confirm(self, claim: Claim, number: int) -> bool:
        """After a lost reply: True if commit `number` is stored, False if the one before it still stands.

        Raises `Fenced` in every other case.
        """

    def peek(self, shard: int, name: str) -> bytes | None:
        """A named part of a shard's state as the last commit left it, without a claim: for others than its owner.

        None for a shard without a commit, b"" where it has no such part.
        """

    def promises(self) -> str:
        """One line: what the server's settings promise about commits that were acknowledged."""

    def close(self) -> None:
        """Give the connections back. The claim stays as it is."""


class EventLog(Protocol):
    """Takes events of producers, durably."""

    @property
    def has_headers(self) -> bool:
        """Whether a record may have headers beside its event. Where it may not, the event itself has its trace."""

    async def append(self, records: Sequence[tuple[str, bytes]], *, trace: str | None = None) -> Mapping[int, int]:
        """Take (user id, one event as JSON), in order; return when all are durable.

        Returns by partition the offset of the last of these; a partition of which the log does not say is left out.
        `trace`: of which trace all are a part (`streams.trace_context`), for a header; not used where there are none.
        Raises BrokerUnavailable (try again later; nothing or a part was taken), BrokerError (it will never be taken).
        """

    async def close(self) -> None:
        """Give files and connections back; everything that was acknowledged is durable already."""


class Crossing(NamedTuple):
    """One transition, and where it stands in the log."""

    partition: int
    offset: int
    data: bytes
    """A CloudEvent as JSON (docs/events.md), in one line. Kafka may hold anything: `wanted_crossings.head_of`."""


class Kept(NamedTuple):
    """What a partition holds."""

    begin: int
    """The offset of the oldest record that is kept."""
    end: int
    """The offset behind the last one."""


class TransitionFeed(Protocol):
    """Reads transitions in the order of each partition, for one reader. Every method may raise BrokerUnavailable."""

    async def kept(self) -> list[Kept]:
        """Of every partition, as it is now."""

    def seek(self, positions: Sequence[int]) -> None:
        """Read on from there: the offset of the next record of every partition."""

    async def read(self, max_records: int, timeout_s: float) -> list[Crossing]:
        """The next ones; waits until there are any, and returns none after `timeout_s`.

        Raises RecordsGone where a partition does not hold the position (any more); BrokerError for a damaged log.
        """

    async def close(self) -> None:
        """Give files and connections back."""


class TransitionLog(Protocol):
    """Where transitions can be read from, by many readers at once."""

    async def open(self) -> TransitionFeed:
        """A feed of its own. Raises BrokerUnavailable; NoLog where nothing has made it yet."""

    async def close(self) -> None:
        """Feeds are closed before."""


class Courier(Protocol):
    """Takes messages to other services."""

    def send(self, messages: Sequence[Message]) -> None:
        """Send in order and return when all messages are durable where they went.

        A message may be given again after a crash or a failure; whoever receives it knows it by what it holds.
        Raises `BrokerUnavailable` or `StoreUnavailable` (try again), `BrokerError` (it will never be taken).
        """


class Sink(Protocol):
    """Takes transitions out into the world."""

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """Publish in order and return when all entries are durable where they went.

        An entry may be given again after a crash or a failure (same bytes, so the same CloudEvents id);
        it must not count twice. After an exception any part of `entries` may have been published, and the
        whole is given again later.

        Raises `StoreUnavailable` (try again) or `StoreFull` (no room).
        """

    def close(self) -> None:
        """Release files and connections; everything published before is durable already."""


@runtime_checkable
class Carrier(Sink, Courier, Protocol):
    """A sink that is a courier too, and waits once for both."""

    def carry(self, entries: Sequence[OutboxEntry], messages: Sequence[Message]) -> None:
        """As `publish` and `send` at the same time: after an exception any part of both may have arrived."""
