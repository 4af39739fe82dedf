"""The log of deletions: who was deleted, for stores that are made anew. Its records say it in keyed hashes only.

Each deletion has its key of the log to itself: the number of the shard, the mark of the secret under which the hash was
made, the hash, and when it was. A record without a value takes back one deletion: another one of the user has come, or
the user is forgotten. So what a worker publishes late, which was away while others went on, takes nothing of theirs out
of a compacted topic, which keeps the last record of each key. Keys of earlier versions had no time.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from config.errors import StoreIncompatible
from streams.core.ledger import Deleted, ledger_name
from streams.ports import CommitBatch, Message

_LOG: Final = logging.getLogger(__name__)
_KEY: Final = re.compile(rb"(0|[1-9][0-9]{0,9}):([0-9a-f]{32}|):([0-9a-f]{32})(?::[0-9a-f]{16})?")
_TIME: Final = struct.Struct(">d")


class KnownDeletions(NamedTuple):
    """Who was deleted of a shard, as the log has it."""

    known: tuple[tuple[str, bytes], ...] = ()
    """(as the ledger names the user, what it knew)"""
    unreadable: int = 0
    """Records that nobody can read; they are passed over."""


def mark_of(key: bytes) -> str:
    """By which a secret is known again, and which says nothing of it; "" for none."""
    return ledger_name(key, "") if key else ""


def deletion_key(shard: int, mark: str, name: str, at_s: float) -> str:
    """The key of the record about who stands as `name` in the ledger of a shard, under the secret with this mark, and
    was deleted at `at_s`, seconds since 1970 UTC.
    """
    return f"{shard}:{mark}:{name}:{_TIME.pack(at_s).hex()}"


def shard_of_key(key: bytes | None) -> int | None:
    """Whose record it is; None for a key that nobody can read."""
    found = None if key is None else _KEY.fullmatch(key)
    return None if found is None else int(found[1])


def deletion_messages(shard: int, mark: str, batch: CommitBatch) -> Iterator[Message]:
    """What the log has to hear of a commit. What takes the place of something comes before that is taken back."""
    for name, data in batch.deleted:
        if name in batch.merged:
            continue
        at_s = None if data is None else Deleted.of(data).at_s
        if data is not None and at_s is not None:
            yield Message("deletions", deletion_key(shard, mark, name, at_s), data)
        said_s = batch.deletions_said.get(name)
        if said_s is not None and said_s != at_s:
            yield Message("deletions", deletion_key(shard, mark, name, said_s), b"")


def shard_deletions(records: Iterable[tuple[bytes | None, bytes | None]], shard: int, mark: str) -> KnownDeletions:
    """From keys and values of all records of the log; one without a value takes back what its key has said.

    Raises StoreIncompatible where a record of the shard was made under another secret: nobody in it could be known
    again. A record that cannot be read stops nothing: it is logged and counted.
    """
    found_by_key: dict[bytes, tuple[str, Deleted]] = {}
    unreadable = 0
    for key, value in records:
        found = None if key is None else _KEY.fullmatch(key)
        if found is not None and not value:
            if int(found[1]) == shard:
                found_by_key.pop(found[0], None)
        elif found is None or (deleted := _read(value)) is None:
            unreadable += 1
        elif int(found[1]) == shard:
            if found[2].decode() != mark:
                raise StoreIncompatible(_OTHER_KEY)
            earlier = found_by_key.get(found[0], ("", deleted))[1]
            found_by_key[found[0]] = found[3].decode(), deleted.joined(earlier)
    if unreadable:
        _LOG.warning(
            "partition %d of the events: %d records of the log of deletions cannot be read, and are passed over",
            shard,
            unreadable,
        )
    known: dict[str, Deleted] = {}
    for name, deleted in found_by_key.values():
        known[name] = deleted.joined(known.get(name, deleted))
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
