"""The latest transitions of a log, up to where it ends now: for questions that the store does not answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from config.errors import BrokerUnavailable
from streams.ports import Crossing, Kept, TransitionFeed

_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Tail:
    """A stretch of each partition, [start, end)."""

    starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, kept: Sequence[Kept], most: int, *, only: int | None = None) -> Tail:
        """The latest `most` records of each partition, or of the one that is named."""
        ends = [part.end for part in kept]
        starts = [max(part.begin, part.end - most) for part in kept]
        if only is not None:
            starts = [start if part == only else ends[part] for part, start in enumerate(starts)]
        return cls(starts, ends)

    @property
    def records(self) -> int:
        """How many there are at most."""
        return sum(end - start for start, end in zip(self.starts, self.ends, strict=True))

    async def pages(self, feed: TransitionFeed, timeout_s: float) -> AsyncIterator[list[Crossing]]:
        """All of it, a page at a time, each partition in its order.

        Raises BrokerUnavailable where it takes longer than `timeout_s`, and what the feed raises.
        """
        until_s = time.monotonic() + timeout_s
        feed.seek(self.starts)
        places = list(self.starts)
        while places != self.ends:
            page = await feed.read(_AT_ONCE, timeout_s)
            if time.monotonic() > until_s:
                raise BrokerUnavailable(f"the log of transitions was not read to its end within {timeout_s:g} seconds")
            own = [crossing for crossing in page if crossing.offset < self.ends[crossing.partition]]
            for crossing in page:
                places[crossing.partition] = min(crossing.offset + 1, self.ends[crossing.partition])
            yield own
