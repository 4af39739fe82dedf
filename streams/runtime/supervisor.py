"""Keeps the parts of a service running on one machine: what ends is reported with its last words, and restarted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
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
    """When to start it again; None while it runs."""


class Supervisor:
    """Runs `parts` in their order, each when those before it run; ends them the other way round.

    `say` is told what happens. `clock_s` is monotonic.
    """

    def __init__(
        self, parts: Sequence[Part], say: Callable[[str], None], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept = [_Kept(part) for part in parts]
        self._say = say
        self._clock_s = clock_s

    def start(self, stopping: threading.Event) -> None:
        """Start all, or as many as there are until `stopping` is set.

        What does not start at first is an error of the whole: everything is stopped and it is raised.
        """
        try:
            for kept in self._kept:
                if stopping.is_set():
                    return
                kept.part.start(stopping)
                kept.started_s = self._clock_s()
        except BaseException:
            self.stop()
            raise

    def look(self, stopping: threading.Event) -> None:
        """Look after every part once: report who has ended, restart who is due."""
        now_s = self._clock_s()
        for kept in self._kept:
            if stopping.is_set():
                return
            if kept.due_s is None:
                words = kept.part.ended()
                if words is not None:
                    self._put_off(kept, f"{kept.part.name} has ended{words}", now_s - kept.started_s)
            elif now_s >= kept.due_s:
                self._restart(kept, stopping)

    def _put_off(self, kept: _Kept, words: str, lived_s: float) -> None:
        kept.pause_s = next_pause_s(kept.pause_s, lived_s)
        kept.due_s = self._clock_s() + kept.pause_s
        self._say(f"{words}\nStarting {kept.part.name} again in {kept.pause_s:g} s.")

    def _restart(self, kept: _Kept, stopping: threading.Event) -> None:
        try:
            kept.part.stop()
            kept.part.start(stopping)
        except TidelineError as error:  # however long it took to fail, it has not lived
            self._put_off(kept, f"{kept.part.name} does not start: {error}", 0.0)
            return
        kept.started_s = self._clock_s()
        if stopping.is_set():
            return
        kept.due_s = None
        self._say(f"{kept.part.name} runs again.")

    def run(self, stopping: threading.Event) -> None:
        """Look after all until `stopping` is set."""
        while not stopping.wait(LOOK_S):
            self.look(stopping)

    def stop(self) -> None:
        """End all parts, the last one first."""
        for kept in reversed(self._kept):
            with suppress(TidelineError):  # nothing depends on it any more
                kept.part.stop()
