"""Segments that were made just now: whoever asks for their members waits for the shards to take them up.

That takes them a second at most (docs/core.md), so the wait is bounded by little more; a service without a worker is
told so after it. Who waits holds no thread.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool

from streams.api.definer import Definer
from streams.api.few_at_once import FewTasks
from streams.api.problems import Kind, Problem
from streams.api.services import Services

LOOK_S: Final = 0.1
LOOKS: Final = 15
"""Between two of them is `LOOK_S`: so it is waited for 1.5 seconds."""
_AT_ONCE: Final = 16


class TakingUp:
    """Of one app. For its loop."""

    def __init__(self, services: Services, definer: Definer) -> None:
        self._stored = services.stored
        self._definer = definer
        self._waits = FewTasks(_AT_ONCE, 0, _not_yet)

    async def is_kept(self, segment: str) -> bool:
        """Whether shards know a segment, or nobody does; False for one that is archived and that they do not know.

        Waits for one that is new. Raises StoreError, and `Problem` with Retry-After where they do not take it up.
        """
        if not await run_in_threadpool(self._is_new, segment):
            return not await run_in_threadpool(self._is_given_up, segment)
        async with self._waits.turn(0.0):
            for _ in range(LOOKS):
                await asyncio.sleep(LOOK_S)
                self._stored.look_again()
                if not await run_in_threadpool(self._is_new, segment):
                    return True
        raise _not_yet()

    def _is_new(self, segment: str) -> bool:
        """Whether it is defined, and a shard does not know it."""
        if self._is_known(segment):
            return False
        found = self._definer.view().whole.segments.get(segment)
        return found is not None and not found.archived

    def _is_given_up(self, segment: str) -> bool:
        return not self._is_known(segment) and segment in self._definer.view().whole.segments

    def _is_known(self, segment: str) -> bool:
        with self._stored.reader() as reader:
            return all(segment in state.definitions.segment_ids for state in self._stored.states(reader))


def _not_yet() -> Problem:
    words = "the segment was made just now, and workers have not taken it up; where one runs that takes a second"
    return Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "1"})
