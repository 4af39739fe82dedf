"""Bucketed counts per user and event name, for filters with windows: hours for two days, days for ninety."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.features import DAY_S
from models.jit import I32, I64, U16, jit

HOUR_S = 3600.0
HOUR_BUCKETS, DAY_BUCKETS = 48, 90
HOURS, DAYS = 0, 1
NO_BUCKET = -1_000_000
"""The newest bucket where nothing was counted."""


class History(NamedTuple):
    """Bucketed counts for windows: `slot` [users, names under history] into `hours` [slots, 48] and `days` [slots, 90].

    `newest_hour` and `newest_day` [slots]: the bucket that was counted last, in hours and days since 1970.
    """

    slot: I32
    hours: U16
    days: U16
    newest_hour: I64
    newest_day: I64


@jit
def count_within(history: History, i: int, name: int, unit: int, buckets: int, time_s: float) -> int:
    """Events of history name `name` in the last whole buckets up to the one of `time_s`, that one included."""
    slot = history.slot[i, name]
    if slot < 0:
        return 0
    total = 0
    if unit == HOURS:
        now = int(time_s // HOUR_S)
        newest = history.newest_hour[slot]
        for bucket in range(max(now - buckets, newest - HOUR_BUCKETS) + 1, min(newest, now) + 1):
            total += history.hours[slot, bucket % HOUR_BUCKETS]
        return total
    now = int(time_s // DAY_S)
    newest = history.newest_day[slot]
    for bucket in range(max(now - buckets, newest - DAY_BUCKETS) + 1, min(newest, now) + 1):
        total += history.days[slot, bucket % DAY_BUCKETS]
    return total


@jit
def _count_bucket(counts: U16, slot: int, size: int, newest: int, bucket: int) -> int:
    """Add one to `bucket` of the ring of `slot` and return its newest bucket; buckets that fell out are left alone."""
    if bucket > newest:
        for gone in range(max(newest + 1, bucket - size + 1), bucket + 1):
            counts[slot, gone % size] = 0
        newest = bucket
    if bucket > newest - size and counts[slot, bucket % size] < np.uint16(65535):
        counts[slot, bucket % size] += np.uint16(1)
    return newest


@jit
def record_history(history: History, slot: int, time_s: float) -> None:
    """Count one event at `time_s` in both rings of `slot`."""
    hour, day = int(time_s // HOUR_S), int(time_s // DAY_S)
    history.newest_hour[slot] = _count_bucket(history.hours, slot, HOUR_BUCKETS, history.newest_hour[slot], hour)
    history.newest_day[slot] = _count_bucket(history.days, slot, DAY_BUCKETS, history.newest_day[slot], day)
