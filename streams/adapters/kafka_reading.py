"""Reading topics without a consumer group: it changes nothing, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients


@contextmanager
def groupless_consumer(settings: Settings) -> Iterator[Any]:
    """A consumer of kafka-python that reads what was committed; it has to be told which partitions, and from where.

    Raises BrokerError and SettingsError, also for what it raises itself while it is used.
    """
    with clients(settings) as arguments:
        consumer = kafka_python().KafkaConsumer(
            **arguments,
            group_id=None,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            yield consumer
        finally:
            consumer.close()
