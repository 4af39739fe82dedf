"""What may be done by a few at once: some others wait for a while, and everybody else is told to come again at once.

Who waits in a thread keeps it from all other requests of the process, so few may. The console's pages come through here
as the API's routes do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from streams.api.problems import Kind, Problem

LOG_WAIT_S: Final = 5.0
"""For a turn with the log of transitions."""
_LOG_PASSES: Final = 2
"""Of that log at the same time: each reads up to 20,000 records, and has a connection of its own."""
_LOG_WAITING: Final = 16


class FewThreads:
    """For threads. May be used by several of them."""

    def __init__(self, at_once: int, waiting: int, busy: Callable[[], Problem]) -> None:
        """`waiting`: so many wait at the same time; `busy` is what the others are told."""
        self._free = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(waiting)
        self._busy = busy

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """One turn; `wait_s` seconds are waited for it. Raises `Problem` where there is none."""
        if not self._free.acquire(blocking=False):
            self._wait(wait_s)
        try:
            yield
        finally:
            self._free.release()

    def _wait(self, wait_s: float) -> None:
        if not self._places.acquire(blocking=False):
            raise self._busy()
        try:
            if not self._free.acquire(timeout=wait_s):
                raise self._busy()
        finally:
            self._places.release()


class FewTasks:
    """The same for the tasks of one loop."""

    def __init__(self, at_once: int, waiting: int, busy: Callable[[], Problem]) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._most_waiting = waiting
        self._busy = busy

    @asynccontextmanager
    async def turn(self, wait_s: float) -> AsyncIterator[None]:
        """As that of threads."""
        if self._free.locked():
            await self._wait(wait_s)
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self, wait_s: float) -> None:
        if self._waiting >= self._most_waiting:
            raise self._busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self._waiting -= 1


def log_passes() -> FewTasks:
    """The turns of a process with the log of transitions."""
    return FewTasks(_LOG_PASSES, _LOG_WAITING, _log_busy)


def _log_busy() -> Problem:
    words = "other questions are being looked up in the log of transitions; try again in a moment"
    return Problem(Kind.OVERLOADED, words, headers={"Retry-After": "5"})
