"""English phrases of the checks, found in a table and said in French. Pure.

A phrase is written with placeholders: those of `_ONE_WORD` stand for one word or number, `{names}` for a list that ends
before a semicolon, and any other for whatever there is. What stands for them is not translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Final

_ONE_WORD: Final = frozenset(
    ("n", "m", "a", "b", "h", "low", "medium", "high", "top", "least", "most", "values", "edges", "cost")
)


class Phrases:
    """A table, English -> French. Of two phrases that would both fit the first one counts."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def french(self, english: str) -> str | None:
        """None for what is not in the table."""
        for pattern, french in self._patterns:
            if (match := pattern.fullmatch(english)) is not None:
                return french.format(**{name: _as_written(name, text) for name, text in match.groupdict().items()})
        return None

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(english), spaced(french)) for english, french in self._known.items()]


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)
    return re.compile("".join(_group(p) if n % 2 else re.escape(p) for n, p in enumerate(parts)), re.DOTALL)


def _group(name: str) -> str:
    what = r"\S+" if name in _ONE_WORD else "[^;]+" if name == "names" else ".+"
    return f"(?P<{name}>{what})"


def _as_written(name: str, text: str) -> str:
    """Thousands as they are written in French."""
    return re.sub(r"(?<=\d),(?=\d{3})", "\u202f", text) if name in _ONE_WORD else text


def spaced(french: str) -> str:
    """Without a break before double signs, as it is printed."""
    return re.sub(r" ([:;?!»%])(?=\s|$)", "\u00a0\\1", french).replace("« ", "«\u00a0")
