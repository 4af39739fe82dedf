"""What came of records that were put back on the log: by their place there, and where their shard stands by now.

All of it is read from the store, where a commit moves the position and adds the dead letters at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cache
from typing import Final

import msgspec

from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_redriven import STUCK_S, Redriven
from streams.runtime.hints import DeadLetter
from streams.runtime.records import Position

_LETTERS: Final = msgspec.json.Decoder(DeadLetter)
_BEHIND_ALL: Final = 1 << 64
"""No log has such an offset."""


class Outcomes:
    """For a number of them that are asked for together, by one thread: what one needs is not read again for the next.

    `kept`: so many dead letters of a shard are kept at most.
    """

    def __init__(self, reader: RedisReader, kept: int, now_s: float) -> None:
        self._reader = reader
        self._kept = kept
        self._now_s = now_s
        self._reached = cache(self._read_reached)
        self._at_or_after = cache(self._read_at_or_after)

    def of(self, mark: Redriven) -> tuple[str, str | None]:
        """What came of it, and why it was refused again. Raises StoreError.

        `sending`; `unfinished` (whoever did it has ended; ask for the same again); `in_log` where it is not known where
        it is in the log, or where a dead letter of it would be gone; `waiting` for the worker; `worked`; `refused`.
        """
        if not mark.done:
            return ("unfinished" if self._now_s - mark.at_s >= STUCK_S else "sending"), None
        if mark.offset is None:
            return "in_log", None
        if self._reached(mark.partition) <= mark.offset:
            return "waiting", None
        letter = self._letter(mark.partition, mark.offset)
        if letter is not None:
            return "refused", f"{letter.reason}: {letter.detail}"
        return ("in_log" if self._may_be_gone(mark.partition, mark.offset) else "worked"), None

    def _read_reached(self, shard: int) -> int:
        """The offset that the shard works next; 0 for a shard that is not there."""
        if shard >= self._reader.info.shards:
            return 0
        return Position.from_bytes(self._reader.position(shard)).offset

    def _letter(self, shard: int, offset: int) -> DeadLetter | None:
        """The dead letter of a record. They stand in the order of the log: first the commit is looked for, then it."""
        first, last = self._at_or_after(shard, 0, 0), self._reader.dead_letters_before(shard, None, 1)
        if first is None or not last:
            return None
        commits = range(_number(first[0])[0], _number(last[0].entry_id)[0] + 1)
        before = bisect_right(commits, offset, key=lambda commit: self._position(shard, commit, 0))
        if not before:
            return None
        commit = commits[before - 1]
        last_of = self._reader.dead_letters_before(shard, f"{commit + 1}-0", 1)
        indexes = range(_number(last_of[0].entry_id)[1] + 1) if last_of else range(0)
        index = bisect_left(indexes, offset, key=lambda index: self._position(shard, commit, index))
        found = self._at_or_after(shard, commit, index)
        return found[1] if found is not None and found[1].position == offset else None

    def _position(self, shard: int, commit: int, index: int) -> int:
        """Of the first dead letter from there on; behind all where a bound has taken it meanwhile."""
        found = self._at_or_after(shard, commit, index)
        return _BEHIND_ALL if found is None else found[1].position

    def _read_at_or_after(self, shard: int, commit: int, index: int) -> tuple[str, DeadLetter] | None:
        found = self._reader.dead_letters_from(shard, f"{commit}-{index}", 1)
        return (found[0].entry_id, _LETTERS.decode(found[0].data)) if found else None

    def _may_be_gone(self, shard: int, offset: int) -> bool:
        """Whether the bound has taken dead letters of so far back."""
        oldest = self._at_or_after(shard, 0, 0)
        return self._reader.dead_letters_kept(shard) >= self._kept and (oldest is None or oldest[1].position > offset)


def _number(entry_id: str) -> tuple[int, int]:
    """Commit and index."""
    commit, _, index = entry_id.partition("-")
    return int(commit), int(index)
