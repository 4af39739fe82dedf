"""One channel at work: takes messages in, delivers them, and stores each step of both. Each channel has its own run, so
one whose other side is dead holds up nobody else.

A store or log that is away is waited for, however long that takes: what was sent is known nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random
from typing import Final, Protocol, TypeVar

from config.errors import BrokerError, Fenced, StoreError
from streams.campaigns.effects import Note, Purge, Send, dropped
from streams.campaigns.question import Wait, Withhold
from streams.runtime.channels.desk import Desk, Step, Taken, calls_of, send_of
from streams.runtime.channels.latency import Latency, arrived
from streams.runtime.channels.parcel import Channel, Parcel
from streams.runtime.channels.traced import traced_parcels
from streams.runtime.deliveries.pace import Delivery, Limits, Pace
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.deliveries.waiting import until_something
from streams.runtime.traces import Traces

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
AGAIN_S: Final = 1.0
"""After a store or log that does not answer."""
Recheck = Callable[[Sequence[Send], str], Awaitable[Sequence[Withhold | Wait | None]]]
"""Of late messages and a channel: what speaks against each (`campaigns.recheck`), by facts of now. StoreError."""
Tell = Callable[[Sequence[Note]], Awaitable[None]]
"""Puts notes into the log of events, and returns when they are acknowledged. Raises BrokerError."""


class DeskStore(Protocol):
    """Where a channel keeps what it has taken in. Raises StoreUnavailable, and Fenced for who is not the owner."""

    async def load(self, channel: str) -> tuple[Taken, list[Delivery]]:
        """What was stored last; deliveries in the order of their numbers."""

    async def known(self, channel: str, ids: Collection[str]) -> set[str]:
        """Which of these were taken in, and have not expired."""

    async def asked(self, channel: str) -> Mapping[str, Delivery]:
        """What people want sent (again), by its names, the oldest first."""

    async def step(self, channel: str, taken: Taken, step: Step) -> None:
        """All of it or nothing. Making it twice is the same as making it once."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What runs share."""

    store: DeskStore
    recheck: Recheck
    tell: Tell
    wall: Callable[[], float]
    rng: Random
    limits: Limits
    """`at_once` in calls; how many messages one takes is the channel's."""
    traces: Traces | None = None
    """None where they are off."""


