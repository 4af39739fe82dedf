"""The partitions of campaigns that a process works, each in a thread: opened on the embedded log or on Kafka."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from config.errors import BrokerUnavailable, Stopped
from config.settings import Settings, TopicKind
from streams.adapters.file_lock import ProcessLock
from streams.adapters.kafka_partition import open_partition
from streams.adapters.log_folder import LogFolder, read_told, write_told
from streams.adapters.log_reader import PartitionReader
from streams.campaigns.ports import Seen
from streams.commit import Patience
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.opened import Around, OpenedPartition, Where
from streams.runtime.campaigns.outlet import TRIGGERS
from streams.runtime.campaigns.partition_run import CampaignRun, Defined, Outlet, Recommender
from streams.runtime.campaigns.two_logs import Log, OwnLog
from streams.runtime.campaigns.work import CampaignWork
from streams.runtime.traces import Traces

_LOG: Final = logging.getLogger(__name__)
LOCK: Final = "campaigns.lock"
LOOK_S: Final = 0.25
"""Kafka is asked so often for something new."""
_OPEN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What all partitions of a process use."""

    where: Where
    outlet: Outlet
    defined: Callable[[], Defined]
    shards: int
    recommender: Callable[[], Recommender]
    """One for each partition."""
    traces: Traces | None = None
    look: Callable[[], object] = lambda: None
    """See `partition_run.Ports`."""


class Logs(Protocol):
    """Where the two logs of partitions are, and what is kept of partitions outside of the store."""

    def open(self, number: int, closing: ExitStack) -> tuple[Log, Log]:
        """Events and transitions of a partition, in its thread; `closing` closes them. Raises BrokerError."""

    def open_events(self, number: int) -> OwnLog:
        """Events once more, for a reader that closes them; as `open`."""

    def wait(self, number: int, run: CampaignRun, seconds: float, stopping: threading.Event) -> None:
        """Until there may be something new, in the partition's thread; so long at most, where that costs little."""

    def seen(self, number: int) -> Seen | None:
        """What was told last."""

    def tell(self, number: int, seen: Seen) -> None:
        """Keep it, durably when it returns. Raises BrokerError, Fenced."""


class EmbeddedLogs:
    """`Logs` in files."""

    def __init__(self, folder: LogFolder) -> None:
        self._folder = folder
        self._watching: dict[int, PartitionReader] = {}
        """Of transitions, of partitions that are open."""

    def open(self, number: int, closing: ExitStack) -> tuple[Log, Log]:
        """See `Logs`."""
        events = PartitionReader(self._folder.partition("events", number))
        transitions = PartitionReader(self._folder.partition("segment-events", number))
        watching = self._watching[number] = PartitionReader(self._folder.partition("segment-events", number))
        for each in (events, transitions, watching):
            closing.callback(each.close)
        return events, transitions

    def open_events(self, number: int) -> OwnLog:
        """See `Logs`."""
        return PartitionReader(self._folder.partition("events", number))

    def wait(self, number: int, run: CampaignRun, seconds: float, stopping: threading.Event) -> None:
        """See `Logs`: for a transition."""
        self._watching[number].wait(run.place.transitions, seconds, stopping)

    def seen(self, number: int) -> Seen | None:
        """See `Logs`; it stands beside what is put out."""
        generation, _, last = read_told(self._folder.partition(TRIGGERS, number)).partition(" ")
        return Seen(generation, int(last)) if last.isdecimal() else None

    def tell(self, number: int, seen: Seen) -> None:
        """See `Logs`."""
        place = self._folder.partition(TRIGGERS, number)
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_told(place, f"{seen.generation} {seen.number}")
        except OSError as error:
            raise BrokerUnavailable(f"{place}: the log cannot be written ({error.strerror})") from error


class _Opened:
    """One partition with its logs: see `work.Opened`."""

    def __init__(self, shared: Shared, logs: Logs, number: int, leaving: threading.Event) -> None:
        self._closing = ExitStack()
        with ExitStack() as closing:
            events, transitions = logs.open(number, closing)
            patience = Patience(partial(_rest, leaving), most_s=60.0, clock_s=time.monotonic)
            tell, recommender = partial(logs.tell, number), shared.recommender()
            around = Around(shared.outlet, patience, shared.defined, tell, recommender, shared.traces, shared.look)
            again = partial(logs.open_events, number)
            shard = Shard(number, shared.shards)
            self._partition = OpenedPartition(shared.where, shard, events, transitions, around, again)
            closing.callback(self._partition.close)
            self._closing = closing.pop_all()

    @property
    def run(self) -> CampaignRun:
        return self._partition.run

    def tell_read(self) -> None:
        self._partition.tell_read()

    def close(self) -> None:
        self._closing.close()


