"""The log of deletions: who was deleted, for stores that are made anew. Its records say it in keyed hashes only.

Each has its key of the log to itself, so that a compacted topic keeps the latest: the number of the shard, the mark of
the secret under which the hash was made, and the hash.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from config.errors import StoreIncompatible
from streams.core.ledger import Deleted, ledger_name

_LOG: Final = logging.getLogger(__name__)
_KEY: Final = re.compile(rb"(0|[1-9][0-9]{0,9}):([0-9a-f]{32}|):([0-9a-f]{32})")


class KnownDeletions(NamedTuple):
    """Who was deleted of a shard, as the log has it."""

    known: tuple[tuple[str, bytes], ...] = ()
    """(as the ledger names the user, what it knew)"""
    unreadable: int = 0
    """Records that nobody can read; they are passed over."""


def mark_of(key: bytes) -> str:
    """By which a secret is known again, and which says nothing of it; "" for none."""
    return ledger_name(key, "") if key else ""


def deletion_key(shard: int, mark: str, name: str) -> str:
    """The key of the record about who stands as `name` in the ledger of a shard, under the secret with this mark."""
    return f"{shard}:{mark}:{name}"


def shard_deletions(records: Iterable[tuple[bytes | None, bytes | None]], shard: int, mark: str) -> KnownDeletions:
    """From keys and values of all records of the log; one without a value says that the user is forgotten.

    Raises StoreIncompatible where a record of the shard was made under another secret: nobody in it could be known
    again. A record that cannot be read stops nothing: it is logged and counted.
    """
    known: dict[str, Deleted] = {}
    unreadable = 0
    for key, value in records:
        found = None if key is None else _KEY.fullmatch(key)
        if found is not None and not value:
            if int(found[1]) == shard:
                known.pop(found[3].decode(), None)
        elif found is None or (deleted := _read(value)) is None:
            unreadable += 1
        elif int(found[1]) == shard:
            if found[2].decode() != mark:
                raise StoreIncompatible(_OTHER_KEY)
            name = found[3].decode()
            known[name] = deleted.joined(known.get(name, deleted))
    if unreadable:
        _LOG.warning(
            "partition %d of the events: %d records of the log of deletions cannot be read, and are passed over",
            shard,
            unreadable,
        )
    return KnownDeletions(tuple((name, deleted.to_bytes()) for name, deleted in known.items()), unreadable)


_OTHER_KEY: Final = (
    "the log of deletions was written under another TIDELINE_DELETION_KEY: with this one nobody in it is known again, "
    "and everybody who was deleted would come back. Set the first one, or put its file deletion.key back. If it is "
    "lost for good, make the topic `deletions` anew (in a data directory: log/deletions), and delete those users "
    "again of whom the log still has events"
)


def _read(value: bytes | None) -> Deleted | None:
    """None for what nobody can read."""
    try:
        found = Deleted.of(bytes(value or b""))
    except struct.error:
        return None
    return found if math.isfinite(found.at_s) and math.isfinite(found.until_s) else None
