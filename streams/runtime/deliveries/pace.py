"""What is sent to one endpoint when: retries, the circuit breaker, each user's order. Pure: time and chance come in.

Deliveries of one user go one after another, in order; those of others do not wait for them. After a failure the next
attempt waits for twice as long as the one before, with jitter. After `trip_after` failures in a row the circuit is
open: nothing is sent for a while, then one delivery alone; if that arrives the circuit is closed again, else it is open
for twice as long. So it is after `trip_after_refused` refusals for good without an arrival between them. A delivery
that has failed `attempts` times is dead. Where one call takes several deliveries, what is limited and what the circuit
goes by is calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf
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
    is_alone: bool = False
    """It goes in a call of its own: one with others was refused, and it may be the one that spoils them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How one endpoint is treated."""

    waiting: int = 1_000
    at_once: int = 16
    """Calls on their way."""
    per_call: int = 1
    """Deliveries of one call."""
    attempts: int = 15
    first_pause_s: float = 2.0
    longest_pause_s: float = 3_600.0
    trip_after: int = 5
    trip_after_refused: int = 10
    """Refusals for good. More than `trip_after`: a list may well have that many old addresses beside each other."""
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
    refusals: int = 0
    """For good, in a row: an endpoint that refuses everybody means whoever sends, whatever it says of each."""

    def state(self, now_s: float) -> BreakerState:
        """What holds now."""
        if self.open_until_s is None:
            return "closed"
        return "open" if now_s < self.open_until_s else "half-open"

    def resume(self, refusals: int, limits: Limits) -> None:
        """Go on behind a stop: closed, so that what was mended meanwhile goes at once; but where everybody was refused
        before it, with one delivery alone, as each that is refused is lost.
        """
        self.refusals = refusals
        self.open_until_s = 0.0 if refusals >= limits.trip_after_refused else None

    def arrived(self) -> None:
        """Something did."""
        self.failures = self.refusals = self.openings = 0
        self.open_until_s = None

    def failed(self, now_s: float, limits: Limits, rng: Random) -> None:
        """Something did not; what was on its way when the circuit opened does not open it again."""
        self.failures += 1
        if self.failures >= limits.trip_after:
            self._open(now_s, limits, rng)

    def refused(self, now_s: float, limits: Limits, rng: Random) -> None:
        """One was refused for good."""
        self.refusals += 1
        if self.refusals >= limits.trip_after_refused:
            self._open(now_s, limits, rng)

    def _open(self, now_s: float, limits: Limits, rng: Random) -> None:
        if self.state(now_s) == "open":
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
    _put_off: dict[str, float] = field(default_factory=dict)
    """Id -> not before then, whatever the circuit: nothing of the endpoint is learned by it until then."""

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

    def start(self, now_s: float, calls: int | None = None) -> list[Delivery]:
        """What is to be sent now, in so many calls at most; it is on its way from then on.

        `calls`: None where each delivery is one; then as many as `at_once` leaves.
        """
        found: list[Delivery] = []
        state = self.breaker.state(now_s)
        if state == "half-open" and not self._flying:
            # Of all, the one that has failed least: it may be the delivery that is bad, and not the endpoint.
            fit = [delivery for delivery in self._heads() if self._put_off.get(delivery.id, -inf) <= now_s]
            found = [min(fit, key=lambda delivery: delivery.attempts)] if fit else []
        elif state == "closed":
            due = (delivery for delivery in self._heads() if delivery.due_s <= now_s)
            most = self.limits.at_once - len(self._flying) if calls is None else calls
            found = list(_fitting(due, most, self.limits.per_call))
        for delivery in found:
            self._flying.add(delivery.id)
            self._put_off.pop(delivery.id, None)
        return found

    def arrived(self, delivery: Delivery) -> None:
        """It was taken."""
        self._land(delivery)
        del self._waiting[delivery.id]
        self.breaker.arrived()

    def failed(
        self,
        delivery: Delivery,
        words: str,
        wait_s: float | None,
        now_s: float,
        rng: Random,
        *,
        is_counted: bool = True,
    ) -> bool:
        """It was not. True if it is dead; else it has its next time.

        `is_counted`: the circuit goes by it; False where it was one of a call that has been counted.
        """
        self._land(delivery)
        if is_counted:
            self.breaker.failed(now_s, self.limits, rng)
        delivery.attempts += 1
        delivery.words = words
        if delivery.attempts >= self.limits.attempts:
            del self._waiting[delivery.id]
            return True
        pause_s = min(self.limits.longest_pause_s, self.limits.first_pause_s * 2.0 ** (delivery.attempts - 1))
        delivery.due_s = now_s + max(_jittered(pause_s, rng), 0.0 if wait_s is None else wait_s)
        return False

    def refused(self, delivery: Delivery, words: str, now_s: float, rng: Random, *, is_counted: bool = True) -> None:
        """It was not and never would be: it is dead. One says nothing of the endpoint, many in a row do.

        `is_counted`: the circuit goes by it; False where the endpoint was not asked.
        """
        self._land(delivery)
        if is_counted:
            self.breaker.refused(now_s, self.limits, rng)
        delivery.attempts += 1
        delivery.words = words
        del self._waiting[delivery.id]

    def part(self, delivery: Delivery) -> None:
        """It is sent again in a call of its own, as soon as there is one: the one with others says nothing of it."""
        self._land(delivery)
        delivery.is_alone = True

    def put_off(self, delivery: Delivery, due_s: float) -> None:
        """It is not sent now, for no fault of the endpoint; not as the trial of a half-open circuit either."""
        self._land(delivery)
        delivery.due_s = self._put_off[delivery.id] = due_s

    def drop(self, delivery: Delivery) -> None:
        """It is not sent any more, for no fault of the endpoint; one on its way is let go."""
        self._flying.discard(delivery.id)
        self._put_off.pop(delivery.id, None)
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
            if self._flying:
                return inf
            first_s = min((self._put_off.get(delivery.id, -inf) for delivery in self._heads()), default=inf)
            return max(now_s, self.breaker.open_until_s or now_s, first_s)
        if len(self._flying) >= self.limits.at_once * self.limits.per_call:
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


def _fitting(deliveries: Iterable[Delivery], calls: int, per_call: int) -> Iterator[Delivery]:
    """As many, in their order, as go in so many calls."""
    alone = together = 0
    for delivery in deliveries:
        alone, together = alone + delivery.is_alone, together + (not delivery.is_alone)
        if alone + ceil(together / per_call) > calls:
            return
        yield delivery


def _jittered(pause_s: float, rng: Random) -> float:
    """Half of it for certain: a crowd that failed together does not come back together."""
    return pause_s * (0.5 + 0.5 * rng.random())
