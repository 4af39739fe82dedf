"""What one channel has taken in, and what becomes of it. Pure: whoever runs it stores each step before it goes on.

1. `take_in`: messages, each once, and deletions, in the order in which they were put out; stored with how far was read.
2. `start`: what is to be attempted now. What has expired is over; what is late is to be looked at again (`recheck`).
3. For receivers that know no ids, the marks of `start` are stored before the attempt.
4. `settle`: what came of attempts.

After a stop `load` goes on with what is stored. A marked delivery may have arrived: it is *unknown*, for a person to
decide, and not made again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Final, Literal

import msgspec

from streams.campaigns.effects import TEST, Purge, Send
from streams.campaigns.recheck import needs_recheck
from streams.runtime.deliveries.pace import Delivery, Pace
from streams.runtime.deliveries.sender import Outcome

_SEND: Final = msgspec.msgpack.Decoder(Send)
_ONE_MAY_SPOIL: Final = (400, 413, 422)
"""Answers to a call that may be about one of several in it."""
Fate = Literal["arrived", "again", "dead", "unknown"]


class Failure(msgspec.Struct, frozen=True):
    """The last attempt, which has failed. Times are seconds since 1970 UTC."""

    user: str
    """Whose message it was. What came of it may name them, and goes with them."""
    words: str
    """What came of it."""
    at_s: float
    next_s: float | None
    """The next attempt is not before; None: nothing waits for one."""
    open_until_s: float | None
    """The circuit is open until then; None: it is closed."""


class Taken(msgspec.Struct):
    """How far a channel has read. Stored in the same step as what it took."""

    numbers: dict[int, tuple[str, int]] = {}
    """Partition of campaigns -> generation, and the last number in it."""
    order: int = 0
    """Of the next delivery."""
    counts: dict[str, int] = {}
    """arrived, failed, dead, unknown, repeated, purged, missed, and reasons of what was dropped."""
    places: dict[int, int] = {}
    """Partition of the log of messages -> offset of the next record. Numbers say what is news, wherever it is read."""
    failure: Failure | None = None
    """None: the last attempt has arrived, or there was none."""
    refusals: int = 0
    """For good, in a row (`Breaker.refusals`): a stop must not give a server that refuses everybody more to refuse."""

    def count(self, what: str, by: int = 1) -> None:
        """So many more."""
        self.counts[what] = self.counts.get(what, 0) + by


@dataclass(slots=True)
class Step:
    """What is stored in one atomic step, beside `Taken`."""

    put: list[Delivery] = field(default_factory=list)
    drop: list[Delivery] = field(default_factory=list)
    ids: dict[str, float] = field(default_factory=dict)
    """Message id -> until when it is kept: one that comes again is known by it."""
    purged: list[str] = field(default_factory=list)
    """Users of whom dead and unknown deliveries go, too."""
    dead: list[Delivery] = field(default_factory=list)
    """Given up after so many attempts; a person may send them again."""
    unknown: list[Delivery] = field(default_factory=list)
    """May have arrived; a person decides."""
    asked: list[str] = field(default_factory=list)
    """Names of what people have asked for, and what waits from now on."""


@dataclass(slots=True)
class Batch:
    """What `start` found."""

    ready: list[Delivery] = field(default_factory=list)
    """To be attempted; they are on their way in the pace."""
    late: list[Delivery] = field(default_factory=list)
    """Likewise, once `recheck` has found nothing against it; else `Desk.refuse` or `Desk.put_off`."""
    expired: list[Delivery] = field(default_factory=list)
    """Not attempted any more, which is to be told before the step is stored. Without tests: nobody waits for those."""


class Desk:
    """See the module."""

    def __init__(self, channel: str, pace: Pace, taken: Taken, *, knows_ids: bool) -> None:
        self.channel = channel
        self.pace = pace
        self.taken = taken
        self._knows_ids = knows_ids

    def load(self, stored: Iterable[Delivery]) -> Step:
        """Go on with what is stored, in the order of numbers."""
        step = Step()
        for delivery in stored:
            if delivery.is_marked and not self._knows_ids:
                self._end(step, delivery, "unknown", "a stop in the middle of the attempt")
            else:
                self.pace.add([delivery])
        self.pace.breaker.resume(self.taken.refusals, self.pace.limits)
        if self.taken.failure is not None:
            next_s = max(self.taken.failure.at_s, self.pace.next_s(0.0))  # at once: whenever it begins anew
            self.taken.failure = msgspec.structs.replace(
                self.taken.failure, next_s=next_s if next_s < inf else None, open_until_s=None
            )
        return step

    def take_in(self, found: Sequence[Send | Purge], known_ids: Collection[str]) -> Step:
        """Messages and deletions. `known_ids`: of the messages, those that were taken in before and are kept still."""
        step, new = Step(), dict[str, Delivery]()
        for each in found:
            generation, number = self.taken.numbers.get(each.partition, ("", 0))
            if each.generation == generation and each.number <= number:
                continue
            self.taken.numbers[each.partition] = each.generation, each.number
            if isinstance(each, Purge):
                self._purge(step, new, each.user)
            elif self.channel in each.channels:
                if each.id in known_ids or each.id in step.ids:
                    self.taken.count("repeated")  # said again, under another generation
                    continue
                step.ids[each.id] = each.expires_s
                new[each.id] = self._delivery(each)
        step.put = list(new.values())
        self.pace.add(step.put)
        return step

    def take_asked(self, asked: Mapping[str, Delivery]) -> Step:
        """What people want sent (again), by its names: behind all others, with all its attempts.

        What waits already is not taken twice.
        """
        step = Step(asked=list(asked))
        for delivery in asked.values():
            if delivery.id in self.pace:
                continue
            delivery.attempts, delivery.due_s, delivery.number = 0, 0.0, self.taken.order
            delivery.is_marked = False
            self.taken.order += 1
            step.put.append(delivery)
        self.pace.add(step.put)
        return step

    def start(self, now_s: float, calls: int | None = None) -> tuple[Batch, Step]:
        """What is to be attempted now, in so many calls (see `Pace.start`); the step is to be stored before that."""
        batch, step = Batch(), Step()
        for delivery in self.pace.start(now_s, calls):
            send = send_of(delivery)
            if now_s >= delivery.expires_s:
                self._drop(step, delivery, "stale")
                if not _is_test(delivery):
                    batch.expired.append(delivery)
            elif needs_recheck(send, now_s):
                batch.late.append(delivery)
            else:
                self._mark(step, delivery)
                batch.ready.append(delivery)
        return batch, step

    def admit(self, step: Step, delivery: Delivery) -> None:
        """A late one that may go all the same."""
        self._mark(step, delivery)

    def refuse(self, step: Step, delivery: Delivery, reason: str) -> None:
        """A late one that should not be delivered any more."""
        self._drop(step, delivery, reason)

    def put_off(self, step: Step, delivery: Delivery, due_s: float) -> None:
        """A late one about which nothing can be said before then."""
        self.pace.put_off(delivery, due_s)
        step.put.append(delivery)

    def settle_call(
        self, step: Step, call: Sequence[Delivery], outcomes: Sequence[Outcome], now_s: float, rng: Random
    ) -> None:
        """What came of a call, outcomes in the order of its deliveries. For the circuit it is one attempt."""
        is_counted = True
        for delivery, outcome in zip(call, outcomes, strict=True):
            if len(call) > 1 and outcome.status in _ONE_MAY_SPOIL:
                self._part(step, delivery)
                continue
            self.settle(step, delivery, outcome, now_s, rng, is_counted=is_counted)
            is_counted &= outcome.is_delivered or outcome.is_final

    def settle(
        self,
        step: Step,
        delivery: Delivery,
        outcome: Outcome,
        now_s: float,
        rng: Random,
        *,
        is_counted: bool = True,
    ) -> Fate:
        """What came of an attempt. One whose user was deleted meanwhile is over, whatever came of it.

        `is_counted`: a failure is one for the circuit.
        """
        if delivery.id not in self.pace:
            return "dead"
        delivery.is_marked = False
        if outcome.is_delivered:
            self.pace.arrived(delivery)
            self._count(delivery, "arrived")
            self.taken.failure, self.taken.refusals = None, 0
            step.drop.append(delivery)
            return "arrived"
        self._count(delivery, "failed")
        if is_dead := outcome.is_final:
            was_asked = outcome.status is not None
            self.pace.refused(delivery, outcome.words, now_s, rng, is_counted=is_counted and was_asked)
        else:
            is_dead = self.pace.failed(delivery, outcome.words, outcome.wait_s, now_s, rng, is_counted=is_counted)
        is_unknown = outcome.is_unknown and not self._knows_ids
        if is_unknown and not is_dead:
            self.pace.drop(delivery)
        self.taken.failure = self._failure(delivery, outcome, now_s, is_over=is_dead or is_unknown)
        self.taken.refusals = self.pace.breaker.refusals
        if is_unknown:
            self._end(step, delivery, "unknown", outcome.words)
            return "unknown"
        if is_dead:
            self._end(step, delivery, "dead", outcome.words)
            return "dead"
        step.put.append(delivery)
        return "again"

    # --- parts -------------------------------------------------------------------------------------------------------

    def _part(self, step: Step, delivery: Delivery) -> None:
        """It was refused together with others, and goes alone: whose fault it was is known then."""
        if delivery.id in self.pace:
            self.pace.part(delivery)
            delivery.is_marked = False
            step.put.append(delivery)

    def _failure(self, delivery: Delivery, outcome: Outcome, now_s: float, *, is_over: bool) -> Failure:
        """`is_over`: the delivery is not tried again."""
        open_until_s = self.pace.breaker.open_until_s
        is_open = open_until_s is not None and self.pace.waiting > 0
        due_s = None if is_over else delivery.due_s
        return Failure(delivery.user, outcome.words, now_s, open_until_s if is_open else due_s, open_until_s)

    def _count(self, delivery: Delivery, what: str) -> None:
        if not _is_test(delivery):
            self.taken.count(what)

    def _delivery(self, send: Send) -> Delivery:
        number = self.taken.order
        self.taken.order += 1
        body = msgspec.msgpack.encode(send)
        return Delivery(send.id, send.user, body, number, send.at_s, expires_s=send.expires_s)

    def _purge(self, step: Step, new: dict[str, Delivery], user: str) -> None:
        for delivery in [delivery for delivery in new.values() if delivery.user == user]:
            del new[delivery.id]
            self.taken.count("purged")
        for delivery in self.pace.of_user(user):
            self._drop(step, delivery, "purged")
        step.purged.append(user)
        if self.taken.failure is not None and self.taken.failure.user == user:
            self.taken.failure = None

    def _mark(self, step: Step, delivery: Delivery) -> None:
        if not self._knows_ids:
            delivery.is_marked = True
            step.put.append(delivery)

    def _drop(self, step: Step, delivery: Delivery, reason: str) -> None:
        self.pace.drop(delivery)
        self._count(delivery, reason)
        step.drop.append(delivery)

    def _end(self, step: Step, delivery: Delivery, fate: Literal["dead", "unknown"], words: str) -> None:
        delivery.words = words
        self._count(delivery, fate)
        step.drop.append(delivery)
        (step.dead if fate == "dead" else step.unknown).append(delivery)


def send_of(delivery: Delivery) -> Send:
    """The message of a delivery."""
    return _SEND.decode(delivery.body)


def _is_test(delivery: Delivery) -> bool:
    return delivery.id.startswith(TEST)


def calls_of(deliveries: Sequence[Delivery], at_once: int) -> list[list[Delivery]]:
    """Deliveries in calls of at most so many. Of each user the pace starts one, so no call has two."""
    alone = [[delivery] for delivery in deliveries if delivery.is_alone]
    together = [delivery for delivery in deliveries if not delivery.is_alone]
    return [*(together[at : at + at_once] for at in range(0, len(together), at_once)), *alone]
