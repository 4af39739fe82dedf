"""How the threads of a worker share the interpreter.

Threads that compute at the same time share it, so of four batches that begin together each ends when the last one does.
Two at a time, the first are done after half of that time, and each is in compiled code, without the interpreter, while
the other one needs it; while they are being stored the next ones compute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore, local
from typing import Final

SWITCH_S: Final = 0.0005
"""A thread that waits for the interpreter gets it after so long. Python's own 5 ms are added to every step each time it
hands something to the event loop or takes it back, while another thread computes."""
AT_ONCE: Final = 2
"""So many compute at a time. Measured on two cores with four partitions: with two instead of one a backlog is worked an
eighth faster and the median latency is 10 % longer; with four it is no faster, and half as long again to wait."""


def take_turns_often() -> None:
    """For processes in which an answer counts more than a few percent of throughput."""
    sys.setswitchinterval(SWITCH_S)


class Turn:
    """Whoever computes has one of `at_once`, and gives it up while a server is waited for.

    All shards of a Kafka worker share the same.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = Semaphore(at_once)
        self._thread = local()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """For a stretch of computing, by a thread that does not have it."""
        with self._free:
            self._thread.has_it = True
            try:
                yield
            finally:
                self._thread.has_it = False

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Within such a stretch; nothing for a thread that does not have it."""
        if not getattr(self._thread, "has_it", False):
            yield
            return
        self._thread.has_it = False
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()
            self._thread.has_it = True
