"""Looking for a user in every key of a store: what a deletion must have left nothing in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from streams.adapters.redis_wire import Wire
from streams.core.dead_letters import is_about

_SCAN: Final = 1_000
_PAGE: Final = 500
_OF_USERS: Final = re.compile(rb":(rows|remember|scores:.*|index:.*|members:.*)$")
"""Keys whose fields or members are users, and whose values name no other."""


def scanned_keys(wire: Wire, prefix: str) -> Iterator[bytes]:
    """All keys below the prefix on one server, each once: also those of learners, which are below a longer one."""
    cursor, seen = b"0", set[bytes]()
    while True:
        cursor, page = wire.ask("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", _SCAN)
        fresh = set(page) - seen
        seen |= fresh
        yield from fresh
        if cursor == b"0":
            return


def times_in(wire: Wire, key: bytes, user: str) -> int:
    """How often a key names the user. Strings are counters and packed numbers, and name nobody."""
    kind = wire.ask("TYPE", key)
    if kind == b"stream":
        return sum(is_about(data, user) for data in _stream_values(wire, key))
    if kind == b"list":
        return sum(is_about(data, user) for data in wire.ask("LRANGE", key, 0, -1))
    if kind == b"set":
        return int(wire.ask("SISMEMBER", key, user.encode()))
    if kind == b"zset":
        return int(wire.ask("ZSCORE", key, user.encode()) is not None)
    if kind == b"hash":
        named = int(wire.ask("HEXISTS", key, user.encode()))
        return named if _OF_USERS.search(key) else named + sum(is_about(data, user) for data in _hash_values(wire, key))
    return 0


def _stream_values(wire: Wire, key: bytes) -> Iterator[bytes]:
    start = "-"
    while page := wire.ask("XRANGE", key, start, "+", "COUNT", _PAGE):
        for _, fields in page:
            yield from fields[1::2]
        start = f"({page[-1][0].decode()}"


def _hash_values(wire: Wire, key: bytes) -> Iterator[bytes]:
    cursor = b"0"
    while True:
        cursor, flat = wire.ask("HSCAN", key, cursor, "COUNT", _PAGE)
        yield from flat[1::2]
        if cursor == b"0":
            return
