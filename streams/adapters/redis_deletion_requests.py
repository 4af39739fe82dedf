"""When deletions were asked for: one clock for all APIs, and the same time for what is asked again under one name.

`docs/redis.md` describes the keys. They have one hash tag, so that each question is one step, also in a cluster.
"""

from __future__ import annotations

import threading
from typing import Final

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes

KEPT_S: Final = 86_400
MOST_AHEAD_MS: Final = 60_000

# KEYS: of the user, of the request. ARGV: this clock, the earliest time, how far this clock may be ahead or nothing,
# whether the request has a name, seconds that it stays. Times are milliseconds.
_ASK: Final = """
local before = ARGV[4] == '1' and redis.call('GET', KEYS[2])
if before then return before end
local time = redis.call('TIME')
local ahead = tonumber(ARGV[1]) - (time[1] * 1000 + math.floor(time[2] / 1000))
if ARGV[3] ~= '' and ahead > tonumber(ARGV[3]) then return false end
local last = tonumber(redis.call('GET', KEYS[1]) or '-1')
local at = string.format('%.0f', math.max(tonumber(ARGV[1]), tonumber(ARGV[2]), last + 1))
redis.call('SET', KEYS[1], at, 'EX', ARGV[5])
if ARGV[4] == '1' then redis.call('SET', KEYS[2], at, 'EX', ARGV[5]) end
return at
"""


class RedisDeletionRequests:
    """The times below a prefix. May be used by several threads."""

    def __init__(
        self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0, most_ahead_ms: int | None = MOST_AHEAD_MS
    ) -> None:
        """`most_ahead_ms`: so far may a clock be ahead of the store's; None for any."""
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._prefix = prefix
        self._most_ahead = "" if most_ahead_ms is None else str(most_ahead_ms)

    def asked_at(self, user: str, request: str | None, now_ms: int, earliest_ms: int = 0) -> int | None:
        """The time under which a deletion is asked for, in milliseconds since 1970: later than any before of the user.

        `user` and `request` are hashes that say nothing of anybody; a request that came within the last day is answered
        with its first time. `now_ms` is the caller's clock. None where that is too far ahead of the store's: a shard
        would move such a deletion back, and nobody could tell when it is done. Raises StoreUnavailable.
        """
        names = (f"user:{user}", f"request:{request or ''}")
        keys = [api_key(self._prefix, f"{{deletions}}:{name}") for name in names]
        given: list[bytes | str | int] = [now_ms, earliest_ms, self._most_ahead, int(request is not None), KEPT_S]
        with self._lock:
            found = self._nodes.of(keys[0]).ask("EVAL", _ASK, len(keys), *keys, *given)
        return None if found is None else int(found)

    def last_asked(self, user: str) -> int | None:
        """The latest time that was given for the user within the last day, done or not. Raises StoreUnavailable."""
        key = api_key(self._prefix, f"{{deletions}}:user:{user}")
        with self._lock:
            found = self._nodes.of(key).ask("GET", key)
        return None if found is None else int(found)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()
