"""The names of events that campaigns write into the log of events: what was sent, withheld, or dropped on its way.

Nobody else may use them. A catalog that names one is refused, and so is one that comes in over the API.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "Tideline Message"
SENT: Final = "Tideline Message Sent"
WITHHELD: Final = "Tideline Message Withheld"
DROPPED: Final = "Tideline Message Dropped"


def is_note(name: str) -> bool:
    """Whether an event of this name is a note of a campaign, of a kind that is known here or not."""
    return name.startswith(PREFIX)
