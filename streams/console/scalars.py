"""Values of traits as people read them. Pure."""

from __future__ import annotations

from streams.console.language import Language
from streams.console.numbers import bare_number
from streams.console.texts import Texts


def scalar_words(texts: Texts, language: Language, value: str | float | bool) -> str:
    """Text as it is, true and false in words, a number without marks between its thousands: it may be a year."""
    if isinstance(value, bool):
        return str(texts.builder["true" if value else "false"])
    return value if isinstance(value, str) else bare_number(value, language)
