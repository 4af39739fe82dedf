"""Questions about all users: tables that are kept for a while, passes over the store that are bounded, and not many at
once. All of it runs in threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from streams.adapters.redis_reader import RedisReader
from streams.api.few_at_once import FewThreads
from streams.api.problems import Kind, Problem
from streams.api.stored import StoreReads
from streams.runtime.everybody import ShardState, UserPage, everybody
from streams.runtime.score_table import ScoreTable, score_tables

_AT_ONCE: Final = 2
"""Passes that run at the same time; each takes a good part of a core."""
_WAIT_S: Final = 5.0
"""For a pass to end, before the answer is to come again."""
_WAITING: Final = 4
"""Who wait for a turn,"""
_WAITING_FOR_TABLES: Final = 8
"""and for tables that one of them makes for all. Their threads are missing to all other requests, which have 40."""
_LEAST_AGE_S: Final = 2.0
_AGE_PER_SECOND: Final = 10.0
"""Tables are used for so many times as long as the pass took: so passes for them take a tenth of a core at most."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The score tables of all predictions, and what they were made from."""

    tables: dict[str, ScoreTable]
    states: list[ShardState]
    as_of_s: float
    """When the pass began, seconds since 1970 UTC."""


@dataclass(slots=True)
class _Kept:
    tables: Tables
    commits: tuple[tuple[int, int, str], ...]
    made_s: float
    age_s: float


class Everyone:
    """Asks about everybody. May be used by several threads."""

    def __init__(
        self, stored: StoreReads, scan_s: float, *, clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`scan_s`: so long one pass may take, in seconds."""
        self._stored = stored
        self._scan_s = scan_s
        self._clock = clock
        self.wall = wall
        """Seconds since 1970 UTC."""
        self._passes = FewThreads(_AT_ONCE, _WAITING, _busy)
        self._making = FewThreads(1, _WAITING_FOR_TABLES, _busy)
        self._kept: _Kept | None = None

    def tables(self, reader: RedisReader) -> Tables:
        """Of all users; made anew where something was committed and they are old. Raises `Problem`, StoreError."""
        with self._making.turn(self._scan_s + _WAIT_S):
            now_s = self._clock()
            commits = tuple((i.shard, i.number, i.generation) for i in reader.shard_infos())
            kept = self._kept
            if kept is None or (kept.commits != commits and now_s - kept.made_s >= kept.age_s):
                tables = self._make(reader)
                age_s = max(_LEAST_AGE_S, _AGE_PER_SECOND * (self._clock() - now_s))
                kept = self._kept = _Kept(tables, commits, self._clock(), age_s)
            return kept.tables

    def _make(self, reader: RedisReader) -> Tables:
        as_of_s, states = self.wall(), self._stored.shard_states(reader)
        names = tuple(states[0].state.catalog.predictions)
        with self.scan(reader, states) as pages:
            made = score_tables(pages, len(names))
        return Tables(dict(zip(names, made, strict=True)), states, as_of_s)

    @contextmanager
    def scan(self, reader: RedisReader, states: list[ShardState]) -> Iterator[Iterator[UserPage]]:
        """A pass over all users. Raises `Problem` where too many run, or this one takes too long."""
        with self.turn() as check:
            yield everybody(reader, states, check)

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """For something that takes as long: a check that raises `Problem` when it has taken too long.

        Raises `Problem` where too many run.
        """
        with self._passes.turn(_WAIT_S):
            end_s = self._clock() + self._scan_s

            def check() -> None:
                if self._clock() > end_s:
                    raise _too_long(self._scan_s)

            yield check


def _busy() -> Problem:
    detail = "other questions about all users are being answered; try again in a moment"
    return Problem(Kind.OVERLOADED, detail, headers={"Retry-After": "5"})


def _too_long(seconds: float) -> Problem:
    return Problem(
        Kind.TAKES_TOO_LONG,
        f"there are too many users to look at all of them within {seconds:g} seconds; TIDELINE_API_SCAN_S gives more",
        headers={"Retry-After": "60"},
    )
