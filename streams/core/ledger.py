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
NO_KEY: Final = b""
"""Of runs that tell nobody whom they know."""
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


class Changes(NamedTuple):
    """What `Ledger.drain` gives, by the hash of the user."""

    deleted: list[tuple[str, bytes | None]]
    """What is known now; None for who was forgotten."""
    merged: frozenset[str]
    """Those of whom others know that already."""
    said: dict[str, float]
    """When the deletion was that others have heard of before, seconds since 1970 UTC, for those of whom they have."""


def ledger_name(key: bytes, user: str) -> str:
    """The hash under which a user stands in the ledger: 128 bits of BLAKE2b under `key`, in hexadecimal."""
    return blake2b(user.encode("utf-8", "surrogatepass"), key=key, digest_size=NAME_BYTES).hexdigest()


def cluster_id(key: bytes, user: str) -> int:
    """By which a learner tells users apart: 64 bits of BLAKE2b under `key`, so that its examples name nobody."""
    data = user.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, key=key, digest_size=8, person=b"examples").digest(), "little")


class Ledger:
    """The deleted users of a shard, `most` of them for ever.

    `key` is a secret of at most 64 bytes: without it nobody can try ids out.
    """

    def __init__(self, key: KeySource = NO_KEY, most: int = 1) -> None:
        self.key_source = key
        self.most = most
        self.forgotten = 0
        """How many had to go because of the bound."""
        self.forgotten_lives = 0
        """The most lives of anybody who had to go. Who is not known may be one of them, and goes on behind that."""
        self._known: dict[str, Deleted] = {}
        self._changed: dict[str, None] = {}
        self._merged: set[str] = set()
        self._said: dict[str, float] = {}
        """Of those that changed: when the deletion was that others have heard of, if there is one."""

    @cached_property
    def key(self) -> bytes:
        """The secret itself."""
        return self.key_source if isinstance(self.key_source, bytes) else self.key_source()

    @property
    def mark(self) -> str:
        """By which the key is known again; "" as long as nobody stands here, when any key will do."""
        return ledger_name(self.key, "") if self._known else ""

    @property
    def has_changed(self) -> bool:
        """Whether `drain` would give anything."""
        return bool(self._changed)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, user: str) -> Deleted | None:
        """What is known of a user; None who was never deleted, or was forgotten."""
        if not self._known:
            return None
        return self._known.get(ledger_name(self.key, user))

    def lives_before(self, deleted: Deleted | None) -> int:
        """How many lives the next one of a user comes after, or more; `deleted` as `find` gave it."""
        return max(self.forgotten_lives, 0 if deleted is None else deleted.lives)

    def note(self, user: str, at_s: float, until_s: float, *, ended: int) -> None:
        """A user was deleted: `ended` is the number of the life that ended (from 1 on), 0 for none."""
        name = ledger_name(self.key, user)
        lives = 0 if name not in self._known else self._known[name].lives
        self._put(name, Deleted(at_s, until_s, max(lives, ended)))
        self._merged.discard(name)

    def merge(self, name: str, data: bytes) -> None:
        """Take what another ledger of the same key has kept of a user, as far as it says more."""
        theirs, mine = Deleted.of(data), self._known.get(name)
        joined = theirs if mine is None else mine.joined(theirs)
        if joined != mine:
            self._put(name, joined)
            self._merged.add(name)
            self._said[name] = theirs.at_s
        elif theirs.at_s < joined.at_s and name in self._changed:  # what is told of ours takes the place of that
            self._said.setdefault(name, theirs.at_s)

    def copy(self) -> list[tuple[str, bytes]]:
        """All that is known, for `merge`. Another thread may ask; RuntimeError if it was changed at that moment."""
        return [(name, deleted.to_bytes()) for name, deleted in list(self._known.items())]

    def adopt(self, other: Ledger) -> None:
        """Take over all that another one of the same key has, which is not used any more."""
        self._known, self._changed, self._merged = other._known, other._changed, other._merged
        self._said = other._said
        self.forgotten, self.forgotten_lives = other.forgotten, other.forgotten_lives

    def load(self, name: str, data: bytes) -> None:
        """Take back what `drain` gave."""
        self._known[name] = Deleted.of(data)

    def trim(self) -> bool:
        """Where there are more than `most`, the oldest go until an eighth is free; whether any did.

        Those of whom no life has ended go first: no id depends on them. An eighth, because to find them takes a look
        at all.
        """
        if len(self._known) <= self.most:
            return False
        by_age = sorted(self._known, key=lambda name: (self._known[name].lives > 0, self._known[name].at_s, name))
        for name in by_age[: len(by_age) - (self.most - self.most // 8)]:
            self._note_change(name)
            self.forgotten_lives = max(self.forgotten_lives, self._known.pop(name).lives)
            self._merged.discard(name)
            self.forgotten += 1
        return True

    def drain(self) -> Changes:
        """What changed since the last call."""
        known = ((name, self._known.get(name)) for name in self._changed)
        changed = [(name, None if found is None else found.to_bytes()) for name, found in known]
        changes = Changes(changed, frozenset(self._merged), self._said)
        self._changed, self._merged, self._said = {}, set(), {}
        return changes

    def _put(self, name: str, deleted: Deleted) -> None:
        self._note_change(name)
        self._known[name] = deleted

    def _note_change(self, name: str) -> None:
        """Before the first change since `drain`, others have heard of all that is known."""
        if name not in self._changed and name in self._known:
            self._said[name] = self._known[name].at_s
        self._changed[name] = None
