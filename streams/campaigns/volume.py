"""How many messages a campaign sends in an hour of the day: what its breaker compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streams.campaigns.state import HOUR_S, HOURS_KEPT

MIN_HOURS: Final = 24
"""Before a whole day has passed nothing is usual."""


def usual_hours(hours: Sequence[Mapping[int, int]], now_s: float) -> dict[int, int] | None:
    """Hour of the day (UTC) -> the most messages in it on one of the last seven days, of all partitions together.

    `hours`: of each partition, hour since 1970 of the occasion -> messages (`Book.hours`). The hour that is not over
    does not count. None while there is less than a day to look at.
    """
    now = int(now_s // HOUR_S)
    totals: dict[int, int] = {}
    for partition in hours:
        for hour, count in partition.items():
            if now - HOURS_KEPT <= hour < now:
                totals[hour] = totals.get(hour, 0) + count
    if now - min(totals, default=now) < MIN_HOURS:
        return None
    usual: dict[int, int] = {}
    for hour, count in totals.items():
        usual[hour % 24] = max(count, usual.get(hour % 24, 0))
    return usual
