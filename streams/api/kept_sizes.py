"""The sizes of segments, as they are answered, and for a while again: to count them reads much of the log."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

KEPT_S: Final = 10.0
"""So long sizes are answered again."""
_MOST: Final = 1_000
"""Segments whose sizes are kept."""


class DaySize(BaseModel):
    """One day of event time, UTC."""

    day: str = Field(examples=["2026-05-28"])
    entered: int = Field(description="Entries of that day; a user may enter several times.")
    exited: int
    members: int = Field(description="At its end.")


class SizesView(BaseModel):
    """A segment's size."""

    segment_id: str = Field(examples=["orders_7d.high"])
    members: int = Field(description="Now.")
    days: list[DaySize] = Field(description="Oldest first; days without a change are there, too.")
    complete_from: str | None = Field(
        description="From this day on nothing is missing; before it the log does not reach. null: nothing is known."
    )
    reason: str | None = Field(description="Why there are no days.")


class KeptSizes:
    """By segment. For the one loop of an app."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[SizesView, float]] = {}

    def get(self, segment: str, now_s: float) -> SizesView | None:
        """What was counted lately; `now_s`: of a clock that never goes back."""
        found = self._kept.get(segment)
        return None if found is None or now_s - found[1] >= KEPT_S else found[0]

    def put(self, segment: str, sizes: SizesView, now_s: float) -> None:
        """What was counted just now."""
        self._kept.pop(segment, None)
        self._kept[segment] = sizes, now_s
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
