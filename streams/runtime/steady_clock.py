"""The wall clock by which time passes in a partition without records, held to the pace of a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# Counts while the machine is suspended, as the wall clock does; only Linux has it.
_PACE: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _pace_s() -> float:
    return time.clock_gettime(_PACE)


class SteadyClock:
    """The wall clock, but never further than where it stood at first plus the time that has gone by since.

    A wall clock that is set forward by mistake would age every user, and what has left a segment by it is said already.
    Records tell better: when the log took one later than this clock believes possible, it goes on from there.
    """

    def __init__(self, wall_s: Callable[[], float] = time.time, pace_s: Callable[[], float] = _pace_s) -> None:
        self._wall_s = wall_s
        self._pace_s = pace_s
        self._ahead_s = wall_s() - pace_s()

    def now_s(self) -> float:
        """Seconds since 1970."""
        return min(self._wall_s(), self._pace_s() + self._ahead_s)

    def raise_to(self, log_time_s: float) -> None:
        """The log has taken a record at that time."""
        self._ahead_s = max(self._ahead_s, log_time_s - self._pace_s())
