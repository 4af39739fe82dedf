"""What a catalog file says of campaigns, beside the catalog itself.

Shards know nothing of campaigns: what they store, and what tells one catalog from another, is without them. So a
campaign that is changed in the file is no other catalog, and nothing is built anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.campaigns import Campaign, Messaging
from config.journeys import Journey


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """The sections `messaging`, `campaigns` and `journeys`; empty for a catalog that was made in another way.

    Two always count as equal, as two origins do.
    """

    messaging: Messaging | None = None
    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    journeys: Mapping[str, Journey] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.messaging is not None or bool(self.campaigns) or bool(self.journeys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sections)

    def __hash__(self) -> int:
        return 0
