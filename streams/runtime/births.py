"""Which store of a shard its chunks of examples come from, and from which one a learner learns.

A shard's store has a birth: a word that is made with its first commit and stays as long as anything of it does, through
restarts and set-backs. A store that was emptied, or another key prefix, has another one. It numbers its chunks by the
hour, from the oldest event on, so its numbers say nothing beside those of the store before: a learner that went by them
would take the last chunks of an old store for the future, and skip all that the new one hands out up to there.

So chunks carry the birth. A learner begins with a shard at the store that the shard has now, leaves out what others
have left in the log, and goes over to another birth with the first chunk of one that has taken the place of its own.
What it has learned stays then: it is of the same events, and chunks up to the number that it has seen are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from streams.ports import Store

BIRTH_BLOB: Final = "birth"
"""In the state of a shard from its first commit on; of a store that was made before there were births it is ""."""
MOST_KEPT: Final = 16


def birth_of(blobs: Mapping[str, bytes], generation: str) -> str:
    """Of a shard with this state. One without any state is being born under the generation of its claim."""
    if not blobs:
        return generation
    return blobs.get(BIRTH_BLOB, b"").decode()


def birth_in(store: Store, shard: int) -> str | None:
    """What the store of shards has now, for learners; None for a shard without a commit. Raises StoreError."""
    found = store.peek(shard, BIRTH_BLOB)
    return None if found is None else found.decode()


class Followed:
    """The births that one learner has followed.

    `stored`: shard -> births, the latest one last; changed in place, and stored by whoever gave it. `ask` says which
    birth the store of a shard has now, None for one without a commit; None where all chunks are of one store.
    """

    def __init__(self, stored: dict[int, list[str]], ask: Callable[[int], str | None] | None) -> None:
        self._stored = stored
        self._ask = ask
        self._now: dict[int, str | None] = {}

    def begin_batch(self) -> None:
        """Chunks were read: whoever sent them had made the commit, so one question from now on is enough."""
        self._now = {}

    def takes(self, shard: int, birth: str) -> bool:
        """Whether to learn from a chunk of this birth. Raises as `ask` does."""
        if self._ask is None:
            return True
        mine = self._stored.get(shard, ())
        if mine and mine[-1] == birth:
            return True
        if shard not in self._now:
            self._now[shard] = self._ask(shard)
        if self._now[shard] != birth:
            return False
        self._stored[shard] = [*mine, birth][-MOST_KEPT:]
        return True
