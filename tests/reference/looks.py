"""When a silent user is looked at: every reason as a list of times, computed afresh each time it is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tests.reference.filters import bucket_s
from tests.reference.rows import DAY_S, Row

MINUTE_S = 60.0
WEEK_S = 7 * DAY_S


def up_to_minute(time_s: float) -> float:
    """The time, rounded up to a whole minute."""
    return math.ceil(time_s / MINUTE_S) * MINUTE_S


def silence_look(last_t: float, phase: float, after_s: float) -> float:
    """The first look for silence alone that is later than `after_s`: 1 to 4 days, then each wait a fifth longer."""
    for k in range(1, 5):
        look_s = up_to_minute(last_t + (k + phase) * DAY_S)
        if look_s > after_s:
            return look_s
    j = 0
    while True:
        look_s = up_to_minute(last_t + (5 + phase) * 1.2**j * DAY_S)
        if look_s > after_s:
            return look_s
        j += 1


def weekly_look(last_t: float, phase: float, after_s: float) -> float:
    """The first weekly minute of the user later than `after_s` at which the user has been silent for a day."""
    n = math.floor(after_s / WEEK_S) - 1
    while True:
        look_s = up_to_minute((n + phase) * WEEK_S)
        if look_s > after_s and look_s - last_t >= DAY_S:
            return look_s
        n += 1


def condition_looks(leaf: dict[str, Any], row: Row) -> Iterator[float]:
    """The minutes at which time alone can change a condition of a filter."""
    times_s = [event.time_s for event in row.log if "event" in leaf and event.name == leaf["event"]]
    if not times_s:
        return
    if "since" in leaf:
        for bound_s in leaf["since"].values():
            yield up_to_minute(max(math.floor(time_s) for time_s in times_s) + bound_s)
    elif "within" in leaf:
        size = bucket_s(leaf["within"])
        for time_s in times_s:
            yield math.floor(time_s / size) * size + leaf["within"]
