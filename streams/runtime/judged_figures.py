"""How good a prediction has lately been, and how far its audience has moved: for metrics, as of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from models.quality import Figures, Quality
from models.warmup import Warmup
from streams.runtime.drift import Since

WEEKS: Final = 4
"""The last calendar weeks that hold judged examples. So many are held open anyway, so this costs no unpacking."""


class WarmingUp(NamedTuple):
    """How far a warm-up is."""

    users: int
    """Different users with the goal among the examples so far."""
    needed: int
    """So many before the model is compared with the heuristic for the first time."""

    @classmethod
    def of(cls, warmup: Warmup) -> Self | None:
        """None once it is over."""
        return None if warmup.left else cls(warmup.goal_users, warmup.min_goals)


@dataclass(frozen=True, slots=True)
class JudgedFigures:
    """Of one prediction."""

    figures: Figures
    """Prequential, of events and silent moments of the last `WEEKS`."""
    drift: Mapping[Since, float]
    warming_up: WarmingUp | None = None
    """None once that is over."""


def lately(quality: Quality) -> Figures:
    """Of the last `WEEKS`."""
    first = quality.weeks[-WEEKS:][:1]
    return quality.select(first_week=first[0] if first else None).figures()
