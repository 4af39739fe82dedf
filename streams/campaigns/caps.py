"""How many messages a user may get, over all campaigns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from config.campaigns import MAX_CAP_S, Cap

KEPT: Final = 100
"""So many times of messages are kept of a user in any case: a cap that is defined tomorrow counts them, too."""


def is_capped(caps: Sequence[Cap], sends_s: Sequence[float], now_s: float) -> bool:
    """Whether one more message now would be too many. `sends_s`: times of earlier ones, ascending."""
    return any(len(sends_s) - bisect_right(sends_s, now_s - cap.within_s) >= cap.sends for cap in caps)


def with_send(caps: Sequence[Cap], sends_s: Sequence[float], now_s: float) -> list[float]:
    """The times with one more: all that a cap looks at, and the latest `KEPT` within the longest that one may be."""
    longest_s = max((cap.within_s for cap in caps), default=0.0)
    first = min(bisect_right(sends_s, now_s - longest_s), max(0, len(sends_s) - KEPT + 1))
    return [*sends_s[max(first, bisect_right(sends_s, now_s - MAX_CAP_S)) :], now_s]
