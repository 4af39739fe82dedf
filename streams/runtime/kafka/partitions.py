"""A service that works the partitions of a topic which a consumer group gives it, each in batches of its own.

Every partition has a task in the event loop that fetches, and its work (`Run.step`) is done in a thread. The consumer
group decides who works what; where to begin is in the checkpoint alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from mode import Service

from config.errors import BrokerError, Fenced
from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.records import Position, Record

_LOG: Final = logging.getLogger(__name__)

FETCH_MS: Final = 200
SESSION_MS: Final = 10_000
HEARTBEAT_MS: Final = 500
"""Members learn of a rebalance with a heartbeat, and it ends when the last one has learned: this bounds the pause."""
IDLE_S: Final = 1.0
"""A partition without records is worked so often, so that time passes in it."""
OFFSETS_S: Final = 1.0
"""Offsets are committed to Kafka so often at most; they are for dashboards only."""
AFTER_FENCE_S: Final = 0.5


class Run(Protocol):
    """The work of one partition: `ShardRun`, `LearnerRun`."""

    position: Position

    @property
    def is_loaded(self) -> bool: ...

    def assign(self) -> Position: ...

    def drop(self) -> None: ...


@dataclass(slots=True)
class Partition:
    """A partition in the hands of this process."""

    number: int
    run: Run
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    end: int = 0
    """Where the topic ends, as far as is known."""
    worked_s: float = 0.0
    """When its last step ended (monotonic clock)."""
    is_ready: bool = False
    """Assigned, and the state is loaded."""

    @property
    def lag(self) -> int:
        """Records that are still to be worked."""
        return max(0, self.end - self.run.position.offset)


class PartitionedService(ReportingService):
    """Works the partitions of `topic`. A subclass says what a partition's run is, and what a step of it does.

    `batch`: the most records of a step.
    """

    abstract = True

    def __init__(self, settings: Settings, topic: str, group: str, *, batch: int, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.topic = topic
        self.group = group
        self.partitions: dict[int, Partition] = {}
        self.assigned_once = False
        self._batch = batch
        self._known: dict[int, Run] = {}
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix=group)
        self._consumer: AIOKafkaConsumer | None = None
        self._told_offsets: dict[int, int] = {}

    # --- what a subclass gives ---------------------------------------------------------------------------------------

    def make_run(self, number: int) -> Run:
        """The run of a partition, when it is given to this process for the first time."""
        raise NotImplementedError

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:
        """One batch, in a thread; `now_s` when the partition has nothing more."""
        raise NotImplementedError

    def known_runs(self) -> dict[int, Run]:
        """Of the partitions that this process has or had last."""
        return dict(self._known)

    # --- the consumer ------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **aiokafka_arguments(self.settings),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # what would be left out by it is looked for in `_refuse_gap`
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            partition_assignment_strategy=[StickyPartitionAssignor],
            max_partition_fetch_bytes=4 << 20,
            metadata_max_age_ms=30_000,
        )
        self._consumer.subscribe([self.topic], listener=_Listener(self))
        await self._consumer.start()

    async def on_stop(self) -> None:
        """Finish the batches in hand, and leave the group at once, so that others take over."""
        await self._let_go(list(self.partitions))
        if self._consumer is not None:
            await self._consumer.stop()
        self._threads.shutdown(wait=True)

    @property
    def consumer(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "the service has not started"
        return self._consumer

    async def take_over(self, numbers: Collection[int]) -> None:
        """Partitions were assigned: each gets its task."""
        self.assigned_once = True
        for number in [n for n in self._known if n not in numbers]:
            self._known.pop(number).drop()
        for number in sorted(numbers):
            self.consumer.pause(self._place(number))  # until it is known from where to read
            if number not in self._known:
                self._known[number] = self.make_run(number)
            partition = Partition(number, self._known[number])
            self.partitions[number] = partition
            partition.task = asyncio.create_task(self._work(partition), name=f"{self.group}-{number}")
            partition.task.add_done_callback(self._ended)

    async def let_go(self, numbers: Collection[int]) -> None:
        """Partitions were revoked: finish the batches in hand, and keep the state in case they come back."""
        await self._let_go([n for n in numbers if n in self.partitions])

    async def _let_go(self, numbers: Sequence[int]) -> None:
        partitions = [self.partitions.pop(number) for number in numbers]
        for partition in partitions:
            partition.stopping.set()
        tasks = [partition.task for partition in partitions if partition.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failure(error)

    def _place(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)

    # --- one partition -----------------------------------------------------------------------------------------------

    async def _work(self, partition: Partition) -> None:
        while not partition.stopping.is_set():
            try:
                await self._assign(partition)
                await self._steps(partition)
            except Fenced as error:
                # Another process has it, or the store went back in time. If it is still ours, it is claimed again.
                _LOG.warning("%s %d: %s", self.topic, partition.number, error)
                partition.is_ready = False
                await self._pause(partition, AFTER_FENCE_S)

    async def _assign(self, partition: Partition) -> None:
        place = self._place(partition.number)
        position = await self._in_thread(partition.run.assign)
        if partition.stopping.is_set():
            return
        offset = position.offset
        if offset == 0:
            offset = (await self.consumer.beginning_offsets([place]))[place]
        else:
            await self._refuse_gap(place, offset)
        if place in self.consumer.assignment():
            self.consumer.seek(place, offset)
            self.consumer.resume(place)
        partition.end = (await self.consumer.end_offsets([place]))[place]
        partition.is_ready = True
        partition.worked_s = time.monotonic()
        _LOG.info("%s %d: taken over at offset %d of %d", self.topic, partition.number, offset, partition.end)

    async def _steps(self, partition: Partition) -> None:
        place = self._place(partition.number)
        while not partition.stopping.is_set():
            found = await self.consumer.getmany(place, timeout_ms=FETCH_MS, max_records=self._batch)
            records = [Record(r.offset, r.timestamp / 1000.0, r.value or b"") for r in found.get(place, ())]
            partition.end = max(partition.end, self.consumer.highwater(place) or 0)
            if not records and time.monotonic() - partition.worked_s < IDLE_S:
                continue
            expected = partition.run.position.offset
            if records and expected and records[0].offset > expected:
                await self._refuse_gap(place, expected)
            now_s = time.time() if not records and partition.lag == 0 else None
            await self._in_thread(partial(self.step, partition.run, records, now_s))
            partition.worked_s = time.monotonic()

    async def _refuse_gap(self, place: TopicPartition, offset: int) -> None:
        """Raises BrokerError if the topic does not go back to `offset` any more."""
        beginning = (await self.consumer.beginning_offsets([place]))[place]
        if beginning > offset:
            raise BrokerError(
                f"{place.topic} {place.partition}: the store stands at offset {offset}, and the topic begins at "
                f"{beginning}: what lies between is gone. Were workers away for longer than the topic keeps records, "
                "or is it another topic? Begin anew with what is there by another TIDELINE_KEY_PREFIX."
            )

    async def _pause(self, partition: Partition, seconds: float) -> None:
        try:
            await asyncio.wait_for(partition.stopping.wait(), timeout=seconds)
        except TimeoutError:
            return

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @Service.timer(OFFSETS_S)
    async def _tell_offsets(self) -> None:
        """For dashboards: where a restart goes on is in the store."""
        offsets = {n: p.run.position.offset for n, p in self.partitions.items() if p.is_ready}
        news = {self._place(n): at for n, at in offsets.items() if at and self._told_offsets.get(n) != at}
        if not news:
            return
        try:
            await self.consumer.commit(news)
        except KafkaError as error:  # during a rebalance, say; the next one tells them
            _LOG.debug("offsets for dashboards were not taken: %s", error)
        else:
            self._told_offsets = offsets


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    def __init__(self, service: PartitionedService) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._service.let_go([place.partition for place in revoked])

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._service.take_over([place.partition for place in assigned])
