"""How many bytes of an event the workers score, known to an API that takes events whether or not the store answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from config.errors import StoreError
from streams.api.problems import Problem

_LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 10.0
"""So often is looked whether the workers' catalog says something else."""
FIRST_WAIT_S: Final = 1.0
"""So long a batch waits for what nobody has found out yet."""


class RecordBound:
    """`limits.property_bytes` of the workers' catalog. For the one loop of an app."""

    def __init__(self, find: Callable[[], Awaitable[int]], clock: Callable[[], float]) -> None:
        """`find` raises `Problem` and StoreError; `clock`: seconds that never go back."""
        self._find = find
        self._clock = clock
        self._known: int | None = None
        self._looked_s: float | None = None
        self.looking: asyncio.Task[None] | None = None
        """Finds it out, if it is being found out."""

    async def bytes(self) -> int | None:
        """What it was lately; None while nobody could tell."""
        now_s = self._clock()
        if self.looking is None and (self._looked_s is None or now_s - self._looked_s >= LOOK_S):
            self._looked_s = now_s
            self.looking = asyncio.create_task(self._look())
        if self._known is None and self.looking is not None:
            await asyncio.wait([self.looking], timeout=FIRST_WAIT_S)
        return self._known

    async def _look(self) -> None:
        try:
            self._known = await self._find()
        except (Problem, StoreError) as error:
            _LOG.info("how large an event may be is not known: %s", error)
        finally:
            self.looking = None
