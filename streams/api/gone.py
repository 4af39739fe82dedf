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
    _refuse(_deleted(reader, user, ledger_key))


def lives_ended(reader: RedisReader, user: str, ledger_key: bytes) -> int:
    """How many lives of a user a deletion has ended: what is of an earlier one is nobody's to look at.

    Raises `Problem` (410) for who has not come back; StoreError.
    """
    is_there = reader.row(user) is not None  # first: who is deleted behind this has one life more in the ledger
    deleted = _deleted(reader, user, ledger_key)
    if not is_there:
        _refuse(deleted)
    return 0 if deleted is None else deleted.lives


def _deleted(reader: RedisReader, user: str, ledger_key: bytes) -> Deleted | None:
    found = reader.deletion(user, ledger_key)
    return None if found is None else Deleted.of(found)


def _refuse(deleted: Deleted | None) -> None:
    if deleted is not None:
        raise Problem(Kind.GONE, "the user was deleted", deleted_at=time_text(deleted.at_s))
