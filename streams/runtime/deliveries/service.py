"""The service of deliveries: one process owns all endpoints, others stand by and take over."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from random import Random
from typing import Final

from config.errors import Fenced, NotStored, StoreError, StoreFull, StoreUnavailable
from streams.adapters.redis_deliveries import Endpoint, RedisDeliveries
from streams.ports import TransitionLog
from streams.runtime.deliveries.audience import AudienceRun, Members
from streams.runtime.deliveries.endpoint_run import Counts, EndpointRun, Tools
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.waiting import is_set_within

_LOG: Final = logging.getLogger(__name__)
LEASE_S: Final = 10.0
LOOK_S: Final = 0.5
"""So often is looked for changes of endpoints, and for a lease that is free."""


class DeliveryService:
    """Deliver until `stop`."""

    def __init__(
        self,
        store: RedisDeliveries,
        log: TransitionLog,
        sender: Sender,
        *,
        members: Members,
        limits: Limits | None = None,
        rng: Random | None = None,
        wall: Callable[[], float] = time.time,
        lease_s: float = LEASE_S,
    ) -> None:
        self._tools = Tools(
            store,
            log,
            sender,
            secrets.token_hex(8),
            rng or Random(secrets.randbits(64)),  # noqa: S311  it spreads retries
            wall,
            limits or Limits(),
        )
        self._members = members
        self._lease_s = lease_s
        self._stopping = asyncio.Event()
        self._runs: dict[str, tuple[EndpointRun, asyncio.Task[None]]] = {}
        self.is_owner = False
        self.answered_s: float | None = None
        """When the store answered last (monotonic clock)."""

    @property
    def counts(self) -> Counts:
        """What came of all attempts since the start."""
        return self._tools.counts

    def waiting(self) -> int:
        """Deliveries that wait, of all endpoints."""
        return sum(run.pace.waiting for run, _ in self._runs.values())

    def open_circuits(self) -> int:
        """Endpoints to which nothing is sent at the moment."""
        now_s = self._tools.wall()
        return sum(run.pace.breaker.state(now_s) != "closed" for run, _ in self._runs.values())

    def stop(self) -> None:
        """End soon; what is on its way is sent again by whoever goes on."""
        self._stopping.set()

    async def run(self) -> None:
        """Own the deliveries whenever nobody else does. Raises StoreError for a store that has never let this in."""
        while not self._stopping.is_set():
            try:
                await self._own()
            except Fenced as error:
                _LOG.warning("%s", error)
            except StoreError as error:
                # Once it has answered, an operator is at work there; what is stored is gone on from afterwards.
                if self.answered_s is None and not isinstance(error, StoreUnavailable | StoreFull):
                    raise
                _LOG.warning("%s", error)
                await is_set_within(self._stopping, 1.0)
            finally:
                self.is_owner = False
                await self._end(list(self._runs))

    async def _own(self) -> None:
        store, owner, version = self._tools.store, self._tools.owner, -1
        while not await asyncio.to_thread(store.claim, owner, self._lease_s):
            self.answered_s = time.monotonic()
            if await is_set_within(self._stopping, LOOK_S):
                return
        self.is_owner = True
        try:
            while True:
                self.answered_s = time.monotonic()
                if not await asyncio.to_thread(store.claim, owner, self._lease_s):
                    raise Fenced("another process has taken over the deliveries")
                version = await self._look(version)
                if await is_set_within(self._stopping, LOOK_S):
                    break
            await self._finish()
        finally:
            await self._end(list(self._runs))
        await asyncio.to_thread(store.release, owner)

    async def _look(self, version: int) -> int:
        """Start, end and refresh endpoints as they are defined now."""
        for run, task in self._runs.values():
            if task.done():
                _raise(task, run)
            if run.has_more_to_redrive:
                await run.refresh()
        found = await asyncio.to_thread(self._tools.store.version)
        if found == version:
            return version
        endpoints = await asyncio.to_thread(self._tools.store.all)
        live = {endpoint.id: endpoint for endpoint in endpoints if endpoint.archived_s is None}
        await self._end([id_ for id_ in self._runs if id_ not in live])
        for id_, endpoint in live.items():
            if id_ in self._runs:
                run = self._runs[id_][0]
                run.endpoint = endpoint
                try:
                    await run.refresh()
                except NotStored:
                    found = version  # archived at this very moment: look again
            else:
                run = EndpointRun(endpoint, self._tools) if endpoint.audience is None else self._audience_run(endpoint)
                self._runs[id_] = run, asyncio.create_task(run.run())
        return found

    def _audience_run(self, endpoint: Endpoint) -> AudienceRun:
        return AudienceRun(endpoint, self._tools, self._members)

    async def _finish(self) -> None:
        """Nothing more is sent, and what is on its way comes to its end, for as long as the lease holds."""
        for run, _ in self._runs.values():
            run.stop()
        if self._runs:
            await asyncio.wait([task for _, task in self._runs.values()], timeout=0.8 * self._lease_s)

    async def _end(self, ids: list[str]) -> None:
        tasks = [self._runs.pop(id_)[1] for id_ in ids]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _raise(task: asyncio.Task[None], run: EndpointRun) -> None:
    """What an endpoint has failed by, as itself."""
    error = task.exception()
    if isinstance(error, NotStored):
        return  # archived at this very moment
    raise error or RuntimeError(f"webhook {run.endpoint.id} has ended")
