"""Who looks: somebody who has shown an API key, known by a cookie until the key is revoked or the session ends.

The cookie holds 256 random bits. The store has their SHA-256 and the id of the key: whoever reads the store can neither
sign in with what it holds nor learn a key. What a page sends back with a form is derived from the cookie's bits, which
no other site can read, so nothing of it is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

IDLE_S: Final = 7 * 86_400
"""A session ends when nobody has used it for so long."""
LONGEST_S: Final = 30 * 86_400
"""And in any case so long after signing in."""
_ID: Final = re.compile(r"[0-9a-f]{64}")


class SessionStore(Protocol):
    """Where sessions are; see `streams.adapters.redis_sessions.RedisSessions`. Used from several threads."""

    def put(self, name: str, data: bytes, lasts_s: int) -> None: ...

    def take_up(self, name: str, lasts_s: int) -> bytes | None: ...

    def remove(self, name: str) -> None: ...


class Session(NamedTuple):
    """Somebody who has signed in."""

    id: str
    key_id: str

    @property
    def token(self) -> str:
        """What forms of this session carry."""
        return hmac.new(self.id.encode(), b"forms of the console", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Whether a form is of this session; takes the same time whatever was given."""
        return hmac.compare_digest(self.token.encode(), given.encode())


class _Record(msgspec.Struct, frozen=True):
    key_id: str
    created_s: float


class Sessions:
    """Begins, finds and ends sessions. Every method raises StoreError."""

    def __init__(self, store: SessionStore, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    def begin(self, key_id: str) -> Session:
        """A new session of a key that was found good."""
        session = Session(secrets.token_hex(32), key_id)
        record = _Record(key_id, self._wall())
        self._store.put(_name(session.id), msgspec.json.encode(record), IDLE_S)
        return session

    def find(self, session_id: str) -> Session | None:
        """The session with that id; None if it has ended, or never was."""
        if not _ID.fullmatch(session_id):
            return None
        data = self._store.take_up(_name(session_id), IDLE_S)
        if data is None:
            return None
        record = msgspec.json.decode(data, type=_Record)
        if self._wall() - record.created_s > LONGEST_S:
            self.end(session_id)
            return None
        return Session(session_id, record.key_id)

    def end(self, session_id: str) -> None:
        """Nobody is let in with it any more."""
        self._store.remove(_name(session_id))


def _name(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
