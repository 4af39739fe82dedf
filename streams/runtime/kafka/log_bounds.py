"""Where a partition begins and ends, as the broker says."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from streams.runtime.log_bounds import Bounds


async def ask_bounds(consumer: Any, place: TopicPartition) -> Bounds:
    """Ask the broker. Raises aiokafka's errors."""
    begin = (await consumer.beginning_offsets([place]))[place]
    return Bounds(begin, (await consumer.end_offsets([place]))[place])
