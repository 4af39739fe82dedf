"""Sessions of the console in Redis, each below the hash of its id and with an end: `docs/redis.md` has their key."""

from __future__ import annotations

import threading
from typing import Any

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes


class RedisSessions:
    """The sessions below a prefix. May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, and other StoreErrors when it refuses.
    """

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._prefix = prefix
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes, lasts_s: int) -> None:
        """Keep a session under a name that nobody can guess, for so many seconds."""
        self._ask("SET", name, data, "EX", lasts_s)

    def take_up(self, name: str, lasts_s: int) -> bytes | None:
        """What is kept of a session, which then lasts so many seconds more; None if there is none."""
        found: bytes | None = self._ask("GETEX", name, "EX", lasts_s)
        return found

    def remove(self, name: str) -> None:
        """End a session; it need not be there."""
        self._ask("UNLINK", name)

    def close(self) -> None:
        with self._lock:
            self._nodes.close()

    def _ask(self, verb: str, name: str, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, api_key(self._prefix, f"session:{name}"), *rest)
