"""Follows the compacted topic of models, from its start, and sees to it that the newest of each stands last there.

A learner that was away (its process slept, say) may publish a model behind newer ones, when another has long gone on.
Whoever reads all of the topic takes the newest by its version; but Kafka keeps the last one by offset, and a worker
that starts later would find that alone. So who sees it publishes the newest once more: the same version with the same
bytes, which changes nothing for anybody, however many do it. Newest means of the learning that began last, so that
the models of examples that are gone are neither kept in force nor published again. All who read come to the same: it
stands in the models themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from config.errors import BrokerUnavailable, Stopped
from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.ports import Message
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.latest_models import LatestModels

_LOG: Final = logging.getLogger(__name__)
_POLL_MS: Final = 500


class ModelsService(ReportingService):
    """Keeps `models` up to date. `send` publishes, in a thread, as `Courier.send` does."""

    def __init__(
        self, settings: Settings, models: LatestModels, send: Callable[[Sequence[Message]], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._settings = settings
        self._models = models
        self._send = send

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
                if self._models.overtaken and not records:  # else the newest may come once more, further on
                    await self._publish_again()
        finally:
            await consumer.stop()

    async def _publish_again(self) -> None:
        """Raises BrokerError."""
        try:
            again = await asyncio.to_thread(self._models.publish_again, self._send)
        except (BrokerUnavailable, Stopped) as error:  # while it is overtaken, that is tried again
            _LOG.info("%s: the newest models could not be published again: %s", self._settings.topic("models"), error)
            return
        if again:
            _LOG.warning(
                "%s: behind the newest model of %s stood an older one, so it was published again. A learner that had "
                "been away for long has published late, or one whose examples are gone",
                self._settings.topic("models"),
                ", ".join(sorted(key.rpartition(":")[2] for key in again)),
            )
