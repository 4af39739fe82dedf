"""All stored users of a service, a page at a time: what a question needs that no index answers.

It reads every row once and keeps none, so it costs time and not memory. While shards write, each row is as of one of
their commits, and not all of the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models.jit import I64
from streams.adapters.redis_reader import RedisReader
from streams.runtime.stored import StoredState
from streams.runtime.stored_rows import Said, StoredRows

_FIRST_NUMBERS = 1_024


class ShardState(NamedTuple):
    """The state of one shard."""

    shard: int
    state: StoredState


class UserPage(NamedTuple):
    """Some users of one shard, each of whom comes in one page only."""

    state: StoredState
    users: StoredRows
    said: Said


def everybody(
    reader: RedisReader, states: Sequence[ShardState], check: Callable[[], None] = lambda: None
) -> Iterator[UserPage]:
    """The users of these shards. `check` is called before each page, to raise where this takes too long.

    Raises StoreUnavailable.
    """
    for shard, state in states:
        seen = _Seen()
        for page in reader.each_row(shard):
            check()
            rows = [row for _, row in page]
            if not rows:
                continue
            users = StoredRows.of(state.definitions.layout, rows)
            fresh = seen.fresh(users.numbers)
            if len(fresh) < len(rows):
                if not len(fresh):
                    continue
                users = StoredRows.of(state.definitions.layout, [rows[i] for i in fresh.tolist()])
            yield UserPage(state, users, Said.of(state, users))


class _Seen:
    """Which numbers of users have been seen: a scan may give one twice. A byte for each.

    A deleted user's number is given again, to somebody who has come since the scan began: whoever comes while it runs
    may be missed anyway. Who is deleted and comes back meanwhile has another number, and may be counted in both lives.
    """

    def __init__(self) -> None:
        self._flags = np.zeros(_FIRST_NUMBERS, np.bool_)

    def fresh(self, numbers: I64) -> I64:
        """Places of those that come for the first time."""
        _, places = np.unique(numbers, return_index=True)
        highest = int(numbers.max())
        if highest >= len(self._flags):
            longer = np.zeros(2 * highest, np.bool_)
            longer[: len(self._flags)] = self._flags
            self._flags = longer
        places = np.sort(places[~self._flags[numbers[places]]])
        self._flags[numbers[places]] = True
        return places
