"""What all partitions share and must not overspend: budgets, rates, and the volume at which a breaker trips.

A limit is shared out in slices. What a partition may use in all is its *grant*, kept beside those of the others where
all can see it, and raised there in one atomic step: the grants together never exceed the limit. What it has used is in
the partition's own books, stored in the same commit as the messages. A crash between the two wastes nothing, since the
grant is found again; and nothing is ever spent that was not granted.

When the partition's store was set back, it has forgotten what the lost commits used. So a grant belongs to a generation
of that store: those of an earlier one count as used, and are never lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from streams.campaigns.state import Books, Spent, State

SLICES: Final = 64
"""A grant grows by this part of the limit, so that a partition that sends much rarely asks."""
GRACE_S: Final = 300.0
"""What was granted and used is known for so long behind its period: clocks of processes and of the store differ, and
one may be set back."""
IDLE_S: Final = 60.0
"""What was not asked for in so long is given back."""


class Use(NamedTuple):
    """So much of something shared."""

    campaign: str
    resource: str
    limit: int
    amount: int
    until_s: float
    """When its period ends."""


def slice_of(limit: int, partitions: int) -> int:
    """By how much a grant grows at least: small enough that slices which nobody uses are never most of the limit."""
    return max(1, min(limit // SLICES, limit // (4 * partitions)))


def new_grant(limit: int, others: int, mine: int, wanted: int) -> int:
    """What `Grants.raise_to` gives: the wanted grant as far as the others leave room; never less than it was.

    `others`: the sum of all grants but that of this partition and generation.
    """
    return max(mine, min(wanted, limit - others))


class Grants(Protocol):
    """The shared side, for one partition under one epoch and generation of its store.

    Both raise Fenced if a later epoch of the partition has been here, and StoreUnavailable.
    """

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:
        """Raise the grant (`new_grant`) in one atomic step, and return it.

        It may be forgotten at `until_s`. Making it twice is the same as making it once.
        """

    def lower_to(self, resource: str, amount: int) -> None:
        """Give back what is above it, likewise."""


class Allowance:
    """What a partition may still use."""

    def __init__(self, state: State, books: Books, grants: Grants, *, generation: str, partitions: int) -> None:
        self.books = books
        """Of the batch: each has its own."""
        self._grants = grants
        self._partitions = partitions
        self._granted: dict[str, int] = {}
        self._asked_s: dict[str, float] = {}
        self._refused: dict[str, tuple[int, int, float]] = {}
        """Limit, amount and time of the last refusal: nobody is asked again for each of a million users."""
        if state.generation != generation:
            # Whatever it was, it lies in grants of the generation before, which count as used.
            for id_, book in books:
                if book.spent:
                    books.change(id_).spent = {}
            state.generation = generation

    def has(self, use: Use, now_s: float) -> bool:
        """Whether so much can be used; asks for more where the grant is too small."""
        spent = self._spent(use)
        needed = spent + use.amount
        self._asked_s[use.resource] = now_s
        if needed > use.limit:
            return False
        if needed <= self._granted.get(use.resource, 0):
            return True
        limit, amount, at_s = self._refused.get(use.resource, (0, 0, 0.0))
        if limit == use.limit and use.amount >= amount and now_s - at_s < IDLE_S:
            return False
        wanted = min(use.limit, max(needed, spent + slice_of(use.limit, self._partitions)))
        self._granted[use.resource] = self._grants.raise_to(use.resource, use.limit, wanted, use.until_s + GRACE_S)
        if needed <= self._granted[use.resource]:
            return True
        self._refused[use.resource] = (use.limit, use.amount, now_s)
        self._give_back(use.resource, spent)  # too little for this one may be enough for somebody else
        return False

    def room(self, use: Use, now_s: float) -> int:
        """How often it can be used for sure, asking for more if that is not once."""
        if not self.has(use, now_s):
            return 0
        # The limit may have been lowered below what was granted under an earlier one.
        return (min(self._granted[use.resource], use.limit) - self._spent(use)) // use.amount

    def use(self, use: Use) -> None:
        """Use what `has` has found."""
        spent = self.books.change(use.campaign).spent.setdefault(use.resource, Spent(0, use.until_s + GRACE_S))
        spent.amount += use.amount
        assert spent.amount <= self._granted[use.resource], f"more of {use.resource} used than was granted"

    def give_back_idle(self, now_s: float) -> None:
        """Give back what was not asked for in a while. To be called when all that was used is committed."""
        spent = {name: each.amount for _, book in self.books for name, each in book.spent.items()}
        for resource in [name for name, at_s in self._asked_s.items() if now_s - at_s >= IDLE_S]:
            self._give_back(resource, spent.get(resource, 0))
            del self._asked_s[resource]

    def forget_over(self, now_s: float) -> None:
        """Leave out what is over."""
        for id_, book in self.books:
            over = [name for name, spent in book.spent.items() if spent.until_s <= now_s]
            for resource in over:
                del self.books.change(id_).spent[resource]
                self._granted.pop(resource, None)
                self._asked_s.pop(resource, None)
                self._refused.pop(resource, None)

    def _spent(self, use: Use) -> int:
        spent: Mapping[str, Spent] = self.books.of(use.campaign).spent
        return spent[use.resource].amount if use.resource in spent else 0

    def _give_back(self, resource: str, spent: int) -> None:
        if self._granted.get(resource, 0) > spent:
            self._grants.lower_to(resource, spent)
            self._granted[resource] = spent
