"""Where channels of campaigns deliver to, and their secrets, in Redis. `docs/redis.md` describes the keys.

Settings and secrets lie apart: whoever shows the one never reads the other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from streams.adapters.redis_deliveries import Secrets
from streams.adapters.redis_keys import desk_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import refusal


class RedisChannels:
    """May be used by several threads. Every method raises StoreUnavailable, and other StoreErrors."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._keys = desk_keys(prefix)

    def all(self) -> Mapping[str, bytes]:
        """Settings of every channel that has some, by its id."""
        flat = self._ask("HGETALL", self._keys.settings)
        return dict(sorted((name.decode(), data) for name, data in zip(flat[::2], flat[1::2], strict=True)))

    def secrets(self, channel: str) -> Secrets | None:
        """For delivering, and nothing else."""
        data = self._ask("HGET", self._keys.secrets, channel)
        return None if data is None else msgspec.json.decode(data, type=Secrets)

    def with_secrets(self) -> set[str]:
        """Channels that have some."""
        return {name.decode() for name in self._ask("HKEYS", self._keys.secrets)}

    def put(self, channel: str, settings: bytes, secrets: Secrets | None, *, forgets: bool = False) -> None:
        """Set both at once; None: those that are there stay, or go if it `forgets`."""
        name = channel.encode()
        body = [command(b"HSET", self._keys.settings, name, settings)]
        if secrets is not None:
            body.append(command(b"HSET", self._keys.secrets, name, msgspec.json.encode(secrets)))
        elif forgets:
            body.append(command(b"HDEL", self._keys.secrets, name))
        self._change(body)

    def remove(self, channel: str) -> None:
        """Forget both; what waits stays."""
        name = channel.encode()
        self._change([command(b"HDEL", key, name) for key in (self._keys.settings, self._keys.secrets)])

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    def _change(self, body: list[bytes]) -> None:
        commands = [command(b"MULTI"), *body, command(b"INCR", self._keys.version), command(b"EXEC")]
        with self._lock:
            replies = self._nodes.of(self._keys.version).exchange(commands)
        for reply in [*replies, *(replies[-1] if isinstance(replies[-1], list) else ())]:
            if isinstance(reply, ResponseError):
                raise refusal(reply, "changing a channel of campaigns") from reply

    def _ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, key, *rest)
