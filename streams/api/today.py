"""How many users entered and left each segment today, from the log of transitions; for the console's first pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from starlette.concurrency import run_in_threadpool

from config.errors import NoLog
from streams.api.services import Services
from streams.api.user_search import LOOK_S, LOOKED_AT
from streams.ports import Crossing
from streams.runtime.crossings_tail import Tail
from streams.runtime.wanted_crossings import head_of

_NOBODY_MOVED: Final = ("backfill", "definition_change")
"""Origins of those who come and go because a segment was made or changed: nothing happened with them today."""
_KEEP_S: Final = 10.0
"""So long counts are shown again: a pass over the end of the log takes a good part of a second."""


@dataclass(slots=True)
class TodayCounts:
    """By segment, of one day of event time in UTC."""

    day: date
    entered: Counter[str] = field(default_factory=Counter)
    exited: Counter[str] = field(default_factory=Counter)
    is_known: bool = False
    """Whether there is a log of transitions at all."""
    is_complete: bool = True
    """False: so many transitions came that the earliest ones of the day were not looked at."""

    def take(self, page: list[Crossing], firsts: dict[int, date]) -> None:
        """Count what is of the day; `firsts` gets the day of each partition's first transition."""
        for crossing in page:
            head = head_of(crossing.data)
            if head is None:
                continue
            day = head.time.astimezone(UTC).date()
            firsts.setdefault(crossing.partition, day)
            if day == self.day and head.data.origin not in _NOBODY_MOVED:
                (self.entered if head.data.in_segment else self.exited)[head.data.segment_id] += 1


class Today:
    """Counts today's crossings; one pass at a time, kept for ten seconds."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self._kept: tuple[TodayCounts, float] | None = None

    async def counts(self) -> TodayCounts:
        """Of all segments. Raises BrokerError."""
        async with self._lock:
            now_s = self._services.clock()
            day = datetime.fromtimestamp(self._services.wall(), UTC).date()
            if self._kept is None or now_s - self._kept[1] >= _KEEP_S or self._kept[0].day != day:
                self._kept = await self._count(day), now_s
            return self._kept[0]

    async def _count(self, day: date) -> TodayCounts:
        counts = TodayCounts(day)
        try:
            feed = await self._services.transitions.open()
        except NoLog:
            return counts
        counts.is_known = True
        firsts: dict[int, date] = {}
        try:
            kept = await feed.kept()
            tail = Tail.of(kept, LOOKED_AT)
            async for page in tail.pages(feed, LOOK_S):
                await run_in_threadpool(counts.take, page, firsts)
        finally:
            await feed.close()
        cut = [number for number, part in enumerate(kept) if tail.starts[number] > part.begin]
        counts.is_complete = all(number in firsts and firsts[number] < day for number in cut)
        return counts
