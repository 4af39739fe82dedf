"""One endpoint: takes transitions from the log, sends them, and stores each step of both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from config.errors import BrokerError, Fenced, RecordsGone, StoreError
from streams.adapters.redis_deliveries import Endpoint, Progress, RedisDeliveries, Secrets, Sent, Step, dead_field
from streams.ports import Crossing, Kept, TransitionLog
from streams.runtime.deliveries.pace import Breaker, Delivery, Limits, Pace
from streams.runtime.deliveries.sender import Outcome, Sender
from streams.runtime.deliveries.signing import signed_headers
from streams.runtime.deliveries.waiting import until_something
from streams.runtime.meter import LATENCY_SECONDS, Tally
from streams.runtime.traces import Value
from streams.runtime.wanted_crossings import WantedCrossings, head_of
from streams.runtime.words import printable
from streams.trace_context import TRACEPARENT, of_json

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
READ_RECORDS: Final = 256
_READ_S: Final = 1.0
_AGAIN_S: Final = 1.0
"""After a store or log that does not answer."""

_DELIVERY: Final = msgspec.msgpack.Decoder(Delivery)


@dataclass(slots=True)
class Counts:
    """Of all endpoints of a process."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    missed: int = 0
    since_event: Tally = field(default_factory=lambda: Tally(LATENCY_SECONDS))
    """From the time of the event that a transition came from to its arrival, with all attempts."""
    since_taken: Tally = field(default_factory=lambda: Tally(LATENCY_SECONDS))
    """From when it was read from the log."""

    def arrived(self, delivery: Delivery, now_s: float) -> None:
        """At `now_s`. What silence, models or definitions have made happened at no time that means something."""
        self.delivered += 1
        self.since_taken.add(max(0.0, now_s - delivery.since_s))
        head = head_of(delivery.body)
        if head is not None and head.data.origin == "live":
            self.since_event.add(max(0.0, now_s - head.time.timestamp()))


@dataclass(slots=True)
class Tools:
    """What every endpoint uses."""

    store: RedisDeliveries
    log: TransitionLog
    sender: Sender
    owner: str
    """The name under which this process owns the deliveries."""
    rng: Random
    wall: Callable[[], float]
    """Seconds since 1970 UTC."""
    limits: Limits = field(default_factory=Limits)
    counts: Counts = field(default_factory=Counts)


def headers_of(secrets: Secrets, delivery_id: str, now_s: float, body: bytes) -> Mapping[str, str]:
    """Of one attempt."""
    return {
        **signed_headers(secrets.at(now_s), delivery_id, now_s, body),
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "Tideline",
    }


