"""One partition of campaigns in a thread of its own: takes it, works it, takes it again after whatever went wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from math import inf
from typing import Final, Protocol

from config.errors import BrokerError, Fenced, Stopped, StoreUnavailable
from streams.campaigns.ports import Seen
from streams.runtime.campaigns.partition_run import CampaignRun

_LOG: Final = logging.getLogger(__name__)
IDLE_S: Final = 0.1
"""So long is waited for something new."""
SOON_S: Final = 0.01
"""So long for what is on its way: something that the shard has stored, and not yet published."""
TELL_S: Final = 5.0
"""How far it is, is told so often."""
AGAIN_S: Final = 1.0
"""After a store or log that does not answer, or another owner."""


class Opened(Protocol):
    """A run and what it has opened."""

    @property
    def run(self) -> CampaignRun: ...

    def tell_read(self) -> None:
        """Let others know how far it is. Raises StoreUnavailable."""

    def close(self) -> None: ...


class CampaignWork:
    """Works one partition until `stop`.

    `make` opens it, in the thread. `seen` says what was told of it last. `wait` returns when there may be something
    new, after so many seconds at the latest, and soon after `stopping` is set.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Opened],
        *,
        seen: Callable[[], Seen | None],
        wait: Callable[[CampaignRun, float, threading.Event], None] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.run: CampaignRun | None = None
        self.is_ready = False
        """It is ours, and was worked up to the end of the logs, whatever is read again beside them."""
        self._name = name
        self._make = make
        self._seen = seen
        self._wait = wait or (lambda _run, seconds, stopping: stopping.wait(seconds))
        self._wall = wall
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def start(self) -> Future[None]:
        """Begin. The future ends with the work; its exception is what the work has failed by (StoreIncompatible)."""
        return self._thread.submit(self._work)

    def stop(self) -> None:
        """The batch in hand is the last one."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended."""
        self.stop()
        self._thread.shutdown()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with closing(self._make()) as opened:
            self.run = opened.run
            while not self._stopping.is_set():
                try:
                    opened.run.assign(self._seen())
                    self._steps(opened)
                except Stopped as error:
                    _LOG.warning("%s: %s; the next start goes on from the store", self._name, error)
                    return
                except (Fenced, StoreUnavailable, BrokerError) as error:
                    # Another process has it, the store went back in time, or a server is away: it is loaded anew.
                    _LOG.warning("%s: %s", self._name, error)
                    self.is_ready = False
                    self._stopping.wait(AGAIN_S)
            self.is_ready = False

    def _steps(self, opened: Opened) -> None:
        run, told_s = opened.run, -inf
        while not self._stopping.is_set():
            if time.monotonic() - told_s >= TELL_S:
                opened.tell_read()
                told_s = time.monotonic()
            has_worked = run.step(self._wall())
            # By the logs alone: who is due, and a past that is read again for hours, keep no crossing waiting.
            self.is_ready = self.is_ready or not run.is_behind
            if has_worked:
                continue
            if run.is_behind:
                self._stopping.wait(SOON_S)
            else:
                self._wait(run, IDLE_S, self._stopping)
