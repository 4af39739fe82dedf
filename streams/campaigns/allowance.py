"""What all partitions share and must not overspend: budgets, rates, and the volume at which a breaker trips.

A limit is shared out in slices. What a partition may use in all is its *grant*, kept beside those of the others where
all can see it, and raised there in one atomic step: the grants together never exceed the limit. What it has used is in
the partition's own state, stored in the same commit as the messages. A crash between the two wastes nothing, since the
grant is found again; and nothing is ever spent that was not granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final, Protocol

from streams.campaigns.state import Spent, State

SLICES: Final = 64
"""A grant grows by this part of the limit, so that a partition that sends much rarely asks."""


def new_grant(limit: int, grants: Mapping[int, int], partition: int, wanted: int) -> int:
    """What `Grants.raise_to` gives: the wanted grant as far as the others leave room; never less than it was."""
    others = sum(grant for each, grant in grants.items() if each != partition)
    return max(grants.get(partition, 0), min(wanted, limit - others))


class Grants(Protocol):
    """The shared side, for one partition."""

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:
        """Raise the partition's grant (`new_grant`) in one atomic step, and return it.

        It may be forgotten at `until_s`. Making it twice is the same as making it once. Raises StoreUnavailable.
        """

    def lower_to(self, resource: str, amount: int) -> None:
        """Give back what is above it, likewise. Only the owner of the partition may."""


class Allowance:
    """What a partition may still use."""

    def __init__(self, state: State, grants: Grants) -> None:
        self._state = state
        self._grants = grants
        self._granted: dict[str, int] = {}

    def has(self, resource: str, limit: int, amount: int, until_s: float) -> bool:
        """Whether so much can be used; asks for more where the grant is too small."""
        spent = self._state.spent.get(resource)
        needed = (spent.amount if spent is not None else 0) + amount
        if needed > limit:
            return False
        if needed > self._granted.get(resource, 0):
            wanted = min(limit, needed + ceil(limit / SLICES))
            self._granted[resource] = self._grants.raise_to(resource, limit, wanted, until_s)
        return needed <= self._granted[resource]

    def use(self, resource: str, amount: int, until_s: float) -> None:
        """Use what `has` has found."""
        spent = self._state.spent.setdefault(resource, Spent(0, until_s))
        spent.amount += amount
        assert spent.amount <= self._granted[resource], f"more of {resource} used than was granted"

    def give_back(self) -> None:
        """Give back all that is not used, so that others can have it, or a lowered limit be kept to."""
        for resource, spent in self._state.spent.items():
            self._grants.lower_to(resource, spent.amount)
        self._granted.clear()

    def forget_over(self, now_s: float) -> None:
        """Leave out what is over."""
        for resource in [name for name, spent in self._state.spent.items() if spent.until_s <= now_s]:
            del self._state.spent[resource]
            self._granted.pop(resource, None)
