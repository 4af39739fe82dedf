"""Why a slice of a prediction holds nothing to judge, in words, with what would be needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from config.durations import DAY_S
from models.jit import I64
from streams.runtime.evaluation.points import SETTLE_S, Points
from streams.runtime.words import date, span

__all__ = ["why_nothing"]

_EMPTY: Final = {
    "events": "no user of the audience had an event",
    "silent": "no user of the audience was silent for a day when the weekly moment came",
    "young": "no user of the audience was younger than 7 days",
}


def why_nothing(points: Points, judged: I64, slices: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, str]:
    """Slice -> reason, for the slices without a judged point; `slices` are masks over `judged`."""
    if not len(judged):
        return dict.fromkeys(slices, _of_all(points))
    begin, end = date(float(points.time_s[judged[0]])), date(points.end_s - points.prediction.window_s)
    return {
        part: f"{_EMPTY[part]} from {begin} to {end}, the time that is judged"
        for part, chosen in slices.items()
        if not chosen.any()
    }


def _of_all(points: Points) -> str:
    window_s = points.prediction.window_s
    needed_s, history_s = 2.0 * window_s + SETTLE_S, points.end_s - points.start_s
    if history_s < needed_s:
        return (
            f"the history is too short: it has {_days(math.floor(history_s / DAY_S))}, and at least "
            f"{_days(math.ceil(needed_s / DAY_S))} are needed ({span(window_s)} until the first outcomes are known, "
            f"{span(SETTLE_S)} to learn, {span(window_s)} until what is said then is known, too)"
        )
    if not len(points):
        return f"nobody was in the audience {span(window_s)} or longer before the end"
    if not points.y.any():
        return f"no moment was followed by the goal within {span(window_s)}, so there is nothing to tell apart"
    if points.y.all():
        return f"every moment was followed by the goal within {span(window_s)}, so there is nothing to tell apart"
    return "outcomes of both kinds were known too late: no moment after that has a window that ends inside the data"


def _days(number: int) -> str:
    return f"{number:,} day{'' if number == 1 else 's'}"
