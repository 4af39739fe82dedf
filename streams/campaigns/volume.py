"""How many messages a campaign sends in a usual hour: what its breaker compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streams.campaigns.state import HOUR_S, HOURS_KEPT

MIN_HOURS: Final = 24
"""Before a whole day has passed nothing is usual."""


def usual_hour(hours: Sequence[Mapping[int, int]], now_s: float) -> float | None:
    """The mean over the complete hours of the last week since the first message, of all partitions together.

    `hours`: of each partition, hour since 1970 -> messages (`State.hours`). None while there are too few.
    """
    now = int(now_s // HOUR_S)
    totals: dict[int, int] = {}
    for partition in hours:
        for hour, count in partition.items():
            if now - HOURS_KEPT <= hour < now:
                totals[hour] = totals.get(hour, 0) + count
    length = now - min(totals, default=now)
    return sum(totals.values()) / length if length >= MIN_HOURS else None