class EndpointRun:
    """Runs until it is cancelled. Raises Fenced when another process has taken over."""

    def __init__(self, endpoint: Endpoint, tools: Tools) -> None:
        self.endpoint = endpoint
        self.pace = Pace(tools.limits)
        self.has_more_to_redrive = False
        self._is_stopping = False
        self._tools = tools
        self._secrets: Secrets | None = None
        self._progress = Progress()
        """As it is stored, and never further: a step has a copy of its own, and `_store` puts that here."""
        self._storing = asyncio.Lock()
        self._changed = asyncio.Event()
        """There is more to send, or room for more."""

    async def run(self) -> None:
        """Load what is stored, then take in and send, beside each other."""
        await self._load()
        tasks = [asyncio.create_task(self._take_in()), asyncio.create_task(self._send_out())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """`run` ends when what is on its way has come to its end."""
        self._is_stopping = True
        self._changed.set()

    async def refresh(self) -> None:
        """The definition or the secrets may have changed, or dead letters are to be sent again. Raises StoreError."""
        store, id_ = self._tools.store, self.endpoint.id
        self._secrets = await asyncio.to_thread(store.secrets, id_)
        async with self._storing:
            again = await asyncio.to_thread(store.redriven, id_)
            chosen = list(again.items())[: self.pace.room]
            self.has_more_to_redrive = len(chosen) < len(again)
            if chosen:
                progress = replace(self._progress)
                found = [_renewed(_DELIVERY.decode(data), progress) for _, data in chosen]
                await self._store(Step(progress, put=stored_deliveries(found), redriven=[name for name, _ in chosen]))
                self.pace.add(found)
                self._changed.set()

    async def _load(self) -> None:
        store, id_ = self._tools.store, self.endpoint.id
        progress = self._progress = await asyncio.to_thread(store.progress, id_)
        waiting = [_DELIVERY.decode(data) for data in await asyncio.to_thread(store.waiting, id_)]
        self.pace.add(sorted(waiting, key=lambda delivery: delivery.number))
        self.pace.breaker = Breaker(progress.failures_in_a_row, progress.openings, progress.open_until_s)
        await self.refresh()

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _take_in(self) -> None:
        while True:
            try:
                await self._follow()
            except Fenced:
                raise
            except (BrokerError, StoreError) as error:
                _LOG.warning("webhook %s: %s", self.endpoint.id, error, extra={"webhook": self.endpoint.id})
                await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        """Read on for as long as the log can be read."""
        feed = await self._tools.log.open()
        try:
            positions = await self._go_on(await feed.kept())
            feed.seek(positions)
            while True:
                await self._before_reading()
                await self._await_room()
                try:
                    found = await feed.read(min(READ_RECORDS, self.pace.room), _READ_S)
                except RecordsGone:
                    positions = await self._go_on(await feed.kept())
                    feed.seek(positions)
                    continue
                for crossing in found:
                    positions[crossing.partition] = crossing.offset + 1
                await self._take(found, positions)
        finally:
            await feed.close()

    async def _go_on(self, kept: Sequence[Kept]) -> list[int]:
        """Where to read on; what is not kept any more is counted, once."""
        async with self._storing:
            positions, missed = _places(self._progress.positions, kept)
            if missed:
                _LOG.warning("webhook %s: %d transitions are not kept any more", self.endpoint.id, missed)
                total = self._progress.missed + missed
                await self._store(Step(replace(self._progress, positions=list(positions), missed=total)))
                self._tools.counts.missed += missed
        return positions

    async def _await_room(self) -> None:
        while not self.pace.room:
            self._changed.clear()
            await self._changed.wait()

    async def _take(self, crossings: Sequence[Crossing], positions: list[int]) -> None:
        """Store where we are and what waits, in one step."""
        if positions == self._progress.positions:
            return
        async with self._storing:
            progress = replace(self._progress, positions=list(positions))
            found = await self._deliveries(crossings, progress, self._tools.wall())
            step = Step(progress, put=stored_deliveries(found))
            await self._forget(step, crossings)
            await self._store(step)
            self.pace.add(found)
        if found:
            self._changed.set()

    async def _forget(self, step: Step, crossings: Sequence[Crossing]) -> None:
        """Of users who were deleted nothing is kept that is not still to be sent. Raises StoreError."""
        heads = (head_of(crossing.data) for crossing in crossings)
        users = {head.subject for head in heads if head is not None and head.data.origin == "deleted"}
        if not users:
            return
        store, id_ = self._tools.store, self.endpoint.id
        dead = await asyncio.to_thread(store.dead, id_) | await asyncio.to_thread(store.redriven, id_)
        step.forgotten = [name for name, data in dead.items() if _DELIVERY.decode(data).user in users]
        step.forgotten_sent = [sent for sent in await asyncio.to_thread(store.recent, id_) if sent.user in users]

    async def _before_reading(self) -> None:
        """For what else is to be sent."""

    async def _deliveries(self, crossings: Sequence[Crossing], progress: Progress, now_s: float) -> list[Delivery]:
        """What is to be sent of transitions; `progress` gives the numbers."""
        endpoint, found = self.endpoint, []
        wanted = WantedCrossings(
            segments=frozenset(endpoint.segments),
            direction=endpoint.direction,  # type: ignore[arg-type]  # checked when it was made
            origins=frozenset(endpoint.origins),
        )
        for crossing in crossings:
            head = head_of(crossing.data)
            if head is not None and wanted.fits(head) and head.id not in self.pace:
                found.append(Delivery(head.id, head.subject, crossing.data, progress.number, now_s))
                progress.number += 1
        return found

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _send_out(self) -> None:
        flying: dict[asyncio.Task[Outcome], Delivery] = {}
        try:
            while flying or not self._is_stopping:
                self._changed.clear()
                now_s = self._tools.wall()
                for delivery in [] if self._is_stopping else self.pace.start(now_s):
                    flying[asyncio.create_task(self._attempt(delivery))] = delivery
                await until_something(
                    self._changed, flying, inf if self._is_stopping else self.pace.next_s(now_s) - now_s
                )
                done = [(flying.pop(task), task.result()) for task in list(flying) if task.done()]
                if done:
                    await self._settle(done)
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _attempt(self, delivery: Delivery) -> Outcome:
        assert self._secrets is not None, "loaded before anything is sent"
        headers, sender = self._headers(self._secrets, delivery), self._tools.sender
        if sender.traces is None:
            return await sender.post(self.endpoint.url, headers, delivery.body)
        given = {"tideline.webhook": self.endpoint.id, "tideline.transition_id": delivery.id}
        with sender.traces.around("deliver", of_json(delivery.body), "client", given) as span:
            more = {} if span is None else {TRACEPARENT: span.context}
            outcome = await sender.post(self.endpoint.url, {**headers, **more}, delivery.body)
            if span is not None:
                words: dict[str, Value] = {"tideline.attempt": delivery.attempts + 1, "tideline.outcome": outcome.words}
                span.end(None if outcome.is_delivered else outcome.words, words)
            return outcome

    def _headers(self, secrets: Secrets, delivery: Delivery) -> Mapping[str, str]:
        return headers_of(secrets, delivery.id, self._tools.wall(), delivery.body)

    async def _settle(self, done: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Store what came of attempts."""
        async with self._storing:
            step, now_s = Step(replace(self._progress)), self._tools.wall()
            for delivery, outcome in done:
                self._note(step, delivery, outcome, now_s)
            breaker, progress = self.pace.breaker, step.progress
            progress.failures_in_a_row, progress.openings = breaker.failures, breaker.openings
            progress.open_until_s, progress.last_s = breaker.open_until_s, now_s
            await self._store(step)
        self._changed.set()

    def _note(self, step: Step, delivery: Delivery, outcome: Outcome, now_s: float) -> None:
        progress, counts = step.progress, self._tools.counts
        progress.last_words = outcome.words
        if outcome.is_delivered:
            self.pace.arrived(delivery)
            progress.delivered += 1
            counts.arrived(delivery, now_s)
            step.drop.append(delivery.id)
            step.recent.append(Sent(delivery.id, delivery.user, now_s, delivery.attempts + 1, outcome.words))
            if delivery.lists is not None:
                (step.listed if delivery.lists else step.unlisted).append(delivery.user)
            return
        progress.failed += 1
        counts.failed += 1
        if self.pace.failed(delivery, outcome.words, outcome.wait_s, now_s, self._tools.rng):
            progress.dead += 1
            counts.dead += 1
            self._tell_dead(delivery, outcome)
            step.drop.append(delivery.id)
            if delivery.lists is not None:
                progress.differing += 1  # a comparison puts it right; sent again later, it might be old by then
                return
            step.dead[dead_field(delivery.number, delivery.id)] = msgspec.msgpack.encode(delivery)
            return
        step.put[delivery.id] = msgspec.msgpack.encode(delivery)

    def _tell_dead(self, delivery: Delivery, outcome: Outcome) -> None:
        """Who looks for one event finds here where it ended; of whom it is about nothing is said."""
        head = head_of(delivery.body)
        ids = {"webhook": self.endpoint.id, "transition_id": delivery.id, "event_id": head and head.causationid}
        words = "webhook %s: delivery %s is given up after %d attempts: %s"
        _LOG.warning(words, self.endpoint.id, delivery.id, delivery.attempts, printable(outcome.words), extra=ids)

    async def _store(self, step: Step) -> None:
        """Once it is stored, however long that takes: what was sent, and what was read, is known nowhere else.

        To be called while `_storing` is held. Raises Fenced.
        """
        store = self._tools.store
        while True:
            try:
                await asyncio.to_thread(store.step, self._tools.owner, self.endpoint.id, step)
            except Fenced:
                raise
            except StoreError as error:  # one that is full, or cannot write to its disk, takes the step later
                _LOG.warning("webhook %s: %s", self.endpoint.id, error, extra={"webhook": self.endpoint.id})
                await asyncio.sleep(_AGAIN_S)
            else:
                self._progress = step.progress
                return


def _renewed(delivery: Delivery, progress: Progress) -> Delivery:
    """A dead letter as it waits again: behind all others, with all its attempts."""
    delivery.attempts, delivery.due_s, delivery.number = 0, 0.0, progress.number
    progress.number += 1
    return delivery


def _places(stored: Sequence[int] | None, kept: Sequence[Kept]) -> tuple[list[int], int]:
    """Where to read on in a log, and how many records that were to be read it has not kept."""
    if stored is None or len(stored) > len(kept) or any(p > k.end for p, k in zip(stored, kept, strict=False)):
        return [part.begin for part in kept], 0  # the beginning, or a log that was made anew
    places = [*stored, *[0] * (len(kept) - len(stored))]  # partitions were added
    missed = sum(max(0, part.begin - place) for place, part in zip(places, kept, strict=True))
    return [max(place, part.begin) for place, part in zip(places, kept, strict=True)], missed


def stored_deliveries(deliveries: Sequence[Delivery]) -> dict[str, bytes]:
    """As a step puts them."""
    return {delivery.id: msgspec.msgpack.encode(delivery) for delivery in deliveries}
