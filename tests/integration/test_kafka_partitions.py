"""How partitions are worked, with a real broker and runs that only write down what they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from config.errors import BrokerError, BrokerUnavailable, Fenced, Stopped, StoreIncompatible
from config.loader import loads
from config.settings import Settings, TopicKind
from streams.adapters import kafka_publisher
from streams.adapters.kafka_arguments import aiokafka_arguments, kafka_python, kafka_python_arguments
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.core.questions import question_of
from streams.ports import Message
from streams.runtime.kafka import fetching, partitions
from streams.runtime.kafka.group_memory import RememberingConsumer
from streams.runtime.kafka.models import ModelsService
from streams.runtime.kafka.partitions import Partition, PartitionedService
from streams.runtime.latest_models import LatestModels, model_key
from streams.runtime.records import Position, Record
from streams.runtime.witness import Witness
from tests.conftest import SLOWNESS
from tests.integration.kafka_world import KafkaWorld
from tests.integration.worker_evidence import read_topic
from tests.unit.test_latest_models import CATALOG as MODELS
from tests.unit.test_latest_models import model

pytestmark = pytest.mark.timeout(180)
PATIENCE_S = 30.0 * SLOWNESS


class NotedRun:
    """Writes down its steps: (values, until when time passed)."""

    def __init__(self, start: Position) -> None:
        self.position = start
        self.set_backs = 0
        self.steps: list[tuple[list[bytes], float | None]] = []
        self.witnesses: list[Witness | None] = []

    @property
    def is_loaded(self) -> bool:
        return True

    @property
    def values(self) -> list[bytes]:
        return [value for values, _ in self.steps for value in values]

    @property
    def times(self) -> list[float]:
        return [now_s for _, now_s in self.steps if now_s is not None]

    def assign(self, witness: Witness | None = None) -> Position:
        self.witnesses.append(witness)
        return self.position

    def drop(self) -> None:
        """Nothing is kept."""


class NotedStore(MemoryStore):
    closed = 0

    def close(self) -> None:
        self.closed += 1


class Noted(PartitionedService):
    """Works a topic by noting it; its runs stand at `start`."""

    def __init__(
        self,
        settings: Settings,
        *,
        start: int | Position = 0,
        mistake: Exception | None = None,
        kind: TopicKind = "events",
    ) -> None:
        super().__init__(settings, kind, settings.kafka_group, wanted=4, batch=100)
        self.begin = start if isinstance(start, Position) else Position(start)
        self.mistake = mistake
        self.during_step: Callable[[], None] | None = None
        self.during_assign: Callable[[], None] | None = None
        self.failures: list[BaseException] = []
        self.on_failure = self.failures.append

    def make_run(self, number: int) -> Any:
        if self.mistake is not None:
            raise self.mistake
        self.stores[number] = NotedStore(MemoryServer())
        run = NotedRun(self.begin)
        if self.during_assign is not None:
            call, assign = self.during_assign, run.assign

            def assign_later(witness: Witness | None = None) -> Position:
                call()
                return assign(witness)

            run.assign = assign_later  # type: ignore[method-assign]
        return run

    def step(self, run: Any, records: Sequence[Record], now_s: float | None) -> None:
        if self.during_step is not None:
            self.during_step()
        run.steps.append(([record.value for record in records], now_s))
        if records:
            run.position = Position.behind(records[-1], records[-1].log_time_s)

    def run_of(self, number: int) -> NotedRun:
        run = self.known_runs()[number]
        assert isinstance(run, NotedRun)
        return run


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.02)


def make_topic(world: KafkaWorld, settings: Settings, *, count: int = 1, kind: Any = "events") -> None:
    with world.admin(settings) as admin:
        wanted = {"num_partitions": count, "replication_factor": 1}
        admin.create_topics({settings.topic(kind): wanted}, wait_for_metadata=True)


def send(settings: Settings, values: Sequence[bytes], *, kind: Any = "events", key: bytes | None = None) -> None:
    producer = kafka_python().KafkaProducer(**kafka_python_arguments(settings))
    for value in values:
        producer.send(settings.topic(kind), value=value, partition=0, key=key)
    producer.flush()
    producer.close()


def delete_before(world: KafkaWorld, settings: Settings, offset: int) -> None:
    place = kafka_python().TopicPartition(settings.topic("events"), 0)
    with world.admin(settings) as admin:
        admin.delete_records({place: offset})


@pytest.fixture
def settings(kafka_world: KafkaWorld) -> Settings:
    found = kafka_world.settings()
    make_topic(kafka_world, found)
    return found


def running(work: Callable[[Noted], Awaitable[None]], service: Callable[[], Noted]) -> Noted:
    """A service while `work` is done."""

    async def both() -> Noted:
        noted = service()
        await noted.start()
        try:
            await work(noted)
        finally:
            await asyncio.wait_for(noted.stop(), PATIENCE_S)
        return noted

    return asyncio.run(both())


def test_a_worker_that_stands_by_takes_over_however_long_it_has_waited(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RememberingConsumer
    # The client's default is five minutes, which no test can wait for.
    impatient = lambda **options: real(**{"max_poll_interval_ms": 1_500, **options})  # noqa: E731
    monkeypatch.setattr(partitions, "RememberingConsumer", impatient)

    async def work() -> None:
        services = Noted(settings), Noted(settings)
        for service in services:
            await service.start()
        await until(lambda: all(s.is_settled for s in services) and any(s.partitions for s in services), "shared out")
        first, second = sorted(services, key=lambda service: not service.partitions)
        await asyncio.sleep(3.5)  # more than twice the time after which the client would have left the group
        await first.stop()
        await until(lambda: 0 in second.partitions, "the other one takes over")
        await second.stop()

    asyncio.run(work())


def test_a_store_that_refuses_while_partitions_are_assigned_is_heard_of(settings: Settings) -> None:
    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures), "the failure is told")
        assert not noted.is_settled

    noted = running(work, lambda: Noted(settings, mistake=StoreIncompatible("another catalog")))
    assert [str(error) for error in noted.failures] == ["another catalog"]


def test_a_listener_that_fails_is_heard_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(number: int, run: object) -> Partition:  # noqa: ARG001
        raise RuntimeError("a bug")

    monkeypatch.setattr(partitions, "Partition", broken)

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures), "the failure is told")
        assert not noted.is_settled

    assert str(running(work, lambda: Noted(settings)).failures[0]) == "a bug"


def test_who_stops_during_a_rebalance_takes_nothing_back(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings()
    make_topic(kafka_world, settings, count=4)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        first, second = Noted(settings), Noted(settings)
        for service in (first, second):
            # As publishing what the outbox holds does: it needs the loop.
            service.during_assign = lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()
        await first.start()
        await until(lambda: first.is_settled, "first works")
        let_go, has_let_go = first.let_go, asyncio.Event()

        async def noted(numbers: Collection[int]) -> None:
            await let_go(numbers)
            has_let_go.set()

        first.let_go = noted  # type: ignore[method-assign]
        starting = asyncio.create_task(second.start())
        await asyncio.wait_for(has_let_go.wait(), PATIENCE_S)
        await asyncio.wait_for(first.stop(), PATIENCE_S)
        assert not first.partitions
        await starting
        await until(lambda: len(second.partitions) == 4 and second.is_settled, "second has all")
        assert not first.failures
        await second.stop()

    asyncio.run(work())


def test_what_a_step_that_hangs_is_behind_shows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "HANGS_S", 1.0)
    goes_on = threading.Event()

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled and bool(noted.run_of(0).times), "works")
        noted.during_step = lambda: None if goes_on.wait(PATIENCE_S) else pytest.fail("nobody went on")
        try:
            await asyncio.to_thread(send, settings, [b"%d" % n for n in range(50)])
            await until(lambda: noted.partitions[0].lag == 50, "what is behind the step is counted")
            await until(lambda: not noted.is_settled, "it is told as not ready")
        finally:
            goes_on.set()
        await until(lambda: noted.is_settled and noted.partitions[0].lag == 0, "works again")

    assert not running(work, lambda: Noted(settings)).failures


def test_who_does_not_hear_from_kafka_is_not_ready(
    kafka_world: KafkaWorld, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kafka_world.server is None:
        pytest.skip("the Kafka of TIDELINE_TEST_KAFKA is not ours to stop")
    broker = int((kafka_world.server.data_dir / "1" / "kafka.pid").read_text())
    monkeypatch.setattr(partitions, "HANGS_S", 2.0)

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled, "works")
        os.kill(broker, signal.SIGSTOP)
        try:
            await until(lambda: not noted.is_settled, "it is told as not ready")
        finally:
            os.kill(broker, signal.SIGCONT)
        await until(lambda: noted.is_settled, "works again")

    assert not running(work, lambda: Noted(settings)).failures


def test_who_takes_over_hears_what_was_told_while_the_partition_was_revoked(settings: Settings) -> None:
    send(settings, [b"1", b"2"])
    last = Witness("g1", 2)

    async def work() -> None:
        first, second = Noted(settings), Noted(settings)
        await first.start()
        await until(lambda: first.is_settled and bool(first.run_of(0).values), "first works")
        begun, may_end, let_go = threading.Event(), threading.Event(), first.let_go

        def tell_late() -> None:
            begun.set()
            if may_end.wait(PATIENCE_S) and 0 in first.partitions:
                return
            first.tell(0, last)

        async def noted(numbers: Collection[int]) -> None:
            asyncio.get_running_loop().call_soon(may_end.set)
            await let_go(numbers)

        first.during_step, first.let_go = tell_late, noted  # type: ignore[method-assign]
        await until(begun.is_set, "a step has begun")
        await second.start()
        await until(lambda: second.is_settled, "the second stands by")
        assert await second.memory.recall(0) == last
        with pytest.raises(Fenced):
            await asyncio.to_thread(second.tell, 0, Witness("g2", 3))
        await first.stop()
        await until(lambda: second.is_settled and 0 in second.partitions, "second works")
        assert second.run_of(0).witnesses[-1] == last
        await second.stop()
        assert not first.failures

    asyncio.run(work())


def test_partitions_that_were_added_to_the_examples_are_left_alone(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings()
    make_topic(kafka_world, settings, count=6, kind="examples")
    send(settings, [b"1"], kind="examples")

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled and noted.run_of(0).values == [b"1"], "works what is its own")
        await until(lambda: bool(noted.run_of(3).times), "and time passes")
        assert sorted(noted.partitions) == [0, 1, 2, 3]

    assert not running(work, lambda: Noted(settings, kind="examples")).failures


def test_the_store_of_a_partition_that_went_elsewhere_is_closed(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings()
    make_topic(kafka_world, settings, count=2)

    async def work() -> None:
        first, second = Noted(settings), Noted(settings)
        await first.start()
        await until(lambda: first.is_settled, "first works")
        await second.start()
        await until(lambda: second.is_settled and len(first.partitions) == 1, "both work")
        closed = [n for n, store in first.stores.items() if isinstance(store, NotedStore) and store.closed]
        assert closed == list(second.partitions)
        await first.stop()
        await second.stop()

    asyncio.run(work())


def test_a_client_that_has_stopped_fetching_is_heard_of(settings: Settings) -> None:
    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled, "loaded")
        noted.consumer._fetcher._fetch_task.cancel()
        await until(lambda: bool(noted.failures), "heard of")

    noted = running(work, lambda: Noted(settings))
    assert "has stopped fetching" in str(noted.failures[0])


def test_aborted_events_are_not_worked_and_the_end_is_found_behind_markers(settings: Settings) -> None:
    topic = settings.topic("events")

    async def send_both() -> None:
        producer = AIOKafkaProducer(**aiokafka_arguments(settings), transactional_id=topic)
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"good", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        await producer.stop()

    async def work(noted: Noted) -> None:
        await send_both()
        await until(lambda: 0 in noted.known_runs() and bool(noted.run_of(0).values), "the event is worked")
        passed = len(noted.run_of(0).times)
        await until(lambda: len(noted.run_of(0).times) > passed, "time passes behind the markers")
        assert noted.partitions[0].lag == 0

    noted = running(work, lambda: Noted(settings))
    assert noted.run_of(0).values == [b"good"]


def test_what_waits_behind_an_open_transaction_is_behind_and_no_time_passes_over_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(partitions, "TRANSACTION_S", 1.0)
    topic = settings.topic("events")
    send(settings, [b"before"])

    async def work(noted: Noted) -> None:
        await until(lambda: 0 in noted.known_runs() and bool(noted.run_of(0).times), "time passes")
        run = noted.run_of(0)
        async with AIOKafkaProducer(**aiokafka_arguments(settings), transactional_id=topic) as producer:
            async with producer.transaction():
                await producer.send_and_wait(topic, b"in it", partition=0)
                await asyncio.to_thread(send, settings, [b"behind it", b"and that"])
                sent_s = time.time()
                await until(lambda: noted.partitions[0].lag == 3, "what cannot be read yet is counted")
                await until(lambda: "has been open at offset 1 for more" in caplog.text, "it is told")
                (told,) = noted.open_transactions()
                assert (told["partition"], told["offset"]) == (0, 1)
                assert told["seconds"] >= 1
                passed = len(run.steps)
                await until(lambda: len(run.steps) > passed + 1, "it is worked nevertheless")
                assert max(run.times) <= sent_s, "the events that wait would be late"
                assert run.values == [b"before"]
            await until(lambda: len(run.values) == 4, "the transaction has ended")
        await until(lambda: max(run.times) > sent_s and noted.partitions[0].lag == 0, "time goes on")
        await until(lambda: not noted.open_transactions(), "nothing is open")

    noted = running(work, lambda: Noted(settings))
    assert noted.failures == []
    assert caplog.text.count("has been open") == 1


def test_a_worker_that_begins_while_a_transaction_is_open_counts_what_waits(settings: Settings) -> None:
    topic = settings.topic("events")

    async def work() -> None:
        producer = AIOKafkaProducer(**aiokafka_arguments(settings), transactional_id=topic)
        async with producer, producer.transaction():
            await producer.send_and_wait(topic, b"in it", partition=0)
            noted = Noted(settings)
            await noted.start()
            await until(lambda: noted.is_settled, "it is assigned")
            behind = noted.partitions[0].lag
            await asyncio.wait_for(noted.stop(), PATIENCE_S)
        assert behind == 1

    asyncio.run(work())


def test_no_time_passes_while_kafka_is_away(kafka_world: KafkaWorld, settings: Settings) -> None:
    server = kafka_world.server
    if server is None:
        pytest.skip("the Kafka of TIDELINE_TEST_KAFKA is not ours to kill")
    send(settings, [b"1"])

    async def work(noted: Noted) -> None:
        await until(lambda: 0 in noted.known_runs() and len(noted.run_of(0).times) > 1, "time passes")
        run = noted.run_of(0)
        await asyncio.to_thread(server.kill)
        killed_s = time.time()
        try:
            await asyncio.sleep(4.0)
            assert max(run.times) < killed_s
            assert len(run.steps) > len(run.times), "it was worked nevertheless"
        finally:
            await asyncio.to_thread(server.start_node)
        await until(lambda: max(run.times) > killed_s + 4.0, "time passes again")

    assert not running(work, lambda: Noted(settings)).failures


def test_a_checkpoint_behind_the_end_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "SETTLE_S", 0.5)
    send(settings, [b"1", b"2"])

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures), "refused")

    noted = running(work, lambda: Noted(settings, start=1_000))
    (error,) = noted.failures
    assert isinstance(error, BrokerError)
    assert "stands at offset 1000, and the topic ends at 2" in str(error)
    assert noted.run_of(0).steps == []


@pytest.mark.parametrize(("value", "is_known"), [(b"2", True), (b"another", False)])
def test_a_topic_that_was_made_anew_and_has_grown_past_the_checkpoint_is_refused(
    settings: Settings, value: bytes, is_known: bool
) -> None:
    send(settings, [b"%d" % n for n in range(6)])

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures or (noted.known_runs() and noted.run_of(0).values)), "goes on or not")

    noted = running(work, lambda: Noted(settings, start=Position.behind(Record(2, 0.0, value), 0.0)))
    if is_known:
        assert (noted.failures, noted.run_of(0).values[:3]) == ([], [b"3", b"4", b"5"])
        return
    (error,) = noted.failures
    assert isinstance(error, BrokerError)
    assert "record at offset 2 is not the one that was worked there" in str(error)
    assert noted.run_of(0).values == []


@pytest.mark.parametrize("begins", [2, 3])
def test_a_checkpoint_whose_last_record_is_gone_by_retention_is_gone_on_from(
    kafka_world: KafkaWorld, settings: Settings, begins: int
) -> None:
    send(settings, [b"%d" % n for n in range(6)])
    delete_before(kafka_world, settings, begins)

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures or (noted.known_runs() and noted.run_of(0).values)), "goes on or not")

    noted = running(work, lambda: Noted(settings, start=Position.behind(Record(2, 0.0, b"2"), 0.0)))
    assert (noted.failures, noted.run_of(0).values[:3]) == ([], [b"3", b"4", b"5"])


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_checkpoint_before_the_marker_of_a_transaction_is_gone_on_from(settings: Settings, is_marked: bool) -> None:
    """Where a marker stands now in place of the last record, that one was lost."""

    async def send_in_transaction() -> None:
        arguments = {**aiokafka_arguments(settings), "transactional_id": "t"}
        async with AIOKafkaProducer(**arguments) as producer, producer.transaction():
            await producer.send_and_wait(settings.topic("events"), b"0", partition=0)

    asyncio.run(send_in_transaction())  # the marker stands at 1
    send(settings, [b"2"])
    last = Record(0, 0.0, b"0") if is_marked else Record(1, 0.0, b"1")

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures or (noted.known_runs() and noted.run_of(0).values)), "goes on or not")

    noted = running(work, lambda: Noted(settings, start=Position.behind(last, 0.0)))
    assert [isinstance(error, BrokerError) for error in noted.failures] == ([] if is_marked else [True])
    assert noted.run_of(0).values == ([b"2"] if is_marked else [])


@pytest.mark.parametrize("accepts", [False, True])
def test_what_retention_has_taken_is_refused_except_by_learners(
    kafka_world: KafkaWorld, settings: Settings, accepts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noted, "accepts_gaps", accepts)
    send(settings, [b"%d" % n for n in range(10)])
    delete_before(kafka_world, settings, 6)

    async def work(noted: Noted) -> None:
        await until(lambda: bool(noted.failures or (noted.known_runs() and noted.run_of(0).values)), "goes on or not")

    noted = running(work, lambda: Noted(settings, start=2))
    assert [isinstance(error, BrokerError) for error in noted.failures] == ([] if accepts else [True])
    assert noted.run_of(0).values == ([b"6", b"7", b"8", b"9"] if accepts else [])


def test_a_topic_that_is_truncated_while_it_is_read_is_refused(
    kafka_world: KafkaWorld, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "SETTLE_S", 0.5)
    send(settings, [b"%d" % n for n in range(10)])

    async def work(noted: Noted) -> None:
        await until(lambda: 0 in noted.known_runs() and len(noted.run_of(0).values) == 10, "read")
        with kafka_world.admin(settings) as admin:
            admin.delete_topics([settings.topic("events")])
        make_topic(kafka_world, settings)
        send(settings, [b"new"])
        await until(lambda: bool(noted.failures), "refused")

    noted = running(work, lambda: Noted(settings))
    assert isinstance(noted.failures[0], BrokerError)
    assert b"new" not in noted.run_of(0).values


def test_a_partition_whose_records_are_all_gone_by_age_is_caught_up(
    kafka_world: KafkaWorld, settings: Settings
) -> None:
    send(settings, [b"%d" % n for n in range(10)])
    delete_before(kafka_world, settings, 10)

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled and bool(noted.run_of(0).times), "time passes")
        assert noted.partitions[0].lag == 0

    assert not running(work, lambda: Noted(settings)).failures


# --- publishing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(kafka_world: KafkaWorld) -> Iterator[Callable[[], None]]:
    """A way to kill the broker, which runs again afterwards."""
    server = kafka_world.server
    if server is None:
        pytest.skip("the Kafka of TIDELINE_TEST_KAFKA is not ours to kill")
    gone: list[bool] = []

    def kill() -> None:
        server.kill()
        gone.append(True)

    yield kill
    if gone:
        server.start_node()


def message(data: bytes) -> Message:
    return Message("events", "u", data)


def test_publishing_ends_where_kafka_has_gone(
    settings: Settings, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_publisher, "_SEND_S", 2.0)

    async def sending(publisher: KafkaPublisher, data: bytes) -> None:
        await asyncio.wait_for(asyncio.to_thread(publisher.send, [message(data)]), PATIENCE_S)

    async def work() -> None:
        publisher, stopped = KafkaPublisher(settings), KafkaPublisher(settings)
        await sending(publisher, b"1")
        await sending(stopped, b"1")
        await asyncio.to_thread(killed)
        with pytest.raises(BrokerUnavailable, match="Is it running"):
            await sending(publisher, b"2")
        monkeypatch.setattr(kafka_publisher, "_SEND_S", 60.0)
        waiting = asyncio.create_task(sending(stopped, b"2"))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        stopped.give_up()
        with pytest.raises(Stopped):
            await asyncio.wait_for(waiting, PATIENCE_S)
        with pytest.raises(Stopped):
            await sending(stopped, b"3")
        for one in (publisher, stopped):
            await asyncio.wait_for(one.aclose(), PATIENCE_S)

    asyncio.run(work())


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_model_that_cannot_be_read_stops_nobody(kafka_world: KafkaWorld) -> None:
    settings = kafka_world.settings()
    make_topic(kafka_world, settings, kind="models")
    catalog = loads("{version: 1, name: c, predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}}")
    key = model_key(question_of(catalog, "orders"), "orders")
    send(settings, [b"no model"], kind="models", key=key.encode())

    async def work() -> None:
        failures: list[BaseException] = []
        models = LatestModels(catalog)
        service = ModelsService(settings, models, lambda messages: pytest.fail(f"nothing to publish: {messages}"))
        service.on_failure = failures.append
        await service.start()
        await until(lambda: bool(models.refused or failures), "it is read")
        await service.stop()
        assert failures == []
        assert models.refused == 1
        assert models.latest == {}

    asyncio.run(work())


def test_an_older_model_that_a_learner_publishes_late_does_not_stay_the_last_one(kafka_world: KafkaWorld) -> None:
    """Kafka would keep it alone, and a worker that starts later would know no other one."""
    settings = kafka_world.settings()
    make_topic(kafka_world, settings, kind="models")

    async def work() -> None:
        publisher, models = KafkaPublisher(settings), LatestModels(MODELS)
        service = ModelsService(settings, models, publisher.send)
        failures: list[BaseException] = []
        service.on_failure = failures.append
        await service.start()
        for key, value in (model(9), model(5)):
            assert value is not None
            await asyncio.to_thread(publisher.send, [Message("models", key.decode(), value)])
        records = partial(asyncio.to_thread, read_topic, settings, "models")
        deadline_s = time.monotonic() + PATIENCE_S
        while len((found := await records())[0]) < 3:
            assert time.monotonic() < deadline_s, "the newest one is published again"
        assert [(record.key, record.value) for record in found[0]] == [model(9), model(5), model(9)]
        await until(lambda: not models.overtaken, "it stands last")
        await service.stop()
        await publisher.aclose()
        assert failures == []

    asyncio.run(work())


def test_the_next_batch_is_all_that_came_while_the_last_one_was_worked(settings: Settings) -> None:
    """The client would hand out the first of them alone, fetched while nobody asked."""
    is_working, may_end = threading.Event(), threading.Event()

    def held() -> None:
        is_working.set()
        assert may_end.wait(PATIENCE_S)

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled, "it is assigned")
        noted.during_step = held
        send(settings, [b"0"])
        await asyncio.to_thread(is_working.wait, PATIENCE_S)
        for value in (b"1", b"2", b"3"):
            send(settings, [value])  # one by one, so that a fetch that waits would bring the first alone
        noted.during_step = None
        may_end.set()
        await until(lambda: len(noted.run_of(0).values) == 4, "all are worked")

    noted = running(work, lambda: Noted(settings))
    assert [values for values, _ in noted.run_of(0).steps if values] == [[b"0"], [b"1", b"2", b"3"]]


def test_a_second_record_after_a_silence_does_not_wait_for_a_question_about_others(
    kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a reader: the question for the other partitions, sent with the first record, waited as in a silence."""
    found = kafka_world.settings()
    make_topic(kafka_world, found, count=4)
    monkeypatch.setattr(fetching, "IDLE_WAIT_MS", 35_000)
    monkeypatch.setattr(fetching, "BUSY_S", 0.05)

    async def worked(noted: Noted, count: int) -> None:
        async with asyncio.timeout(25.0):  # less than the question would wait, and than the client waits for it
            await until(lambda: len(noted.run_of(0).values) == count, f"{count} are worked")

    async def work(noted: Noted) -> None:
        await until(lambda: noted.is_settled, "it is assigned")
        for count in (0, 2, 4):
            await until(lambda: time.monotonic() - noted.consumer.came_s > fetching.BUSY_S, "it is silent")
            send(found, [b"first"])
            await worked(noted, count + 1)
            send(found, [b"second"])
            await worked(noted, count + 2)

    running(work, lambda: Noted(found))
