"""SVG charts, drawn by hand: axes, lines, bars and dots, in colours that the page's style sheet gives.

A chart has no colours of its own, only classes, so one drawing fits a light and a dark page. Whatever is said by
colour is also said by form (line, dash, dot) or by words, and every bar and dot has a `<title>` that shows its numbers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

Point = tuple[float, float]

WIDTH: Final = 520.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 24.0, 10.0, 42.0
LETTER: Final = 6.6
"""About how wide a letter of a label is."""
LINE: Final = 12.0
"""How high a line of labels is."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis; `ticks` are (value, label)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str


def nice_step(span: float, parts: int) -> float:
    """The 1, 2 or 5 times a power of ten that cuts a span into about so many parts."""
    rough = span / max(parts, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if rough <= step * power * (1.0 + 1e-9))


def number_axis(
    values: Sequence[float], title: str, label: Callable[[float], str], *, low: float = 0.0, parts: int = 5
) -> Axis:
    """From `low` to a round number at or above every value."""
    highest = max([value for value in values if math.isfinite(value)], default=low)
    span = highest - low if highest - low > 1e-9 else 1.0
    step = nice_step(span, parts)
    count = max(1, math.ceil(span / step - 1e-9))
    ticks = tuple((low + k * step, label(low + k * step)) for k in range(count + 1))
    return Axis(low, low + count * step, ticks, title)


def count_axis(values: Sequence[float], title: str, *, below: float = 0.0, parts: int = 5) -> Axis:
    """The same for numbers of things: no steps of half a thing, short labels, and none with a minus.

    From 0, or for things counted downwards from so many `below`, with a tick at 0 either way.
    """
    highest = max([1.0, *values])
    step = max(1.0, nice_step(highest + below, parts))
    low = -step * math.ceil(below / step - 1e-9)
    count = math.ceil((highest - low) / step - 1e-9)
    ticks = tuple((low + k * step, short_count(abs(low + k * step))) for k in range(count + 1))
    return Axis(low, ticks[-1][0], ticks, title)


def auc_axis(values: Sequence[float], title: str) -> Axis:
    """Tenths, or twentieths if the values are near one another: from .5, or from below the lowest, to 1 at most."""
    low = min([0.5, *(math.floor(value * 10.0 + 1e-9) / 10.0 for value in values)])
    span = max([*values, low + 0.1]) - low
    step = 0.1 if span > 0.25 + 1e-9 else 0.05
    count = min(math.ceil(span / step - 1e-9), round((1.0 - low) / step))
    ticks = tuple((low + k * step, f"{low + k * step:.2g}") for k in range(count + 1))
    return Axis(low, ticks[-1][0], ticks, title)


def percent_axis(values: Sequence[float], title: str) -> Axis:
    """Shares from 0 up to a round percentage."""
    values = [min(value, 1.0) for value in values if math.isfinite(value)]  # sums of floats may be a little above
    highest = max(values, default=0.0)
    digits = 0 if highest > 0.04 else 1 if highest > 0.004 else 2
    return number_axis(values, title, lambda value: f"{value:.{digits}%}")


def share_axis(title: str) -> Axis:
    """0 to 100 %."""
    return Axis(0.0, 1.0, tuple((k / 5, f"{k / 5:.0%}") for k in range(6)), title)


