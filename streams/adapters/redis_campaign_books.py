"""What campaigns have done, read from Redis beside the owners of partitions: nothing is claimed, and nobody fenced."""

from __future__ import annotations

import threading
from typing import Final

from streams.adapters.redis_keys import campaign_keys, shared_campaign_keys
from streams.adapters.redis_nodes import open_nodes
from streams.campaigns.state import Book, unpack_book

_TIMEOUT_S: Final = 10.0
"""For one reply: somebody waits for the figures."""


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

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _partitions(self) -> list[int]:
        """That have ever been owned."""
        return sorted(int(each) for each in self._nodes.ask("HKEYS", self._epochs))
