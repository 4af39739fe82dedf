"""A service that works the partitions of a topic which a consumer group gives it, each in batches of its own.

Every partition has a task in the event loop that fetches, and its work (`Run.step`) is done in a thread. The consumer
group decides who works what; where to begin is in the checkpoint alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from mode import Service

from config.errors import BrokerError, Fenced
from config.settings import Settings
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.records import Position, Record

T = TypeVar("T")

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
AWAY_S: Final = 50.0
"""A Kafka that does not answer while a partition is taken over is waited for so long, as in a commit."""
RETRY_S: Final = 0.2


class Run(Protocol):
    """The work of one partition: `ShardRun`, `LearnerRun`."""

    position: Position

    @property
    def is_loaded(self) -> bool: ...

    @property
    def set_backs(self) -> int: ...

    def assign(self) -> Position: ...

    def drop(self) -> None: ...


@dataclass(slots=True)
class Partition:
    """A partition in the hands of this process."""

    number: int
    run: Run | None = None
    """None until its store has answered."""
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    end: int = 0
    """Where the topic ends, as far as is known."""
    worked_s: float = 0.0
    """When its last step ended (monotonic clock)."""
    is_ready: bool = False
    """Assigned, and the state is loaded."""
    is_asking: bool = False
    """Its task waits for Kafka, and may be cancelled."""

    @property
    def lag(self) -> int:
        """Records that are still to be worked."""
        return max(0, self.end - self.run.position.offset) if self.run is not None else self.end


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
        self._is_leaving = False
        self._batch = batch
        self._known: dict[int, Run] = {}
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix=group)
        self._consumer: AIOKafkaConsumer | None = None
        self._told_offsets: dict[int, int] = {}

    # --- what a subclass gives ---------------------------------------------------------------------------------------

    def make_run(self, number: int) -> Run:
        """The run of a partition, when it is given to this process for the first time; in a thread."""
        raise NotImplementedError

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:
        """One batch, in a thread; `now_s` when the partition has nothing more."""
        raise NotImplementedError

    def known_runs(self) -> dict[int, Run]:
        """Of the partitions that this process has or has had."""
        return dict(self._known)

    # --- the consumer ------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Join the group."""
        self._consumer = AIOKafkaConsumer(
            **aiokafka_arguments(self.settings),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # what would be left out by it is looked for in `_refuse_other_log`
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
        self._is_leaving = True
        await self._let_go(list(self.partitions))
        if self._consumer is not None:
            await self._consumer.stop()  # a rebalance that is under way is finished first
        self._threads.shutdown(wait=False)  # every task has ended; waiting here would stop the loop that they may need

    @property
    def consumer(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "the service has not started"
        return self._consumer

    async def take_over(self, numbers: Collection[int]) -> None:
        """Partitions were assigned: each gets its task."""
        if self._is_leaving:
            return  # others get them at once
        self.assigned_once = True
        for number in [n for n in self._known if n not in numbers]:
            self._known[number].drop()  # the number of its last commit stays known: a set-back is found by it
        for number in sorted(numbers):
            self.consumer.pause(self._place(number))  # until it is known from where to read
            self.partitions[number] = partition = Partition(number, self._known.get(number))
            partition.task = asyncio.create_task(self._work(partition), name=f"{self.group}-{number}")
            partition.task.add_done_callback(self._ended)

    async def let_go(self, numbers: Collection[int]) -> None:
        """Partitions were revoked: finish the batches in hand, and keep the state in case they come back."""
        await self._let_go([n for n in numbers if n in self.partitions])

    async def _let_go(self, numbers: Sequence[int]) -> None:
        partitions = [self.partitions.pop(number) for number in numbers]
        for partition in partitions:
            partition.stopping.set()
            if partition.is_asking and partition.task is not None:
                # During a rebalance the client answers nobody before it is over, and it waits for us.
                partition.task.cancel()
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
        if partition.run is None:
            partition.run = await self._in_thread(partial(self.make_run, partition.number))
            self._known[partition.number] = partition.run
        while not partition.stopping.is_set():
            try:
                await self._assign_patiently(partition, partition.run)
                await self._steps(partition, partition.run)
            except Fenced as error:
                # Another process has it, or the store went back in time. If it is still ours, it is claimed again.
                _LOG.warning("%s %d: %s", self.topic, partition.number, error)
                partition.is_ready = False
                await self._pause(partition, AFTER_FENCE_S)

    async def _assign_patiently(self, partition: Partition, run: Run) -> None:
        """Wait for a Kafka that restarts; `Run.assign` waits for the store. Raises KafkaError after `AWAY_S`."""
        deadline_s = time.monotonic() + AWAY_S
        while not partition.stopping.is_set():
            try:
                await self._assign(partition, run)
                return
            except KafkaError as error:
                if time.monotonic() > deadline_s:
                    raise
                _LOG.warning("%s %d: waiting: %r", self.topic, partition.number, error)
            await self._pause(partition, RETRY_S)

    async def _assign(self, partition: Partition, run: Run) -> None:
        place, set_backs = self._place(partition.number), run.set_backs
        position = await self._in_thread(run.assign)
        if run.set_backs != set_backs:
            _LOG.warning(
                "%s %d: the store was set back to an earlier copy. It is loaded again, and goes on at offset %d under "
                "a new generation: what was said since may be said again, with other ids.",
                self.topic,
                partition.number,
                position.offset,
            )
        if partition.stopping.is_set():
            return
        offset = position.offset
        if offset == 0:
            offset = (await self._ask(partition, self.consumer.beginning_offsets([place])))[place]
        else:
            await self._ask(partition, self._refuse_other_log(place, offset))
        if place in self.consumer.assignment():
            self.consumer.seek(place, offset)
            self.consumer.resume(place)
        partition.end = (await self._ask(partition, self.consumer.end_offsets([place])))[place]
        partition.is_ready = True
        partition.worked_s = time.monotonic()
        _LOG.info("%s %d: taken over at offset %d of %d", self.topic, partition.number, offset, partition.end)

    async def _steps(self, partition: Partition, run: Run) -> None:
        place = self._place(partition.number)
        while not partition.stopping.is_set():
            found = await self._ask(
                partition, self.consumer.getmany(place, timeout_ms=FETCH_MS, max_records=self._batch)
            )
            records = [Record(r.offset, r.timestamp / 1000.0, r.value or b"") for r in found.get(place, ())]
            partition.end = max(partition.end, self.consumer.highwater(place) or 0)
            if not records and time.monotonic() - partition.worked_s < IDLE_S:
                continue
            expected = run.position.offset
            if records and expected and records[0].offset != expected:
                await self._ask(partition, self._refuse_other_log(place, expected))
            now_s = time.time() if not records and partition.lag == 0 else None
            await self._in_thread(partial(self.step, run, records, now_s))
            partition.worked_s = time.monotonic()

    async def _refuse_other_log(self, place: TopicPartition, offset: int) -> None:
        """Raises BrokerError if the topic cannot go on at `offset`: it begins later, or ends before."""
        beginning = (await self.consumer.beginning_offsets([place]))[place]
        end = (await self.consumer.end_offsets([place]))[place]
        where = f"{place.topic} {place.partition}: the store stands at offset {offset}, and the topic"
        anew = "Begin anew with what is there by another TIDELINE_KEY_PREFIX."
        if beginning > offset:
            raise BrokerError(
                f"{where} begins at {beginning}: what lies between is gone. Were workers away for longer than the "
                f"topic keeps records, or is it another topic? {anew}"
            )
        if end < offset:
            raise BrokerError(
                f"{where} ends at {end}: it is another topic than the one that was read, or Kafka has lost records. "
                f"Bring the topic back, or its records. {anew}"
            )

    async def _ask(self, partition: Partition, question: Coroutine[Any, Any, T]) -> T:
        """The answer of Kafka's client, for which nobody waits once the partition is let go."""
        partition.is_asking = True
        try:
            return await question
        finally:
            partition.is_asking = False

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
        offsets = {n: p.run.position.offset for n, p in self.partitions.items() if p.run is not None and p.is_ready}
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
