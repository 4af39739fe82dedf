"""Since when the oldest record of a partition waits that is not worked, as far as it can be known."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Behind(NamedTuple):
    """How far a partition is, at one moment."""

    records: int
    """That the log has and no commit."""
    in_hand_s: float | None
    """When the log took the oldest one that is in hand; None for none in hand."""
    worked_s: float
    """When it took the last one that is in a commit, or up to when time has passed in the shard; 0 for not known."""


class LagAges:
    """Of the partitions of a process, looked at again and again: `now_s` and all times are seconds since 1970.

    A record that is in hand says when the log took it. Of those that are still in the log nobody knows before they are
    fetched, but that they came after the last one that was worked, and after the last look that found none. So what is
    told then is at most by the time between two looks too much where records come after silence.
    """

    def __init__(self) -> None:
        self._none_s: dict[int, float] = {}
        """partition -> when there was nothing to read at the last look that found that."""

    def age_s(self, partition: int, found: Behind, now_s: float) -> float | None:
        """How long the oldest record has waited, 0 where all are worked; None where nothing is known of it."""
        if not found.records:
            self._none_s[partition] = now_s
            return 0.0
        if found.in_hand_s is not None:
            return max(0.0, now_s - found.in_hand_s)
        since_s = max(found.worked_s, self._none_s.get(partition, 0.0))
        return max(0.0, now_s - since_s) if since_s else None

    def keep(self, partitions: Collection[int]) -> None:
        """Only these are looked at any more: another process may work the others meanwhile."""
        for number in self._none_s.keys() - set(partitions):
            del self._none_s[number]
