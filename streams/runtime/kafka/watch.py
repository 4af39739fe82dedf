"""Looking at topics: records as they come, and how far the workers are behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from config.errors import TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients
from streams.adapters.kafka_reading import groupless_consumer
from streams.runtime.seen import PartitionLag, Seen, body_of

_POLL_MS: Final = 500
_PATIENCE_S: Final = 15.0
_PAUSE_S: Final = 0.2


def follow(
    settings: Settings,
    topic: str,
    *,
    from_start: bool = False,
    limit: int | None = None,
    begin: Callable[[int], None] = lambda _: None,
) -> Iterator[Seen]:
    """The records of a topic, those that come from now on or all; endless without a `limit`.

    `begin` is told first, once it is settled from where on, how many records are there already, or a few more.
    In no particular order between partitions. Raises BrokerError, TopicsDiffer (no such topic).
    """
    kafka = kafka_python()
    with groupless_consumer(settings) as consumer:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise TopicsDiffer(f"the topic {topic!r} does not exist. Make it with: tideline topics --create")
        places = [kafka.TopicPartition(topic, number) for number in sorted(partitions)]
        consumer.assign(places)
        (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*places)
        # Where "the end" is, is settled now and not at the first record.
        positions = {place: consumer.position(place) for place in places}
        begin(sum(end - positions[place] for place, end in consumer.end_offsets(places).items()) if from_start else 0)
        yield from _records(consumer, limit)


def _records(consumer: Any, limit: int | None) -> Iterator[Seen]:
    left = limit
    while left is None or left > 0:
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            for record in records:
                yield _seen(record)
                if left is not None:
                    left -= 1
                    if not left:
                        return


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
            raise TopicsDiffer(f"the topic {topic!r} does not exist. Make it with: tideline topics --create")
        (described,) = admin.describe_topics([topic])
        numbers = sorted(partition["partition_index"] for partition in described["partitions"])
        places = [kafka.TopicPartition(topic, number) for number in numbers]
        starts = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.EARLIEST))
        ends = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.LATEST))
        committed = _committed(admin, settings.kafka_group, places)
    return tuple(
        PartitionLag(place.partition, starts[place].offset, ends[place].offset, committed.get(place))
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
