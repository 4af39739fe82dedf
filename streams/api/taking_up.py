"""Segments that were made just now: whoever asks for their members waits for the shards to take them up.

That takes them a second at most (docs/core.md), so the wait is bounded by little more; a service without a worker is
told so after it. Who waits holds no thread, and all who wait look together: at the catalogs of the shards alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool

from streams.adapters.redis_reader import RedisReader
from streams.api.definer import Definer
from streams.api.definitions_view import DefinitionsView
from streams.api.few_at_once import FewTasks
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.stored import STATE_S, NothingYet
from streams.api.targets import exists, is_archived
from streams.core.definitions import segment_ids_of
from streams.runtime.about import CATALOG_BLOB, stored_catalog

LOOK_S: Final = 0.1
LOOKS: Final = 15
"""Between two of them is `LOOK_S`: so it is waited for 1.5 seconds."""
_AT_ONCE: Final = 16


class Known(Enum):
    """What becomes of a question about the members of a segment."""

    KEPT = "kept"
    """All shards have it, or nobody does."""
    NEW = "new"
    """It is defined, and a shard does not have it."""
    GIVEN_UP = "given up"
    """It is archived, and a shard has no room for it."""


class _Look(NamedTuple):
    known: frozenset[str]
    """Segments that all shards have."""
    view: DefinitionsView


@dataclass(frozen=True, slots=True)
class _Latest:
    known: frozenset[str]
    looked_s: float


class TakingUp:
    """Of one app. For its loop."""

    def __init__(self, services: Services, definer: Definer) -> None:
        self._stored = services.stored
        self._clock = services.clock
        self._definer = definer
        self._waits = FewTasks(_AT_ONCE, 0, _not_yet)
        self._latest: _Latest | None = None
        self._next: asyncio.Task[_Look] | None = None

    async def is_kept(self, segment: str) -> bool:
        """Whether shards know a segment, or nobody does; False for one that is archived and that they do not know.

        Waits for one that is new. Raises StoreError, and `Problem` with Retry-After where they do not take it up.
        """
        known = await run_in_threadpool(self._now, segment)
        if known is not Known.NEW:
            return known is Known.KEPT
        async with self._waits.turn(0.0):
            for _ in range(LOOKS):
                known = _known(await self._next_look(), segment)
                if known is not Known.NEW:
                    await run_in_threadpool(self._let_states_follow, segment)
                    return known is Known.KEPT
        raise _not_yet()

    def _now(self, segment: str) -> Known:
        """Without a question to the store for what all shards had when they were last looked at, a moment ago."""
        latest = self._latest
        is_late = latest is None or self._clock() - latest.looked_s >= STATE_S
        if latest is None or is_late or segment not in latest.known:
            latest = self._latest = _Latest(self._known_by_all(), self._clock())
        if segment not in latest.known:
            return _known(_Look(latest.known, self._definer.view()), segment)
        self._let_states_follow(segment)
        return Known.KEPT

    def _let_states_follow(self, segment: str) -> None:
        """The state that a route takes may be of a moment before the look."""
        with self._stored.reader() as reader:
            if segment not in self._stored.a_state(reader).definitions.segment_ids:
                self._stored.look_again()

    async def _next_look(self) -> _Look:
        """The next one, of all who wait together. It goes on where one of them goes away."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_soon())
        return await asyncio.shield(self._next)

    async def _look_soon(self) -> _Look:
        try:
            await asyncio.sleep(LOOK_S)
            return await run_in_threadpool(lambda: _Look(self._known_by_all(), self._definer.view()))
        finally:
            self._next = None

    def _known_by_all(self) -> frozenset[str]:
        """Raises StoreError, and `Problem` where no shard has committed."""
        with self._stored.reader() as reader:
            catalogs = _catalogs(reader)
        if not catalogs:
            raise NothingYet
        return frozenset.intersection(
            *(frozenset(segment_ids_of(stored_catalog({CATALOG_BLOB: data}))) for data in catalogs)
        )


def _catalogs(reader: RedisReader) -> set[bytes]:
    """Those that shards work with, each once: nearly always one."""
    found = (reader.blob(shard, CATALOG_BLOB) for shard in range(reader.info.shards))
    return {data for data in found if data is not None}


def _known(look: _Look, segment: str) -> Known:
    if segment in look.known or not exists(look.view, segment):
        return Known.KEPT
    return Known.GIVEN_UP if is_archived(look.view, segment) else Known.NEW


def _not_yet() -> Problem:
    words = "the segment was made just now, and workers have not taken it up; where one runs that takes a second"
    return Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "1"})
