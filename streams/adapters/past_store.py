"""The port of what several workers share while new definitions learn from the log: who reads, and what was read.

One of them holds a lease and reads. What it has found lies in the store, in parts, until every shard has it. Each
change of hands has a new epoch, and an offer of an earlier epoch is refused: so what is offered later was read later.

`RedisPast` keeps it in the store, `MemoryPast` in memory; both pass one contract suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

LEASE_S: Final = 10.0
"""Another worker takes over when the one that reads has not been heard of for so long."""
OFFER_S: Final = 3_600.0
"""What was read is offered so long; shards that have not joined by then wait for another reading."""
PARTS_S: Final = 4_500.0
"""Parts stay longer than their offer: whoever has begun to load them can end."""
FAILED_S: Final = 86_400.0
"""What could not be read is tried again after so long."""
PART_BYTES: Final = 4 << 20


class Offer(msgspec.Struct, frozen=True):
    """What was read under one catalog."""

    id: str
    catalog: str
    """Its digest."""
    predictions: list[str]
    """For which it was read."""
    offsets: list[int]
    """Of each partition: it is read up to here."""
    parts: dict[str, int]
    """`learner` and `shard-N` -> into so many parts it was cut."""


class Joined(msgspec.Struct, frozen=True, array_like=True):
    """A learner has taken over an offer."""

    offer: str
    version: int
    """Its models have higher ones from then on."""
    begun_s: float = 0.0
    """When the learner began, seconds since 1970 (`PredictionSnapshot.begun_s`)."""


class Board(NamedTuple):
    """What all workers see, as of one moment."""

    holder: str | None
    """Who has the lease."""
    offer: Offer | None
    joined: dict[int, Joined]
    """By partition of the examples: what its learner has taken over last."""
    failed: str | None
    """Digest of a catalog under which the log could not be read."""


class Standing(NamedTuple):
    """What the store holds of a shard: its catalog and what is not complete, None before its first commit."""

    catalog: bytes | None
    since: bytes | None


class PastStore(Protocol):
    """May be used by one thread. Every method raises StoreUnavailable and other StoreErrors."""

    def read(self) -> Board: ...

    def take(self, holder: str) -> int | None:
        """Get or keep the lease: its epoch, None while another one has it. Who had it last keeps the epoch."""

    def release(self, holder: str) -> None:
        """Another one may take it at once."""

    def put(self, offer_id: str, name: str, data: bytes) -> int:
        """Keep something of what is to be offered, or nothing where it fails: into how many parts it was cut."""

    def discard(self, offer_id: str, parts: Mapping[str, int]) -> None:
        """Delete what was put and will not be offered."""

    def get(self, offer: Offer, name: str) -> bytes | None:
        """What was kept under this name; None if it is gone."""

    def offer(self, epoch: int, offer: Offer) -> bool:
        """From now on everybody sees it. False, and nothing is changed, if the epoch is not the latest."""

    def withdraw(self, epoch: int, offer: Offer) -> bool:
        """Nobody sees it any more, and its parts are deleted. False, and nothing is changed, as `offer`."""

    def fail(self, epoch: int, catalog: str) -> bool:
        """From now on everybody knows that the log cannot be read under this catalog. False as `offer`."""

    def joined(self, partition: int, joined: Joined) -> None:
        """A learner has taken over what was offered."""

    def standings(self, shards: int) -> list[Standing]:
        """Of every shard."""

    def deleted(self, shard: int) -> list[tuple[str, bytes]]:
        """Deleted users as the ledger of a shard has them: keyed hash and what is known."""

    def close(self) -> None: ...


def cut(data: bytes) -> Sequence[bytes]:
    """In parts of a bounded size; at least one."""
    return [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)] or [b""]


def names_of(parts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """(name, number) of all parts of an offer."""
    return ((name, number) for name, count in parts.items() for number in range(count))
