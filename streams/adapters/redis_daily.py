"""What predictions expected, a line a day: kept by the API, bounded. `docs/redis.md` has the keys."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes

MOST_DAYS: Final = 400
"""Of one prediction; the oldest leave."""


class Day(msgspec.Struct, frozen=True):
    """One prediction as it was counted once on a day."""

    day: str
    """UTC, `2026-05-28`."""
    at_s: float
    """When, seconds since 1970 UTC."""
    question: str
    """What was asked (`streams.core.questions.question_of`): the figures of another goal compare with nothing."""
    expected: float
    """Sum of the likelihoods of all users with one."""
    audience: int
    categories: tuple[int, int, int]
    """Users who are low, medium, high."""


class RedisDaily:
    """The lines below a prefix. May be used by several threads. Every method raises StoreUnavailable."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._prefix = prefix

    def missing(self, prediction_ids: Sequence[str], day: str) -> list[str]:
        """Those of the predictions that have no line of that day."""
        with self._lock:
            return [id_ for id_ in prediction_ids if not self._nodes.ask("HEXISTS", self._key(id_), day)]

    def put(self, prediction_id: str, line: Day) -> None:
        """Keep the first line of a day, and no more days than there may be."""
        key = self._key(prediction_id)
        with self._lock:
            self._nodes.ask("HSETNX", key, line.day, msgspec.json.encode(line))
            days = sorted(self._nodes.ask("HKEYS", key))
            if len(days) > MOST_DAYS:
                self._nodes.ask("HDEL", key, *days[: len(days) - MOST_DAYS])

    def days(self, prediction_id: str) -> list[Day]:
        """All that is kept of a prediction, the oldest first."""
        with self._lock:
            found = self._nodes.ask("HVALS", self._key(prediction_id))
        return sorted((msgspec.json.decode(data, type=Day) for data in found), key=lambda line: line.day)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _key(self, prediction_id: str) -> bytes:
        return api_key(self._prefix, f"daily:{prediction_id}")
