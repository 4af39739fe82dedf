"""Simulated traffic into the events topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients, no_topic
from streams.runtime.kafka.produce import PRODUCER_OPTIONS

_MOST_WAITING: Final = 50_000
_PATIENCE_S: Final = 120.0


class KafkaTraffic:
    """Sends records keyed by their user, and holds back when Kafka is slower (`streams.simulate.sinks.Sink`)."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._waiting: deque[Any] = deque()

    def send(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Raises kafka-python's errors, which `open_traffic` explains."""
        for user, raw in records:
            self._waiting.append(self._producer.send(self._topic, key=user.encode(), value=raw))
        while len(self._waiting) > _MOST_WAITING or (self._waiting and self._waiting[0].is_done):
            self._waiting.popleft().get(timeout=_PATIENCE_S)

    def close(self) -> None:
        """Return when everything is acknowledged."""
        self._producer.flush(timeout=_PATIENCE_S)
        while self._waiting:
            self._waiting.popleft().get(timeout=_PATIENCE_S)


@contextmanager
def open_traffic(settings: Settings) -> Iterator[KafkaTraffic]:
    """Into the events topic, until this context ends; then everything is acknowledged.

    Raises BrokerError (no Kafka, refused, nothing acknowledged), TopicsDiffer (no such topic).
    """
    kafka, topic = kafka_python(), settings.topic("events")
    with clients(settings) as arguments:
        with kafka.KafkaAdminClient(**arguments) as admin:
            if topic not in admin.list_topics():
                raise no_topic(topic, settings)
        producer = kafka.KafkaProducer(**arguments, **PRODUCER_OPTIONS)
        try:
            traffic = KafkaTraffic(producer, topic)
            yield traffic
            traffic.close()
        finally:
            producer.close(timeout=5)
