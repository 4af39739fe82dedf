"""Which users were deleted, and when: keyed hashes, so that whoever reads them learns of nobody.

It outlives what it is about. Events of a deleted user that are not later than what was deleted are refused, and a user
who comes back later begins a new life, whose transitions never have ids of an earlier one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from typing import Final, NamedTuple

NAME_BYTES: Final = 16
KEY_BYTES: Final = 32
_STORED: Final = struct.Struct("<ddI")


KeySource = bytes | Callable[[], bytes]
"""A secret, or where it comes from when it is needed first."""


class Deleted(NamedTuple):
    """One user. Times are seconds since 1970 UTC."""

    at_s: float
    """When the latest deletion was asked for: the time of its record."""
    until_s: float
    """Events up to this time are refused: that of the latest deletion, or of the last event that it deleted."""
    lives: int
    """How many lives have ended: deletions that found something."""

    def to_bytes(self) -> bytes:
        """As stored: two little-endian 64-bit floats and an unsigned 32-bit integer."""
        return _STORED.pack(*self)

    @classmethod
    def of(cls, data: bytes) -> Deleted:
        """Raises struct.error for anything that `to_bytes` did not give."""
        return cls(*_STORED.unpack(data))

    def joined(self, other: Deleted) -> Deleted:
        """What both know."""
        return Deleted(max(self.at_s, other.at_s), max(self.until_s, other.until_s), max(self.lives, other.lives))


def ledger_name(key: bytes, user: str) -> str:
    """The hash under which a user stands in the ledger: 128 bits of BLAKE2b under `key`, in hexadecimal."""
    return blake2b(user.encode("utf-8", "surrogatepass"), key=key, digest_size=NAME_BYTES).hexdigest()


class Ledger:
    """The deleted users of a shard, at most `most`; beyond that those whose deletion is longest ago are forgotten.

    `key` is a secret of at most 64 bytes: without it nobody can try ids out.
    """

    def __init__(self, key: KeySource = b"", most: int = 1) -> None:
        self.key_source = key
        self.most = most
        self.forgotten = 0
        """How many had to go because of the bound."""
        self._known: dict[str, Deleted] = {}
        self._changed: dict[str, None] = {}

    @cached_property
    def key(self) -> bytes:
        """The secret itself."""
        return self.key_source if isinstance(self.key_source, bytes) else self.key_source()

    @property
    def mark(self) -> str:
        """By which the key is known again; "" as long as nobody stands here, when any key will do."""
        return ledger_name(self.key, "") if self._known else ""

    def __len__(self) -> int:
        return len(self._known)

    def find(self, user: str) -> Deleted | None:
        """What is known of a user; None who was never deleted."""
        if not self._known:
            return None
        return self._known.get(ledger_name(self.key, user))

    def note(self, user: str, deleted: Deleted) -> None:
        """A user was deleted; it is the newest entry now."""
        self._put(ledger_name(self.key, user), deleted)

    def merge(self, name: str, data: bytes) -> None:
        """Take what another ledger of the same key has kept of a user, as far as it says more."""
        theirs, mine = Deleted.of(data), self._known.get(name)
        joined = theirs if mine is None else mine.joined(theirs)
        if joined != mine:
            self._put(name, joined)

    def adopt(self, other: Ledger) -> None:
        """Take over all that another one of the same key has, which is not used any more."""
        self._known, self._changed = other._known, other._changed

    def load(self, name: str, data: bytes) -> None:
        """Take back what `drain` gave."""
        self._known[name] = Deleted.of(data)

    def drain(self) -> list[tuple[str, bytes | None]]:
        """What changed since the last call, by hash; None for what was forgotten."""
        known = ((name, self._known.get(name)) for name in self._changed)
        changed = [(name, None if found is None else found.to_bytes()) for name, found in known]
        self._changed = {}
        return changed

    def _put(self, name: str, deleted: Deleted) -> None:
        self._known.pop(name, None)
        self._known[name] = deleted
        self._changed[name] = None
        while len(self._known) > self.most:
            oldest = min(self._known, key=lambda one: (self._known[one].at_s, one))
            del self._known[oldest]
            self._changed[oldest] = None
            self.forgotten += 1
