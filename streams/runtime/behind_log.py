"""Notices history that is sent behind live events: it counts little there, and nobody would see why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from config.durations import DAY_S, format_duration

_LOG: Final = logging.getLogger(__name__)
MOST_LATE_S: Final = DAY_S
"""Besides the lateness that the catalog allows: phones and nightly jobs are late by hours."""
FEWEST: Final = 20
"""So many events that are behind are looked for before anything is said,"""
SHARE: Final = 0.5
"""and so many of all that came: late events among others are usual."""
LATEST: Final = 10_000
"""About so many of the latest events are judged together."""
EVERY_S: Final = 3_600.0
"""Nothing more is said of a shard for so long."""


class Arrived(NamedTuple):
    """The events of one batch."""

    events: int = 0
    behind: int = 0
    """Those that were behind the shard's clock by too much;"""
    furthest_s: float = 0.0
    """the one that was furthest, by so much; 0 if none was."""

    @classmethod
    def of(cls, times_s: Sequence[float], clock_s: float, lateness_s: float) -> Self:
        """Events of these times, at a clock that is NaN before the first event, which is behind nothing."""
        edge_s = clock_s - lateness_s - MOST_LATE_S
        late_s = [time_s for time_s in times_s if time_s < edge_s]
        return cls(len(times_s), len(late_s), clock_s - min(late_s) if late_s else 0.0)


@dataclass(slots=True)
class _Shard:
    events: int = 0
    behind: int = 0
    furthest_s: float = 0.0
    told_s: float | None = None


class BehindLog:
    """What came to each shard lately. Time is an argument: seconds of any clock that does not go back.

    A shard is told about by one thread at a time; several may be at once.
    """

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}

    def tell(self, number: int, arrived: Arrived, now_s: float) -> None:
        """After a step of a shard: what there is to say goes into the log."""
        words = self.note(number, arrived, now_s)
        if words is not None:
            _LOG.warning("%s", words)

    def note(self, number: int, arrived: Arrived, now_s: float) -> str | None:
        """What there is to say after a step of a shard; None for nothing. Pure."""
        found = self._shards.setdefault(number, _Shard())
        if found.events >= LATEST:
            found.events, found.behind, found.furthest_s = found.events // 2, found.behind // 2, 0.0
        found.events += arrived.events
        found.behind += arrived.behind
        found.furthest_s = max(found.furthest_s, arrived.furthest_s)
        is_history = found.behind >= FEWEST and found.behind >= SHARE * found.events
        if not arrived.behind or not is_history or (found.told_s is not None and now_s - found.told_s < EVERY_S):
            return None
        found.told_s = now_s
        days = format_duration(DAY_S * max(1, round(found.furthest_s / DAY_S)))
        return (
            f"shard {number}: {found.behind:,} of the latest {found.events:,} events are history, up to {days} behind "
            "what came before them. They count in what users have done, but nothing is learned from their time, and "
            "windows do not go back for them. What to do: send history first, then live events; here that means to "
            "begin in another data directory, or topic and key prefix (docs/input.md, History first)"
        )
