"""Taking a whole store out of Redis again: the only code that deletes a shard's keys."""

from __future__ import annotations

import re

from config.errors import StoreIncompatible
from streams.adapters.redis_keys import store_meta
from streams.adapters.redis_wire import Wire, hide_password

_SCAN_COUNT = 1_000


def erase_store(url: str, *, prefix: str = "tl", timeout_s: float = 30.0) -> int:
    """Delete every key of the store below the prefix and nothing else; returns how many keys there were.

    The key that says what the store was made for goes first, so that a process which still writes to it is refused
    instead of going on with half of it. Does nothing where there is no store. Raises StoreIncompatible if something
    else is kept under that key, StoreUnavailable when there is no answer.
    """
    wire = Wire(url, timeout_s=timeout_s)
    try:
        meta = store_meta(prefix)
        kind = wire.ask("TYPE", meta)
        if kind == b"none":
            return 0
        if kind != b"hash" or not wire.ask("HEXISTS", meta, "shards"):
            raise StoreIncompatible(
                f"{hide_password(url)}: {meta.decode()} is no store of Tideline, so nothing is deleted; "
                "choose another key prefix"
            )
        wire.ask("DEL", meta)
        return 1 + _erase_shards(wire, prefix)
    finally:
        wire.close()


def _erase_shards(wire: Wire, prefix: str) -> int:
    ours = re.compile(rb"%b:\{[0-9]+\}:" % re.escape(prefix.encode()))
    count = 0
    cursor = b"0"
    while True:
        cursor, page = wire.ask("SCAN", cursor, "MATCH", _pattern(prefix), "COUNT", _SCAN_COUNT)
        keys = [key for key in page if ours.match(key)]
        if keys:
            count += wire.ask("UNLINK", *keys)
        if cursor == b"0":
            return count


def _pattern(prefix: str) -> str:
    """Keys of any shard. What a prefix may consist of has no special meaning in a pattern."""
    return f"{prefix}:{{*}}:*"
