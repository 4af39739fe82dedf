"""Looking at topics: records as they come, and how far the workers are behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from config.errors import BrokerUnavailable
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients, no_topic
from streams.adapters.kafka_reading import groupless_consumer
from streams.runtime.seen import PartitionLag, Seen, body_of

_POLL_MS: Final = 500
_QUIET_S: Final = 5.0
"""So long without a record, and Kafka is asked whether it is there."""
_ANSWER_MS: Final = 5_000
_AWAY_S: Final = 60.0
_EVER_MS: Final = 0
"""Every record was taken since then: the first one since then is the oldest."""
_PATIENCE_S: Final = 15.0
_PAUSE_S: Final = 0.2


def follow(
    settings: Settings,
    topic: str,
    *,
    from_start: bool = False,
    limit: int | None = None,
    begin: Callable[[int], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Seen]:
    """The records of a topic, those that come from now on or all; endless without a `limit`.

    `begin` is told first, once it is settled from where on, how many records are there already, or a few more.
    In no particular order between partitions. Raises BrokerError (also once Kafka has been away for a
    minute; `warn` is told once that it is, and once that it is back), TopicsDiffer (no such topic).
    """
    kafka = kafka_python()
    with groupless_consumer(settings) as consumer:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise no_topic(topic, settings)
        places = [kafka.TopicPartition(topic, number) for number in sorted(partitions)]
        consumer.assign(places)
        (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*places)
        # Where "the end" is, is settled now and not at the first record.
        positions = {place: consumer.position(place) for place in places}
        begin(sum(end - positions[place] for place, end in consumer.end_offsets(places).items()) if from_start else 0)
        yield from _records(consumer, limit, Silence(consumer, places, settings.kafka_bootstrap_servers, warn))


def _records(consumer: Any, limit: int | None, silence: Silence) -> Iterator[Seen]:
    left = limit
    while left is None or left > 0:
        found = consumer.poll(timeout_ms=_POLL_MS)
        silence.look(bool(found))
        for records in found.values():
            for record in records:
                yield _seen(record)
                if left is not None:
                    left -= 1
                    if not left:
                        return


class Silence:
    """Finds out whether topics are quiet or Kafka is away: kafka-python's `poll` gives nothing in both cases, for ever.

    `places` are partitions that `consumer` is assigned to; `now_s` only ever goes forward.
    """

    def __init__(
        self,
        consumer: Any,
        places: list[Any],
        servers: str,
        warn: Callable[[str], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer, self._places, self._servers, self._warn, self._now_s = consumer, places, servers, warn, now_s
        self._heard_s = self._asked_s = now_s()
        self._is_away = False

    def look(self, has_records: bool) -> None:
        """After each poll. Raises BrokerUnavailable."""
        now_s = self._now_s()
        if has_records or (now_s - self._asked_s >= _QUIET_S and self._answers()):
            self._heard()
        elif self._is_away and self._now_s() - self._heard_s >= _AWAY_S:
            raise BrokerUnavailable(f"Kafka at {self._servers} has not answered for {_AWAY_S:.0f} s. Is it running?")

    def _answers(self) -> bool:
        asked_s = self._now_s()
        try:
            self._consumer.end_offsets(self._places, timeout_ms=_ANSWER_MS)
        except kafka_python().errors.RetriableError as error:
            self._asked_s = self._now_s()
            if not self._is_away:
                self._is_away = True
                # Whoever takes the records may have stood still since the last one: the minute is of this silence.
                self._heard_s = max(self._heard_s, asked_s - _QUIET_S)
                self._warn(f"Kafka at {self._servers} does not answer ({error!r}): waiting for up to {_AWAY_S:.0f} s")
            return False
        return True

    def _heard(self) -> None:
        self._heard_s = self._asked_s = self._now_s()
        if self._is_away:
            self._is_away = False
            self._warn(f"Kafka at {self._servers} answers again")


def _seen(record: Any) -> Seen:
    raw = b"" if record.value is None else bytes(record.value)
    body = body_of(raw)
    headers = {name: text for name, text in record.headers or () if text is not None}
    if "ce_id" in headers:
        body = _structured(headers, body)
    key = "" if record.key is None else bytes(record.key).decode(errors="replace")
    return Seen(record.partition, record.offset, record.timestamp, key, body, raw)


def _structured(headers: Mapping[str, bytes], data: Any) -> dict[str, Any]:
    """A CloudEvent whose attributes are in Kafka's headers (binary mode), as one object."""
    names = [name for name in headers if name.startswith("ce_")]
    found: dict[str, Any] = {name.removeprefix("ce_"): headers[name].decode(errors="replace") for name in names}
    if "content-type" in headers:
        found["datacontenttype"] = headers["content-type"].decode(errors="replace")
    return found | {"data": data}


def lag_of(settings: Settings, topic: str) -> tuple[PartitionLag, ...]:
    """How far the group of the settings is in a topic. Raises BrokerError, TopicsDiffer (no such topic)."""
    kafka = kafka_python()
    with clients(settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
        if topic not in admin.list_topics():
            raise no_topic(topic, settings)
        (described,) = admin.describe_topics([topic])
        numbers = sorted(partition["partition_index"] for partition in described["partitions"])
        places = [kafka.TopicPartition(topic, number) for number in numbers]
        starts = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.EARLIEST))
        ends = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.LATEST))
        oldest = admin.list_partition_offsets(dict.fromkeys(places, _EVER_MS))
        committed = _committed(admin, settings.kafka_group, places)
    return tuple(
        PartitionLag(
            place.partition,
            starts[place].offset,
            ends[place].offset,
            committed.get(place),
            oldest[place].timestamp / 1_000 if oldest[place].timestamp > 0 else None,
        )
        for place in places
    )


def _committed(admin: Any, group: str, places: list[Any]) -> dict[Any, int]:
    """Where the group has committed. A Kafka that has just started has to make its own topic for that first."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            found = admin.list_group_offsets({group: places})[group]
        except kafka_python().errors.RetriableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_PAUSE_S)
            continue
        return {place: entry.offset for place, entry in found.items() if entry.offset >= 0}
