"""How far a service is with learning from its log: a key in the store, which the API shows (docs/redis.md)."""

from __future__ import annotations

import logging
from typing import Final

from config.errors import StoreUnavailable
from streams.adapters.definition_store import Past
from streams.adapters.redis_definitions import RedisDefinitions

_LOG: Final = logging.getLogger(__name__)


class StatusTeller:
    """Writes it for a worker, to which it does not matter whether it is read."""

    def __init__(self, url: str, prefix: str) -> None:
        self._kept = RedisDefinitions(url, prefix=prefix)

    def tell(self, past: Past) -> None:
        """Once; where the store does not answer, the next one is told."""
        try:
            self._kept.tell_past(past)
        except StoreUnavailable as error:
            _LOG.debug("how far the past is was not told: %s", error)

    def close(self) -> None:
        """Give the connection back."""
        self._kept.close()
