"""The API's keys in Redis: what is known of each, never a key itself. `docs/redis.md` describes the three hashes."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from streams.adapters.redis_keys import api_key
from streams.adapters.redis_nodes import open_nodes


class KeyRecord(msgspec.Struct, frozen=True):
    """One key. Times are seconds since 1970 UTC."""

    id: str
    role: str
    name: str
    digest: str
    """SHA-256 of the whole key in hexadecimal."""
    created_s: float


class KeyState(msgspec.Struct, frozen=True):
    """A key and what has become of it."""

    record: KeyRecord
    revoked_s: float | None
    """When it was revoked; None while it is good."""
    used_s: float | None
    """About when it was last used; None if it never was."""


class RedisApiKeys:
    """The keys below a prefix. May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, and other StoreErrors when it refuses.
    """

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._keys, self._revoked, self._used = (api_key(prefix, name) for name in ("keys", "revoked", "used"))

    def add(self, record: KeyRecord) -> None:
        """Store a new key. Raises ValueError for an id that is there already."""
        if not self._ask("HSETNX", self._keys, record.id, msgspec.json.encode(record)):
            raise ValueError(f"there is a key {record.id} already")

    def find(self, key_id: str) -> KeyState | None:
        """The key with that id; None if there is none."""
        with self._lock:
            found = self._nodes.ask("HGET", self._keys, key_id)
            if found is None:
                return None  # anybody may ask for what there is not: that costs one question
            revoked, used = (self._nodes.ask("HGET", name, key_id) for name in (self._revoked, self._used))
        return _state(found, revoked, used)

    def all(self) -> list[KeyState]:
        """Every key, the oldest first; revoked ones, too."""
        with self._lock:
            keys, revoked, used = (
                _pairs(self._nodes.ask("HGETALL", n)) for n in (self._keys, self._revoked, self._used)
            )
        states = [_state(data, revoked.get(key_id), used.get(key_id)) for key_id, data in keys.items()]
        return sorted(states, key=lambda state: (state.record.created_s, state.record.id))

    def exist(self) -> bool:
        """Whether there is any key that is good."""
        return any(state.revoked_s is None for state in self.all())

    def revoke(self, key_id: str, now_s: float) -> bool:
        """End a key; False if there is none with that id. The time of a first revocation stays."""
        if not self._ask("HEXISTS", self._keys, key_id):
            return False
        self._ask("HSETNX", self._revoked, key_id, repr(now_s))
        return True

    def note_use(self, key_id: str, now_s: float) -> None:
        """Write down that a key was used."""
        self._ask("HSET", self._used, key_id, repr(now_s))

    def ping(self) -> None:
        """Only asks whether the server answers."""
        self._ask("EXISTS", self._keys)

    def close(self) -> None:
        with self._lock:
            self._nodes.close()

    def _ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, key, *rest)


def _state(data: bytes, revoked: bytes | None, used: bytes | None) -> KeyState:
    return KeyState(
        msgspec.json.decode(data, type=KeyRecord),
        None if revoked is None else float(revoked),
        None if used is None else float(used),
    )


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
