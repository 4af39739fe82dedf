"""Which partitions of campaigns a process works on Kafka: those that a consumer group gives it.

The group reads nothing: it decides who owns what, so that two processes do not claim one partition in turn for ever,
and remembers beside its offset what was told of a partition.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from config.errors import BrokerUnavailable
from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_errors import explained
from streams.campaigns.ports import Seen
from streams.runtime.campaigns.outlet import EVENTS
from streams.runtime.campaigns.partitions import Partitions
from streams.runtime.kafka.group_memory import TELL_S, GroupMemory, RememberingConsumer
from streams.runtime.kafka.partitions import HEARTBEAT_MS, NEVER_MS, REBALANCE_MS, SESSION_MS, own_assignor
from streams.runtime.witness import Witness

_LOG: Final = logging.getLogger(__name__)
GROUP: Final = ".campaigns"
"""What the name of the group ends with; it begins with that of the workers'."""
LOOK_S: Final = 1.0
LEAVE_S: Final = 3.0
"""Leaving may take so long; without a word of ours others take over after the session."""


class KafkaOwning:
    """A member of the group. `on_failure` is told what it has failed by."""

    def __init__(self, settings: Settings, on_failure: Callable[[BaseException], None]) -> None:
        self._settings = settings
        self._on_failure = on_failure
        self._topic = settings.topic(EVENTS)
        self._consumer: RememberingConsumer | None = None
        self._memory: GroupMemory | None = None
        self._looking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.partitions: Partitions
        """What is taken and let go of; to be set before `start`."""

    async def start(self) -> None:
        """Join the group. Raises BrokerUnavailable, BrokerError."""
        consumer = RememberingConsumer(
            **aiokafka_arguments(self._settings),
            group_id=self._settings.kafka_group + GROUP,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=NEVER_MS,
            partition_assignment_strategy=[own_assignor()],
        )
        self._memory = GroupMemory(consumer, self._topic, self._settings, self._loop)
        self._consumer = consumer
        consumer.subscribe([self._topic], listener=_Listener(self))
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise explained(error, self._settings) from error
        self._looking = asyncio.create_task(self._look(consumer))

    async def stop(self) -> None:
        """Leave the partitions, then the group, so that others take over at once."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.partitions.let_go(list(self.partitions.works))
        if self._consumer is not None:
            try:
                async with asyncio.timeout(LEAVE_S):
                    await self._consumer.stop()
            except TimeoutError:
                _LOG.warning("Kafka does not answer, so the group learns later that we have left")
        await self.partitions.let_go(list(self.partitions.works))  # what a rebalance gave us at the last moment

    # --- for threads: `partitions.Memory` -----------------------------------------------------------------------------

    def recall_from_thread(self, number: int) -> Seen | None:
        """What was told of a partition last. Raises BrokerUnavailable, also while the group is shared out anew."""
        witness = asyncio.run_coroutine_threadsafe(self._recall(number), self._loop).result()
        return None if witness is None else Seen(witness.generation, witness.number)

    def tell_from_thread(self, number: int, seen: Seen) -> None:
        """Let the group remember. Raises Fenced where the partition is another member's, BrokerUnavailable."""
        assert self._memory is not None, "partitions are given by the group"
        self._memory.tell_from_thread(number, Witness(seen.generation, seen.number))

    async def _recall(self, number: int) -> Witness | None:
        assert self._memory is not None, "partitions are given by the group"
        try:
            async with asyncio.timeout(TELL_S):
                return await self._memory.recall(number)
        except KafkaError as error:
            raise explained(error, self._settings) from error
        except TimeoutError as error:
            servers = self._settings.kafka_bootstrap_servers
            raise BrokerUnavailable(f"Kafka at {servers} has not said for {TELL_S:.0f} s what it remembers") from error

    # --- in the loop --------------------------------------------------------------------------------------------------

    async def take(self, numbers: Collection[int]) -> None:
        """The group has given us these."""
        assert self._consumer is not None, "it is a member"
        for number in numbers:
            place = TopicPartition(self._topic, number)
            self._consumer.pause(place)  # nothing is read by it
            self._consumer.seek(place, 0)
        self.partitions.take(n for n in numbers if n < self._settings.shards)

    async def let_go(self, numbers: Collection[int]) -> None:
        """The group gives these to others."""
        await self.partitions.let_go(numbers)

    async def _look(self, consumer: Any) -> None:
        """A member that fetches nothing would never hear that the group refuses it."""
        while True:
            began_s = time.monotonic()
            try:
                consumer.check_fetching()
                if not consumer.assignment():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await consumer.getmany()
            except KafkaError as error:
                self._on_failure(explained(error, self._settings))
                return
            await asyncio.sleep(max(0.0, LOOK_S - (time.monotonic() - began_s)))

    def failed(self, error: BaseException) -> None:
        """The client would log it, and go on as if the partitions were worked."""
        self._on_failure(explained(error, self._settings) if isinstance(error, KafkaError) else error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    def __init__(self, owning: KafkaOwning) -> None:
        self._owning = owning

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        with self._reported():
            await self._owning.let_go([place.partition for place in revoked])

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        with self._reported():
            await self._owning.take([place.partition for place in assigned])

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is, the client would log it and go on: the process ends with its words
            self._owning.failed(error)
            raise
