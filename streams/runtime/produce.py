"""Files of events into a log, in the order of their times.

A record's key is the user id, and its partition follows from it as with Java's clients, which is how shards find
their users. Its value is Segment JSON: the line as it stands, or what the catalog's mapping has read of a row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from typing import Any, Final, Protocol

import msgspec

from config.catalog import Catalog, SegmentInput
from streams.adapters.files import FileLog
from streams.core.events import BadEvent, Event

Advance = Callable[[int, float], None]
"""Gets the position up to which everything is acknowledged, and the time of the latest event sent."""

CHUNK_ROWS: Final = 1_000
_CHUNKS_PER_S: Final = 20


@dataclass(slots=True)
class Produced:
    """How far a run has come. Rows before `position` are acknowledged by the log, or refused with a reason."""

    topic: str
    position: int
    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Sender(Protocol):
    """Sends events, and keeps account of them in a `Produced`."""

    def send(self, position: int, event: Event, value: bytes) -> None:
        """The row at `position`. Raises BrokerError."""

    def refuse(self, event: BadEvent) -> None:
        """Count a row that cannot be used."""

    def end_chunk(self, position: int) -> None:
        """All rows before `position` were sent or refused. Raises BrokerError for one that was not taken."""


def send_all(log: FileLog, catalog: Catalog, sender: Sender, *, start: int, rate: float | None) -> None:
    """The rows from position `start` on, at most `rate` a second. Raises what the sender raises."""
    as_it_stands = isinstance(catalog.input, SegmentInput)
    value_property = catalog.value_property
    chunk = CHUNK_ROWS if rate is None else max(1, min(CHUNK_ROWS, round(rate / _CHUNKS_PER_S)))
    began_s = time.monotonic()
    for first in range(start, log.rows, chunk):
        last = min(first + chunk, log.rows)
        if rate is not None:
            time.sleep(max(0.0, began_s + (first - start) / rate - time.monotonic()))
        texts, events = log.read_with_bytes(first, last)
        for at, (text, event) in enumerate(zip(texts, events, strict=True), first):
            if isinstance(event, BadEvent):
                sender.refuse(event)
            else:
                sender.send(at, event, text if as_it_stands else segment_json(event, value_property))
        sender.end_chunk(last)


def segment_json(event: Event, value_property: str | None) -> bytes:
    """An event as a record of the Segment spec.

    A message id is made of where the row stands if it has none, so that sending a file twice is no second purchase.
    """
    when = datetime.fromtimestamp(event.time_s, UTC)
    record: dict[str, Any] = {
        "type": "identify" if event.name is None else "track",
        "userId": event.user,
        "timestamp": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "messageId": event.message_id or f"row-{event.message_hash:016x}",
    }
    properties = dict(event.properties or {})
    if value_property is not None and not isnan(event.value):
        properties.setdefault(value_property, event.value)
    if event.name is not None:
        record["event"] = event.name
    if properties:
        record["properties"] = properties
    if event.traits:
        record["traits"] = event.traits
    return msgspec.json.encode(record)
