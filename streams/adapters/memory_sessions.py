"""Sessions in memory: the same contract as in Redis, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class MemorySessions:
    """As `RedisSessions`, whose docstrings say what every method does."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[bytes, float]] = {}

    def put(self, name: str, data: bytes, lasts_s: int) -> None:
        with self._lock:
            self._found[name] = data, self._clock() + lasts_s

    def take_up(self, name: str, lasts_s: int) -> bytes | None:
        with self._lock:
            data, ends_s = self._found.get(name, (b"", float("-inf")))
            if self._clock() >= ends_s:
                self._found.pop(name, None)
                return None
            self._found[name] = data, self._clock() + lasts_s
            return data

    def remove(self, name: str) -> None:
        with self._lock:
            self._found.pop(name, None)
