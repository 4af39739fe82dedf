"""Numbers as people write them into forms, by their language; and shown so that they are read back exactly. Pure.

English has commas between thousands and a point before decimals, French blanks and a comma. What could be meant in two
ways is refused: `1,5` in English is no number, and three digits of which the last is 0 behind a decimal mark, such as
`10,000` in French, are as likely the thousands of another habit. Exponents, `inf` and `nan` are no numbers either.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from config.errors import Problem as Wrong
from streams.api.definitions_view import invalid
from streams.console.language import Language

_BLANKS: Final = " \u00a0\u202f\u2009"
"""Between thousands, in every language: as people type them, and as pages show them."""
_THOUSANDS: Final[dict[Language, str]] = {"en": ",", "fr": "\u202f"}
_POINT: Final[dict[Language, str]] = {"en": ".", "fr": ","}
_GROUPED: Final[dict[Language, str]] = {"en": f"[,{_BLANKS}]", "fr": f"[{_BLANKS}]"}
_WHOLE: Final = "(?P<whole>[0-9]+|[0-9]{{1,3}}(?P<mark>{mark})[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*)"
_PATTERNS: Final[dict[Language, re.Pattern[str]]] = {
    language: re.compile(
        rf"(?P<sign>[-+\u2212]?){_WHOLE.format(mark=mark)}(?:{re.escape(_POINT[language])}(?P<rest>[0-9]+))?"
    )
    for language, mark in _GROUPED.items()
}
_POINTED: Final = re.compile(r"(?P<sign>[-+\u2212]?)(?P<whole>[0-9]+)\.(?P<rest>[0-9]+)")
"""As keypads write it, also in French."""
_LONGEST: Final = 500
"""Characters; the longest number that a definition may hold has fewer."""
_COARSE: Final = 2.0**53
_EXAMPLE: Final = 12_345.5


def decimal_of(text: str, language: Language) -> Decimal | None:
    """The number that a text of a language says, exactly; None where it says none, or could say two."""
    given = text.strip()
    if len(given) > _LONGEST:
        return None
    match = _PATTERNS[language].fullmatch(given)
    is_foreign = match is None and language == "fr"
    if is_foreign:
        match = _POINTED.fullmatch(given)
    if match is None:
        return None
    whole, rest = re.sub("[^0-9]", "", match["whole"]), match["rest"] or "0"
    has_mark = whole != match["whole"]
    if len(rest) == 3 and (is_foreign or rest[-1] == "0") and not has_mark and not whole.startswith("0"):
        return None
    sign = "-" if match["sign"] in ("-", "\u2212") else ""
    return Decimal(f"{sign}{whole}.{rest}")


def number(where: str, text: str, language: Language) -> float:
    """The same as a definition has it: an int where it is whole. `where`: its path, for problems.

    Raises `Problem` (invalid-definition).
    """
    return _plain(_asked(where, text, language))


def share(where: str, text: str, language: Language) -> float:
    """Of percents the share, from 0 to 1. Raises `Problem` (invalid-definition)."""
    return float(_asked(where, text, language).scaleb(-2))


def plain_text(where: str, text: str, language: Language) -> str:
    """The same number as texts for machines have it: digits and a point. Raises `Problem` (invalid-definition)."""
    return _digits(_asked(where, text, language), "", ".")


def shown_number(value: float, language: Language) -> str:
    """All digits of a number, as `number` reads it back; never with an exponent."""
    return _shown(_exact(value), language)


def bare_number(value: float, language: Language) -> str:
    """The same without marks between thousands."""
    return _digits(_exact(value), "", _POINT[language])


def shown_percent(value: float, language: Language) -> str:
    """Of a share the percents, as `share` reads them back."""
    return _shown(Decimal(repr(value)).scaleb(2), language)


def _asked(where: str, text: str, language: Language) -> Decimal:
    found = decimal_of(text, language)
    if found is None:
        said = repr(text)[:80] if text.strip() else "nothing"
        raise invalid([Wrong(None, where, said, f"a number such as {shown_number(_EXAMPLE, language)}")])
    return found


def _exact(value: float) -> Decimal:
    # Between such floats there are whole numbers: the digits that tell them apart are not those of the number.
    return Decimal(value) if abs(value) >= _COARSE else Decimal(repr(value))


def _plain(value: Decimal) -> float:
    return int(value) if value == value.to_integral_value() else float(value)


def _shown(value: Decimal, language: Language) -> str:
    return _digits(value, _THOUSANDS[language], _POINT[language])


def _digits(value: Decimal, thousands: str, point: str) -> str:
    whole, _, rest = f"{value.copy_abs():,f}".partition(".")
    rest = rest.rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole.replace(',', thousands)}{point + rest if rest else ''}"
