"""Numbers and names as people read them, the same on the terminal and in the report."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from config.durations import DAY_S, HOUR_S

NOTHING = "–"
MOST_DIGITS = 4
"""Of a score."""

# Control characters (C0, DEL, C1), what turns the direction of text, line and paragraph ends, halves of surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Text from users and files, in one line, with what a terminal would obey shown as `\x1b`, `\n` or `\u202e`."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """The same for JSON in one line: escaped as JSON does it, so that what is read from it stays exactly the same."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def percent(share: float | None, digits: int = 1) -> str:
    """`8.6%` of .086."""
    return NOTHING if share is None else f"{share:.{digits}%}"


def short_percent(share: float | None) -> str:
    """`18%`, `8.6%`, `0.74%`: two digits that count."""
    if share is None:
        return NOTHING
    return f"{share:.{0 if share >= 0.0995 else 1 if share >= 0.00995 else 2}%}"


def count(number: float | None) -> str:
    """`12,052`"""
    return NOTHING if number is None else f"{number:,.0f}"


def figure(number: float | None, form: str = ".3f") -> str:
    """A number in a format, or a dash."""
    return NOTHING if number is None else format(number, form)


def date(time_s: float | None) -> str:
    """`1998-06-30`, UTC."""
    if time_s is None or math.isnan(time_s):
        return NOTHING
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")


def moment(time_s: float | None) -> str:
    """`1998-06-30 12:05`, UTC; the day alone for a midnight."""
    if time_s is None or math.isnan(time_s):
        return NOTHING
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


def span(seconds: float) -> str:
    """`30 days`, `12 hours`."""
    unit, size = ("day", DAY_S) if seconds % DAY_S == 0 else ("hour", HOUR_S)
    number = seconds / size
    return f"{number:g} {unit}" + ("" if number == 1 else "s")


def points(score: float | None, edges: Sequence[float] = (), digits: int = 0) -> str:
    """A score with so many digits, cut off and not rounded: 89.79 is `89`, because 90 may be another category.

    With `edges` (of categories) there are as many digits more as it takes to show on which side of them it lies.
    """
    if score is None:
        return NOTHING
    while True:
        shown = math.floor(round(score * 10**digits, 6)) / 10**digits
        if digits >= MOST_DIGITS or all((shown >= edge) == (score >= edge) for edge in edges):
            return f"{shown:.{digits}f}"
        digits += 1


def rank(score: float, *, risk: bool = False) -> str:
    """What a percentile score says: `top 7%` of 93 (`riskiest 7%` for churn); a rank, never a probability.

    The smallest whole share that holds the user, so that nobody of 89.79 is called one of the top 10%.
    """
    if score >= 50.0:
        return f"{'riskiest' if risk else 'top'} {max(1, math.ceil(round(100.0 - score, 6)))}%"
    return f"{'least risky' if risk else 'bottom'} {max(1, math.ceil(round(score, 6)))}%"


def quality(value: float | None, band: str | None) -> str:
    """`47 good`"""
    return NOTHING if value is None else f"{value:.0f} {band or ''}".rstrip()


def cause(name: str) -> str:
    """A cause of a transition (transition_log.CAUSES), for people."""
    return {
        "goal": "the goal's event",
        "event": "another event",
        "silence": "silence",
        "model": "a new model",
        "audience": "leaving the audience",
        "other": "other",
    }[name]
