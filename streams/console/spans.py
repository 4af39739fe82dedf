"""Lengths of time as forms have them: a number and its unit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from config.durations import UNITS_S, format_duration
from streams.api.problems import Kind, Problem
from streams.console.language import Language
from streams.console.numbers import plain_text, shown_number

UNITS: Final = ("m", "h", "d")
"""Those that are offered; a length that is in none of them keeps its own."""
_KNOWN: Final = ("s", *UNITS)


@dataclass(frozen=True, slots=True)
class Span:
    """As somebody wrote it."""

    amount: str
    unit: str

    @classmethod
    def of(cls, given: Mapping[str, str], name: str, otherwise: Span) -> Span:
        """Out of the fields `NAME` and `NAME_unit` of a form. Raises `Problem` for a unit that no form offers."""
        unit = given.get(f"{name}_unit", otherwise.unit)
        if unit not in _KNOWN:
            raise Problem(Kind.INVALID_BODY, "a form of the console offers another unit")
        return cls(given.get(name, otherwise.amount).strip(), unit)

    @classmethod
    def of_s(cls, seconds: float, language: Language = "en") -> Span:
        """Of a length in seconds, in the largest unit in which it is whole."""
        text = format_duration(seconds)
        amount, unit = float(text[:-1]), text[-1]
        assert amount * UNITS_S[unit] == seconds, "durations are of whole nanoseconds"
        return cls(shown_number(amount, language), unit)

    def units(self, offered: Sequence[str]) -> tuple[str, ...]:
        """What may be chosen: what is offered, and the unit that it has."""
        return tuple(offered) if self.unit in offered else (self.unit, *offered)

    def written(self, where: str, language: Language) -> str:
        """As a catalog has it, not checked. `where`: its path, for problems. Raises `Problem` for what is no number."""
        return f"{plain_text(where, self.amount, language)}{self.unit}"
