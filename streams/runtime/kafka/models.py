"""Follows the compacted topic of models, from its start."""

from __future__ import annotations

from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.latest_models import LatestModels

_POLL_MS: Final = 500


class ModelsService(ReportingService):
    """Keeps `models` up to date."""

    def __init__(self, settings: Settings, models: LatestModels, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings
        self._models = models

    @Service.task
    async def _follow(self) -> None:
        place = TopicPartition(self._settings.topic("models"), 0)
        consumer = AIOKafkaConsumer(
            **aiokafka_arguments(self._settings), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        consumer.assign([place])
        await consumer.start()
        try:
            await consumer.seek_to_beginning(place)
            while not self.should_stop:
                found = await consumer.getmany(place, timeout_ms=_POLL_MS)
                records = found.get(place, ())
                self._models.take(
                    place.topic, ((r.offset, r.key, r.value, max(0.0, r.timestamp / 1_000.0)) for r in records)
                )
        finally:
            await consumer.stop()
