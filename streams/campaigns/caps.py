"""How many messages a user may get, over all campaigns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from config.campaigns import Cap


def is_capped(caps: Sequence[Cap], sends_s: Sequence[float], now_s: float) -> bool:
    """Whether one more message now would be too many. `sends_s`: times of earlier ones, ascending."""
    return any(len(sends_s) - bisect_right(sends_s, now_s - cap.within_s) >= cap.sends for cap in caps)


def with_send(caps: Sequence[Cap], sends_s: Sequence[float], now_s: float) -> list[float]:
    """The times with one more; those that no cap looks at any more are left out."""
    longest_s = max((cap.within_s for cap in caps), default=0.0)
    return [each for each in sends_s if each > now_s - longest_s] + ([now_s] if caps else [])
