"""What workers share of the past, in Redis (`past_store.py`). `docs/redis.md` describes the keys.

What all look at has one hash tag, so that each change of it is one step; parts lie anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from config.errors import StoreError
from streams.adapters.past_store import (
    FAILED_S,
    LEASE_S,
    OFFER_S,
    PARTS_S,
    Board,
    Joined,
    Offer,
    Standing,
    cut,
    names_of,
)
from streams.adapters.redis_keys import past_keys, shard_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import refusal

# KEYS of all: now, holder, offer, failed.
_READ: Final = """
local now = redis.call('HGETALL', KEYS[1])
return {now, redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]), redis.call('GET', KEYS[4])}
"""
# ARGV: who, milliseconds. Who had it last has its epoch still: nobody can have read meanwhile.
_TAKE: Final = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'last') ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HSET', KEYS[1], 'last', ARGV[1])
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return tonumber(redis.call('HGET', KEYS[1], 'epoch'))
"""
_RELEASE: Final = "if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end return 1"
# ARGV: epoch, which of the keys, value or nothing, seconds.
_PUT: Final = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local key = KEYS[tonumber(ARGV[2])]
if ARGV[3] == '' then redis.call('DEL', key) else redis.call('SET', key, ARGV[3], 'EX', ARGV[4]) end
return 1
"""
_OFFER: Final = 3
_FAILED: Final = 4
_JOINED: Final = b"joined:"


class RedisPast:
    """A `PastStore` below a prefix."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 10.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._prefix = prefix
        self._keys = past_keys(prefix)

    def read(self) -> Board:
        """See `PastStore`."""
        flat, holder, offer, failed = self._run(_READ)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Board(
            None if holder is None else holder.decode(),
            None if offer is None else msgspec.json.decode(offer, type=Offer),
            {
                int(name.removeprefix(_JOINED)): msgspec.json.decode(data, type=Joined)
                for name, data in fields.items()
                if name.startswith(_JOINED)
            },
            None if failed is None else failed.decode(),
        )

    def take(self, holder: str) -> int | None:
        """See `PastStore`."""
        return self._run(_TAKE, holder, round(LEASE_S * 1_000)) or None

    def release(self, holder: str) -> None:
        """See `PastStore`."""
        self._run(_RELEASE, holder)

    def put(self, offer_id: str, name: str, data: bytes) -> int:
        """See `PastStore`."""
        parts = cut(data)
        for number, part in enumerate(parts):
            try:
                self._nodes.ask("SET", self._keys.part(offer_id, name, number), part, "EX", round(PARTS_S))
            except StoreError:
                with suppress(StoreError):  # they expire; the error at hand says more
                    self.discard(offer_id, {name: number})
                raise
        return len(parts)

    def discard(self, offer_id: str, parts: Mapping[str, int]) -> None:
        """See `PastStore`."""
        for name, number in names_of(parts):
            self._nodes.ask("UNLINK", self._keys.part(offer_id, name, number))

    def get(self, offer: Offer, name: str) -> bytes | None:
        """See `PastStore`."""
        found: list[bytes] = []
        for number in range(offer.parts[name]):
            part = self._nodes.ask("GET", self._keys.part(offer.id, name, number))
            if part is None:
                return None
            found.append(part)
        return b"".join(found)

    def offer(self, epoch: int, offer: Offer) -> bool:
        """See `PastStore`."""
        return bool(self._run(_PUT, epoch, _OFFER, msgspec.json.encode(offer), round(OFFER_S)))

    def withdraw(self, epoch: int, offer: Offer) -> bool:
        """See `PastStore`."""
        if not self._run(_PUT, epoch, _OFFER, "", 0):
            return False
        self.discard(offer.id, offer.parts)
        return True

    def fail(self, epoch: int, catalog: str) -> bool:
        """See `PastStore`."""
        return bool(self._run(_PUT, epoch, _FAILED, catalog, round(FAILED_S)))

    def joined(self, partition: int, joined: Joined) -> None:
        """See `PastStore`."""
        self._nodes.ask("HSET", self._keys.now, _JOINED + b"%d" % partition, msgspec.json.encode(joined))

    def standings(self, shards: int) -> list[Standing]:
        """See `PastStore`."""
        keys = [shard_keys(self._prefix, shard).state for shard in range(shards)]
        return [Standing(*self._nodes.ask("HMGET", key, "catalog", "since")) for key in keys]

    def deleted(self, shard: int) -> list[tuple[str, bytes]]:
        """See `PastStore`."""
        flat = self._nodes.ask("HGETALL", shard_keys(self._prefix, shard).deleted)
        return [(name.decode(), data) for name, data in zip(flat[::2], flat[1::2], strict=True)]

    def close(self) -> None:
        """See `PastStore`."""
        self._nodes.close()

    def _run(self, script: str, *arguments: bytes | str | int) -> Any:
        keys = self._keys.now, self._keys.holder, self._keys.offer, self._keys.failed
        packed = [each if isinstance(each, bytes) else str(each).encode() for each in arguments]
        (reply,) = self._nodes.of(keys[0]).exchange([command(b"EVAL", script.encode(), b"4", *keys, *packed)])
        if isinstance(reply, ResponseError):
            raise refusal(reply, "writing what workers share of the past to the store") from reply
        return reply
