"""How a channel reads the log of messages: from its stored places on, no more than it has room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from config.errors import BrokerError, RecordsGone
from streams.campaigns.effects import Purge, Send
from streams.ports import Crossing, Kept, TransitionFeed, TransitionLog
from streams.runtime.campaigns.outlet import read_trigger

_LOG: Final = logging.getLogger(__name__)
READ_RECORDS: Final = 256
READ_S: Final = 1.0
AGAIN_S: Final = 1.0
"""After a log that does not answer."""


class Taker(Protocol):
    """A channel that takes in (`run.ChannelRun`)."""

    id: str

    @property
    def places(self) -> Mapping[int, int]:
        """Partition of the log -> offset of the next record, as stored."""

    async def await_room(self) -> int:
        """Until something can be taken in, and how much."""

    async def take(self, found: Sequence[Send | Purge], places: Mapping[int, int]) -> None:
        """Take it in; stored when it returns."""

    def missed(self, count: int) -> None:
        """So many records were not kept long enough."""


class Reader:
    """Reads for one channel, for ever. For one event loop."""

    def __init__(self, log: TransitionLog, taker: Taker) -> None:
        self._log = log
        self._taker = taker
        self.unread = 0
        """Records of the log that are not taken in, as it was looked at last."""

    async def run(self) -> None:
        """Read on until it is cancelled; a log that is away, or not there yet, is waited for. Raises StoreError."""
        while True:
            try:
                await self._follow()
            except BrokerError as error:
                _LOG.warning("channel %s: %s", self._taker.id, error)
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        feed = await self._log.open()
        try:
            await self._seek(feed)
            while True:
                room = await self._taker.await_room()
                try:
                    records = await feed.read(min(READ_RECORDS, room), READ_S)
                except RecordsGone:
                    await self._seek(feed)
                    continue
                if records:
                    await self._take(records)
                if len(records) < min(READ_RECORDS, room):
                    self.unread = 0
                else:
                    kept = await feed.kept()
                    self.unread = sum(part.end - self._taker.places.get(n, part.begin) for n, part in enumerate(kept))
        finally:
            await feed.close()

    async def _seek(self, feed: TransitionFeed) -> None:
        positions, missed = where_to_begin(self._taker.places, await feed.kept())
        if missed:
            _LOG.warning("channel %s: %d records of messages are not kept any more", self._taker.id, missed)
            self._taker.missed(missed)
        await self._taker.take((), dict(enumerate(positions)))
        feed.seek(positions)

    async def _take(self, records: Sequence[Crossing]) -> None:
        found = [each for record in records if (each := read_trigger(record.data)) is not None]
        await self._taker.take(found, {record.partition: record.offset + 1 for record in records})


def where_to_begin(places: Mapping[int, int], kept: Sequence[Kept]) -> tuple[list[int], int]:
    """Where to read on in each partition, and how many records that were to be read are not kept any more.

    A partition of which nothing is known, or that was made anew, begins with the oldest that it has.
    """
    positions, missed = [], 0
    for number, part in enumerate(kept):
        place = places.get(number)
        if place is None or place > part.end:
            positions.append(part.begin)
        else:
            positions.append(max(place, part.begin))
            missed += max(0, part.begin - place)
    return positions, missed
