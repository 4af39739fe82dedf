"""Simulated traffic as a log: made in a process of its own, so that its memory is not counted as the shard's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks._traffic import Day, Traffic, Writer
from streams.core.events import BadEvent, Event


@dataclass(frozen=True, slots=True)
class Script:
    """Which traffic: users, days, what a user does in a week, and how many days it takes until all have come."""

    users: int
    days: int
    events_per_week: float
    arrive_days: int
    seed: int = 1


def _write(connection: Connection, script: Script, size: int) -> None:
    """Send the countries of the users, then batches of `size` events at most, then None."""
    traffic = Traffic(
        script.users, seed=script.seed, events_per_week=script.events_per_week, arrive_days=script.arrive_days
    )
    connection.send(traffic.country.astype(np.uint8))
    for day in traffic:
        if traffic.days > script.days:
            break
        for first in range(0, len(day), size):
            part = slice(first, first + size)
            connection.send(Day(day.user[part], day.kind[part], day.time_s[part], day.value[part]))
    connection.send(None)


class TrafficLog:
    """What a replay reads (`streams.runtime.replay.Log`). It can be read once, from the start."""

    digest = "simulated"
    read_files = ()
    stretches = ()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        country: Any = connection.recv()
        self._writer = Writer(country)

    @property
    def rows(self) -> int:
        """Records read so far: nobody knows before how many there will be."""
        return self._writer.position

    def batches(self, start: int, size: int) -> Iterator[Sequence[Event | BadEvent]]:
        """The batches as they were made; `size` is what the other process was told."""
        if start != self._writer.position:
            raise ValueError(f"simulated traffic stands at {self._writer.position} and cannot be read from {start}")
        while (day := self._connection.recv()) is not None:
            if len(day) > size:
                raise ValueError(f"a batch has {len(day)} events, more than {size}")
            yield self._writer.events(day)


@contextmanager
def traffic_log(script: Script, batch_events: int) -> Iterator[TrafficLog]:
    """Traffic from a process that ends with this context."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(theirs, script, batch_events), daemon=True)
    process.start()
    theirs.close()
    try:
        yield TrafficLog(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()
