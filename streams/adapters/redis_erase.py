"""Taking a whole store out of Redis again: the only code that deletes a shard's keys."""

from __future__ import annotations

import re
from contextlib import closing

from redis.exceptions import ResponseError

from config.errors import StoreIncompatible
from config.store_address import hide_password
from streams.adapters.redis_keys import shard_keys, store_meta
from streams.adapters.redis_nodes import Nodes, open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import Wire, refusal

_SCAN_COUNT = 1_000
_BEGUN = "half-erased"
"""The format of a store that is being deleted."""


def erase_store(url: str, *, prefix: str = "tl", timeout_s: float = 30.0) -> int:
    """Delete every key of the store below the prefix and nothing else; returns how many keys there were.

    First the store gets a format that everybody refuses, then its shards lose what commits stand on, so that a process
    which still writes to it is refused instead of going on with half of it. What was begun and could not be ended is
    continued by the next call, also where the key that says what the store was made for is gone: a run would take what
    is left of the shards for its own. Raises StoreIncompatible if something else is kept under that key,
    StoreUnavailable when there is no answer.
    """
    meta = store_meta(prefix)
    with closing(open_nodes(url, timeout_s=timeout_s)) as nodes:
        kind = nodes.ask("TYPE", meta)
        if kind == b"none":
            return _erase_shards(nodes, prefix, "meta") + _erase_shards(nodes, prefix)
        shards = nodes.ask("HGET", meta, "shards") if kind == b"hash" else None
        if shards is None:
            raise StoreIncompatible(
                f"{hide_password(url)}: {meta.decode()} is no store of Tideline, so nothing is deleted; "
                "choose another key prefix"
            )
        nodes.ask("HSET", meta, "format", _BEGUN)
        count: int = sum(nodes.ask("UNLINK", shard_keys(prefix, shard).meta) for shard in range(int(shards)))
        count += _erase_shards(nodes, prefix)
        count += nodes.ask("DEL", meta)
        return count


def _erase_shards(nodes: Nodes, prefix: str, name: str = "*") -> int:
    """Until a whole scan finds nothing: keys may go from one node to another meanwhile. `name`: only such keys."""
    count = 0
    while found := sum(_erase_found(wire, prefix, name) for wire in nodes.primaries()):
        count += found
    return count


def _erase_found(wire: Wire, prefix: str, name: str) -> int:
    ours = re.compile(rb"%b:\{[0-9]+\}:" % re.escape(prefix.encode()))
    count = 0
    cursor = b"0"
    while True:
        cursor, page = wire.ask("SCAN", cursor, "MATCH", _pattern(prefix, name), "COUNT", _SCAN_COUNT)
        # A command for each, as the keys of several shards cannot be in one command of a cluster.
        for reply in wire.exchange([command(b"UNLINK", key) for key in page if ours.match(key)]):
            if isinstance(reply, ResponseError):
                raise refusal(reply, f"deleting keys at {wire.name}") from reply
            count += reply
        if cursor == b"0":
            return count


def _pattern(prefix: str, name: str) -> str:
    """Keys of any shard. What a prefix may consist of has no special meaning in a pattern."""
    return f"{prefix}:{{*}}:{name}"