class ChannelRun:
    """See the module. Use it in one event loop; `open` first."""

    def __init__(self, id_: str, channel: Channel, tools: Tools) -> None:
        self.id = id_
        self._channel = channel
        self._tools = tools
        self.latency = Latency()
        self._storing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_stopping = False
        self.is_open = False
        """Whether what is stored was loaded."""
        self.has_more_asked = False
        """Whether more was asked for than there was room for."""
        self.desk = self._new_desk(Taken())

    async def open(self) -> None:
        """Go on with what is stored."""
        async with self._storing:
            taken, deliveries = await self._patiently(partial(self._tools.store.load, self.id))
            self.desk = self._new_desk(taken)
            await self._store(self.desk.load(deliveries))
        self.is_open = True

    async def take(self, found: Sequence[Send | Purge], places: Mapping[int, int] | None = None) -> None:
        """Take in what campaigns put out; when this returns it is stored.

        `places`: where to read on behind it, for the partitions of the log that were read.
        """
        async with self._storing:
            wanted = [each.id for each in found if isinstance(each, Send) and self.id in each.channels]
            known = await self._patiently(partial(self._tools.store.known, self.id, wanted))
            self.desk.taken.places |= places or {}
            await self._store(self.desk.take_in(found, known))
        self._changed.set()

    async def take_asked(self) -> None:
        """Take in what people want sent (again), as far as there is room; when this returns it is stored."""
        async with self._storing:
            asked = await self._patiently(partial(self._tools.store.asked, self.id))
            chosen = dict(list(asked.items())[: self.desk.pace.room])
            self.has_more_asked = len(chosen) < len(asked)
            if chosen:
                await self._store(self.desk.take_asked(chosen))
        self._changed.set()

    async def await_room(self) -> int:
        """Until something can be taken in, and how much."""
        while not self.desk.pace.room:
            self._has_room.clear()
            await self._has_room.wait()
        return self.desk.pace.room

    @property
    def places(self) -> Mapping[int, int]:
        """Where to read on in the partitions of the log."""
        return self.desk.taken.places

    def missed(self, count: int) -> None:
        """So many records of the log were not kept long enough; stored with what is taken in next."""
        self.desk.taken.count("missed", count)

    def stop(self) -> None:
        """Begin nothing more; `run` ends when what is on its way has ended."""
        self._is_stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Deliver until `stop`."""
        flying: dict[asyncio.Task[list[Outcome]], list[Delivery]] = {}
        try:
            while flying or not self._is_stopping:
                self._changed.clear()
                now_s = self._tools.wall()
                free = 0 if self._is_stopping else self._tools.limits.at_once - len(flying)
                for call in await self._begin(now_s, free) if free else []:
                    parcels = [Parcel.of(send_of(delivery), self.id) for delivery in call]
                    flying[asyncio.create_task(self._deliver(parcels))] = call
                    free -= 1
                await until_something(self._changed, flying, self.desk.pace.next_s(now_s) - now_s if free else inf)
                for task in [task for task in flying if task.done()]:
                    await self._settle(flying.pop(task), task.result())
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        traces = self._tools.traces
        if traces is None:
            return await self._channel.deliver(parcels)
        with traced_parcels(traces, self.id, parcels) as traced:
            outcomes = await self._channel.deliver(traced.parcels)
            traced.end(outcomes)
            return outcomes

    def _new_desk(self, taken: Taken) -> Desk:
        limits = replace(self._tools.limits, per_call=self._channel.at_once)
        return Desk(self.id, Pace(limits), taken, knows_ids=self._channel.knows_ids)

    async def _begin(self, now_s: float, calls: int) -> list[list[Delivery]]:
        """What is to be attempted now, in so many calls at most; all that has to be stored before is."""
        async with self._storing:
            batch, step = self.desk.start(now_s, calls)
            late = [send_of(delivery) for delivery in batch.late]
            verdicts = await self._patiently(partial(self._tools.recheck, late, self.id)) if late else []
            ready, notes = batch.ready, [dropped(send_of(each), self.id, "stale", now_s) for each in batch.expired]
            for delivery, send, verdict in zip(batch.late, late, verdicts, strict=True):
                if verdict is None:
                    self.desk.admit(step, delivery)
                    ready.append(delivery)
                elif isinstance(verdict, Wait):
                    self.desk.put_off(step, delivery, verdict.due_s)
                else:
                    self.desk.refuse(step, delivery, verdict.reason)
                    notes.append(dropped(send, self.id, verdict.reason, now_s))
            if notes:
                # Before it is stored that there is nothing more to tell.
                await self._patiently(partial(self._tools.tell, notes))
            if step != Step():
                await self._store(step)
        return calls_of(ready, self._channel.at_once)

    async def _settle(self, call: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        async with self._storing:
            step, now_s = Step(), self._tools.wall()
            self.desk.settle_call(step, call, outcomes, now_s, self._tools.rng)
            await self._store(step)
            self.latency.add(arrived(call, outcomes), now_s)
        self._changed.set()

    async def _store(self, step: Step) -> None:
        await self._patiently(partial(self._tools.store.step, self.id, self.desk.taken, step))
        if step.drop:
            self._has_room.set()

    async def _patiently(self, asking: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. Raises Fenced."""
        while True:
            try:
                return await asking()
            except Fenced:
                raise
            except (StoreError, BrokerError) as error:
                _LOG.warning("channel %s: %s", self.id, error)
                await asyncio.sleep(AGAIN_S)
