"""The peers' job with Faust, as its guide writes an agent: `async for` over a stream, one event at a time.

Kinder than its guide: users are in a dictionary and not in a `Table`, which would send each change to a changelog topic
and wait; the client of Redis is the blocking one, which is faster here than the asynchronous one.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

import faust
import redis
from faust.app.base import BootStrategy

from benchmarks._live_traffic import live_catalog
from benchmarks._peer_job import Customer, PeerJob
from benchmarks._peer_program import CAUSE, Counter, Given, read_given


class _NoWeb(BootStrategy):
    enable_web = False
    enable_sensors = False


class App(faust.App):
    """Without a web server, and without a folder for tables."""

    BootStrategy = _NoWeb

    def _create_directories(self) -> None:
        """Without tables there is nothing to write."""


async def run(given: Given, counter: Counter, job: PeerJob, store: Any) -> None:
    """Until SIGTERM."""
    app = App(
        given.group,
        broker=f"kafka://{given.bootstrap}",
        consumer_auto_offset_reset="earliest",
        topic_partitions=given.partitions,
        store="memory://",
        autodiscover=False,
    )
    events = app.topic(given.topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
    crossings = app.topic(given.crossings, value_type=bytes, value_serializer="raw", key_serializer="raw")
    customers: dict[str, Customer] = {}

    @app.agent(events)
    async def score(stream: Any) -> None:
        async for raw in stream:
            record = job.decode(raw)
            user = record.user_id
            customers[user], answer = job.take(customers.get(user), record)
            store.set(f"scores:{user}", answer.scores)
            for crossing in answer.crossings:
                await crossings.send(key=user.encode(), value=crossing.value, headers={CAUSE: crossing.cause.encode()})
            counter.add(1)

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await app.start()
    await stopping.wait()
    await app.stop()


def main() -> None:
    """What `benchmarks.peers` starts."""
    logging.basicConfig(level=logging.ERROR)
    job = PeerJob(live_catalog())
    given, counter = read_given()
    with redis.Redis(unix_socket_path=given.store) as store:
        asyncio.run(run(given, counter, job, store))


if __name__ == "__main__":
    main()
