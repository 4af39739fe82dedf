"""Files of events and simulated traffic into an embedded log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from config.catalog import Catalog
from config.settings import Settings
from streams.adapters.embedded_log import EventWriter
from streams.adapters.files import FileLog
from streams.adapters.log_folder import LogFolder, bound_bytes
from streams.commit import Patience, patiently
from streams.core.events import BadEvent, Event
from streams.runtime.produce import Advance, Produced, send_all

_PATIENCE: Final = Patience(time.sleep)
"""A log that is full gets room when the worker has scored what is in it."""


def produce(
    log: FileLog,
    catalog: Catalog,
    settings: Settings,
    *,
    folder: LogFolder,
    start: int = 0,
    rate: float | None = None,
    advance: Advance = lambda _position, _time_s: None,
    progress: Produced,
) -> Produced:
    """Send the rows from position `start` on, at most `rate` a second, each durable when it is counted.

    `progress` is kept up to date. Raises BrokerError (the log is full and stays so, damaged, or cannot be written).
    """
    began_s = time.monotonic()
    writer = EventWriter(folder, max_bytes=bound_bytes(settings))
    try:
        send_all(log, catalog, _Sender(writer, progress, advance), start=start, rate=rate)
    finally:
        writer.close()
        progress.seconds = time.monotonic() - began_s
    return progress


class _Sender:
    """Appends a chunk of rows at once."""

    def __init__(self, writer: EventWriter, done: Produced, advance: Advance) -> None:
        self._writer = writer
        self._done = done
        self._advance = advance
        self._waiting: list[tuple[str, bytes]] = []
        self._time_s = float("nan")

    def send(self, position: int, event: Event, value: bytes) -> None:  # noqa: ARG002  a chunk is taken as a whole
        self._waiting.append((event.user, value))
        self._time_s = event.time_s

    def refuse(self, event: BadEvent) -> None:
        self._done.refused[event.reason.value] += 1

    def end_chunk(self, position: int) -> None:
        patiently(_PATIENCE, lambda: self._writer.append(self._waiting))
        self._done.sent += len(self._waiting)
        self._done.position = position
        self._waiting = []
        self._advance(position, self._time_s)


class LogTraffic:
    """Sends records keyed by their user (`streams.simulate.sinks.Sink`)."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer

    def send(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Durable when it returns. Raises BrokerError."""
        patiently(_PATIENCE, lambda: self._writer.append(records))

    def close(self) -> None:
        """Everything has arrived already."""


@contextmanager
def open_traffic(folder: LogFolder, settings: Settings) -> Iterator[LogTraffic]:
    """Into the events of a log, until this context ends."""
    writer = EventWriter(folder, max_bytes=bound_bytes(settings))
    try:
        yield LogTraffic(writer)
    finally:
        writer.close()
