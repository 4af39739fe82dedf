"""A topic of Kafka (transitions, or what campaigns put out), read by many at once, each with a consumer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from config.errors import BrokerUnavailable, NoLog, RecordsGone
from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_connect import no_topic_words
from streams.adapters.kafka_errors import explained
from streams.ports import Crossing, Kept

_ANSWER_S: Final = 10.0
_FETCH_MS: Final = 200
FETCH_BYTES: Final = 1 << 20
"""A reader that is slow keeps about so much in memory, and no more."""
PARTITION_BYTES: Final = 32 << 10
"""At least so much of a partition, if there are ever so many: a batch of the producer's has half of it at most."""
_NO_EVENT: Final = b"null"
_BEFORE: Final = ("specversion", "id", "source", "type", "subject", "time")
_BEHIND: Final = ("sequence", "partitionkey", "causationid", "traceparent")


class KafkaTransitionLog:
    """A `TransitionLog`; belongs to no consumer group. `kind`: another topic may be read the same way, as it stands."""

    def __init__(self, settings: Settings, kind: TopicKind = "segment-events") -> None:
        self._settings = settings
        self._kind = kind
        self._topic = settings.topic(kind)

    async def open(self) -> KafkaFeed:
        """See `TransitionLog`. Raises NoLog where there is no such topic."""
        consumer = AIOKafkaConsumer(
            **aiokafka_arguments(self._settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # what is gone has to be told
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_MS,
            fetch_max_bytes=FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(_ANSWER_S):
                await consumer.start()
                cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001  `topics` asks the same
                numbers = cluster.partitions_for_topic(self._topic)
                if not numbers:
                    raise NoLog(no_topic_words(self._topic, self._settings))
                places = [TopicPartition(self._topic, number) for number in sorted(numbers)]
                # Known only now, and nothing is fetched before `assign`.
                consumer._fetcher._max_partition_fetch_bytes = partition_bytes(len(places))  # noqa: SLF001
                consumer.assign(places)
        except (KafkaError, TimeoutError) as error:
            await consumer.stop()
            raise _told(error, self._settings) from error
        except BaseException:
            await consumer.stop()
            raise
        return KafkaFeed(consumer, places, self._settings, is_transitions=self._kind == "segment-events")

    async def close(self) -> None:
        """See `TransitionLog`."""


class KafkaFeed:
    """A `TransitionFeed`."""

    def __init__(
        self, consumer: Any, places: Sequence[Any], settings: Settings, *, is_transitions: bool = True
    ) -> None:
        self._consumer = consumer
        self._places = places
        self._settings = settings
        self._is_transitions = is_transitions

    async def kept(self) -> list[Kept]:
        """See `TransitionFeed`."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                begins = await self._consumer.beginning_offsets(self._places)
                ends = await self._consumer.end_offsets(self._places)
        except (KafkaError, TimeoutError) as error:
            raise _told(error, self._settings) from error
        return [Kept(begins[place], ends[place]) for place in self._places]

    def seek(self, positions: Sequence[int]) -> None:
        """See `TransitionFeed`."""
        for place, position in zip(self._places, positions, strict=True):
            self._consumer.seek(place, position)

    async def read(self, max_records: int, timeout_s: float) -> list[Crossing]:
        """See `TransitionFeed`."""
        try:
            records = await self._consumer.getmany(timeout_ms=round(timeout_s * 1_000), max_records=max_records)
        except OffsetOutOfRangeError as error:
            raise RecordsGone(str(error)) from error
        except KafkaError as error:
            raise _told(error, self._settings) from error
        return [
            Crossing(place.partition, record.offset, self._data(record))
            for place, found in records.items()
            for record in found
        ]

    def _data(self, record: Any) -> bytes:
        return data_of(record.headers, record.value) if self._is_transitions else record.value or b""

    async def close(self) -> None:
        """See `TransitionFeed`."""
        await self._consumer.stop()


def partition_bytes(partitions: int) -> int:
    """How much of one partition is fetched at once, so that all of them together keep to `FETCH_BYTES`."""
    return max(PARTITION_BYTES, FETCH_BYTES // partitions)


def data_of(headers: Sequence[tuple[str, bytes | None]], value: bytes | None) -> bytes:
    """Anybody may have written the record; its offset has to be told all the same."""
    try:
        return structured_mode(headers, value or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NO_EVENT


def structured_mode(headers: Sequence[tuple[str, bytes | None]], value: bytes) -> bytes:
    """The CloudEvent of a record in binary mode (`kafka_publisher.binary_mode`), as the core has written it.

    Always in one line. Raises UnicodeDecodeError; msgspec.DecodeError, RecursionError for lines that are no JSON.
    """
    value.decode()
    if b"\n" in value or b"\r" in value:
        value = msgspec.json.encode(msgspec.json.decode(value))
    given = {name: text or b"" for name, text in headers}
    known = {name: given[f"ce_{name}"].decode() for name in (*_BEFORE, *_BEHIND) if f"ce_{name}" in given}
    event: dict[str, Any] = {name: known[name] for name in _BEFORE if name in known}
    event["datacontenttype"] = given.get("content-type", b"application/json").decode()
    event |= {name: known[name] for name in _BEHIND if name in known}
    event["data"] = msgspec.Raw(value)
    return msgspec.json.encode(event)


def _told(error: KafkaError | TimeoutError, settings: Settings) -> Exception:
    if isinstance(error, KafkaError):
        return explained(error, settings)
    return BrokerUnavailable(f"Kafka at {settings.kafka_bootstrap_servers} did not answer in time. Is it running?")
