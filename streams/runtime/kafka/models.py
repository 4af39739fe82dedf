"""The models that learners have made: read from the compacted topic, the latest of each prediction is kept."""

from __future__ import annotations

import logging
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from config.errors import SnapshotRefused
from config.settings import Settings
from models.snapshot import ModelCodec, Snapshot
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.runtime.kafka.reporting import ReportingService

_LOG: Final = logging.getLogger(__name__)
_POLL_MS: Final = 500


class ModelsService(ReportingService):
    """`latest`: prediction index -> its newest snapshot. Replaced as a whole, so that threads may read it."""

    def __init__(
        self,
        settings: Settings,
        *,
        digest: str,
        predictions: tuple[str, ...],
        features: int,
        codec: ModelCodec | None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.latest: dict[int, Snapshot] = {}
        self.refused = 0
        """Models under our own keys that could not be used."""
        self.names = predictions
        self._settings = settings
        self._keys = {f"{digest}:{name}".encode(): p for p, name in enumerate(predictions)}
        self._features = features
        self._codec = codec

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
                self._take(found.get(place, ()))
        finally:
            await consumer.stop()

    def _take(self, records: Any) -> None:
        latest = dict(self.latest)
        for record in records:  # every one: the last of a key may be unreadable, or late and older than those before it
            p = self._keys.get(record.key)
            if p is None or record.value is None:
                continue
            try:
                snapshot = Snapshot.from_bytes(record.value, self._features, self._codec)
            except SnapshotRefused as error:
                # It would end every worker at every start. The model before it still serves, and the next one mends it.
                self.refused += 1
                where = f"{record.topic} at offset {record.offset}"
                _LOG.error("%s: the model of %s cannot be used: %s", where, self.names[p], error)
                continue
            if p not in latest or snapshot.version > latest[p].version:
                latest[p] = snapshot
        self.latest = latest
