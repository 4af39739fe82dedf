"""How the threads of a worker share the interpreter.

Threads that compute at the same time share it, so of four batches that begin together each ends when the last one does.
One after the other, the first is done after a quarter of that time; and while it is being stored the next one computes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Final

SWITCH_S: Final = 0.0005
"""A thread that waits for the interpreter gets it after so long. Python's own 5 ms are added to every step each time it
hands something to the event loop or takes it back, while another thread computes."""


def take_turns_often() -> None:
    """For processes in which an answer counts more than a few percent of throughput."""
    sys.setswitchinterval(SWITCH_S)


class Turn:
    """Whoever computes has it, and gives it up while a server is waited for. All shards of a Kafka worker share one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._thread: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """For a stretch of computing, by a thread that does not have it."""
        with self._lock:
            self._thread = get_ident()
            try:
                yield
            finally:
                self._thread = None

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Within such a stretch; nothing for a thread that does not have it."""
        if self._thread != get_ident():
            yield
            return
        self._thread = None
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._thread = get_ident()
