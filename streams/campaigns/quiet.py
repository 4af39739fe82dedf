"""Quiet hours on the user's own clock.

It is quiet while that clock shows a time in [from, to). Nothing else counts, so days on which clocks are changed need
no rule of their own: where the end is skipped, quiet ends with the jump; where it comes twice, it is quiet between.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.times import QuietHours, minutes_of

_DAY_S: Final = 86_400


def zone_or(name: object, default: str) -> ZoneInfo:
    """The time zone of that name, which comes from a trait and may be anything; else the default."""
    return (_zone(name) if isinstance(name, str) else None) or ZoneInfo(default)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: of a folder, as Europe is one
        return None


def is_quiet(hours: QuietHours, zone: ZoneInfo, now_s: float) -> bool:
    """Whether it is quiet now."""
    clock = datetime.fromtimestamp(now_s, zone)
    minute = 60 * clock.hour + clock.minute
    start, end = minutes_of(hours.start), minutes_of(hours.end)
    return start <= minute < end if start < end else not end <= minute < start


def quiet_until(hours: QuietHours, zone: ZoneInfo, now_s: float) -> float:
    """The first moment from now on at which it is not quiet: now itself, or when it ends."""
    if not is_quiet(hours, zone, now_s):
        return now_s
    moments = sorted([*_ends(hours, zone, now_s), *_jumps(zone, now_s)])
    return next(at_s for at_s in moments if at_s > now_s and not is_quiet(hours, zone, at_s))


def _ends(hours: QuietHours, zone: ZoneInfo, now_s: float) -> Iterator[float]:
    """Moments about now at which the clock shows the end; two on a day on which it comes twice."""
    minute = minutes_of(hours.end)
    today = datetime.fromtimestamp(now_s, zone).date()
    for day in range(-1, 4):  # a zone may leave out a whole day
        end = datetime.combine(today + timedelta(days=day), time(minute // 60, minute % 60), zone)
        yield end.timestamp()
        yield end.replace(fold=1).timestamp()


def _jumps(zone: ZoneInfo, now_s: float) -> Iterator[float]:
    """Moments of the coming days at which the clock is changed."""
    for day in range(3):
        low, high = int(now_s) + day * _DAY_S, int(now_s) + (day + 1) * _DAY_S
        before = _offset(zone, low)
        if _offset(zone, high) == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
        yield float(high)


def _offset(zone: ZoneInfo, at_s: int) -> timedelta:
    found = datetime.fromtimestamp(at_s, zone).utcoffset()
    assert found is not None, "a time in a zone has an offset"
    return found
