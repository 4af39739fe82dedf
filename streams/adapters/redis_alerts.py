"""What campaigns have told people, in Redis. `docs/redis.md` describes the key."""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from streams.adapters.redis_keys import shared_campaign_keys
from streams.adapters.redis_nodes import open_nodes
from streams.campaigns.effects import Alert

ALERTS_KEPT: Final = 1_000
"""So many, the latest."""


class Told(msgspec.Struct, frozen=True):
    """An alert, and when it was told first (seconds since 1970 UTC)."""

    id: str
    campaign: str
    kind: str
    """breaker, message, budget."""
    words: str
    at_s: float


class RedisAlerts:
    """May be used by several threads. Every method raises StoreUnavailable, and other StoreErrors."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._key = shared_campaign_keys(prefix).alerts

    def add(self, alert: Alert, now_s: float) -> bool:
        """Keep it; False if it was told before. The oldest make room."""
        told = Told(alert.id, alert.campaign, alert.kind, alert.words, now_s)
        is_new = bool(self._ask("HSETNX", alert.id, msgspec.json.encode(told)))
        if is_new:
            too_many = self.all()[ALERTS_KEPT:]
            if too_many:
                self._ask("HDEL", *(each.id for each in too_many))
        return is_new

    def all(self) -> list[Told]:
        """The latest first."""
        found = [msgspec.json.decode(data, type=Told) for data in self._ask("HVALS")]
        return sorted(found, key=lambda each: (-each.at_s, each.id))

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _ask(self, verb: str, *rest: bytes | str) -> Any:
        with self._lock:
            return self._nodes.ask(verb, self._key, *rest)
