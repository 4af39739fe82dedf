"""All channels of campaigns: one process owns them, others stand by and take over. Each has a run and a reader.

What is defined of channels (`Messaging`), where they deliver to and what people have asked for is looked at again and
again; a channel of which something has changed comes to the end of what is on its way, and begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from pydantic import ValidationError

from config.campaigns import Messaging
from config.channel_settings import ChannelSettings, read_channel_settings
from config.errors import Fenced, StoreError, StoreFull, StoreUnavailable
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_desks import RedisDesks
from streams.ports import TransitionLog
from streams.runtime.channels.building import ChannelSetUp, Means, build
from streams.runtime.channels.parcel import Channel
from streams.runtime.channels.reading import Reader
from streams.runtime.channels.run import ChannelRun, Recheck, Tell, Tools
from streams.runtime.channels.stored import StoredDesks
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.waiting import is_set_within

_LOG: Final = logging.getLogger(__name__)
LEASE_S: Final = 10.0
LOOK_S: Final = 0.5
"""So often is looked for changes, and for a lease that is free."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What is stored of channels."""

    desks: RedisDesks
    settings: RedisChannels


@dataclass(frozen=True, slots=True)
class Around:
    """What channels need beside their store."""

    log: TransitionLog
    """Of what campaigns put out."""
    messaging: Callable[[], Messaging]
    """What is in force: another object after every change."""
    recheck: Recheck
    tell: Tell
    means: Means
    limits: Limits
    wall: Callable[[], float] = time.time
    lease_s: float = LEASE_S


class _Running:
    """One channel at work."""

    def __init__(self, id_: str, set_up: ChannelSetUp, around: Around, tools: Tools) -> None:
        self.set_up = set_up
        self.channel: Channel = build(set_up, around.means)
        self.run = ChannelRun(id_, self.channel, tools)
        self.reader = Reader(around.log, self.run)
        self.task = asyncio.create_task(self._work(), name=f"channel {id_}")

    async def _work(self) -> None:
        """Until `stop`; what is on its way has ended then. Raises Fenced."""
        await self.run.open()
        await self.run.take_asked()
        reading = asyncio.create_task(self.reader.run())
        working = asyncio.create_task(self.run.run())
        try:
            await asyncio.wait({reading, working}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, working):
                if task.done():
                    task.result()
        finally:
            for task in (reading, working):
                task.cancel()
            await asyncio.gather(reading, working, return_exceptions=True)
            await self.channel.close()