def _rest(leaving: threading.Event, seconds: float) -> None:
    if leaving.wait(seconds):
        raise Stopped("a server did not answer when the partition had to be left")


class Partitions:
    """Those that this process works. For one event loop; `on_failure` is told there what one has failed by."""

    def __init__(self, shared: Shared, logs: Logs, on_failure: Callable[[BaseException], None]) -> None:
        self._shared = shared
        self._logs = logs
        self._on_failure = on_failure
        self._works: dict[int, tuple[CampaignWork, threading.Event]] = {}

    @property
    def works(self) -> Mapping[int, CampaignWork]:
        """By their numbers."""
        return {number: work for number, (work, _) in self._works.items()}

    def take(self, numbers: Iterable[int]) -> None:
        """Work these, too."""
        for number in sorted(set(numbers) - self._works.keys()):
            leaving = threading.Event()
            work = CampaignWork(
                f"campaigns {number}",
                partial(_Opened, self._shared, self._logs, number, leaving),
                seen=partial(self._logs.seen, number),
                wait=partial(self._logs.wait, number),
            )
            self._works[number] = work, leaving
            asyncio.wrap_future(work.start()).add_done_callback(self._ended)

    async def let_go(self, numbers: Iterable[int]) -> None:
        """Work these no more: the batch in hand is the last one of each, and has ended when this returns."""
        works = [self._works.pop(number) for number in list(numbers) if number in self._works]
        for work, leaving in works:
            leaving.set()
            work.stop()
        await asyncio.gather(*(asyncio.to_thread(work.close) for work, _ in works))

    def _ended(self, work: asyncio.Future[None]) -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self._on_failure(error)


class EmbeddedOwning:
    """All partitions of an embedded log, under a lock: nobody else works campaigns there meanwhile."""

    def __init__(self, folder: LogFolder, partitions: Partitions) -> None:
        self._folder = folder
        self._partitions = partitions
        self._lock = ProcessLock(folder.path / LOCK)

    def start(self) -> None:
        """Take them. Raises BrokerUnavailable (try again) while another process has them."""
        if not self._lock.acquire():
            raise BrokerUnavailable(
                f"campaigns of the log in {self._folder.path} are run by process {self._lock.holder()} already"
            )
        self._partitions.take(range(self._folder.shards))

    async def stop(self) -> None:
        """Leave them in order."""
        await self._partitions.let_go(range(self._folder.shards))
        self._lock.release()


class KafkaLogs:
    """`Logs` in Kafka, opened in the event loop in which this was made. `memory`: of the consumer group."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._loop = asyncio.get_running_loop()

    def open(self, number: int, closing: ExitStack) -> tuple[Log, Log]:
        """See `Logs`."""
        events = self._open("events", number)
        closing.callback(events.close)
        transitions = self._open("segment-events", number)
        closing.callback(transitions.close)
        return events, transitions

    def open_events(self, number: int) -> OwnLog:
        """See `Logs`."""
        return self._open("events", number)

    def _open(self, kind: TopicKind, number: int) -> OwnLog:
        asking = asyncio.run_coroutine_threadsafe(open_partition(self._settings, kind, number), self._loop)
        try:
            return asking.result(_OPEN_S)
        except TimeoutError as error:
            asking.cancel()
            raise BrokerUnavailable(f"Kafka has not opened {kind} {number} within {_OPEN_S:g} s") from error

    def wait(self, number: int, run: CampaignRun, seconds: float, stopping: threading.Event) -> None:  # noqa: ARG002
        """See `Logs`: each look is a question to the brokers."""
        stopping.wait(max(seconds, LOOK_S))

    def seen(self, number: int) -> Seen | None:
        """See `Logs`."""
        return self._memory.recall_from_thread(number)

    def tell(self, number: int, seen: Seen) -> None:
        """See `Logs`."""
        self._memory.tell_from_thread(number, seen)


class Memory(Protocol):
    """What a consumer group remembers of partitions that are ours."""

    def recall_from_thread(self, number: int) -> Seen | None:
        """What was told last. Raises BrokerUnavailable."""

    def tell_from_thread(self, number: int, seen: Seen) -> None:
        """Let it be remembered. Raises Fenced where the partition is another member's, BrokerUnavailable."""
