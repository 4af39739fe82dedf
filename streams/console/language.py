"""Languages of the console: which one a visitor reads, and how it writes numbers, dates and durations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal, get_args

from config.durations import DAY_S, HOUR_S

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

_MONTHS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
}
_THOUSANDS: Final[dict[Language, str]] = {"en": ",", "fr": "\u202f"}  # a narrow space that does not break
_POINT: Final[dict[Language, str]] = {"en": ".", "fr": ","}
_PERCENT: Final[dict[Language, str]] = {"en": "%", "fr": "\u00a0%"}
MISSING: Final = "–"
"""Stands where there is no figure."""
_MINUS: Final = "−"


def is_language(text: str | None) -> bool:
    """Whether there are texts in it."""
    return text in LANGUAGES


def chosen(asked: str | None, accepted: str | None) -> Language:
    """What was asked for, or else the first that the browser's `Accept-Language` names; English where it names none."""
    for language in LANGUAGES:
        if asked == language:
            return language
    wanted = [_weighed(part) for part in (accepted or "").split(",")]
    for _, name in sorted(wanted, key=lambda pair: -pair[0]):
        for language in LANGUAGES:
            if name.partition("-")[0] == language:
                return language
    return "en"


def _weighed(part: str) -> tuple[float, str]:
    name, _, weight = part.strip().lower().partition(";q=")
    try:
        return float(weight or 1.0), name
    except ValueError:
        return 0.0, name


@dataclass(frozen=True, slots=True)
class Format:
    """How one language writes what is no word."""

    language: Language

    def number(self, value: float | None, digits: int = 0) -> str:
        """`1,240.5`, or `1 240,5`; a dash for None."""
        if value is None:
            return MISSING
        text = f"{abs(value):,.{digits}f}"
        sign = _MINUS if value < 0 and text.strip("0.,") else ""
        whole, _, rest = text.partition(".")
        whole = whole.replace(",", _THOUSANDS[self.language])
        return f"{sign}{whole}{_POINT[self.language]}{rest}" if rest else f"{sign}{whole}"

    def edge(self, score: float) -> str:
        """A score at which something begins: `62.5`, or `60`."""
        return self.number(score, 0 if score == int(score) else 1)

    def amount(self, value: float | None) -> str:
        """A number of users that is a sum of likelihoods: whole from ten up, with one digit below."""
        return self.number(value, 0 if value is None or value >= 9.95 else 1)

    def percent(self, share: float | None, digits: int | None = None) -> str:
        """`31.2%`, or `31,2 %`; of small shares as many digits as tell them apart. A dash for None."""
        if share is None:
            return MISSING
        if digits is None:
            digits = 0 if share in (0.0, 1.0) else 1 if share >= 0.01 else 2
        return self.number(100.0 * share, digits) + _PERCENT[self.language]

    def percents(self, number: str) -> str:
        """A number that is written already, with the sign: `10%`, or `10 %`."""
        return number + _PERCENT[self.language]

    def day(self, when: date) -> str:
        """`28 May 2026`, or `28 mai 2026`."""
        return f"{self.short_day(when)} {when.year}"

    @property
    def months(self) -> tuple[str, ...]:
        """As `day` writes them: a script that writes times anew takes the same words."""
        return _MONTHS[self.language]

    @property
    def first_day(self) -> str:
        """The first of a month, as `day` writes it."""
        return "1er" if self.language == "fr" else "1"

    def short_day(self, when: date) -> str:
        """Without the year, for an axis."""
        number = self.first_day if when.day == 1 else str(when.day)
        return f"{number} {self.months[when.month - 1]}"

    def time(self, text: str) -> str:
        """A time in UTC as RFC 3339, for people; a script turns it into the viewer's zone."""
        when = datetime.fromisoformat(text).astimezone(UTC)
        return f"{self.day(when.date())}, {when:%H:%M} UTC"

    def duration(self, seconds: float) -> str:
        """`7 days`, `36 heures`: in days where they are whole."""
        days, hours = seconds / DAY_S, seconds / HOUR_S
        if days >= 1.0 and (days == round(days) or days >= 3.0):
            one, many = ("day", "days") if self.language == "en" else ("jour", "jours")
            return self._counted(round(days), one, many)
        if hours >= 1.0:
            return self._hours(seconds)
        return self._counted(max(1, round(seconds / 60.0)), "minute", "minutes")

    def exact_duration(self, seconds: float) -> str:
        """`90 minutes`, `36 heures`: in the largest unit in which it is whole, down to minutes."""
        for unit_s in (DAY_S, HOUR_S):
            if seconds % unit_s == 0.0:
                return self.duration(seconds) if unit_s == DAY_S else self._hours(seconds)
        return self._counted(max(1, round(seconds / 60.0)), "minute", "minutes")

    def counted(self, text: str, count: float, **more: str) -> str:
        """A text of two forms, `{n} user|{n} users`, in the one for a count."""
        one, _, many = text.partition("|")
        form = one if self.is_one(count) else many or one
        return form.format(n=self.number(count), **more)

    def is_one(self, count: float) -> bool:
        """Whether the language takes the singular: in French also for nothing, and for less than two."""
        return count == 1 if self.language == "en" else abs(count) < 2

    def _hours(self, seconds: float) -> str:
        one, many = ("hour", "hours") if self.language == "en" else ("heure", "heures")
        return self._counted(round(seconds / HOUR_S), one, many)

    def _counted(self, count: int, one: str, many: str) -> str:
        return f"{self.number(count)}\u00a0{one if self.is_one(count) else many}"
