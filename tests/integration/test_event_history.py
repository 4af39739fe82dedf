"""The events that Kafka still has, looked through once."""

from __future__ import annotations

from contextlib import closing

import pytest

from config.errors import BrokerError
from config.settings import Settings, load_settings
from streams.adapters.event_history import KafkaHistory
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from tests.integration.kafka_world import KafkaWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PARTITIONS = 3


def put(settings: Settings, values: list[bytes]) -> None:
    producer = kafka_python().KafkaProducer(**kafka_python_arguments(settings))
    for number, value in enumerate(values):
        producer.send(settings.topic("events"), value, partition=number % PARTITIONS)
    producer.close()


def test_all_events_are_read_up_to_where_the_topic_ends(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings()
    with kafka_world.admin(settings) as admin:
        topic = kafka_python().admin.NewTopic(settings.topic("events"), PARTITIONS, 1)
        admin.create_topics([topic])
    with closing(KafkaHistory(settings).events()) as events:
        assert list(events) == []
    values = [b"%d" % n for n in range(1_500)]
    put(settings, values)
    with closing(KafkaHistory(settings).events()) as events:
        first = next(events)
        put(settings, [b"behind"])  # its end was settled before
        found = [first.value, *(record.value for record in events)]
    assert sorted(found) == sorted(values)
    assert first.log_time_s > 1_700_000_000.0


def test_a_kafka_that_is_away_is_told() -> None:
    with pytest.raises(BrokerError):
        list(KafkaHistory(load_settings(kafka_bootstrap_servers="127.0.0.1:9")).events())
