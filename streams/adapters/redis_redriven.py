"""Which dead letters were put back on the log: each once, however often it is asked. `docs/redis.md` has the key.

A mark is found by the place of the record in the log (partition and offset), never by an id of the store of shards,
which may be made anew.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes

STUCK_S: Final = 60.0
"""Who has not said after so long that a record is in the log has ended before."""

# KEYS: the marks. ARGV: field, mark, digest of the letter, digest of the record, now, seconds until stuck.
# A mark of another record that stood in the same place of an earlier log counts for nothing. One that is stuck may be
# taken over for the same record: the shard knows it by its message id, wherever the first one has ended.
_BEGIN: Final = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  local mark = cjson.decode(found)
  local is_stuck = not mark.done and tonumber(ARGV[5]) - mark.at_s >= tonumber(ARGV[6])
  if mark.letter == ARGV[3] and not (is_stuck and mark.record == ARGV[4]) then return found end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return false
"""


class Redriven(msgspec.Struct, frozen=True):
    """What became of a dead letter that somebody wants back on the log. Times are seconds since 1970 UTC."""

    letter: str
    """Digest of the record that could not be used; that of the record that is put on the log is the next."""
    record: str
    message_id: str
    partition: int
    at_s: float
    key_id: str
    offset: int | None = None
    """Where it is in that partition; None where the log did not say."""
    done: bool = False
    """Whether the log has taken it."""


class RedisRedriven:
    """The marks below a prefix. May be used by several threads. Every method raises StoreUnavailable."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._key = api_key(prefix, "redriven")

    def begin(self, place: str, mark: Redriven) -> Redriven | None:
        """Mark a letter as being put back; None where that is so now, else the mark of who was first."""
        given = (place, msgspec.json.encode(mark), mark.letter, mark.record, repr(mark.at_s), repr(STUCK_S))
        with self._lock:
            found = self._nodes.of(self._key).ask("EVAL", _BEGIN, 1, self._key, *given)
        return None if found is None else msgspec.json.decode(found, type=Redriven)

    def finish(self, place: str, mark: Redriven) -> None:
        """The log has it."""
        with self._lock:
            self._nodes.ask("HSET", self._key, place, msgspec.json.encode(mark))

    def give_up(self, place: str) -> None:
        """The log has surely not taken it, so it may be asked again."""
        with self._lock:
            self._nodes.ask("HDEL", self._key, place)

    def find(self, places: list[str]) -> list[Redriven | None]:
        """The marks of letters in these places, in the same order."""
        if not places:
            return []
        with self._lock:
            found = self._nodes.ask("HMGET", self._key, *places)
        return [None if data is None else msgspec.json.decode(data, type=Redriven) for data in found]

    def all_places(self) -> list[str]:
        """Of all letters with a mark."""
        with self._lock:
            return [name.decode() for name in self._nodes.ask("HKEYS", self._key)]

    def forget(self, places: list[str]) -> None:
        """Marks of letters that the store has no more."""
        if places:
            with self._lock:
                self._nodes.ask("HDEL", self._key, *places)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()
