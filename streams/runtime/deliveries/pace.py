"""What is sent to one endpoint when: retries, the circuit breaker, each user's order. Pure: time and chance come in.

Deliveries of one user go one after another, in order; those of others do not wait for them. After a failure the next
attempt waits for twice as long as the one before, with jitter. After `trip_after` failures in a row the circuit is
open: nothing is sent for a while, then one delivery alone; if that arrives the circuit is closed again, else it is open
for twice as long. A delivery that has failed `attempts` times is dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from random import Random
from typing import Literal

import msgspec

BreakerState = Literal["closed", "open", "half-open"]


class Delivery(msgspec.Struct):
    """One message for one endpoint, as it waits. Times are seconds since 1970 UTC."""

    id: str
    """The same at every attempt, and for ever."""
    user: str
    body: bytes
    number: int
    """Deliveries of an endpoint in their order."""
    since_s: float
    attempts: int = 0
    due_s: float = 0.0
    words: str = ""
    """What came of the last attempt."""
    lists: bool | None = None
    """Of an audience: whether the user is on the list when this has arrived."""
    expires_s: float = inf
    """Of a message: from then on it is not sent any more."""
    is_marked: bool = False
    """Of a message to somebody who knows no ids: an attempt was begun, and its end is not known."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How one endpoint is treated."""

    waiting: int = 1_000
    at_once: int = 16
    attempts: int = 15
    first_pause_s: float = 2.0
    longest_pause_s: float = 3_600.0
    trip_after: int = 5
    first_open_s: float = 10.0
    longest_open_s: float = 600.0


@dataclass(slots=True)
class Breaker:
    """Whether anything is sent at all."""

    failures: int = 0
    """In a row."""
    openings: int = 0
    """Without an arrival between them."""
    open_until_s: float | None = None

    def state(self, now_s: float) -> BreakerState:
        """What holds now."""
        if self.open_until_s is None:
            return "closed"
        return "open" if now_s < self.open_until_s else "half-open"

    def arrived(self) -> None:
        """Something did."""
        self.failures = self.openings = 0
        self.open_until_s = None

    def failed(self, now_s: float, limits: Limits, rng: Random) -> None:
        """Something did not; what was on its way when the circuit opened does not open it again."""
        self.failures += 1
        if self.failures < limits.trip_after or self.state(now_s) == "open":
            return
        pause_s = min(limits.longest_open_s, limits.first_open_s * 2.0**self.openings)
        self.openings = min(self.openings + 1, 30)
        self.open_until_s = now_s + _jittered(pause_s, rng)


@dataclass(slots=True)
class Pace:
    """The deliveries of one endpoint that wait or are on their way."""

    limits: Limits
    breaker: Breaker = field(default_factory=Breaker)
    _waiting: dict[str, Delivery] = field(default_factory=dict)
    """In the order of their numbers."""
    _flying: set[str] = field(default_factory=set)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """More of them, with higher numbers than all before. One that waits already is left as it is."""
        for delivery in deliveries:
            self._waiting.setdefault(delivery.id, delivery)

    @property
    def room(self) -> int:
        """For so many more."""
        return max(0, self.limits.waiting - len(self._waiting))

    @property
    def waiting(self) -> int:
        """How many there are, those on their way among them."""
        return len(self._waiting)

    def __contains__(self, delivery_id: str) -> bool:
        return delivery_id in self._waiting

    def latest(self) -> dict[str, Delivery]:
        """Of each user the last delivery that waits."""
        return {delivery.user: delivery for delivery in self._waiting.values()}

    def start(self, now_s: float) -> list[Delivery]:
        """What is to be sent now; it is on its way from then on."""
        found: list[Delivery] = []
        state = self.breaker.state(now_s)
        if state == "half-open" and not self._flying and self._waiting:
            # Of all, the one that has failed least: it may be the delivery that is bad, and not the endpoint.
            found = [min(self._heads(), key=lambda delivery: delivery.attempts)]
        elif state == "closed":
            due = (delivery for delivery in self._heads() if delivery.due_s <= now_s)
            found = list(islice(due, self.limits.at_once - len(self._flying)))
        self._flying.update(delivery.id for delivery in found)
        return found

    def arrived(self, delivery: Delivery) -> None:
        """It was taken."""
        self._land(delivery)
        del self._waiting[delivery.id]
        self.breaker.arrived()

    def failed(self, delivery: Delivery, words: str, wait_s: float | None, now_s: float, rng: Random) -> bool:
        """It was not. True if it is dead; else it has its next time."""
        self._land(delivery)
        self.breaker.failed(now_s, self.limits, rng)
        delivery.attempts += 1
        delivery.words = words
        if delivery.attempts >= self.limits.attempts:
            del self._waiting[delivery.id]
            return True
        pause_s = min(self.limits.longest_pause_s, self.limits.first_pause_s * 2.0 ** (delivery.attempts - 1))
        delivery.due_s = now_s + max(_jittered(pause_s, rng), 0.0 if wait_s is None else wait_s)
        return False

    def put_off(self, delivery: Delivery, due_s: float) -> None:
        """It is not sent now, for no fault of the endpoint."""
        self._land(delivery)
        delivery.due_s = due_s

    def drop(self, delivery: Delivery) -> None:
        """It is not sent any more, for no fault of the endpoint; one on its way is let go."""
        self._flying.discard(delivery.id)
        del self._waiting[delivery.id]

    def of_user(self, user: str) -> list[Delivery]:
        """What waits of a user, in order, and what is on its way."""
        return [delivery for delivery in self._waiting.values() if delivery.user == user]

    def _land(self, delivery: Delivery) -> None:
        self._flying.remove(delivery.id)

    def next_s(self, now_s: float) -> float:
        """When something may be started without anything else happening; infinity if that is never."""
        state = self.breaker.state(now_s)
        if state != "closed":
            is_taken = bool(self._flying) or not self._waiting
            return inf if is_taken else max(now_s, self.breaker.open_until_s or now_s)
        if len(self._flying) >= self.limits.at_once:
            return inf
        return min((delivery.due_s for delivery in self._heads()), default=inf)

    def _heads(self) -> Iterator[Delivery]:
        """Of each user the first one, if it is not on its way."""
        seen: set[str] = set()
        for delivery in self._waiting.values():
            if delivery.user not in seen:
                seen.add(delivery.user)
                if delivery.id not in self._flying:
                    yield delivery


def _jittered(pause_s: float, rng: Random) -> float:
    """Half of it for certain: a crowd that failed together does not come back together."""
    return pause_s * (0.5 + 0.5 * rng.random())
