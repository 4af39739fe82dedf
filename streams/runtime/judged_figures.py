"""How good a prediction has lately been, and how far its audience has moved: for metrics, as of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.quality import Figures, Quality
from streams.runtime.drift import Since

WEEKS: Final = 4
"""The last calendar weeks that hold judged examples. So many are held open anyway, so this costs no unpacking."""


@dataclass(frozen=True, slots=True)
class JudgedFigures:
    """Of one prediction."""

    figures: Figures
    """Prequential, of events and silent moments of the last `WEEKS`."""
    drift: Mapping[Since, float]


def lately(quality: Quality) -> Figures:
    """Of the last `WEEKS`."""
    first = quality.weeks[-WEEKS:][:1]
    return quality.select(first_week=first[0] if first else None).figures()
