"""One channel at work: takes messages in, delivers them, and stores each step of both. Each channel has its own run, so
one whose other side is dead holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Protocol

from streams.campaigns.effects import Note, Purge, Send, dropped
from streams.campaigns.question import Wait, Withhold
from streams.runtime.channels.desk import Desk, Step, Taken, calls_of, send_of
from streams.runtime.channels.parcel import Channel, Parcel
from streams.runtime.deliveries.pace import Delivery, Limits, Pace
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.deliveries.waiting import until_something

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


class ChannelRun:
    """See the module. Use it in one event loop; `open` first."""

    def __init__(self, id_: str, channel: Channel, tools: Tools) -> None:
        self.id = id_
        self._channel = channel
        self._tools = tools
        self._storing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._is_stopping = False
        self.desk = Desk(id_, Pace(tools.limits), Taken(), knows_ids=channel.knows_ids)

    async def open(self) -> None:
        """Go on with what is stored."""
        taken, deliveries = await self._tools.store.load(self.id)
        self.desk = Desk(self.id, Pace(self._tools.limits), taken, knows_ids=self._channel.knows_ids)
        async with self._storing:
            await self._store(self.desk.load(deliveries))

    async def take(self, found: Sequence[Send | Purge]) -> None:
        """Take in what campaigns put out; when this returns it is stored."""
        async with self._storing:
            wanted = [each.id for each in found if isinstance(each, Send) and self.id in each.channels]
            known = await self._tools.store.known(self.id, wanted)
            await self._store(self.desk.take_in(found, known))
        self._changed.set()

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
                for call in [] if self._is_stopping else await self._begin(now_s):
                    parcels = [Parcel.of(send_of(delivery), self.id) for delivery in call]
                    flying[asyncio.create_task(self._channel.deliver(parcels))] = call
                await until_something(
                    self._changed, flying, inf if self._is_stopping else self.desk.pace.next_s(now_s) - now_s
                )
                for task in [task for task in flying if task.done()]:
                    await self._settle(flying.pop(task), task.result())
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _begin(self, now_s: float) -> list[list[Delivery]]:
        """What is to be attempted now, in calls; all that has to be stored before is."""
        async with self._storing:
            batch, step = self.desk.start(now_s)
            late = [send_of(delivery) for delivery in batch.late]
            verdicts = await self._tools.recheck(late, self.id) if late else []
            ready, notes = batch.ready, []
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
                await self._tools.tell(notes)  # before it is stored that there is nothing more to tell
            if step != Step():
                await self._store(step)
        return calls_of(ready, self._channel.at_once)

    async def _settle(self, call: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        async with self._storing:
            step, now_s = Step(), self._tools.wall()
            for delivery, outcome in zip(call, outcomes, strict=True):
                self.desk.settle(step, delivery, outcome, now_s, self._tools.rng)
            await self._store(step)
        self._changed.set()

    async def _store(self, step: Step) -> None:
        await self._tools.store.step(self.id, self.desk.taken, step)
