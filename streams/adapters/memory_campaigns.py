"""Campaigns kept in memory: for tests, dry runs and the simulator. It says exactly what a store has to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from config.errors import Fenced
from streams.campaigns.allowance import Grants, new_grant
from streams.campaigns.ports import CampaignStore, Claim, Commit, Due, Seen, queue_order
from streams.campaigns.state import Book, unpack_book


@dataclass
class Partition:
    """Of one partition, as it is kept."""

    epoch: int = 0
    number: int = 0
    generation: int = 0
    position: bytes | None = None
    state: bytes | None = None
    rows: dict[str, tuple[bytes, Due]] = field(default_factory=dict)
    profiles: dict[str, bytes] = field(default_factory=dict)
    books: dict[str, bytes] = field(default_factory=dict)
    outbox: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass
class Granted:
    """Of one resource."""

    limit: int
    until_s: float
    of: dict[tuple[int, str], int] = field(default_factory=dict)
    """(Partition, generation) -> grant."""


class MemoryCampaigns(CampaignStore):
    """See `CampaignStore`."""

    def __init__(self) -> None:
        self._partitions: dict[int, Partition] = {}
        self.granted: dict[str, Granted] = {}

    def claim(self, partition: int, seen: Seen | None = None) -> Claim:
        """See the port. Memory itself is set back by `set_back` alone, which changes the generation."""
        found = self._partitions.setdefault(partition, Partition())
        found.epoch += 1
        if seen is not None and seen.generation == f"g{found.generation}" and found.number < seen.number:
            found.generation += 1
        return Claim(partition, found.epoch, found.number, f"g{found.generation}", found.position)

    def state(self, claim: Claim) -> bytes | None:
        return self._owned(claim).state

    def books(self, claim: Claim) -> Mapping[str, bytes]:
        return dict(self._owned(claim).books)

    def rows(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        rows = self._owned(claim).rows
        return {user: rows[user][0] for user in users if user in rows}

    def profiles(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        profiles = self._owned(claim).profiles
        return {user: profiles[user] for user in users if user in profiles}

    def due(self, claim: Claim, until_s: float, limit: int) -> list[str]:
        rows = self._owned(claim).rows
        found = sorted((due.next_s, user) for user, (_, due) in rows.items() if due.next_s <= until_s < inf)
        return [user for _, user in found[:limit]]

    def queued(self, claim: Claim, queue: str, limit: int) -> list[str]:
        rows = self._owned(claim).rows
        waiting = [(user, due.queued[queue]) for user, (_, due) in rows.items() if queue in due.queued]
        return [user for user, _ in sorted(waiting, key=lambda each: queue_order(queue, *each))[:limit]]

    def queues(self, claim: Claim, names: Iterable[str]) -> list[str]:
        stood = {name for _, due in self._owned(claim).rows.values() for name in due.queued}
        return [name for name in names if name in stood]

    def commit(self, claim: Claim, commit: Commit) -> None:
        found = self._owned(claim)
        if commit.number == found.number:
            return  # its reply was lost
        if commit.number != found.number + 1:
            raise Fenced(f"commit {commit.number} after {found.number}")
        found.number, found.position, found.state = commit.number, commit.position, commit.state
        for user in commit.rows_removed:
            found.rows.pop(user, None)
        found.rows |= commit.rows
        for user in commit.profiles_removed:
            found.profiles.pop(user, None)
        found.profiles |= commit.profiles
        for campaign in commit.books_removed:
            found.books.pop(campaign, None)
        found.books |= commit.books
        found.outbox += [(commit.number, each) for each in commit.outbox]

    def outbox(self, claim: Claim) -> list[tuple[int, bytes]]:
        return list(self._owned(claim).outbox)

    def trim(self, claim: Claim, number: int) -> None:
        found = self._owned(claim)
        found.outbox = [each for each in found.outbox if each[0] > number]

    def grants(self, claim: Claim) -> Grants:
        return _PartitionGrants(self, claim)

    def hours(self, campaigns: Sequence[str]) -> dict[str, list[Mapping[int, int]]]:
        return {id_: [book.hours for book in self.books_of(id_)] for id_ in campaigns}

    def books_of(self, id_: str) -> list[Book]:
        """See `figures.BookReader`."""
        return [unpack_book(each.books[id_]) for each in self._partitions.values() if id_ in each.books]

    def waiting_for_rate(self, id_: str) -> int:
        """See `figures.BookReader`."""
        return sum(id_ in due.queued for each in self._partitions.values() for _, due in each.rows.values())

    def set_back(self, partition: int, to: Partition) -> None:
        """An earlier copy (`copy`) takes the place of a partition, as after a restore; grants stay where they are."""
        now = self._partitions[partition]
        to.epoch, to.generation = now.epoch, now.generation + 1
        self._partitions[partition] = to

    def copy(self, partition: int) -> Partition:
        """A partition as it stands."""
        found = self._partitions[partition]
        return Partition(
            found.epoch,
            found.number,
            found.generation,
            found.position,
            found.state,
            dict(found.rows),
            dict(found.profiles),
            dict(found.books),
            list(found.outbox),
        )

    def check(self, claim: Claim) -> None:
        """Raises Fenced for one that is not the latest."""
        self._owned(claim)

    def _owned(self, claim: Claim) -> Partition:
        found = self._partitions[claim.partition]
        if (claim.epoch, claim.generation) != (found.epoch, f"g{found.generation}"):
            raise Fenced(f"partition {claim.partition} has another owner")
        return found


class _PartitionGrants:
    """See `allowance.Grants`."""

    def __init__(self, store: MemoryCampaigns, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:
        self._store.check(self._claim)
        granted = self._store.granted.setdefault(resource, Granted(limit, until_s))
        granted.limit, granted.until_s = limit, until_s
        mine = granted.of.get(self._key, 0)
        granted.of[self._key] = new_grant(limit, sum(granted.of.values()) - mine, mine, wanted)
        return granted.of[self._key]

    def lower_to(self, resource: str, amount: int) -> None:
        self._store.check(self._claim)
        granted = self._store.granted.get(resource)
        if granted is not None and self._key in granted.of:
            granted.of[self._key] = min(amount, granted.of[self._key])

    @property
    def _key(self) -> tuple[int, str]:
        return self._claim.partition, self._claim.generation
