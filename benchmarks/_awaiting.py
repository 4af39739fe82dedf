"""Waiting for what another process works off, and noting how it comes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

POLL_S = 0.05


class Stuck(Exception):
    """It does not come on."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A process that counts what it has done; `check` raises its own error when it has ended."""

    name: str
    done: Callable[[], int]
    check: Callable[[], None]


def await_events(
    watched: Watched, events: int, *, seconds: float, say: Callable[[int], None]
) -> list[tuple[float, float]]:
    """Wait until so many events are done. Returns (events, monotonic seconds) as it went on.

    `say` is told each count. Raises what `check` raises, and Stuck when nothing comes on for `seconds`.
    """
    marks: list[tuple[float, float]] = []
    moved_s = time.monotonic()
    while not marks or marks[-1][0] < events:
        done, now_s = watched.done(), time.monotonic()
        if done < events:
            watched.check()
        if not marks or done > marks[-1][0]:
            moved_s = now_s
            say(done)
        if now_s > moved_s + seconds:
            raise Stuck(f"{watched.name} stands at {done:,} of {events:,} events and does not come on")
        marks.append((float(done), now_s))
        time.sleep(POLL_S)
    return marks
