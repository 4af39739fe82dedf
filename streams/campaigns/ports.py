"""What a service of campaigns needs of others: the store of one partition, and whoever knows the facts of users.

`allowance.Grants` is the third port. Every adapter passes one contract suite (`tests/contract/test_campaign_store.py`);
`adapters/memory_campaigns.py` is the smallest one. The words are those of `streams.ports`: epoch, number, generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streams.campaigns.allowance import Grants
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan
from streams.campaigns.state import Row
from streams.core.chance import digest


class Seen(NamedTuple):
    """A commit that is known, from outside of the store, to have been stored; kept where a set-back does not reach."""

    generation: str
    number: int


class Claim(NamedTuple):
    """The right to write one partition, and where its last commit stood."""

    partition: int
    epoch: int
    """How often it was claimed; everybody before is fenced."""
    number: int
    """Of the last commit; 0: there was none."""
    generation: str
    """Changes when the store was rebuilt or set back."""
    position: bytes | None
    """As the last commit gave it."""
    owner: str = ""
    """Tells claims apart that have one epoch, because the store was set back between them."""


class Due(NamedTuple):
    """When a row is due, and where its user stands in queues: written with the row, so that it can be found by them."""

    next_s: float
    """`Row.next_s()`; infinity is not kept."""
    queued: Mapping[str, float]
    """`Row.queued()`."""

    @classmethod
    def of(cls, row: Row) -> Due:
        """Of a row that is stored."""
        return cls(row.next_s(), row.queued())


def queue_order(queue: str, user: str, since_s: float) -> tuple[float, str]:
    """Who is first in a queue: who has waited longest; of those since the same time, as a hash has it."""
    return since_s, digest("turn", queue, user)


@dataclass(slots=True)
class Commit:
    """All of it is stored, or nothing."""

    number: int
    """The claim's number + 1 for the first, then one more each time."""
    position: bytes
    state: bytes
    rows: Mapping[str, tuple[bytes, Due]] = field(default_factory=dict)
    """User -> row; due time and places in queues of the row before are gone with it."""
    rows_removed: Sequence[str] = ()
    profiles: Mapping[str, bytes] = field(default_factory=dict)
    """User -> what the log says of them (traits, latest times), beside and without a row."""
    profiles_removed: Sequence[str] = ()
    books: Mapping[str, bytes] = field(default_factory=dict)
    """Campaign -> book."""
    books_removed: Sequence[str] = ()
    outbox: Sequence[bytes] = ()
    """What is published behind it, in this order (`effects.Out`); kept until `trim`."""


class CampaignStore(Protocol):
    """Everything that is kept of campaigns. All methods raise StoreUnavailable.

    A write under a claim that is not the latest, or whose number is not the one that follows, raises Fenced and changes
    nothing; so does one after the store was set back.
    """

    def claim(self, partition: int, seen: Seen | None = None) -> Claim:
        """Take the partition over. A new generation if the store was set back.

        It was, if its last commit of the generation comes before the one that was `seen`, or before one that this
        object has made.
        """

    def state(self, claim: Claim) -> bytes | None:
        """As last committed; None before the first commit."""

    def books(self, claim: Claim) -> Mapping[str, bytes]:
        """Of all campaigns."""

    def rows(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        """Of those users that have one, in one round trip."""

    def profiles(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        """Likewise."""

    def due(self, claim: Claim, until_s: float, limit: int) -> list[str]:
        """Users who are due until then (included), by time and then name, at most so many."""

    def queued(self, claim: Claim, queue: str, limit: int) -> list[str]:
        """The first of a queue (`queue_order`), at most so many."""

    def queues(self, claim: Claim, names: Iterable[str]) -> list[str]:
        """Those of the queues in which somebody stands, in one round trip."""

    def commit(self, claim: Claim, commit: Commit) -> None:
        """The one atomic step. Raises Fenced; a commit that is there already (its reply was lost) is no error."""

    def outbox(self, claim: Claim) -> list[tuple[int, bytes]]:
        """What is not known to be published: (number of the commit, data), in order."""

    def trim(self, claim: Claim, number: int) -> None:
        """What commits up to this one put out is published."""

    def grants(self, claim: Claim) -> Grants:
        """The shared side of allowances for this partition, under its epoch and generation."""

    def hours(self, campaigns: Sequence[str]) -> dict[str, list[Mapping[int, int]]]:
        """Campaign -> `Book.hours` from every partition that has a book of it, in one round trip for each partition.

        Reading them may be old by an hour, and fences nobody.
        """


class FactsReader(Protocol):
    """What the store of a shard says of its users. All methods raise StoreUnavailable."""

    def use(self, plan: Plan) -> None:
        """From now on as this plan needs it."""

    def facts(self, users: Sequence[str], as_of_s: float) -> Mapping[str, Facts]:
        """Of every user that is asked for, known or not; what the log alone says (`profiles`) is not in it."""

    def lives_s(self, users: Sequence[str]) -> Mapping[str, float]:
        """Of those that the shard knows: up to when events are of an earlier life, which ended with a deletion."""

    def members(self, segment: str, cursor: str, limit: int) -> tuple[list[str], str]:
        """About so many members of a segment in this shard, and the cursor of the next page; "" at both ends.

        Whoever is in it from beginning to end comes at least once, others perhaps, some twice.
        """
