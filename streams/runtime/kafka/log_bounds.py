"""Where a partition begins and ends, as the broker says."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, OffsetOutOfRangeError

from streams.runtime.log_bounds import Bounds
from streams.runtime.records import Record

FIND_S: Final = 15.0
"""How long a broker that has said where the partition ends may take for a record before that."""
_FETCH_MS: Final = 200


async def ask_bounds(consumer: Any, place: TopicPartition) -> Bounds:
    """Ask the broker. Raises aiokafka's errors."""
    begin = (await consumer.beginning_offsets([place]))[place]
    return Bounds(begin, (await consumer.high_watermarks([place]))[place])


async def ask_oldest_s(consumer: Any, place: TopicPartition) -> float | None:
    """When Kafka took the oldest record that it has, seconds since 1970; None where it has none. Raises its errors."""
    found = (await consumer.offsets_for_times({place: 0}))[place]
    return None if found is None else found.timestamp / 1000


async def find_record(consumer: Any, place: TopicPartition, offset: int) -> Record | None:
    """The record at an offset before the end; its log time is not asked. None where there is none (any more).

    The partition must be assigned; it stands behind `offset` then. Raises aiokafka's errors.
    """
    consumer.seek(place, offset)
    try:
        async with asyncio.timeout(FIND_S):
            while True:
                if found := await consumer.records(place, _FETCH_MS, 1):
                    return Record(offset, 0.0, found[0].value or b"") if found[0].offset == offset else None
                if await consumer.position(place) > offset:  # behind a marker, or behind one that was aborted
                    return None
    except OffsetOutOfRangeError:
        return None
    except TimeoutError as error:
        raise KafkaTimeoutError(f"the record at offset {offset} has not come within {FIND_S:g} s") from error
