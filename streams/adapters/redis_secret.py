"""A secret that all processes of a service share, made by the first of them that needs it."""

from __future__ import annotations

import secrets
from contextlib import closing

from config.errors import StoreIncompatible
from streams.adapters.redis_keys import deletion_key
from streams.adapters.redis_nodes import open_nodes

_SECRET_BYTES = 32


def shared_deletion_key(url: str, *, prefix: str = "tl", timeout_s: float = 30.0) -> bytes:
    """The key of the ledger of deleted users, as the store has it; made if there is none. Raises StoreError."""
    name = deletion_key(prefix)
    with closing(open_nodes(url, timeout_s=timeout_s)) as nodes:
        nodes.ask("SET", name, secrets.token_hex(_SECRET_BYTES), "NX")
        found = nodes.ask("GET", name)
    if not isinstance(found, bytes):
        raise StoreIncompatible(f"{name.decode()} is gone as soon as it is written: does the server evict keys?")
    return found
