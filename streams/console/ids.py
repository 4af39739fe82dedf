"""Ids of what is made in the console: like the name that somebody gives it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from typing import Final

LONGEST_NAME: Final = 100
_RESERVED: Final = ("figures", "new")
"""What stands in addresses in the place of an id."""


def free_id(name: str, taken: Container[str], otherwise: str = "segment") -> str:
    """An id that is like a name: `Likely buyers` becomes `likely_buyers`, or `likely_buyers_2` where that is taken.

    `otherwise` begins that of a name that does not begin with a letter.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:50]
    stem = stem if stem[:1].isalpha() else f"{otherwise}_{stem}".rstrip("_")
    number, found = 1, stem
    while found in taken or found in _RESERVED:
        number += 1
        found = f"{stem}_{number}"
    return found
