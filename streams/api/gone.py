"""Who was deleted: all routes that tell of a user say so in the same way."""

from __future__ import annotations

from streams.adapters.redis_reader import RedisReader
from streams.api.problems import Kind, Problem
from streams.api.views import time_text
from streams.core.ledger import Deleted


def refuse_deleted(reader: RedisReader, user: str, ledger_key: bytes) -> None:
    """Raises `Problem` (410) for who was deleted and has not come back; StoreError."""
    if reader.row(user) is not None:
        return
    deletion = reader.deletion(user, ledger_key)
    if deletion is not None:
        raise Problem(Kind.GONE, "the user was deleted", deleted_at=time_text(Deleted.of(deletion).at_s))
