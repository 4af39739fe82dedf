"""What campaigns have done, read from Redis beside the owners of partitions: nothing is claimed, and nobody fenced."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from streams.adapters.redis_keys import campaign_keys, shared_campaign_keys
from streams.adapters.redis_nodes import open_nodes
from streams.campaigns.profiles import Profile, unpack_profile
from streams.campaigns.state import Book, Row, unpack_book, unpack_row

_TIMEOUT_S: Final = 10.0
"""For one reply: somebody waits for the figures."""


class KnownOfUser(NamedTuple):
    """What campaigns know of one user."""

    row: Row | None
    """What was sent, what waits, and where in journeys; None: nothing yet."""
    profile: Profile | None
    """Traits, and when events were last; None: the log said nothing of them yet."""
    position: bytes | None
    """How far the partition has read, as its run has stored it; None: it never has."""


class RedisCampaignBooks:
    """See `streams.campaigns.figures.BookReader`. May be used by several threads; connects at the first use."""

    def __init__(self, url: str, *, prefix: str = "tl") -> None:
        """Raises ValueError for a bad prefix, StoreIncompatible for what is no address."""
        self._prefix = prefix
        self._epochs = shared_campaign_keys(prefix).epochs
        self._nodes = open_nodes(url, timeout_s=_TIMEOUT_S)
        self._lock = threading.Lock()

    def books_of(self, id_: str) -> list[Book]:
        """See the port."""
        with self._lock:
            keys = [campaign_keys(self._prefix, partition).books for partition in self._partitions()]
            found = [self._nodes.ask("HGET", key, id_) for key in keys]
        return [unpack_book(data) for data in found if data is not None]

    def waiting_for_rate(self, id_: str) -> int:
        """See the port."""
        with self._lock:
            keys = [campaign_keys(self._prefix, partition).queue(id_) for partition in self._partitions()]
            return sum(self._nodes.ask("ZCARD", key) for key in keys)

    def positions(self) -> list[bytes]:
        """How far each partition has read, as its run has stored it. Raises StoreUnavailable."""
        with self._lock:
            keys = [campaign_keys(self._prefix, partition).meta for partition in self._partitions()]
            found = [self._nodes.ask("HGET", key, "position") for key in keys]
        return [position for position in found if position is not None]

    def known_of(self, partition: int, user: str) -> KnownOfUser:
        """What is known of a user of that partition. Raises StoreUnavailable."""
        keys = campaign_keys(self._prefix, partition)
        with self._lock:
            row = self._nodes.ask("HGET", keys.rows, user)
            profile = self._nodes.ask("HGET", keys.profiles, user)
            position = self._nodes.ask("HGET", keys.meta, "position")
        return KnownOfUser(
            None if row is None else unpack_row(row), None if profile is None else unpack_profile(profile), position
        )

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _partitions(self) -> list[int]:
        """That have ever been owned."""
        return sorted(int(each) for each in self._nodes.ask("HKEYS", self._epochs))
