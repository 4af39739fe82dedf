"""Traffic for the benchmark on Kafka: days of the simulated shop that end now, and a day that happens while one looks.

What runs in processes of its own is here: it must take as little as possible of two cores, and no lock of the process
that reads the clock. Every process makes the same shop from the same script.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks._traffic import DAY_S, START_S, Day, Traffic, Writer, user_id
from config.catalog import Catalog
from config.loader import load_catalog
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.message_hash import id_hash, place_hash
from streams.core.partition import shard_of

EVENTS_PER_DAY = 12.0
"""Of a user who is there: a shop's busiest, so that a day of a crowd that fits a benchmark is a real load."""
TICK_S = 0.005
"""How often a live producer sends what is due: as a client does that lingers for 5 ms, and that is what Kafka's own do
since 4.0 unless they are told otherwise. The wait counts: an event is due when it happens, not when it is sent."""
_BATCH_BYTES = 256 << 10
_STAMP_FROM = len('{"messageId":"msg-000000000000","userId":"user-000000000","timestamp":"')
_STAMP_TO = _STAMP_FROM + len("2024-01-01T00:00:00.000")
_WAITING = 64
"""Batches under way at most."""


CATALOG = Path(__file__).parent / "live_shop.yaml"


def live_catalog() -> Catalog:
    """What is asked of the shop."""
    return load_catalog(CATALOG)


@dataclass(frozen=True, slots=True)
class LiveScript:
    """Which shop: day `now_day` begins at `now_s` (seconds since 1970), and all before it lies before."""

    users: int
    now_day: int
    now_s: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A topic and its partitions."""

    bootstrap: str
    topic: str
    partitions: int


class LiveShop:
    """The days of a script one after another, as records with their partition."""

    def __init__(self, script: LiveScript, partitions: int) -> None:
        self._traffic = Traffic(
            script.users, seed=script.seed, events_per_week=7 * EVENTS_PER_DAY, stay_days=1e6, arrive_days=1
        )
        self._shift_s = script.now_s - START_S - script.now_day * DAY_S
        self.writer = Writer(self._traffic.country)
        self.partition = np.array([shard_of(user_id(n), partitions) for n in range(script.users)])

    def next_day(self) -> Day:
        """Its times are those of the script. The message ids of its records follow when they are written or skipped."""
        day = next(self._traffic)
        return Day(day.user, day.kind, day.time_s + self._shift_s, day.value)

    def skip(self, days: int) -> None:
        """Leave out so many days; message ids stay what they would be."""
        for _ in range(days):
            self.writer.position += len(self.next_day())

    def keyed(self, day: Day) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, key and record of each event."""
        partitions = self.partition[day.user].tolist()
        keys = (user_id(number).encode() for number in day.user.tolist())
        return zip(partitions, keys, self.writer.records(day), strict=True)


@asynccontextmanager
async def _producer(place: Place) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=place.bootstrap, acks="all", max_batch_size=_BATCH_BYTES)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


# --- days that have been -----------------------------------------------------------------------------------------


def produce_days(connection: Connection, place: Place, script: LiveScript, first: int, days: int, most: int) -> None:
    """Send whole days from number `first` on, at most `most` events, as fast as it goes; tell how many, and the span
    of event time in seconds.
    """
    shop = LiveShop(script, place.partitions)
    shop.skip(first)
    connection.send(asyncio.run(_send_days(place, shop, days, most)))


async def _send_days(place: Place, shop: LiveShop, days: int, most: int) -> tuple[int, float]:
    sent, first_s, last_s = 0, 0.0, 0.0
    async with _producer(place) as producer:
        for _ in range(days):
            day = shop.next_day()
            part = slice(0, most - sent)
            day = Day(day.user[part], day.kind[part], day.time_s[part], day.value[part])
            if not len(day):
                break
            first_s, last_s = first_s or float(day.time_s[0]), float(day.time_s[-1])
            await send_records(producer, place, shop.keyed(day))
            sent += len(day)
    return sent, last_s - first_s


async def send_records(producer: Any, place: Place, records: Iterator[tuple[int, bytes, bytes]]) -> None:
    """In their order, in batches as large as it goes; returns when all are acknowledged."""
    batches = _Batches(producer, place.topic)
    for partition, key, value in records:
        await batches.add(partition, key, value)
    await batches.flush()
    await batches.settle()


class _Batches:
    """Fills a batch for each partition; one by one, records would cost the client several times what they cost so."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._filling: dict[int, Any] = {}
        self._under_way: set[Any] = set()
        self._failed: list[BaseException] = []

    async def add(self, partition: int, key: bytes, value: bytes) -> None:
        """A batch that is full goes out, and waits while many are under way."""
        batch = self._filling.get(partition)
        if batch is not None and batch.append(key=key, value=value, timestamp=None) is not None:
            return
        if batch is not None:
            await self._send(partition, batch)
            if len(self._under_way) >= _WAITING:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        self._filling[partition] = batch = self._producer.create_batch()
        batch.append(key=key, value=value, timestamp=None)  # the first one always has room

    async def flush(self) -> None:
        """Send what is there."""
        filled, self._filling = self._filling, {}
        for partition, batch in filled.items():
            await self._send(partition, batch)

    async def settle(self) -> None:
        """Wait for all acknowledgements. Raises aiokafka's error of one that failed."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._failed:
            raise self._failed[0]

    async def _send(self, partition: int, batch: Any) -> None:
        acknowledged = await self._producer.send_batch(batch, self._topic, partition=partition)
        self._under_way.add(acknowledged)
        acknowledged.add_done_callback(self._note)

    def _note(self, acknowledged: Any) -> None:
        self._under_way.discard(acknowledged)
        if acknowledged.cancelled() or (error := acknowledged.exception()) is None:
            return
        self._failed.append(error)


