"""Partitions that come and go, with a client that behaves as aiokafka does during a rebalance."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from config.errors import BrokerError, StoreUnavailable, TopicsDiffer
from config.settings import TopicKind, load_settings
from streams.runtime.kafka.partitions import PartitionedService
from streams.runtime.records import Position, Record, Run

WITHIN_S = 20.0


class FakeConsumer:
    """Partitions 0 to 3 of a topic; after `rebalance` it answers nobody who asks for records, as aiokafka."""

    told: int | None = 7

    def __init__(self, begin: int = 0, end: int = 10) -> None:
        self.begin, self.end = begin, end
        self.asked = asyncio.Event()
        self.is_stopped = False
        self.failures = 0
        self.at_stop: Callable[[], Awaitable[None]] | None = None

    def pause(self, *places: Any) -> None: ...

    def resume(self, *places: Any) -> None: ...

    def seek(self, place: Any, offset: int) -> None: ...

    def assignment(self) -> set[Any]:
        return set()

    async def committed(self, _place: Any) -> int | None:
        return self.told

    async def beginning_offsets(self, places: Sequence[Any]) -> dict[Any, int]:
        if self.failures:
            self.failures -= 1
            raise KafkaTimeoutError
        return dict.fromkeys(places, self.begin)

    async def end_offsets(self, places: Sequence[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, self.end)

    async def getmany(self, *_places: Any, **_options: Any) -> dict[Any, Any]:
        self.asked.set()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def stop(self) -> None:
        if self.at_stop is not None:
            await self.at_stop()
        self.is_stopped = True


class FakeRun:
    """A run that is loaded at `offset`, as soon as `may_assign`."""

    def __init__(self, offset: int = 0) -> None:
        self.position = Position(offset)
        self.is_loaded = False
        self.set_backs = 0

    def assign(self, witness: int = 0) -> Position:  # noqa: ARG002
        self.is_loaded = True
        return self.position

    def drop(self) -> None:
        self.is_loaded = False


class FakeService(PartitionedService):
    """Its runs are made by `make`."""

    def __init__(
        self, consumer: FakeConsumer, make: Callable[[], FakeRun] = FakeRun, *, kind: TopicKind = "events"
    ) -> None:
        super().__init__(load_settings(), kind, "group", wanted=4, batch=10)
        self._consumer = consumer
        self._make = make
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.on_failure = self.failed.set_result

    def make_run(self, number: int) -> Run:  # noqa: ARG002
        return self._make()

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:  # noqa: ARG002
        raise AssertionError("nothing was read")


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), WITHIN_S))


def test_partitions_are_let_go_while_the_client_answers_nobody() -> None:
    async def test() -> None:
        consumer = FakeConsumer()
        service = FakeService(consumer)
        await service.take_over([0, 1])
        await consumer.asked.wait()
        await service.let_go([0, 1])
        assert not service.partitions
        assert not service.failed.done()

    run(test)


class Handed:
    """A record as the client hands it out."""

    def __init__(self, offset: int) -> None:
        self.offset, self.timestamp, self.value = offset, 1_700_000_000_000, b"{}"


def witnesses(told: int, *, stored: int, first: int) -> list[int]:
    """What a run at `stored` is told at each assignment, when the first record that comes is `first`."""
    heard: list[int] = []
    is_worked = threading.Event()

    class Consumer(FakeConsumer):
        async def getmany(self, *places: Any, **options: Any) -> dict[Any, Any]:
            if is_worked.is_set():
                return await super().getmany(*places, **options)
            return {places[0]: [Handed(first)]}

        def last_stable_offset(self, _place: Any) -> int:
            return self.end

    class HearingRun(FakeRun):
        def assign(self, witness: int = 0) -> Position:
            heard.append(witness)
            return super().assign(witness)

    class Service(FakeService):
        def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:  # noqa: ARG002
            is_worked.set()

    async def test() -> None:
        consumer = Consumer()
        consumer.told = told
        service = Service(consumer, lambda: HearingRun(stored))
        await service.take_over([0])
        await consumer.asked.wait()  # for what comes after
        await service.let_go([0])

    run(test)
    return heard


def test_a_store_behind_what_the_group_was_told_is_told_so_once() -> None:
    assert witnesses(7, stored=3, first=3) == [0, 7]


def test_markers_of_transactions_between_the_two_are_no_sign_of_it() -> None:
    assert witnesses(7, stored=3, first=7) == [0]


def test_a_rebalance_does_not_wait_for_a_store_that_is_away() -> None:
    async def test() -> None:
        is_back = threading.Event()

        def make() -> FakeRun:
            is_back.wait()
            return FakeRun()

        consumer = FakeConsumer()
        service = FakeService(consumer, make)
        await service.take_over([0])
        assert list(service.partitions) == [0]
        is_back.set()
        await consumer.asked.wait()
        await service.let_go([0])

    run(test)


def test_a_kafka_that_restarts_while_a_partition_is_taken_over_is_waited_for() -> None:
    async def test() -> None:
        consumer = FakeConsumer()
        consumer.failures = 2
        service = FakeService(consumer)
        await service.take_over([0])
        await consumer.asked.wait()
        assert service.partitions[0].is_ready
        await service.let_go([0])

    run(test)


def test_a_store_that_cannot_be_opened_is_a_failure_of_the_worker() -> None:
    async def test() -> None:
        def make() -> FakeRun:
            raise StoreUnavailable("gone")

        service = FakeService(FakeConsumer(), make)
        await service.take_over([0])
        assert isinstance(await service.failed, StoreUnavailable)

    run(test)


def test_what_is_assigned_while_the_worker_leaves_is_not_taken_over() -> None:
    async def test() -> None:
        consumer = FakeConsumer()
        service = FakeService(consumer)
        consumer.at_stop = lambda: service.take_over([0, 1])
        await service.on_stop()
        assert consumer.is_stopped
        assert not service.partitions

    run(test)


def test_a_partition_that_comes_back_has_its_run_and_nothing_in_memory_meanwhile() -> None:
    async def test() -> None:
        consumer = FakeConsumer()
        service = FakeService(consumer)
        await service.take_over([0])
        await consumer.asked.wait()
        first = service.partitions[0].run
        assert first is not None
        await service.let_go([0])
        await service.take_over([1])
        assert not first.is_loaded
        await service.let_go([1])
        await service.take_over([0])
        assert service.partitions[0].run is first
        await service.let_go([0])

    run(test)


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(8, 20, "begins at 8: what lies between is gone"), (0, 3, "ends at 3: it is another topic")],
)
def test_a_topic_that_cannot_go_on_where_the_store_stands_is_refused(begin: int, end: int, words: str) -> None:
    async def test() -> None:
        service = FakeService(FakeConsumer(begin, end), lambda: FakeRun(offset=5))
        await service.take_over([0])
        error = await service.failed
        assert isinstance(error, BrokerError)
        assert words in str(error)
        assert "TIDELINE_KEY_PREFIX" in str(error)

    run(test)


def test_a_partition_that_is_added_to_the_examples_stays_empty_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        consumer = FakeConsumer()
        service = FakeService(consumer, kind="examples")
        await service.take_over([3, 4])
        await consumer.asked.wait()
        assert list(service.partitions) == [3]
        assert "tideline.examples has more than 4 partitions" in caplog.text
        await service.let_go([3, 4])

    run(test)


def test_a_partition_that_is_added_to_the_events_is_refused_with_what_to_do() -> None:
    async def test() -> None:
        service = FakeService(FakeConsumer())
        with pytest.raises(
            TopicsDiffer, match=r"tideline\.events has 5 partitions, and 4 are wanted: .* copy the events"
        ):
            await service.take_over([3, 4])
        assert not service.partitions

    run(test)
