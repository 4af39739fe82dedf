"""Files of events into the events topic of Kafka."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from config.catalog import Catalog
from config.errors import BrokerError
from config.settings import Settings
from streams.adapters.files import FileLog
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients, explained, no_topic
from streams.core.events import BadEvent, Event
from streams.runtime.produce import Advance, Produced, send_all

_MOST_WAITING: Final = 20_000
_DELIVERY_S: Final = 60.0
# The broker has the last word about how large a record may be.
_LARGEST_REQUEST_BYTES: Final = 64 << 20


def produce(
    log: FileLog,
    catalog: Catalog,
    settings: Settings,
    *,
    topic: str,
    start: int = 0,
    rate: float | None = None,
    advance: Advance = lambda _position, _time_s: None,
    progress: Produced | None = None,
) -> Produced:
    """Send the rows from position `start` on, at most `rate` a second, and wait until all are acknowledged.

    `progress` is kept up to date, for whoever has to say how far an interrupted run came. Raises BrokerError (no Kafka,
    refused, a record too large, nothing acknowledged for a minute), TopicsDiffer (no such topic).
    """
    done = progress or Produced(topic, start)
    began_s = time.monotonic()
    kafka = kafka_python()
    with clients(settings) as arguments:
        with kafka.KafkaAdminClient(**arguments) as admin:
            if topic not in admin.list_topics():
                raise no_topic(topic, settings)
        sender = _Sender(kafka.KafkaProducer(**arguments, **PRODUCER_OPTIONS), settings, done, advance)
        try:
            send_all(log, catalog, sender, start=start, rate=rate)
            sender.wait_for(0)
            sender.passed(log.rows)
        finally:
            sender.close()
            done.seconds = time.monotonic() - began_s
    return done


PRODUCER_OPTIONS: Final[dict[str, Any]] = {
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "linger_ms": 20,
    "batch_size": 256 << 10,
    "max_request_size": _LARGEST_REQUEST_BYTES,
    "delivery_timeout_ms": _DELIVERY_S * 1000,
    "request_timeout_ms": 20_000,
}


class _Sender:
    """The producer, and what it has not acknowledged yet, in the order of the rows."""

    def __init__(self, producer: Any, settings: Settings, done: Produced, advance: Advance) -> None:
        self._producer = producer
        self._settings = settings
        self._done = done
        self._advance = advance
        self._waiting: deque[tuple[int, Any]] = deque()
        self._time_s = float("nan")

    def send(self, position: int, event: Event, value: bytes) -> None:
        future = self._producer.send(self._done.topic, key=event.user.encode(), value=value)
        self._waiting.append((position, future))
        self._time_s = event.time_s

    def refuse(self, event: BadEvent) -> None:
        """Count a row that cannot be used."""
        self._done.refused[event.reason.value] += 1

    def wait_for(self, most: int) -> None:
        """Until at most so many records are not acknowledged. Raises BrokerError for the first that failed."""
        if not most:
            self._producer.flush()
        while self._waiting and (len(self._waiting) > most or self._waiting[0][1].is_done):
            position, future = self._waiting[0]
            try:
                future.get(timeout=2 * _DELIVERY_S)
            except kafka_python().errors.KafkaError as error:
                raise self._failed(position, error) from error
            self._waiting.popleft()
            self._done.sent += 1
            self._done.position = position + 1
        self._advance(self._done.position, self._time_s)

    def end_chunk(self, position: int) -> None:
        """See `Sender`."""
        self.wait_for(_MOST_WAITING)
        self.passed(position)

    def passed(self, position: int) -> None:
        """All rows before `position` were sent or refused, and nothing waits: it is where to go on."""
        if not self._waiting:
            self._done.position = position

    def close(self) -> None:
        """Give up what is not acknowledged; after a whole run there is nothing."""
        self._producer.close(timeout=5 if self._waiting else None)

    def _failed(self, position: int, error: Exception) -> BrokerError:
        found = explained(error, self._settings)
        return type(found)(f"row {position + 1:,} (in the order of time) was not taken: {found}")
