"""How long it takes from the sending of an event until the transitions that it causes arrive at a consumer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks._live_traffic import LiveScript, Pace, Place, in_process, produce_live

SETTLE_S = 5.0
"""Of every stretch the first seconds count for nothing: a worker that was idle has to get going."""
_CAUSE = "ce_causationid"
_ID = len("msg-")


@dataclass
class Arrivals:
    """What arrived of one live stretch."""

    pace: Pace | None = None
    causes: list[int] = field(default_factory=list)
    """Number of the record that caused a transition."""
    at_s: list[float] = field(default_factory=list)
    """When the transition was handed out by the consumer (monotonic clock)."""
    others: int = 0
    """Transitions without a cause in this stretch: silence, a new model."""
    late_s: float = 0.0
    """By how much the producer was late with its last record."""

    def take(self, records: list[Any], now_s: float) -> None:
        """Transitions that have just arrived."""
        for record in records:
            cause = dict(record.headers).get(_CAUSE)
            if cause is None:
                self.others += 1
            else:
                self.causes.append(int(cause[_ID:]))
                self.at_s.append(now_s)

    def latencies_ms(self) -> Any:
        """One per transition that a record of the stretch has caused, the settling left out.

        From when the record was due, so that a producer that is held up makes them longer, and not fewer.
        """
        assert self.pace is not None, "no stretch was sent"
        number = np.array(self.causes, np.int64) - self.pace.first
        due_s = self.pace.start_s + number / self.pace.rate
        counts = (number >= self.pace.rate * SETTLE_S) & (number < self.pace.events)
        return (np.array(self.at_s) - due_s)[counts] * 1000.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A live stretch to send."""

    script: LiveScript
    day: int
    rate: float
    seconds: float


def measure_latency(
    events: Place, transitions: Place, stretch: Stretch, worked: Callable[[], int], *, quiet_s: float = 0.5
) -> Arrivals:
    """Send a stretch, and read the transitions until all of it is worked. `worked`: events that are, by the store.

    It ends when nothing has arrived for `quiet_s` then: what comes last must not be left out for being slow.
    Raises RuntimeError when the producer ends early, or the worker is not done a minute after it.
    """
    arguments = (events, stretch.script, stretch.day, stretch.rate, stretch.seconds)
    process, connection = in_process(produce_live, *arguments)
    try:
        return asyncio.run(_follow(transitions, connection, worked, quiet_s))
    except EOFError:
        raise RuntimeError("the producer has ended before its time; see above") from None
    finally:
        connection.close()
        process.join()


async def _follow(place: Place, connection: Any, worked: Callable[[], int], quiet_s: float) -> Arrivals:
    found = Arrivals()
    before = worked()
    consumer = AIOKafkaConsumer(bootstrap_servers=place.bootstrap, enable_auto_commit=False)
    consumer.assign([TopicPartition(place.topic, n) for n in range(place.partitions)])
    await consumer.start()
    await consumer.seek_to_end()
    reading = asyncio.create_task(_read(consumer, found))
    try:
        found.pace = pace = await asyncio.to_thread(connection.recv)
        found.late_s = await asyncio.to_thread(connection.recv)
        deadline_s = time.monotonic() + 60.0
        while worked() < before + pace.events:
            if time.monotonic() > deadline_s:
                done = f"{worked() - before:,} of {pace.events:,} events"
                raise RuntimeError(f"a minute after the last event {done} are done: {pace.rate:,.0f}/s is too fast")
            await asyncio.sleep(0.2)
        while True:
            arrived = len(found.at_s)
            await asyncio.sleep(quiet_s)
            if len(found.at_s) == arrived:
                return found
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await consumer.stop()


async def _read(consumer: Any, found: Arrivals) -> None:
    while True:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            found.take(records, time.monotonic())
