"""How far shards have stored and published: what whoever reads both logs has to know of them."""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import ResponseError

from streams.adapters.redis_keys import shard_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import refusal


class Mark(NamedTuple):
    """Of one shard, as of one of its commits."""

    position: bytes | None
    """In its log of events, as the shard has stored it; None before its first commit."""
    pending: bytes | None
    """The last transition of the commit, as JSON, if it is not known to be published. All before it are published
    before it."""


class RedisMarks:
    """One thread at a time. Raises StoreUnavailable."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 10.0) -> None:
        self._prefix = prefix
        self._nodes = open_nodes(url, timeout_s=timeout_s)

    def mark(self, shard: int) -> Mark:
        """As it stands."""
        keys = shard_keys(self._prefix, shard)
        body = [
            command(b"HMGET", keys.meta, b"position", b"published"),
            command(b"XREVRANGE", keys.outbox, b"+", b"-", b"COUNT", b"1"),
        ]
        replies = self._nodes.of(keys.meta).exchange([command(b"MULTI"), *body, command(b"EXEC")])
        for reply in [*replies, *(replies[-1] if isinstance(replies[-1], list) else ())]:
            if isinstance(reply, ResponseError):
                raise refusal(reply, f"asking how far shard {shard} is") from reply
        (position, published), last = replies[-1]
        pending = None
        for place, fields in last:
            if int(place.partition(b"-")[0]) > int(published or 0):
                pending = fields[1]
        return Mark(position, pending)

    def close(self) -> None:
        """Give the connections back."""
        self._nodes.close()
