"""Definitions made through the API, in Redis. `docs/redis.md` describes the keys.

All of them have one hash tag, so that one script can change them together, also in a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from config.catalog import Catalog
from config.definitions import Definitions
from config.errors import CatalogError
from config.loader import loads
from config.written import to_yaml
from streams.adapters.definition_store import (
    ANSWER_S,
    Answer,
    AnsweredBefore,
    Change,
    DefinitionsChanged,
    Entry,
    Kept,
    Past,
    Place,
    Step,
    definitions_of,
    foreign,
)
from streams.adapters.redis_keys import definitions_key, past_key
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_store import WaitFor
from streams.adapters.redis_wire import refusal

_REVISION: Final = b"revision"

# One step: whoever was not first is told so, and nothing of what it wanted is there.
# KEYS: definitions, history[, answer]. ARGV: revision expected, new one, bound of the history, answer, seconds that it
# stays, number of changes; then of each its field, the new entry, and what the history says of it.
_WRITE: Final = """
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before then return {'answered', before} end
end
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then return {'changed'} end
if ARGV[6] ~= '0' then redis.call('HSET', KEYS[1], 'revision', ARGV[2]) end
for i = 0, tonumber(ARGV[6]) - 1 do
  redis.call('HSET', KEYS[1], ARGV[7 + 3 * i], ARGV[8 + 3 * i])
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], ARGV[2] .. '-' .. i, 'd', ARGV[9 + 3 * i])
end
if KEYS[3] then redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5]) end
return {'written'}
"""


class RedisDefinitions:
    """The definitions below a prefix. May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, other StoreErrors when it refuses, and
    StoreIncompatible for what another version has written and this one cannot read.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tl",
        history: int = 10_000,
        wait_for: WaitFor | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """`history`: so many changes are remembered. `wait_for`: the copies that a change has to have."""
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._prefix = prefix
        self._bound = history
        self._parsed: tuple[bytes, Catalog] | None = None
        """The file as it was read last: parsing a large one takes a second."""
        self._wait_for = wait_for
        self._past = past_key(prefix)
        self._now, self._history, self._file = (definitions_key(prefix, name) for name in ("now", "history", "file"))

    def revision(self) -> int:
        """0 before the first change, and one more with each. One small question."""
        return int(self._ask("HGET", self._now, _REVISION) or 0)

    def read(self) -> Definitions:
        """All definitions as of one revision."""
        return definitions_of(self.kept())

    def kept(self) -> Kept:
        """The same with what is known of each."""
        flat = self._ask("HGETALL", self._now)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        revision = int(fields.pop(_REVISION, 0))
        try:
            entries = [msgspec.json.decode(data, type=Entry) for data in fields.values()]
        except msgspec.DecodeError as error:
            raise foreign(error) from error
        return Kept(revision, tuple(sorted(entries, key=lambda entry: entry.made)))

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None:
        """Make changes to the definitions of revision `expected`, all or nothing; with an answer it is kept for a day.

        Without steps only the answer is kept, and the revision stays.
        After a lost reply (StoreUnavailable) they may have been made or not. Raises DefinitionsChanged where another
        change was first, AnsweredBefore where the answer's question was answered before.
        """
        keys = [self._now, self._history] + ([] if answer is None else [self._answer_key(answer.asked)])
        kept = b"" if answer is None else msgspec.json.encode(answer)
        arguments: list[bytes | str | int] = [expected, expected + 1, self._bound, kept, ANSWER_S, len(steps)]
        for entry, change in steps:
            arguments += [f"{entry.kind}:{entry.id}", msgspec.json.encode(entry), msgspec.json.encode(change)]
        reply = self._written([_WRITE, len(keys), *keys, *arguments])
        if reply[0] == b"answered":
            raise AnsweredBefore(_answer(reply[1]))
        if reply[0] == b"changed":
            raise DefinitionsChanged(f"the definitions are not those of revision {expected} any more")

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

    def answered(self, asked: str) -> Answer | None:
        """What was answered to that question within the last day."""
        found = self._ask("GET", self._answer_key(asked))
        return None if found is None else _answer(found)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]:
        """At most `limit` changes, the latest first; only those before a place, if one is given."""
        last = "+" if before is None else f"({before[0]}-{before[1]}"
        page = self._ask("XREVRANGE", self._history, last, "-", "COUNT", limit)
        try:
            return [(_place(entry_id), msgspec.json.decode(pair[1], type=Change)) for entry_id, pair in page]
        except msgspec.DecodeError as error:
            raise foreign(error) from error

    def past(self) -> Past | None:
        """How far the workers are with learning from the log; None where nothing had to be learned from it."""
        found = self._ask("GET", self._past)
        try:
            return None if found is None else msgspec.json.decode(found, type=Past)
        except msgspec.DecodeError as error:
            raise foreign(error) from error

    def tell_past(self, past: Past) -> None:
        """What `past` says from now on."""
        self._ask("SET", self._past, msgspec.json.encode(past))

    def tell_file(self, catalog: Catalog) -> None:
        """Write down what the catalog file says, for those who only have the store; workers do at their start."""
        self._ask("SET", self._file, to_yaml(catalog))

    def file(self) -> Catalog | None:
        """The catalog file of the service; None before any worker has told it."""
        found = self._ask("GET", self._file)
        if found is None:
            return None
        parsed = self._parsed
        if parsed is None or parsed[0] != found:
            try:
                self._parsed = parsed = found, loads(found.decode(), "the catalog file")
            except CatalogError as error:
                raise foreign(error) from error
        return parsed[1]

    def close(self) -> None:
        with self._lock:
            self._nodes.close()

    def _answer_key(self, asked: str) -> bytes:
        return definitions_key(self._prefix, f"answer:{asked}")

    def _ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, key, *rest)


def _place(entry_id: bytes) -> Place:
    revision, _, index = entry_id.decode().partition("-")
    return int(revision), int(index)


def _answer(data: bytes) -> Answer:
    try:
        return msgspec.json.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise foreign(error) from error