# --- a day that happens now --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """Record number n of a live stretch is due at `start_s` + n / `rate` (monotonic clock of the machine)."""

    start_s: float
    rate: float
    first: int
    """Number in the message id of record 0."""
    events: int


def produce_live(
    connection: Connection, place: Place, script: LiveScript, first: int, rate: float, seconds: float
) -> None:
    """Send what users do from day `first` on at `rate` events a second, each with the time of its sending.

    Tells its `Pace`, and at the end by how much the last record was late, in seconds.
    """
    shop = LiveShop(script, place.partitions)
    shop.skip(first)
    start = shop.writer.position
    records: list[tuple[int, bytes, bytes]] = []
    while len(records) < rate * seconds:
        records += shop.keyed(shop.next_day())
    del records[int(rate * seconds) :]
    gc.collect()
    gc.freeze()
    gc.disable()
    asyncio.run(_send_live(connection, place, records, rate, start))


async def _send_live(
    connection: Connection, place: Place, records: Sequence[tuple[int, bytes, bytes]], rate: float, first: int
) -> None:
    async with _producer(place) as producer:
        await producer.partitions_for(place.topic)
        start_s = time.monotonic() + 0.5
        connection.send(Pace(start_s, rate, first, len(records)))
        sent, late_s = 0, 0.0
        batches = _Batches(producer, place.topic)
        while sent < len(records):
            await asyncio.sleep(max(0.0, start_s + sent / rate + TICK_S - time.monotonic()))
            due = min(len(records), int((time.monotonic() - start_s) * rate) + 1)
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode()
            for partition, key, record in records[sent:due]:
                await batches.add(partition, key, record[:_STAMP_FROM] + stamp + record[_STAMP_TO:])
            sent = due
            await batches.flush()
            late_s = time.monotonic() - (start_s + (sent - 1) / rate)
        await batches.settle()
    connection.send(late_s)


def produce_steadily(
    connection: Connection, place: Place, script: LiveScript, first: int, rate: float, seconds: float
) -> None:
    """As `produce_live`, for however long: days are made as they are needed, which may hold it up for a moment.

    What is late is made up for. Tells how many records were acknowledged.
    """
    shop = LiveShop(script, place.partitions)
    shop.skip(first)
    connection.send(asyncio.run(_send_steadily(place, shop, rate, round(rate * seconds))))


async def _send_steadily(place: Place, shop: LiveShop, rate: float, events: int) -> int:
    records = itertools.chain.from_iterable(shop.keyed(shop.next_day()) for _ in itertools.count())
    async with _producer(place) as producer:
        batches, sent, start_s = _Batches(producer, place.topic), 0, time.monotonic()
        while sent < events:
            await asyncio.sleep(max(TICK_S, start_s + sent / rate - time.monotonic()))
            due = min(events, int((time.monotonic() - start_s) * rate) + 1)
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode()
            for partition, key, record in itertools.islice(records, due - sent):
                await batches.add(partition, key, record[:_STAMP_FROM] + stamp + record[_STAMP_TO:])
            sent = due
            await batches.flush()
        await batches.settle()
    return sent


# --- only consuming and decoding ---------------------------------------------------------------------------------


def consume_and_decode(connection: Connection, place: Place, events: int, stretches: int) -> None:
    """Read the first `events` records of a topic with aiokafka, and decode them as a worker does.

    Tells the events per second of each of so many equal stretches.
    """
    gc.freeze()
    connection.send(asyncio.run(_consume(place, events, stretches)))


async def _consume(place: Place, events: int, stretches: int) -> list[float]:
    decoder = SegmentDecoder(live_catalog())
    source = id_hash(place.topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=place.bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    consumer.assign([TopicPartition(place.topic, n) for n in range(place.partitions)])
    await consumer.start()
    marks: list[tuple[int, float]] = []
    taken = 0
    try:
        await consumer.seek_to_beginning()
        while taken < events:
            found = await consumer.getmany(timeout_ms=1_000, max_records=4_096)
            if not marks:
                marks.append((0, time.perf_counter()))
            for records in found.values():
                for r in records:
                    item = decoder.decode(r.value, r.offset, r.timestamp / 1000.0, place_hash(source, r.offset))
                    taken += isinstance(item, Event)
            marks.append((taken, time.perf_counter()))
    finally:
        await consumer.stop()
    return rates_of(marks, stretches)


def rates_of(marks: Sequence[tuple[float, float]], stretches: int) -> list[float]:
    """From (count, seconds) pairs to the rate in each of so many stretches of the same count."""
    begun = max(n for n, (count, _) in enumerate(marks) if count == marks[0][0])
    # When a count was reached; what stood still after it belongs to the next one.
    grown = [marks[begun], *(now for before, now in pairwise(marks[begun:]) if now[0] > before[0])]
    counts, times = zip(*grown, strict=True)
    edges = np.linspace(counts[0], counts[-1], stretches + 1)
    at_s = np.interp(edges, counts, times)
    return [float(rate) for rate in np.diff(edges) / np.diff(at_s)]


def in_process(target: Any, *arguments: Any) -> tuple[Any, Connection]:
    """Start `target(connection, *arguments)` in a new process, and our end of the connection."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def answer_of(target: Any, *arguments: Any) -> Any:
    """What such a process tells. Raises RuntimeError when it ends without a word."""
    process, connection = in_process(target, *arguments)
    try:
        return connection.recv()
    except EOFError:
        raise RuntimeError(f"{target.__name__} has ended without an answer; see above") from None
    finally:
        connection.close()
        process.join()
