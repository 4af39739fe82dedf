"""What spreadsheets make of a CSV file."""

from __future__ import annotations

from typing import Final

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula, which may send data elsewhere."""
    return f"'{text}" if text.startswith(_FORMULAS) else text
