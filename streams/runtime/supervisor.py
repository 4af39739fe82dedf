"""Keeps the parts of a service running on one machine: what ends is reported with its last words, and restarted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from config.errors import TidelineError

LOOK_S: Final = 0.25
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""A part that lived for so long is restarted without the pauses that earlier failures have earned."""


class Part(Protocol):
    """Something that runs beside this process."""

    @property
    def name(self) -> str: ...

    def start(self, stopping: threading.Event) -> None:
        """Return when it runs, or as soon as `stopping` is set. Raises a TidelineError when it does not run."""

    def ended(self) -> str | None:
        """None while it runs; its last words when it has ended by itself."""

    def stop(self) -> None:
        """End it in an orderly way, and wait; does nothing when it does not run."""


def next_pause_s(last_pause_s: float, lived_s: float) -> float:
    """How long to wait before a restart: twice as long each time, from the start again after a steady life."""
    if last_pause_s == 0.0 or lived_s >= STEADY_S:
        return FIRST_PAUSE_S
    return min(2.0 * last_pause_s, LONGEST_PAUSE_S)


@dataclass(slots=True)
class _Kept:
    part: Part
    started_s: float = 0.0
    pause_s: float = 0.0
    due_s: float | None = None
    """When to start it again; None while it runs or starts."""
    starting: Future[None] | None = None
    """While it starts."""


class Supervisor:
    """Runs `parts` in their order, each when those before it run; ends them the other way round.

    Each part is started in a thread of its own, so that a start that takes long keeps nobody from looking after the
    others; all else is done, and said, by whoever calls. `say` is told what happens. `clock_s` is monotonic.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        say: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
        threads: Executor | None = None,
    ) -> None:
        """`threads`: where parts are started, if not in threads of its own."""
        self._kept = [_Kept(part) for part in parts]
        self._say = say
        self._clock_s = clock_s
        self._threads = ThreadPoolExecutor(max(1, len(parts)), "start") if threads is None else threads

    def start(self, stopping: threading.Event) -> None:
        """Start all, or as many as there are until `stopping` is set; those that run are looked after meanwhile.

        What does not start at first is an error of the whole: `stopping` is set, everything is stopped and it is
        raised.
        """
        try:
            for number, kept in enumerate(self._kept):
                if stopping.is_set():
                    return
                starting = self._threads.submit(kept.part.start, stopping)
                kept.starting = starting
                while not wait([starting], LOOK_S).done:
                    self._look_at(self._kept[:number], stopping)
                kept.starting = None
                try:
                    starting.result()
                except TidelineError:
                    if stopping.is_set():  # then that is why
                        return
                    raise
                kept.started_s = self._clock_s()
        except BaseException:
            stopping.set()
            self.stop()
            raise

    def look(self, stopping: threading.Event) -> None:
        """Look after every part once: report who has ended, restart who is due."""
        self._look_at(self._kept, stopping)

    def _look_at(self, some: Sequence[_Kept], stopping: threading.Event) -> None:
        now_s = self._clock_s()
        for kept in some:
            if stopping.is_set():
                return
            if kept.starting is not None:
                self._hear(kept, kept.starting, stopping)
            elif kept.due_s is None:
                words = kept.part.ended()
                if words is not None:
                    self._put_off(kept, f"{kept.part.name} has ended{words}", now_s - kept.started_s)
            elif now_s >= kept.due_s:
                kept.due_s = None
                kept.starting = self._threads.submit(_restart, kept.part, stopping)
                self._hear(kept, kept.starting, stopping)

    def _put_off(self, kept: _Kept, words: str, lived_s: float) -> None:
        kept.pause_s = next_pause_s(kept.pause_s, lived_s)
        kept.due_s = self._clock_s() + kept.pause_s
        self._say(f"{words}\nStarting {kept.part.name} again in {kept.pause_s:g} s.")

    def _hear(self, kept: _Kept, starting: Future[None], stopping: threading.Event) -> None:
        """What came of a restart, if that is known by now."""
        if not starting.done():
            return
        kept.starting = None
        try:
            starting.result()
        except TidelineError as error:  # however long it took to fail, it has not lived
            self._put_off(kept, f"{kept.part.name} does not start: {error}", 0.0)
            return
        kept.started_s = self._clock_s()
        if not stopping.is_set():
            self._say(f"{kept.part.name} runs again.")

    def run(self, stopping: threading.Event) -> None:
        """Look after all until `stopping` is set."""
        while not stopping.wait(LOOK_S):
            self.look(stopping)

    def stop(self) -> None:
        """End all parts, the last one first. What is starting has to have been told so by `stopping`."""
        for kept in reversed(self._kept):
            if kept.starting is not None:
                wait([kept.starting])
            with suppress(TidelineError):  # nothing depends on it any more
                kept.part.stop()
        self._threads.shutdown()


def _restart(part: Part, stopping: threading.Event) -> None:
    """Raises TidelineError when it does not run."""
    part.stop()
    part.start(stopping)
