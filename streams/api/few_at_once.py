"""What may be done by a few at once: some others wait for a while, and everybody else is told to come again at once.

Who waits in a thread keeps it from all other requests of the process, so few may. One key has half of the places at
most, those of waiting apart from the others: whoever asks all the time leaves some to others. The console's pages come
through here as the API's routes do.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from streams.api.asking import KEY_ID
from streams.api.problems import Kind, Problem

LOG_WAIT_S: Final = 5.0
"""For a turn with the log of transitions."""
_LOG_PASSES: Final = 2
"""Of that log at the same time: each reads up to 20,000 records, and has a connection of its own."""
_LOG_WAITING: Final = 16


class Places:
    """So many places, of which one key has half at most; who asks under no key has no such bound.

    One thread, or one at a time, takes and gives; others may ask what is free.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_key = max(1, most // 2)
        self._of_key: Counter[str | None] = Counter()
        self.taken = 0
        """By all together."""

    def is_free(self, key_id: str | None) -> bool:
        """Whether there is one for that key."""
        has_share = key_id is None or self._of_key[key_id] < self._most_of_key
        return has_share and self.taken < self._most

    def take(self, key_id: str | None) -> None:
        """One that is free."""
        self._of_key[key_id] += 1
        self.taken += 1

    def give(self, key_id: str | None) -> None:
        """One that was taken."""
        self.taken -= 1
        self._of_key[key_id] -= 1
        if not self._of_key[key_id]:
            del self._of_key[key_id]


class FewThreads:
    """For threads. May be used by several of them."""

    def __init__(self, at_once: int, waiting: int, busy: Callable[[], Problem]) -> None:
        """`waiting`: so many wait at the same time; `busy` is what the others are told."""
        self._changed = threading.Condition()
        self._turns = Places(at_once)
        self._waiting = Places(waiting)
        self._busy = busy

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """One turn; `wait_s` seconds are waited for it. Raises `Problem` where there is none."""
        key_id = KEY_ID.get()
        with self._changed:
            if not self._turns.is_free(key_id):
                self._wait(key_id, wait_s)
            self._turns.take(key_id)
        try:
            yield
        finally:
            with self._changed:
                self._turns.give(key_id)
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Who wait now."""
        with self._changed:
            return self._waiting.taken

    def _wait(self, key_id: str | None, wait_s: float) -> None:
        if not self._waiting.is_free(key_id):
            raise self._busy()
        self._waiting.take(key_id)
        try:
            if not self._changed.wait_for(lambda: self._turns.is_free(key_id), wait_s):
                raise self._busy()
        finally:
            self._waiting.give(key_id)


class FewTasks:
    """The same for the tasks of one loop."""

    def __init__(self, at_once: int, waiting: int, busy: Callable[[], Problem]) -> None:
        self._turns = Places(at_once)
        self._waiting = Places(waiting)
        self._comers: list[tuple[str | None, asyncio.Future[None]]] = []
        """Who wait, the first one first."""
        self._busy = busy

    @asynccontextmanager
    async def turn(self, wait_s: float) -> AsyncIterator[None]:
        """As that of threads."""
        key_id = KEY_ID.get()
        if self._turns.is_free(key_id):
            self._turns.take(key_id)
        else:
            await self._wait(key_id, wait_s)
        try:
            yield
        finally:
            self._give(key_id)

    async def _wait(self, key_id: str | None, wait_s: float) -> None:
        """Returns with a turn taken."""
        if not self._waiting.is_free(key_id):
            raise self._busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.take(key_id)
        self._comers.append((key_id, turn))
        has_come = False
        try:
            async with asyncio.timeout(wait_s):
                await turn
            has_come = True
        except TimeoutError:
            raise self._busy() from None
        finally:
            self._waiting.give(key_id)
            if (key_id, turn) in self._comers:
                self._comers.remove((key_id, turn))
            elif not has_come:  # it was given at the moment at which this one went away
                self._give(key_id)

    def _give(self, key_id: str | None) -> None:
        """A turn back, and on to the first who may have one."""
        self._turns.give(key_id)
        for place, (comer, turn) in enumerate(self._comers):
            if self._turns.is_free(comer) and not turn.done():  # cancelled, and not yet out of the list
                del self._comers[place]
                self._turns.take(comer)
                turn.set_result(None)
                return


def log_passes() -> FewTasks:
    """The turns of a process with the log of transitions."""
    return FewTasks(_LOG_PASSES, _LOG_WAITING, _log_busy)


def _log_busy() -> Problem:
    words = "other questions are being looked up in the log of transitions; try again in a moment"
    return Problem(Kind.OVERLOADED, words, headers={"Retry-After": "5"})