def time_axis(start_s: float, end_s: float, title: str = "", *, most: int = 8) -> Axis:
    """Months with round steps, days for less than two months; about `most` labels."""
    if end_s - start_s < 1.0:  # nothing that labels could part, down to spans that no logarithm takes
        end_s = start_s + 86_400.0
    first = datetime.fromtimestamp(start_s, UTC)
    months = (end_s - start_s) / (30.44 * 86_400.0)
    if months < 2.0:
        step_s = max(86_400.0, nice_step((end_s - start_s) / 86_400.0, most - 2) * 86_400.0)
        times_s = [start_s + k * step_s for k in range(int((end_s - start_s) // step_s) + 1)]
        return Axis(start_s, end_s, tuple((t, _day(t)) for t in times_s), title)
    step = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120) if months / step <= most or step == 120)
    ticks = []
    year, month = first.year, 1
    while (at := datetime(year, month, 1, tzinfo=UTC).timestamp()) <= end_s:
        if at >= start_s:
            ticks.append((at, f"{year}" if step >= 12 else f"{year}-{month:02d}"))
        year, month = year + (month - 1 + step) // 12, (month - 1 + step) % 12 + 1
    return Axis(start_s, end_s, tuple(ticks), title)


def _day(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%m-%d")


def short_count(number: float) -> str:
    """`950`, `25,000`, `250k`, `3.5M`: so short that it fits beside an axis."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= 1e5 and abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:,.0f}"


def apart(places: Sequence[float], lengths: Sequence[float]) -> list[bool]:
    """Which labels are shown at these places (rising), each so long and centred, if none may touch the one before."""
    shown, end = [], -math.inf
    for place, length in zip(places, lengths, strict=True):
        fits = place - length / 2.0 > end
        shown.append(fits)
        end = place + length / 2.0 if fits else end
    return shown


class Plot:
    """One pair of axes. Draw into it, then take `svg`; points outside the axes are cut off by the frame."""

    def __init__(self, x: Axis, y: Axis, words: str, *, height: float = 250.0, width: float = WIDTH) -> None:
        """`words` say what is to be seen, for people who cannot see it."""
        self._x, self._y, self._words = x, y, words
        self._height, self._width = height, width
        self._marks: list[str] = []
        self._notes: list[str] = []

    def px(self, x: float) -> float:
        """The place of a value from the left."""
        span = self._x.high - self._x.low
        return LEFT + (self._width - LEFT - RIGHT) * (x - self._x.low) / span

    def py(self, y: float) -> float:
        """The place of a value from the top."""
        span = self._y.high - self._y.low
        return self._height - BOTTOM - (self._height - TOP - BOTTOM) * (y - self._y.low) / span

    def line(self, points: Sequence[Point], kind: str) -> None:
        """A line through points; a point that is not finite makes a gap."""
        path = ""
        pen_down = False
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                path += f"{'L' if pen_down else 'M'}{self.px(x):.1f} {self.py(y):.1f}"
                pen_down = True
            else:
                pen_down = False
        if path:
            self._marks.append(f'<path class="line {kind}" d="{path}"/>')

    def area(self, points: Sequence[Point], floor: Sequence[Point], kind: str) -> None:
        """The area between two lines over the same x."""
        ring = [*points, *reversed(floor)]
        corners = " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in ring)
        self._marks.append(f'<polygon class="area {kind}" points="{corners}"/>')

    def dot(self, x: float, y: float, kind: str, words: str, radius: float = 3.5) -> None:
        """A dot that shows its words under the pointer."""
        self._marks.append(
            f'<circle class="dot {kind}" cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="{radius:.1f}">'
            f"<title>{escape(words)}</title></circle>"
        )

    def bar(self, low_x: float, high_x: float, span_y: Point, kind: str, words: str) -> None:
        """A bar from the lower to the upper value of `span_y`."""
        left, right = self.px(low_x), self.px(high_x)
        gap = min(1.0, (right - left) * 0.1)
        top, bottom = self.py(span_y[1]), self.py(span_y[0])
        width, height = max(0.5, right - left - 2 * gap), max(0.0, bottom - top)
        self._marks.append(
            f'<rect class="bar {kind}" x="{left + gap:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>{escape(words)}</title></rect>"
        )

    def level(self, y: float, words: str) -> None:
        """A thin line across at a value that matters, with its name."""
        at, end = self.py(y), self._width - RIGHT
        self._marks.append(f'<path class="level" d="M{LEFT:.1f} {at:.1f}H{end:.1f}"/>')
        self._notes.append(f'<text class="note" x="{LEFT + 3:.1f}" y="{at - 4:.1f}">{escape(words)}</text>')

    def svg(self) -> str:
        """The drawing."""
        marks = "".join(self._marks + self._notes)  # what is drawn last lies on top
        clip = f"c{zlib.crc32(f'{self._words}{self._height}{marks}'.encode()):08x}"
        inner = (
            f'x="{LEFT}" y="{TOP - 4}" width="{self._width - LEFT - RIGHT}" height="{self._height - TOP - BOTTOM + 8}"'
        )
        return (
            f'<svg viewBox="0 0 {self._width:.0f} {self._height:.0f}" role="img" aria-label="{escape(self._words)}">'
            f'<clipPath id="{clip}"><rect {inner}/></clipPath>'
            f'{self._grid()}<g clip-path="url(#{clip})">{marks}</g></svg>'
        )

    def _grid(self) -> str:
        parts = []
        bottom = self._height - BOTTOM
        heights = [bottom - self.py(value) for value, _ in self._y.ticks]
        for (value, label), shown in zip(self._y.ticks, apart(heights, [LINE] * len(heights)), strict=True):
            at = self.py(value)
            parts.append(f'<path class="grid" d="M{LEFT:.1f} {at:.1f}H{self._width - RIGHT:.1f}"/>')
            if shown:
                place = f'x="{LEFT - 6:.1f}" y="{at + 4:.1f}" text-anchor="end"'
                parts.append(f'<text class="tick" {place}>{escape(label)}</text>')
        places = [self.px(value) for value, _ in self._x.ticks]
        lengths = [LETTER * (len(label) + 1) for _, label in self._x.ticks]
        for at, (_, label), shown in zip(places, self._x.ticks, apart(places, lengths), strict=True):
            parts.append(f'<path class="tickmark" d="M{at:.1f} {bottom:.1f}v4"/>')
            if shown:
                place = f'x="{at:.1f}" y="{bottom + 17:.1f}" text-anchor="middle"'
                parts.append(f'<text class="tick" {place}>{escape(label)}</text>')
        parts.append(f'<path class="axis" d="M{LEFT:.1f} {bottom:.1f}H{self._width - RIGHT:.1f}"/>')
        middle = (LEFT + self._width - RIGHT) / 2
        if self._x.title:
            parts.append(
                f'<text class="title" x="{middle:.1f}" y="{self._height - 6:.1f}" text-anchor="middle">'
                f"{escape(self._x.title)}</text>"
            )
        if self._y.title:
            at_y = (TOP + bottom) / 2
            parts.append(
                f'<text class="title" transform="rotate(-90 12 {at_y:.1f})" x="12" y="{at_y:.1f}" text-anchor="middle">'
                f"{escape(self._y.title)}</text>"
            )
        return "".join(parts)


def legend(*keys: tuple[str, str, str]) -> str:
    """Keys of a chart: (form, kind, words), form one of line, dot and bar."""
    items = "".join(
        f'<span class="key"><span class="swatch {form} {kind}"></span>{escape(words)}</span>'
        for form, kind, words in keys
    )
    return f'<p class="legend">{items}</p>'
