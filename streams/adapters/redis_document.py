"""A document (`streams.adapters.documents`) in Redis: four kinds of keys that have one hash tag.

So one script can change them together, also in a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from streams.adapters.documents import ANSWER_S, Answer, AnsweredBefore, Place, Write, changed, foreign
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_store import WaitFor
from streams.adapters.redis_wire import refusal

_REVISION: Final = b"revision"

# One step: whoever was not first is told so, and nothing of what it wanted is there.
# KEYS: fields, history, marks[, answer]. ARGV: revision expected, new one, bound of the history, answer, seconds that
# it stays, number of fields, number of marks; then of each field its name, whether it stays, and what it says; then the
# marks; then what the history says.
_WRITE: Final = """
if KEYS[4] then
  local before = redis.call('GET', KEYS[4])
  if before then return {'answered', before} end
end
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then return {'changed'} end
local fields = tonumber(ARGV[6])
local marks = 7 + 3 * fields
local changes = marks + tonumber(ARGV[7])
if fields > 0 then redis.call('HSET', KEYS[1], 'revision', ARGV[2]) end
for at = 8, marks, 3 do
  if ARGV[at + 1] == '1' then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  else redis.call('HDEL', KEYS[1], ARGV[at]) end
end
for at = marks + 1, changes do redis.call('SADD', KEYS[3], ARGV[at]) end
for at = changes + 1, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], ARGV[2] .. '-' .. (at - changes - 1), 'd', ARGV[at])
end
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[4], 'EX', ARGV[5]) end
return {'written'}
"""


class RedisDocument:
    """May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, other StoreErrors when it refuses, and
    StoreIncompatible for an answer that another version has written and this one cannot read.
    """

    def __init__(
        self,
        url: str,
        key: Callable[[str], bytes],
        *,
        history: int = 10_000,
        wait_for: WaitFor | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """`key`: the key of a name; all have one hash tag. `history`: so many changes are remembered.

        `wait_for`: the copies that a change has to have.
        """
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._key = key
        self._bound = history
        self._wait_for = wait_for
        self._now, self._history, self._marks = key("now"), key("history"), key("marks")

    def revision(self) -> int:
        """0 before the first change, and one more with each. One small question."""
        return int(self.ask("HGET", self._now, _REVISION) or 0)

    def read(self) -> tuple[int, dict[str, bytes]]:
        """The revision, and all fields as of it."""
        flat = self.ask("HGETALL", self._now)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        revision = int(fields.pop(_REVISION, 0))
        return revision, {name.decode(): data for name, data in fields.items()}

    def marks(self) -> frozenset[str]:
        """All names that were kept (`Write.marks`)."""
        return frozenset(name.decode() for name in self.ask("SMEMBERS", self._marks))

    def write(self, expected: int, write: Write, answer: Answer | None = None) -> None:
        """Change the fields of revision `expected`, all or nothing; with an answer it is kept for a day.

        Without fields only the answer is kept, and the revision stays.
        After a lost reply (StoreUnavailable) they may have been changed or not. Raises DefinitionsChanged where another
        change was first, AnsweredBefore where the answer's question was answered before.
        """
        keys = [self._now, self._history, self._marks] + ([] if answer is None else [self._answer_key(answer.asked)])
        kept = b"" if answer is None else msgspec.json.encode(answer)
        arguments: list[bytes | str | int] = [expected, expected + 1, self._bound, kept, ANSWER_S]
        arguments += [len(write.fields), len(write.marks)]
        for name, data in write.fields.items():
            arguments += [name, int(data is not None), data or b""]
        reply = self._written([_WRITE, len(keys), *keys, *arguments, *write.marks, *write.changes])
        if reply[0] == b"answered":
            raise AnsweredBefore(_answer(reply[1]))
        if reply[0] == b"changed":
            raise changed(expected)

    def answered(self, asked: str) -> Answer | None:
        """What was answered to that question within the last day."""
        found = self.ask("GET", self._answer_key(asked))
        return None if found is None else _answer(found)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, bytes]]:
        """At most `limit` changes, the latest first; only those before a place, if one is given."""
        last = "+" if before is None else f"({before[0]}-{before[1]}"
        page = self.ask("XREVRANGE", self._history, last, "-", "COUNT", limit)
        return [(_place(entry_id), pair[1]) for entry_id, pair in page]

    def ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        """One question of the server, for keys beside the document."""
        with self._lock:
            return self._nodes.ask(verb, key, *rest)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _written(self, arguments: Sequence[bytes | str | int]) -> Any:
        """What the script says; held back until there are as many copies as asked for."""
        script = command(b"EVAL", *[each if isinstance(each, bytes) else str(each).encode() for each in arguments])
        wait = [] if self._wait_for is None else [self._wait_for.command()]
        with self._lock:
            reply, *copies = self._nodes.of(self._now).exchange([script, *wait])
        if isinstance(reply, ResponseError):
            raise refusal(reply, "writing definitions") from reply
        if self._wait_for is not None and reply[0] == b"written":
            self._wait_for.check(copies[0])
        return reply

    def _answer_key(self, asked: str) -> bytes:
        return self._key(f"answer:{asked}")


def _place(entry_id: bytes) -> Place:
    revision, _, index = entry_id.decode().partition("-")
    return int(revision), int(index)


def _answer(data: bytes) -> Answer:
    try:
        return msgspec.json.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise foreign(error) from error
