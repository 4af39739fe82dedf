"""Durations as people write them in a catalog (``30s``, ``90m``, ``12h``, ``7d``, ``2w``), in seconds here."""

from __future__ import annotations

import re

HOUR_S = 3_600.0
DAY_S = 86_400.0

UNITS_S = {"s": 1.0, "m": 60.0, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
PATTERN = r"^[0-9]+(\.[0-9]+)?[smhdw]$"
EXPECTED = "a duration such as 30s, 90m, 12h, 7d or 2w"

_duration = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([smhdw])")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``7d``. Raises ValueError for anything else (no sign, no space, one unit)."""
    match = _duration.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    return float(match[1]) * UNITS_S[match[2]]


def format_duration(duration_s: float) -> str:
    """The shortest form that ``parse_duration`` turns back into the same seconds, in the largest whole unit up to days.

    Weeks are left out: people say 7d, 14d and 30d in one breath.
    """
    for unit in "dhm":
        if duration_s > 0 and duration_s % UNITS_S[unit] == 0:
            return f"{duration_s / UNITS_S[unit]:.0f}{unit}"
    return f"{duration_s:.9f}".rstrip("0").rstrip(".") + "s"
