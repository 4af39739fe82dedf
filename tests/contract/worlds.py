"""The stores under contract, each with what a test must be able to do to it: open, look inside, set back in time."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Protocol

import redis

from streams.adapters.memory_store import MemoryServer, MemoryShard, MemoryStore
from streams.adapters.redis_store import RedisStore
from streams.commit import Patience
from streams.ports import Identity, Store

IDENTITY = Identity(
    catalog="c0ffee", input="d1ce", predictions=("orders_7d", "churn_90d"), segments=("orders_7d.high",)
)
PATIENCE = Patience(sleep=time.sleep, attempts=60, longest_pause_s=0.2)

Contents = dict[str, Any]


class World(Protocol):
    """One store, as several processes would see it."""

    def open(self, *, dead_letters: int = 10_000, outbox_keep: int = 0) -> Store:
        """Another handle on the same data."""

    def contents(self, shard: int) -> Contents:
        """Everything that is stored of a shard, in a form that is the same for every adapter."""

    def copy(self) -> object: ...

    def set_back(self, copy: Any) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.server = MemoryServer()

    def open(self, *, dead_letters: int = 10_000, outbox_keep: int = 0) -> Store:
        return MemoryStore(self.server, dead_letters=dead_letters, outbox_keep=outbox_keep)

    def contents(self, shard: int) -> Contents:
        stored = self.server.shards.get(shard, MemoryShard())
        return {
            "meta": (stored.epoch, stored.number, stored.generation, stored.position, stored.published),
            "rows": stored.rows,
            "state": stored.blobs,
            "remember": stored.remembered,
            "deleted": stored.deleted,
            "outbox": stored.outbox,
            "dead": stored.dead_letters,
            "appended": set(stored.appended),
            "parts": stored.parts,
            **_lists(stored),
            **_staged(stored.staged),
        }

    def copy(self) -> MemoryServer:
        return self.server.copy()

    def set_back(self, copy: MemoryServer) -> None:
        self.server.shards = copy.copy().shards
        self.server.made_for = copy.made_for


def _lists(stored: MemoryShard) -> Contents:
    """What has a key for each name."""
    return {
        **{f"scores:{name}": scores for name, scores in stored.scores.items() if scores},
        **{f"index:{name}": ranks for name, ranks in stored.index.items() if ranks},
        **{f"members:{name}": users for name, users in stored.members.items() if users},
        **{name: bytes(data) for name, data in stored.appended.items()},
    }


def _staged(staged: MemoryShard | None) -> Contents:
    if staged is None:
        return {}
    found: Contents = {"rows": staged.rows, "remember": staged.remembered, "state": staged.blobs}
    found["appended"] = set(staged.appended)
    found = {name: value for name, value in found.items() if value}
    return {f"staged:{name}": value for name, value in {**found, **_lists(staged)}.items()}


def plain_client(url: str) -> Any:
    """redis-py's own client of the server or cluster there."""
    if url.startswith("redis+cluster://"):
        return redis.RedisCluster.from_url("redis://" + url.removeprefix("redis+cluster://").partition(",")[0])
    return redis.Redis.from_url(url)


class RedisWorld:
    """Keys with a prefix of their own on a server that many tests share."""

    _numbers = itertools.count()

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"t{os.getpid()}-{next(self._numbers)}"
        self.client: Any = plain_client(url)
        self._opened: list[RedisStore] = []

    def open(self, *, dead_letters: int = 10_000, outbox_keep: int = 0, **options: Any) -> RedisStore:
        options.update(dead_letters=dead_letters, outbox_keep=outbox_keep)
        self._opened.append(RedisStore(self.url, patience=PATIENCE, prefix=self.prefix, **options))
        return self._opened[-1]

    def close(self) -> None:
        """Give all connections back."""
        for store in self._opened:
            store.close()
        self.client.close()

    def keys(self) -> list[bytes]:
        return list(self.client.scan_iter(match=f"{self.prefix}:*", count=1000))

    def contents(self, shard: int) -> Contents:
        base = f"{self.prefix}:{{{shard}}}:".encode()
        found: Contents = {"rows": {}, "state": {}, "remember": {}, "deleted": {}, "outbox": [], "dead": []}
        found["appended"] = set()
        for key in self.keys():
            if key.startswith(base):
                found[key[len(base) :].decode()] = self._value(key)
        meta = found.get("meta", {})
        found["meta"] = (
            int(meta.get("epoch", 0)),
            int(meta.get("commit", 0)),
            meta.get("generation", b"").decode(),
            meta.get("position"),
            int(meta.get("published", 0)),
        )
        found["dead"] = [data for _, data in found["dead"]]
        found["parts"] = int(found.pop("staging", {}).get("parts", 0))
        return found

    def _value(self, key: bytes) -> Any:
        kind = self.client.type(key)
        if kind == b"hash":
            return {field.decode(): value for field, value in self.client.hgetall(key).items()}
        if kind == b"set":
            return {member.decode() for member in self.client.smembers(key)}
        if kind == b"zset":
            return {member.decode(): score for member, score in self.client.zrange(key, 0, -1, withscores=True)}
        if kind == b"stream":
            return [(entry_id.decode(), fields[b"d"]) for entry_id, fields in self.client.xrange(key)]
        return self.client.get(key)

    def copy(self) -> dict[bytes, bytes]:
        return {key: self.client.dump(key) for key in self.keys()}

    def set_back(self, copy: dict[bytes, bytes]) -> None:
        for key in self.keys():
            self.client.delete(key)
        for key, dump in copy.items():
            self.client.restore(key, 0, dump)
