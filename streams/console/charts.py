"""Where the marks of charts stand. Pure: from figures to coordinates of a picture of 1000 by 1000, which is stretched.

x runs from left to right, y from top to bottom. Words stand beside the pictures, so that they are never stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

SIZE: Final = 1000.0
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


class Bar(NamedTuple):
    """One bucket's bar."""

    x: float
    y: float
    width: float
    height: float


def top_of(values: Sequence[float | None]) -> float:
    """A round number that no value is above: the top of an axis from 0. 1 where there is nothing."""
    largest = max((value for value in values if value is not None), default=0.0)
    if largest <= 0.0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next(step * unit for step in _STEPS if step * unit >= largest * (1.0 - 1e-9))


def height_of(value: float, top: float) -> float:
    """The y of a value on an axis from 0 to `top`."""
    return round(SIZE * (1.0 - min(max(value / top, 0.0), 1.0)), 2)


def bars(values: Sequence[float], top: float, gap: float = 6.0) -> list[Bar]:
    """Bars of equal width, side by side."""
    width = SIZE / max(len(values), 1)
    found = []
    for number, value in enumerate(values):
        y = height_of(value, top)
        found.append(Bar(round(number * width + gap / 2, 2), y, round(width - gap, 2), round(SIZE - y, 2)))
    return found


def middles(count: int) -> list[float]:
    """The x of the middles of so many buckets."""
    return [round((number + 0.5) * SIZE / count, 2) for number in range(count)]


def ends(count: int) -> list[float]:
    """The x of so many moments, the first at the left end and the last at the right one."""
    return [round(number * SIZE / max(count - 1, 1), 2) for number in range(count)]


def line(xs: Sequence[float], values: Sequence[float | None], top: float) -> str:
    """A path through all values; it is broken where one is missing, and one that stands alone is a dot."""
    parts: list[str] = []
    is_going_on = False
    for x, value in zip(xs, values, strict=True):
        if value is None:
            is_going_on = False
            continue
        parts.append(f"{'L' if is_going_on else 'M'}{x:g} {height_of(value, top):g}")
        if not is_going_on:
            parts.append("h0")
        is_going_on = True
    return "".join(parts)


def dots(points: Sequence[tuple[float, float | None]], top: float) -> str:
    """A path of lines without length: with round ends they are dots, which stay round however it is stretched."""
    return "".join(f"M{x:g} {height_of(value, top):g}h0" for x, value in points if value is not None)
