"""Partitions that come and go, with a client that behaves as aiokafka does during a rebalance."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaTimeoutError
from aiokafka.structs import OffsetAndTimestamp

from config.errors import BrokerError, BrokerUnavailable, Fenced, StoreError, StoreFull, StoreUnavailable, TopicsDiffer
from config.settings import TopicKind, load_settings
from streams.adapters.kafka_topics import _compare, plan_topics
from streams.commit import Patience, patiently, until_let_go
from streams.runtime.kafka import group_memory
from streams.runtime.kafka.group_memory import GroupMemory, RememberingConsumer
from streams.runtime.kafka.partitions import PartitionedService
from streams.runtime.records import Position, Record, Run
from streams.runtime.witness import Witness

WITHIN_S = 20.0
OLDEST_MS = 1_717_405_964_000


class FakeConsumer:
    """Partitions 0 to 3 of a topic; after `rebalance` it answers nobody who asks for records, as aiokafka."""

    def __init__(self, begin: int = 0, end: int = 10) -> None:
        self.begin, self.end = begin, end
        self.asked = asyncio.Event()
        self.is_stopped = False
        self.is_member = True
        self.failures = 0
        self.memory: tuple[int, str] | None = None
        """What the group remembers."""
        self.refusals: list[Exception] = []
        self.at_stop: Callable[[], Awaitable[None]] | None = None

    def pause(self, *places: Any) -> None: ...

    def resume(self, *places: Any) -> None: ...

    def seek(self, place: Any, offset: int) -> None: ...

    def assignment(self) -> set[Any]:
        return set()

    async def remembered(self, _place: Any) -> tuple[int, str] | None:
        return self.memory

    async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None:
        if self.refusals:
            raise self.refusals.pop()
        (self.memory,) = offsets.values()

    async def beginning_offsets(self, places: Sequence[Any]) -> dict[Any, int]:
        if self.failures:
            self.failures -= 1
            raise KafkaTimeoutError
        return dict.fromkeys(places, self.begin)

    async def offsets_for_times(self, times_ms: dict[Any, int]) -> dict[Any, OffsetAndTimestamp]:
        return dict.fromkeys(times_ms, OffsetAndTimestamp(self.begin, OLDEST_MS))

    async def high_watermarks(self, places: Sequence[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, self.end)

    async def records(self, _place: Any, _timeout_ms: int, _most: int) -> list[Any]:
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

    def assign(self, witness: Witness | None = None) -> Position:  # noqa: ARG002
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
        self._consumer = cast("RememberingConsumer", consumer)
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


class LoadingRun(FakeRun):
    """Loads for as long as it is not let go."""

    def __init__(self, is_let_go: Callable[[], bool]) -> None:
        super().__init__()
        self.begun, self.is_let_go = threading.Event(), is_let_go

    def assign(self, witness: Witness | None = None) -> Position:  # noqa: ARG002
        self.begun.set()
        patience = until_let_go(Patience(time.sleep, attempts=10_000, longest_pause_s=0.01), self.is_let_go)
        patiently(patience, self._load)
        raise AssertionError("it is never loaded")

    def _load(self) -> None:
        raise StoreUnavailable("hangs")


def test_a_partition_that_is_still_loading_is_let_go_and_comes_back() -> None:
    async def test() -> None:
        services: list[FakeService] = []
        loading = LoadingRun(lambda: services[0].is_let_go(0))
        services.append(service := FakeService(FakeConsumer(), lambda: loading))
        for _ in range(2):
            await service.take_over([0])
            assert not service.is_let_go(0)
            assert await asyncio.to_thread(loading.begun.wait, WITHIN_S)
            loading.begun.clear()
            await service.let_go([0])
        assert not service.failed.done()

    run(test)


WITNESS = Witness("g1", 5)


class TellingRun(FakeRun):
    """Says with each assignment what it knows, and writes down what it hears, also of telling."""

    tell: Callable[[Witness], None]

    def __init__(self, says: Sequence[Witness]) -> None:
        super().__init__(3)
        self.says = list(says)
        self.heard: list[Witness | None] = []
        self.errors: list[Exception] = []

    def assign(self, witness: Witness | None = None) -> Position:
        self.heard.append(witness)
        while self.says:
            try:
                self.tell(self.says.pop(0))
            except (Fenced, BrokerUnavailable) as error:
                self.errors.append(error)
        return super().assign(witness)


def assigned(consumer: FakeConsumer, says: Sequence[Witness] = (), *, then: Callable[[FakeService], Any]) -> TellingRun:
    """A run that was assigned partition 0; `then` is called before it is let go."""
    telling = TellingRun(says)

    async def test() -> None:
        consumer.asked = asyncio.Event()
        service = FakeService(consumer, lambda: telling)
        telling.tell = partial(service.tell, 0)
        await service.take_over([0])
        await consumer.asked.wait()
        found = then(service)
        if found is not None:
            await found
        await service.let_go([0])

    run(test)
    return telling


def nothing(_: FakeService) -> None:
    """Nothing happens before the partition is let go."""


def test_a_run_hears_what_the_group_was_told_last() -> None:
    consumer = FakeConsumer()
    assert assigned(consumer, [WITNESS], then=nothing).heard == [None]
    assert consumer.memory == (0, WITNESS.to_text())
    assert assigned(consumer, then=nothing).heard == [WITNESS]


def test_words_of_others_beside_an_offset_are_no_witness(caplog: pytest.LogCaptureFixture) -> None:
    consumer = FakeConsumer()
    consumer.memory = 7, "reset by hand"
    assert assigned(consumer, then=nothing).heard == [None]
    assert "'reset by hand'" in caplog.text
    consumer.memory = 7, ""
    caplog.clear()
    assert assigned(consumer, then=nothing).heard == [None]
    assert not caplog.text


def test_an_offset_for_dashboards_leaves_the_witness_as_it_is() -> None:
    consumer = FakeConsumer()

    async def tell(service: FakeService) -> None:
        service.partitions[0].read_to = 9
        await service.memory.tell_offsets({0: 9})

    assigned(consumer, [WITNESS], then=tell)
    assert consumer.memory == (9, WITNESS.to_text())
    later = Witness("g1", 6)
    assigned(consumer, [later], then=nothing)
    assert consumer.memory == (9, later.to_text()), "and the witness the offset"


def test_a_partition_of_another_member_fences_who_tells_of_it() -> None:
    consumer = FakeConsumer()
    consumer.refusals = [KafkaConnectionError("away"), CommitFailedError("rebalanced")]
    errors = assigned(consumer, [WITNESS] * 3, then=nothing).errors
    assert [type(error) for error in errors] == [Fenced, BrokerUnavailable]
    assert consumer.memory == (0, WITNESS.to_text())


def test_who_has_dropped_out_of_the_group_tells_nothing() -> None:
    """Once all members have, Kafka takes offsets of everybody."""
    consumer = FakeConsumer()
    consumer.is_member = False
    errors = assigned(consumer, [WITNESS], then=nothing).errors
    assert [type(error) for error in errors] == [Fenced]
    assert consumer.memory is None


def test_a_kafka_that_takes_no_offset_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_memory, "TELL_S", 0.01)

    class Silent(FakeConsumer):
        async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None:  # noqa: ARG002
            await asyncio.get_running_loop().create_future()

    errors = assigned(Silent(), [WITNESS], then=nothing).errors
    assert [type(error) for error in errors] == [BrokerUnavailable]


class Group:
    """A consumer whose commits wait until they may go, and are refused where they hold a partition of another member's.

    As aiokafka: nobody hears which partition it was.
    """

    is_member = True

    def __init__(self, *, of_others: Sequence[int] = ()) -> None:
        self.of_others = set(of_others)
        self.requests: list[list[int]] = []
        self.memory: dict[int, str] = {}
        self.asked, self.may_go = asyncio.Event(), asyncio.Event()

    async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None:
        self.requests.append(sorted(place.partition for place in offsets))
        self.asked.set()
        await self.may_go.wait()
        if self.of_others & {place.partition for place in offsets}:
            raise IllegalStateError("a partition is not assigned")
        self.memory |= {place.partition: words for place, (_, words) in offsets.items()}


async def told_at_once(
    group: Group, numbers: Sequence[int], memory: GroupMemory | None = None
) -> list[BaseException | None]:
    """What each hears; the first request is under way when the others want to tell something."""
    memory = memory or GroupMemory(group, "events", load_settings(), asyncio.get_running_loop())
    group.asked.clear()
    group.may_go.clear()
    telling = [asyncio.create_task(memory._tell(n, Witness("g", n))) for n in numbers]
    await group.asked.wait()
    group.may_go.set()
    return await asyncio.gather(*telling, return_exceptions=True)


def test_what_many_shards_tell_at_once_goes_in_one_request() -> None:
    async def test() -> None:
        group = Group()
        assert await told_at_once(group, range(20)) == [None] * 20
        assert len(group.requests) == 2, "those that came while the first was under way"
        assert group.memory == {n: Witness("g", n).to_text() for n in range(20)}

    run(test)


def test_a_partition_of_another_member_fences_nobody_else_who_tells_at_once() -> None:
    async def test() -> None:
        group = Group(of_others=[3])
        heard = await told_at_once(group, range(5))
        assert [n for n, error in enumerate(heard) if isinstance(error, Fenced)] == [3]
        assert [error for n, error in enumerate(heard) if n != 3] == [None] * 4
        assert sorted(group.memory) == [0, 1, 2, 4]
        assert [len(request) for request in group.requests] == [1, 4, 1, 1, 1, 1], "together once"
        assert sorted(n for request in group.requests[2:] for n in request) == [1, 2, 3, 4]

    run(test)


def test_who_was_refused_together_goes_together_again_later() -> None:
    async def test() -> None:
        group = Group(of_others=[3])
        memory = GroupMemory(group, "events", load_settings(), asyncio.get_running_loop())
        await told_at_once(group, range(5), memory)
        group.of_others, group.requests = set(), []
        assert await told_at_once(group, range(5), memory) == [None] * 5
        assert len(group.requests) == 2

    run(test)


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


@pytest.mark.parametrize("mistake", [StoreUnavailable("gone"), StoreFull("no room")])
def test_a_store_that_cannot_be_opened_or_written_is_a_failure_of_the_worker(mistake: StoreError) -> None:
    async def test() -> None:
        def make() -> FakeRun:
            raise mistake

        service = FakeService(FakeConsumer(), make)
        await service.take_over([0])
        assert await service.failed is mistake
        assert mistake.exit_code == 4

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


def test_a_new_store_says_of_when_the_oldest_record_is(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = FakeService(FakeConsumer(begin=8))
        await service.take_over([0])
        await service.first_loads.wait()
        await service.let_go([0])

    run(test)
    assert "begins at offset 8 of 10; the oldest record is of 2024-06-03 09:12 UTC" in caplog.text


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
            TopicsDiffer,
            match=r"has 5 partitions, and 4 are wanted: .* a new topic of 4 partitions, .* begin with a new store",
        ):
            await service.take_over([3, 4])
        assert not service.partitions

    run(test)


def test_what_is_compacted_is_kept_for_ever_whatever_kafka_says_beside_it() -> None:
    plan = next(plan for plan in plan_topics(load_settings()) if plan.kind == "models")
    described = {"partitions": [{"replica_nodes": [1]}]}
    found = _compare(plan, described, {"cleanup.policy": "compact", "retention.ms": "604800000"}, set())
    assert (found.state, found.retention_ms) == ("ok", -1)
