"""Lengths of time as forms have them: a number and its unit. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from config.durations import DAY_S, HOUR_S, format_duration

UNITS: Final = ("m", "h", "d")
_UNIT_S: Final = {"m": 60.0, "h": HOUR_S, "d": DAY_S}


@dataclass(frozen=True, slots=True)
class Span:
    """As somebody wrote it."""

    amount: str
    unit: str

    @classmethod
    def of(cls, given: Mapping[str, str], name: str, otherwise: Span) -> Span:
        """Out of the fields `NAME` and `NAME_unit` of a form."""
        unit = given.get(f"{name}_unit", otherwise.unit)
        amount = given.get(name, otherwise.amount).strip().replace(",", ".")
        return cls(amount, unit if unit in UNITS else otherwise.unit)

    @classmethod
    def of_s(cls, seconds: float) -> Span:
        """Of a length in seconds, in the unit in which it is a short number."""
        text = format_duration(seconds)
        if text[-1] in UNITS:
            return cls(text[:-1], text[-1])
        return cls(f"{seconds / _UNIT_S['m']:.12g}", "m")

    @property
    def text(self) -> str:
        """As a catalog has it, not checked."""
        return f"{self.amount}{self.unit}"
