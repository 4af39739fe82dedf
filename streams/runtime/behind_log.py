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
LATEST: Final = 200
"""So much do the events before a batch weigh beside it, however many there were: history is told of soon, and what one
phone had kept while it was away is not taken for it."""
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
    recent: float = 0.0
    recent_behind: float = 0.0
    behind: int = 0
    """Of all, since it was told last; with the furthest of them."""
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
            _LOG.warning("%s", words, extra={"partition": number})

    def note(self, number: int, arrived: Arrived, now_s: float) -> str | None:
        """What there is to say after a step of a shard; None for nothing. Pure."""
        found = self._shards.setdefault(number, _Shard())
        weight = min(1.0, LATEST / found.recent) if found.recent else 1.0
        found.recent = weight * found.recent + arrived.events
        found.recent_behind = weight * found.recent_behind + arrived.behind
        found.behind += arrived.behind
        found.furthest_s = max(found.furthest_s, arrived.furthest_s)
        is_history = found.recent_behind >= max(FEWEST, SHARE * found.recent)
        if not arrived.behind or not is_history or (found.told_s is not None and now_s - found.told_s < EVERY_S):
            return None
        behind, days = found.behind, format_duration(DAY_S * max(1, round(found.furthest_s / DAY_S)))
        self._shards[number] = _Shard(found.recent, found.recent_behind, told_s=now_s)
        return (
            f"partition {number} of the events: {behind:,} events that came lately are history, up to {days} behind "
            "what came before them. They count in what users have done, but windows that have closed stay closed: "
            "outcomes of that time are judged without what is still to come of it. What to do: send history first, "
            "then live events; here that means to begin in another data directory, or topic and key prefix "
            "(docs/input.md, History first)"
        )