class ChannelService:
    """Deliver until `stop`. For one event loop."""

    def __init__(self, stores: Stores, around: Around) -> None:
        self._stores = stores
        self._around = around
        self._owner = secrets.token_hex(8)
        self._rng = Random(secrets.randbits(64))  # noqa: S311  it spreads retries
        self._stopping = asyncio.Event()
        self._running: dict[str, _Running] = {}
        self.lacking: Mapping[str, str] = {}
        """Channel -> what has to be set before anything leaves by it."""
        self.is_owner = False
        self.answered_s: float | None = None
        """When the store answered last (monotonic clock)."""

    @property
    def runs(self) -> Mapping[str, ChannelRun]:
        """Of the channels that are at work here."""
        return {id_: running.run for id_, running in self._running.items()}

    @property
    def unread(self) -> Mapping[str, int]:
        """Channel -> records of the log that are not taken in."""
        return {id_: running.reader.unread for id_, running in self._running.items()}

    def stop(self) -> None:
        """End soon; what is on its way comes to its end."""
        self._stopping.set()

    async def run(self) -> None:
        """Own the channels whenever nobody else does. Raises StoreError for a store that has never let this in."""
        while not self._stopping.is_set():
            try:
                await self._own()
            except Fenced as error:
                _LOG.warning("%s", error)
            except StoreError as error:
                # Once it has answered, an operator is at work there; what is stored is gone on from afterwards.
                if self.answered_s is None and not isinstance(error, StoreUnavailable | StoreFull):
                    raise
                _LOG.warning("channels of campaigns: %s", error)
                await is_set_within(self._stopping, 1.0)
            finally:
                self.is_owner = False
                await self._end(list(self._running), within_s=0.0)

    # --- parts -------------------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        desks, lease_s = self._stores.desks, self._around.lease_s
        while not await asyncio.to_thread(desks.claim, self._owner, lease_s):
            self.answered_s = time.monotonic()
            if await is_set_within(self._stopping, LOOK_S):
                return
        self.is_owner = True
        seen: tuple[int, Messaging] | None = None
        while True:
            self.answered_s = time.monotonic()
            if not await asyncio.to_thread(desks.claim, self._owner, lease_s):
                raise Fenced("another process has taken over the channels of campaigns")
            seen = await self._look(seen)
            if await is_set_within(self._stopping, LOOK_S):
                break
        await self._end(list(self._running), within_s=0.8 * lease_s)
        await asyncio.to_thread(desks.release, self._owner)

    async def _look(self, seen: tuple[int, Messaging] | None) -> tuple[int, Messaging]:
        """Start and end channels as they are now, and take in what people have asked for."""
        for running in self._running.values():
            if running.task.done():
                running.task.result()
                raise RuntimeError(f"channel {running.run.id} has ended")
        version = await asyncio.to_thread(self._stores.desks.version)
        messaging = self._around.messaging()
        is_news = seen is None or seen[0] != version or seen[1] is not messaging
        if is_news:
            await self._use(await asyncio.to_thread(self._set_ups, messaging))
        for running in self._running.values():
            if running.run.has_more_asked or (is_news and running.run.is_open):
                await running.run.take_asked()
        return version, messaging

    def _set_ups(self, messaging: Messaging) -> dict[str, ChannelSetUp]:
        """In a thread."""
        settings = self._stores.settings.all()
        found = {}
        for id_, defined in messaging.channels.items():
            secrets_of = self._stores.settings.secrets(id_) if id_ in settings else None
            found[id_] = ChannelSetUp(defined, _settings_of(id_, settings.get(id_)), secrets_of)
        return found

    async def _use(self, set_ups: Mapping[str, ChannelSetUp]) -> None:
        self._tell_lacking({id_: lacks for id_, each in set_ups.items() if (lacks := each.lacks) is not None})
        wanted = {id_: each for id_, each in set_ups.items() if id_ not in self.lacking}
        over = [id_ for id_, running in self._running.items() if wanted.get(id_) != running.set_up]
        await self._end(over, within_s=0.5 * self._around.lease_s)
        for id_, set_up in wanted.items():
            if id_ not in self._running:
                self._running[id_] = _Running(id_, set_up, self._around, self._tools())

    def _tell_lacking(self, lacking: Mapping[str, str]) -> None:
        for id_, what in lacking.items():
            if self.lacking.get(id_) != what:
                _LOG.warning("channel %s has no %s yet: what is for it waits, and expires", id_, what)
        self.lacking = lacking

    def _tools(self) -> Tools:
        around = self._around
        desks = StoredDesks(self._stores.desks, self._owner, around.wall)
        traces = around.means.sender.traces
        return Tools(desks, around.recheck, around.tell, around.wall, self._rng, around.limits, traces)

    async def _end(self, ids: list[str], *, within_s: float) -> None:
        """Begin nothing more; what is on its way has so long."""
        ending = [self._running.pop(id_) for id_ in ids]
        for running in ending:
            running.run.stop()
        tasks = [running.task for running in ending]
        if tasks and within_s:
            await asyncio.wait(tasks, timeout=within_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _settings_of(channel: str, data: bytes | None) -> ChannelSettings | None:
    """None for what a later version of Tideline has written."""
    if data is None:
        return None
    try:
        return read_channel_settings(data)
    except ValidationError as error:
        _LOG.error("channel %s: its settings cannot be read (%d problems)", channel, error.error_count())
        return None
