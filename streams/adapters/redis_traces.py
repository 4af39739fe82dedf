"""Looking for a user in every key of a store: what a deletion must have left nothing in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Protocol

import msgspec

from streams.adapters.redis_keys import member_of_queue
from streams.adapters.redis_wire import Wire
from streams.core.dead_letters import is_about

_SCAN: Final = 1_000
_PAGE: Final = 500
_OF_USERS: Final = re.compile(rb":(rows|remember|profiles|queued|scores:.*|index:.*|members:.*)$")
"""Keys whose fields or members are users, and whose values name no other."""
_OF_CAMPAIGNS: Final = b":campaigns:{"
_QUEUE: Final = re.compile(rb".*:campaigns:\{[0-9]+\}:queue:(.*)", re.DOTALL)
"""Keys of users who wait for the rate of a campaign."""
_PART_OF_PAST: Final = re.compile(rb"(.*:past:.+:)([0-9]+)")
"""Keys of what was read of the log (`past_store.cut`); whoever is in it stands there as msgpack."""


class _Asked(Protocol):
    """All servers: each key is asked for where it is."""

    def ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any: ...


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


def times_in(wire: Wire, nodes: _Asked, key: bytes, user: str) -> int:
    """How often a key on the server of `wire` names the user.

    Strings are counters and packed numbers, and name nobody; but for those of the past.
    """
    kind, times = wire.ask("TYPE", key), 0
    if kind == b"stream":
        times = sum(_names(key, data, user) for data in _stream_values(wire, key))
    elif kind == b"list":
        times = sum(is_about(data, user) for data in wire.ask("LRANGE", key, 0, -1))
    elif kind == b"set":
        times = int(wire.ask("SISMEMBER", key, user.encode()))
    elif kind == b"zset":
        queue = _QUEUE.fullmatch(key)
        member = user if queue is None else member_of_queue(queue[1].decode(), user)
        times = int(wire.ask("ZSCORE", key, member.encode()) is not None)
    elif kind == b"hash":
        times = int(wire.ask("HEXISTS", key, user.encode()))
        if not _OF_USERS.search(key):
            times += sum(_names(key, data, user) for data in _hash_values(wire, key))
    elif kind == b"string" and (part := _PART_OF_PAST.fullmatch(key)):
        times = _times_in_part(nodes, part[1], int(part[2]), msgspec.msgpack.encode(user))
    return times


def _names(key: bytes, data: bytes, user: str) -> bool:
    """Whether a value is about the user. What campaigns keep is msgpack, in which the id is a text of its own."""
    return is_about(data, user) or (_OF_CAMPAIGNS in key and msgspec.msgpack.encode(user) in data)


def _times_in_part(nodes: _Asked, base: bytes, number: int, text: bytes) -> int:
    """How often the text begins in part `number`; its end may be in the next one, which another server may have."""
    part = nodes.ask("GET", b"%b%d" % (base, number)) or b""
    behind = nodes.ask("GETRANGE", b"%b%d" % (base, number + 1), 0, len(text) - 2) or b""
    return int((part + behind).count(text))


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
