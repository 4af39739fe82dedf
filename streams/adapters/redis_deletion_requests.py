"""When a deletion was asked for that may be asked for again under one name. `docs/redis.md` describes the keys."""

from __future__ import annotations

import threading
from typing import Final

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes

KEPT_S: Final = 86_400


class RedisDeletionRequests:
    """The times below a prefix. May be used by several threads."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._prefix = prefix

    def first_asked(self, name: str, now_ms: int) -> int:
        """When the request of that name came first, in milliseconds since 1970: now, or within the last day.

        `name` is a hash that says nothing of a user. Raises StoreUnavailable, StoreError.
        """
        key = api_key(self._prefix, f"deletion:{name}")
        with self._lock:
            self._nodes.ask("SET", key, now_ms, "NX", "EX", KEPT_S)
            found = self._nodes.ask("GET", key)
        return now_ms if found is None else int(found)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()
