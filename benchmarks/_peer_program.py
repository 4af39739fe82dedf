"""What the programs of other frameworks have in common: what they are given, and how they tell how far they are.

Each is a module that is run with one line of JSON on standard input (`Given`). It ends at SIGTERM, or at the end of its
topic where it is asked to.
"""

from __future__ import annotations

import gc
import mmap
import struct
import sys
from pathlib import Path
from typing import Self

import msgspec

_COUNT = struct.Struct("<q")
CAUSE = "ce_causationid"
"""The header that names the event that caused a crossing, as Tideline's transitions have it."""


class Given(msgspec.Struct, frozen=True):
    """What a program is told."""

    bootstrap: str
    topic: str
    partitions: int
    crossings: str
    """The topic to which changes of categories go."""
    store: str
    """The path of the socket of a Redis or Valkey server."""
    counter: str
    """The file in which it counts; see `Counter`."""
    folder: str
    """Where it may keep its files."""
    group: str
    keeps_state: bool = True
    """Users in the framework's own store, where it has one; else in a dictionary of the process, lost with it."""
    in_order: bool = False
    """For a check, of a program that would change the order of different users' events otherwise, and that nothing ends
    in good order but the end of its topic: keep the order, and end with the topic."""


class Counter:
    """How many events are done: eight bytes in a file that both sides have in memory, so that counting is free."""

    def __init__(self, path: Path) -> None:
        """The file is there; `create` makes it."""
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _COUNT.size)

    @classmethod
    def create(cls, path: Path) -> Self:
        """With nothing counted."""
        path.write_bytes(_COUNT.pack(0))
        return cls(path)

    def add(self, events: int) -> None:
        """So many more; one process only."""
        _COUNT.pack_into(self._memory, 0, self.read() + events)

    def read(self) -> int:
        """All so far."""
        (count,) = _COUNT.unpack_from(self._memory, 0)
        return int(count)


def read_given() -> tuple[Given, Counter]:
    """From standard input. What is loaded by now is left out of the collector's rounds, as a worker does too."""
    given = msgspec.json.decode(sys.stdin.readline(), type=Given)
    gc.collect()
    gc.freeze()
    return given, Counter(Path(given.counter))
