"""A service that works the partitions of a topic which a consumer group gives it, each in batches of its own.

Every partition has a task in the event loop that fetches, and its work (`Run.step`) is done in a thread. The consumer
group decides who works what; where to begin is in the checkpoint alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from mode import Service

from config.errors import BrokerError, Fenced, Stopped, TopicsDiffer
from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import aiokafka_arguments
from streams.adapters.kafka_topics import partition_problems
from streams.ports import Store
from streams.runtime.kafka.group_memory import GroupMemory, RememberingConsumer
from streams.runtime.kafka.log_bounds import ask_bounds, ask_oldest_s, find_record
from streams.runtime.kafka.reporting import ReportingService
from streams.runtime.log_bounds import Bounds, can_be_known, check_last, lacks_history, tell_history, where_to_begin
from streams.runtime.records import Position, Record, Run
from streams.runtime.shard_traces import traced_by_headers
from streams.runtime.steady_clock import SteadyClock
from streams.runtime.witness import Witness

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)

FETCH_MS: Final = 200
SESSION_MS: Final = 10_000
REBALANCE_MS: Final = 10_000
"""A member that has not let go of its partitions by then is left out: the others would stand still with it."""
HEARTBEAT_MS: Final = 500
"""Members learn of a rebalance with a heartbeat, and it ends when the last one has learned: this bounds the pause."""
NEVER_MS: Final = 2**31 - 1
"""A worker without a partition polls nothing, and a long batch polls late: the client would take either for dead, leave
the group and never come back. Heartbeats show that a worker lives, and a task that fails ends the process."""
IDLE_S: Final = 1.0
"""A partition without records is worked so often, so that time passes in it."""
ANSWER_S: Final = 5.0
"""How long the broker has to say where partitions end; time passes when it does."""
OFFSETS_S: Final = 1.0
"""Offsets are committed to Kafka so often at most, apart from those that go with a witness."""
AFTER_FENCE_S: Final = 0.5
AWAY_S: Final = 50.0
"""A Kafka that does not answer while a partition is taken over is waited for so long, as in a commit."""
RETRY_S: Final = 0.2
SETTLE_S: Final = 3.0
"""A partition whose leader has just changed may say for a moment that it ends earlier than it does."""
HANGS_S: Final = 5.0
"""A step that takes longer, or a broker that has not said for longer where partitions end: how far behind we are is not
known then."""
TRANSACTION_S: Final = 60.0
"""Kafka ends a transaction by itself after as long, unless its producer asks for more."""
LEAVE_S: Final = 3.0
"""How long a stop may take, the batches in hand and leaving the group together; without a word of ours others take over
after `SESSION_MS`."""
LEAVE_LEAST_S: Final = 0.5
"""For leaving the group, however long the batches in hand have taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker said about a partition: all that it had taken before `now_s` (wall clock) is before `end`."""

    now_s: float
    end: int


@dataclass(slots=True)
class Waiting:
    """A transaction that is open at `offset`, seen there first at `since_s` (monotonic clock)."""

    offset: int
    since_s: float
    is_told: bool = False


@dataclass(slots=True)
class Partition:
    """A partition in the hands of this process."""

    number: int
    run: Run | None = None
    """None until its store has answered."""
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    read_to: int = 0
    """Everything before it is worked, or is nothing to work (aborted, markers of transactions, gone by retention)."""
    end: int = 0
    """Where the topic ends, as far as is known, with what waits behind a transaction that is open."""
    answer: Answer | None = None
    """Of the broker, not used yet."""
    worked_s: float = 0.0
    """When its last step ended (monotonic clock)."""
    step_since_s: float | None = None
    """When the step that runs began (monotonic clock); None between steps."""
    is_ready: bool = False
    """Assigned, and the state is loaded."""
    is_idle: bool = False
    """The last fetch brought nothing."""
    waits_at: Waiting | None = None
    """The transaction that it cannot be read beyond."""
    is_asking: bool = False
    """Its task waits for Kafka, and may be cancelled."""

    @property
    def lag(self) -> int:
        """Records that are still to be worked."""
        return max(0, self.end - self.read_to)

    def hangs(self, now_s: float) -> bool:
        """Whether its step has run for too long by now (monotonic clock)."""
        return self.step_since_s is not None and now_s - self.step_since_s > HANGS_S


class PartitionedService(ReportingService):
    """Works the first `wanted` partitions of the topic of `kind`. A subclass says what a partition's run is, and what
    a step of it does.

    `batch`: the most records of a step. `accepts_gaps`: records that are gone by retention are left out.
    """

    abstract = True
    accepts_gaps = False
    reads_traces = False
    """Whether the headers of records are looked at."""

    def __init__(
        self, settings: Settings, kind: TopicKind, group: str, *, wanted: int, batch: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self.settings = settings
        self.topic = settings.topic(kind)
        self.group = group
        self.partitions: dict[int, Partition] = {}
        self.stores: dict[int, Store] = {}
        """Of the runs; whoever makes a run puts its store here."""
        self.first_loads = asyncio.Event()
        """Partitions were assigned, and all of them are loaded for the first time."""
        self._was_assigned = False
        self._is_leaving = False
        self._kind = kind
        self._wanted = wanted
        self._batch = batch
        self._known: dict[int, Run] = {}
        self._let_go_of: set[int] = set()
        """Partitions that were revoked and not given back, for threads that still load them."""
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix=group)
        self._consumer: RememberingConsumer | None = None
        self._memory: GroupMemory | None = None
        self._clock = SteadyClock()
        self._missed_times = False
        self._answered_s = 0.0
        """When the broker said last where partitions end (monotonic clock)."""
        self._told_to_hang: set[int] = set()

    # --- what a subclass gives ---------------------------------------------------------------------------------------

    def make_run(self, number: int) -> Run:
        """The run of a partition, when it is given to this process for the first time; in a thread."""
        raise NotImplementedError

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:
        """One batch, in a thread; `now_s` when the partition has nothing more."""
        raise NotImplementedError

    def is_due(self, run: Run) -> bool:  # noqa: ARG002  most have nothing to do without records
        """Whether a step is to be made although no record has come."""
        return False

    def known_runs(self) -> dict[int, Run]:
        """Of the partitions that this process has or has had."""
        return dict(self._known)

    @property
    def is_settled(self) -> bool:
        """Whether what the group has assigned to this process, possibly nothing, is what it works and has loaded.

        Not while a step or the broker hangs: what is told about its partitions may be old then.
        """
        now_s = time.monotonic()
        if not self._was_assigned or any(p.hangs(now_s) for p in self.partitions.values()):
            return False
        if self.partitions and now_s - self._answered_s > HANGS_S:
            return False
        assigned = {place.partition for place in self.consumer.assignment() if place.partition < self._wanted}
        return assigned == set(self.partitions) and all(p.is_ready for p in self.partitions.values())

    def open_transactions(self) -> list[dict[str, int]]:
        """Of the partitions that cannot be read on for now: the offset of the transaction that is open, and for how
        many seconds it has been seen there.
        """
        now_s, waiting = time.monotonic(), ((p.number, p.waits_at) for p in self.partitions.values())
        return [
            {"partition": number, "offset": at.offset, "seconds": int(now_s - at.since_s)}
            for number, at in sorted(waiting, key=lambda one: one[0])
            if at is not None
        ]

    # --- the consumer ------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Join the group."""
        self._consumer = RememberingConsumer(
            **aiokafka_arguments(self.settings),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # where to begin is in the store, and what is gone has to be seen
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=NEVER_MS,
            partition_assignment_strategy=[own_assignor()],
            max_partition_fetch_bytes=4 << 20,
            metadata_max_age_ms=30_000,
        )
        self._consumer.subscribe([self.topic], listener=_Listener(self))
        await self._consumer.start()

    async def on_stop(self) -> None:
        """See mode's Service."""
        await self.leave(time.monotonic() + LEAVE_S)

    async def leave(self, until_s: float) -> None:
        """Finish the batches in hand, and leave the group, so that others take over at once; only the first call does.

        A Kafka that does not answer is waited for until `until_s` (monotonic clock).
        """
        if self._is_leaving:
            return
        self._is_leaving = True
        await self._let_go(list(self.partitions))
        if self._consumer is not None:
            left_s = max(LEAVE_LEAST_S, until_s - time.monotonic())
            try:
                # A rebalance that is under way is finished first.
                async with asyncio.timeout(left_s):
                    await self._consumer.stop()
            except TimeoutError:
                _LOG.warning("%s: Kafka does not answer, so the group learns later that we have left", self.group)
        await self._let_go(list(self.partitions))
        self._threads.shutdown(wait=False)  # every task has ended; waiting here would stop the loop that they may need

    @property
    def consumer(self) -> RememberingConsumer:
        assert self._consumer is not None, "the service has not started"
        return self._consumer

    async def take_over(self, numbers: Collection[int]) -> None:
        """Partitions were assigned: each gets its task. Raises TopicsDiffer where there must not be so many."""
        if self._is_leaving:
            return  # others get them at once
        numbers = self._own(numbers)
        for number in [n for n in self._known if n not in numbers]:
            self._known[number].drop()  # the number of its last commit stays known: a set-back is found by it
            if (store := self.stores.get(number)) is not None:
                store.close()  # it connects anew when it is used again
        for number in sorted(numbers):
            self._let_go_of.discard(number)
            self.consumer.pause(self._place(number))  # until it is known from where to read
            self.partitions[number] = partition = Partition(number, self._known.get(number))
            partition.task = asyncio.create_task(self._work(partition), name=f"{self.group}-{number}")
            partition.task.add_done_callback(self._ended)
        self._was_assigned = True

    def _own(self, numbers: Collection[int]) -> list[int]:
        """Without partitions that somebody has added to the topic meanwhile, if they stay empty."""
        more = sorted(n for n in numbers if n >= self._wanted)
        if more and (problems := partition_problems(self._kind, self.topic, self._wanted, more[-1] + 1)):
            raise TopicsDiffer(f"partitions were added: {self.topic} {' '.join(problems)}")
        if more:
            _LOG.warning("%s has more than %d partitions: nothing goes into the others", self.topic, self._wanted)
        return [n for n in numbers if n < self._wanted]

    async def let_go(self, numbers: Collection[int]) -> None:
        """Partitions were revoked: finish the batches in hand, and keep the state in case they come back."""
        await self._let_go([n for n in numbers if n in self.partitions])

    async def _let_go(self, numbers: Sequence[int]) -> None:
        partitions = [self.partitions.pop(number) for number in numbers]
        self._let_go_of.update(numbers)
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
        try:
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
        except Stopped as error:
            _LOG.warning("%s %d: %s; whoever takes it over goes on from the store", self.topic, partition.number, error)

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
        set_backs = run.set_backs
        # What the group remembers is no place to read from, but shows that the store was further once.
        witness = await self._ask(partition, self.memory.recall(partition.number))
        position = await self._in_thread(partial(run.assign, witness))
        if run.set_backs != set_backs:
            _LOG.warning(
                "%s %d: the store was set back to an earlier copy, or is another one. It is loaded again, and goes on "
                "at offset %d under a new generation: what was said since may be said again, with other ids.",
                self.topic,
                partition.number,
                position.offset,
            )
        if not partition.stopping.is_set():
            await self._begin(partition, run)
        if partition.stopping.is_set():
            return
        partition.is_ready = True
        partition.worked_s = time.monotonic()
        if all(p.is_ready for p in self.partitions.values()):
            self.first_loads.set()
        _LOG.info("%s %d: at offset %d of %d", self.topic, partition.number, partition.read_to, partition.end)

    async def _begin(self, partition: Partition, run: Run) -> None:
        """Read on where the run stands. Raises BrokerError where that cannot be."""
        place, offset = self._place(partition.number), run.position.offset
        bounds = await self._bounds(partition, offset)
        name = f"{place.topic} {place.partition}"
        begin = where_to_begin(name, offset, bounds, accepts_gaps=self.accepts_gaps)
        await self._check_last(partition, run.position, bounds)
        if lacks_history(offset, bounds):
            tell_history(name, bounds, await self._ask(partition, ask_oldest_s(self.consumer, place)))
        partition.answer, partition.read_to, partition.end = None, begin, bounds.end
        self._answered_s = time.monotonic()
        if place in self.consumer.assignment():
            self.consumer.seek(place, begin)
            self.consumer.resume(place)

    async def _check_last(self, partition: Partition, position: Position, bounds: Bounds) -> None:
        """Raises BrokerError where another record stands now than the last one that was worked."""
        place = self._place(partition.number)
        if not can_be_known(position, bounds) or place not in self.consumer.assignment():
            return
        found = await self._ask(partition, find_record(self.consumer, place, position.last_offset))
        if found is None:  # has retention taken it, just now?
            bounds = await self._ask(partition, ask_bounds(self.consumer, place))
        if can_be_known(position, bounds):
            check_last(f"{place.topic} {place.partition}", position, found)

    async def _bounds(self, partition: Partition, offset: int) -> Bounds:
        place, deadline_s = self._place(partition.number), time.monotonic() + SETTLE_S
        while True:
            bounds = await self._ask(partition, ask_bounds(self.consumer, place))
            if bounds.end >= offset or partition.stopping.is_set() or time.monotonic() > deadline_s:
                return bounds
            await self._pause(partition, RETRY_S)

    async def _steps(self, partition: Partition, run: Run) -> None:
        place = self._place(partition.number)
        while not partition.stopping.is_set():
            records = await self._fetch(partition, run)
            now_s = None if records else self._time_at_end(partition)
            if records or now_s is not None or time.monotonic() - partition.worked_s >= IDLE_S or self.is_due(run):
                partition.step_since_s = time.monotonic()
                try:
                    await self._in_thread(partial(self.step, run, records, now_s))
                finally:
                    partition.step_since_s = None
                partition.worked_s = time.monotonic()
            if place in self.consumer.assignment() and not partition.stopping.is_set():
                # All before it was handed out, so all is worked that is more than a marker of a transaction.
                partition.read_to = await self._ask(partition, self.consumer.position(place))

    async def _fetch(self, partition: Partition, run: Run) -> list[Record]:
        """The next records, at most a batch of them; none if none come within `FETCH_MS`."""
        place = self._place(partition.number)
        try:
            found = await self._ask(partition, self.consumer.records(place, FETCH_MS, self._batch))
        except OffsetOutOfRangeError as error:
            _LOG.warning("%s %d: %r", self.topic, partition.number, error)
            await self._begin(partition, run)
            return []
        partition.is_idle = not found
        if not found:
            return []
        if found[0].offset < partition.read_to:
            raise BrokerError(
                f"{place.topic} {place.partition}: record {found[0].offset} came after all before {partition.read_to} "
                "was read: is it another topic now?"
            )
        partition.end = max(partition.end, self.consumer.highwater(place) or 0)
        records = [Record(r.offset, self._log_time_s(r), r.value or b"") for r in found]
        self._clock.raise_to(records[-1].log_time_s)
        return traced_by_headers(records, found) if self.reads_traces else records

    def _log_time_s(self, record: Any) -> float:
        """When Kafka took it; a record that does not say is taken now."""
        if record.timestamp > 0:
            return float(record.timestamp) / 1000.0
        if not self._missed_times:
            self._missed_times = True
            _LOG.warning("%s: the record at offset %d of partition %d (and possibly others) does not say when it was "
                         "taken, so it counts as taken now", record.topic, record.offset, record.partition)  # fmt: skip
        return self._clock.now_s()

    def _time_at_end(self, partition: Partition) -> float | None:
        """Up to when the broker has had no more than what is worked; None if it has not said since it was asked last.

        A partition that brings nothing may as well be one whose broker is away, or whose next records wait for the end
        of a transaction: then what users did is not known, and no time passes.
        """
        answer, partition.answer = partition.answer, None
        if answer is None:
            return None
        partition.end = answer.end
        return answer.now_s if partition.read_to >= answer.end else None

    @Service.timer(IDLE_S)
    async def _ask_for_ends(self) -> None:
        """One question for all partitions: how far behind they are shows while a step hangs, too."""
        if self._is_leaving:
            return
        self.consumer.check_fetching()
        self._tell_who_hangs()
        self._tell_who_waits()
        if not self.consumer.assignment():
            # A worker without a partition fetches nothing, and would never hear that the group refuses it.
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self.consumer.getmany()
            return
        asked = [p for p in self.partitions.values() if p.is_ready]
        if not asked:
            return
        idle = [p for p in asked if p.is_idle]
        now_s = self._clock.now_s()  # before the question: what is taken while it is answered comes later
        try:
            async with asyncio.timeout(ANSWER_S):
                ends = await self.consumer.high_watermarks([self._place(p.number) for p in asked])
        except (KafkaError, TimeoutError) as error:
            _LOG.debug("where the partitions end was not answered: %r", error)
            return
        self._answered_s = time.monotonic()
        for partition in asked:
            partition.end = max(partition.end, ends[self._place(partition.number)])
        for partition in idle:
            partition.answer = Answer(now_s, ends[self._place(partition.number)])

    def _tell_who_hangs(self) -> None:
        """Once for each step."""
        now_s = time.monotonic()
        hanging = {n for n, p in self.partitions.items() if p.hangs(now_s)}
        for number in sorted(hanging - self._told_to_hang):
            _LOG.warning("%s %d: a step takes longer than %g s; does the store answer?", self.topic, number, HANGS_S)
        self._told_to_hang = hanging

    def _tell_who_waits(self) -> None:
        """Once for each transaction that stays open: who produces in transactions has one open nearly all the time."""
        now_s = time.monotonic()
        for partition in self.partitions.values():
            place = self._place(partition.number)
            is_assigned = partition.is_idle and place in self.consumer.assignment()  # else what was fetched last is old
            if not is_assigned or not self.consumer.waits_for_a_transaction(place):
                partition.waits_at = None
                continue
            stable = self.consumer.last_stable_offset(place)
            if partition.waits_at is None or partition.waits_at.offset != stable:
                partition.waits_at = Waiting(stable, now_s)
            elif not partition.waits_at.is_told and now_s - partition.waits_at.since_s > TRANSACTION_S:
                partition.waits_at.is_told = True
                _LOG.warning(
                    "%s %d: a producer's transaction has been open at offset %d for more than %g s. Nothing behind it "
                    "can be read before it ends, and time stands still. Does its producer still run? Which one it is: "
                    "kafka-transactions.sh --bootstrap-server %s describe-producers --topic %s --partition %d",
                    self.topic,
                    partition.number,
                    stable,
                    TRANSACTION_S,
                    self.settings.kafka_bootstrap_servers,
                    self.topic,
                    partition.number,
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
            async with asyncio.timeout(seconds):
                await partition.stopping.wait()
        except TimeoutError:
            return

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @Service.timer(OFFSETS_S)
    async def _tell_offsets(self) -> None:
        """For dashboards: where a restart goes on is in the store."""
        try:
            await self.memory.tell_offsets({n: p.read_to for n, p in self.partitions.items() if p.is_ready})
        except (KafkaError, TimeoutError) as error:  # during a rebalance, say; the next one tells them
            _LOG.debug("offsets for dashboards were not taken: %s", error)

    def is_let_go(self, number: int) -> bool:
        """For a run, in its thread: whether the group waits for us to let the partition go."""
        return number in self._let_go_of

    def tell(self, number: int, witness: Witness) -> None:
        """For a run, in its thread (`GroupMemory.tell`)."""
        self.memory.tell_from_thread(number, witness)

    @property
    def memory(self) -> GroupMemory:
        """What the group is told; made in the event loop, with the first partition."""
        if self._memory is None:
            self._memory = GroupMemory(self.consumer, self.topic, self.settings, asyncio.get_running_loop())
        return self._memory


def own_assignor() -> type[StickyPartitionAssignor]:
    """The client keeps what was assigned in the class: two groups in one process would take each other's for theirs."""
    own = {"member_assignment": None, "generation": StickyPartitionAssignor.DEFAULT_GENERATION_ID}
    return type("OwnAssignor", (StickyPartitionAssignor,), own)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    def __init__(self, service: PartitionedService) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        with self._reported():
            await self._service.let_go([place.partition for place in revoked])

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        with self._reported():
            await self._service.take_over([place.partition for place in assigned])

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the client would log it, and go on as if the partitions were worked
            self._service.on_failure(error)
            raise
