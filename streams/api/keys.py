"""API keys: their form `tl_<role>_<id>_<secret>`, what each role may do, and how one is made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import Final, NamedTuple

from streams.adapters.redis_api_keys import KeyRecord

_FORM: Final = re.compile(r"tl_(ingest|read|write|admin)_([0-9a-f]{12})_[0-9a-f]{64}")
_ID: Final = re.compile(r"[0-9a-f]{12}")


class Role(StrEnum):
    """What a key is for."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, wanted: Role) -> bool:
        """Whether a key of this role may do what is for `wanted`."""
        return wanted in _ALLOWS[self]


_ALLOWS: Final = {
    Role.INGEST: {Role.INGEST},
    Role.READ: {Role.READ},
    Role.WRITE: {Role.READ, Role.WRITE},
    Role.ADMIN: set(Role),
}


class Caller(NamedTuple):
    """Who asks: a key that was found good."""

    key_id: str
    role: Role
    name: str


def make_key(role: Role, name: str, now_s: float) -> tuple[str, KeyRecord]:
    """A new key, which nobody can be told again, and what is stored of it."""
    key_id = secrets.token_hex(6)
    key = f"tl_{role}_{key_id}_{secrets.token_hex(32)}"
    return key, KeyRecord(key_id, role.value, name, digest(key), now_s)


def digest(key: str) -> str:
    """What is stored of a key. A secret of 256 random bits cannot be tried out, so one plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_of(key: str) -> str | None:
    """The id in a key; None for text that does not have the form of one."""
    match = _FORM.fullmatch(key)
    return None if match is None else match[2]


def looks_like_id(text: str) -> bool:
    """Whether a text can be the id of a key."""
    return _ID.fullmatch(text) is not None


def is_key_of(key: str, record: KeyRecord) -> bool:
    """Whether a key is the one of which `record` is stored; takes the same time whatever it is."""
    return hmac.compare_digest(digest(key), record.digest)
