"""Texts in fields of forms, which lose blanks at their ends and line ends: those that would are shown in quotes. Pure.

A text in quotes is one of JSON. It is shown so where it begins with a quote itself, so that what is shown is read back
as it was.
"""

from __future__ import annotations

import json
import unicodedata

_BREAKING = frozenset({"Cc", "Zl", "Zp"})


def shown_text(text: str) -> str:
    """As a field shows it."""
    is_plain = text and text == text.strip() and not text.startswith('"')
    if is_plain and not any(unicodedata.category(each) in _BREAKING for each in text):
        return text
    return json.dumps(text, ensure_ascii=False)


def read_text(written: str) -> str:
    """What somebody wrote: without blanks at its ends where it is not in quotes."""
    given = written.strip()
    if len(given) < 2 or not (given.startswith('"') and given.endswith('"')):
        return given
    try:
        found = json.loads(given)
    except ValueError:
        return given  # quotes that belong to the text
    return found if isinstance(found, str) else given
