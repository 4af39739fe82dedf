"""Events over HTTP: how many a second one API process takes, and how soon a webhook tells of one.

See `docs/benchmarks.md`. Store, worker, API and sender of webhooks run as `tideline up` runs them, on this machine,
with the embedded log.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from benchmarks._command import Command
from benchmarks._ingest_load import Taken, Target, latencies, send_batches
from benchmarks._live_traffic import answer_of
from benchmarks._measure import Figures, Progress
from benchmarks._ports import free_port
from config.settings import PREFIX, Settings, load_settings
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.redis_api_keys import RedisApiKeys
from streams.api.keys import Role, make_key
from streams.client import Client
from streams.runtime.precompile import precompile
from streams.runtime.supervisor import Part
from streams.runtime.up import cache_folder
from streams.runtime.up_parts import ApiPart, DeliverPart, StorePart, UpJob, WorkerPart

CATALOG = Path(__file__).resolve().parent / "ingest_shop.yaml"
SETTLE_S = 2.0
"""The first of each stretch of deliveries are not timed."""
_NEVER = threading.Event()
_ARRIVE_S = 30.0
Kind = Callable[[UpJob, StorePart, None], Part]
"""A part of the service, on the embedded log."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    seconds: float
    connections: int
    batch: int
    rate: float
    deliver_seconds: float


@dataclass(frozen=True, slots=True)
class Service:
    """What runs, and how it is reached."""

    job: UpJob
    target: Target

    def client(self) -> Client:
        """Of its API."""
        return Client(f"http://{self.target.host}:{self.target.port}", self.target.key)

    def events_in_log(self) -> int:
        """Of all partitions, as of now."""
        log = LogFolder.find(self.job.data_dir)
        readers = [PartitionReader(log.partition("events", number)) for number in range(log.shards)]
        try:
            return sum(reader.end for reader in readers)
        finally:
            for reader in readers:
                reader.close()


@contextmanager
def running(folder: Path, *kinds: Kind, catalog: Path = CATALOG) -> Iterator[Service]:
    """Store and API, and between them parts of these kinds. Raises TidelineError for what does not start."""
    settings = _settings()
    job = UpJob(settings, catalog, folder, cache_folder())
    store = StorePart(folder)
    parts: list[Part] = [store, *(kind(job, store, None) for kind in kinds), ApiPart(job, store, None)]
    started: list[Part] = []
    try:
        for part in parts:
            part.start(_NEVER)
            started.append(part)
        yield Service(job, Target("127.0.0.1", settings.api_port, _key(store.url)))
    finally:
        for part in reversed(started):
            part.stop()


def _settings() -> Settings:
    names = ("web_port", "api_port", "webhooks_port", "campaigns_port")
    return load_settings(shards=1, **{name: free_port() for name in names})


def _key(url: str) -> str:
    keys = RedisApiKeys(url)
    key, record = make_key(Role.ADMIN, "benchmark", time.time())
    keys.add(record)
    keys.close()
    return key


# --- how many ---------------------------------------------------------------------------------------------------------


def measure_ingest(folder: Path, size: Size, progress: Progress) -> Figures:
    """Batches as fast as one API process takes them; nobody works the log meanwhile."""
    with running(folder) as service:
        progress.say("sending batches")
        answer_of(send_batches, service.target, size.connections, size.batch, 0.5)  # warm
        before = service.events_in_log()
        taken: Taken = answer_of(send_batches, service.target, size.connections, size.batch, size.seconds)
        stored = service.events_in_log() - before
    p50, p99 = (float(value) for value in np.percentile(taken.request_ms, [50.0, 99.0]))
    return {
        "events_per_s": taken.events / taken.seconds,
        "events": taken.events,
        "events_stored": stored,
        "batch": size.batch,
        "connections": size.connections,
        "request_p50_ms": p50,
        "request_p99_ms": p99,
    }


# --- how soon ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def receiver(arrived_s: dict[str, float], *, hangs: bool = False) -> Any:
    """The address of somebody who takes webhooks, or who never answers."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        now_s = loop.time()
        body = await request.read()
        if hangs:
            await ending.wait()
        user = json.loads(body).get("subject")
        if user is not None:
            arrived_s.setdefault(user, now_s)
        return web.Response(status=204)

    app = web.Application()
    app.add_routes([web.post("/", take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        ending.set()
        await runner.cleanup()


async def measure_deliveries(service: Service, size: Size, progress: Progress) -> Figures:
    """Orders of new users at a steady rate; each is told to a webhook. Then the same beside one that never answers."""
    arrived_s: dict[str, float] = {}
    found: Figures = {"rate": size.rate}
    async with receiver(arrived_s) as url, receiver({}, hangs=True) as dead:
        for name, beside in (("healthy", None), ("dead_beside", dead)):
            for address in [url] if beside is None else [beside]:
                await asyncio.to_thread(_make_webhook, service, address)
            progress.say(f"deliveries, {name.replace('_', ' ')}")
            found |= await _stretch(service, size, name, arrived_s)
    return found


def _make_webhook(service: Service, url: str) -> None:
    with service.client() as client:
        client.call("createWebhook", body={"url": url, "segments": ["bought"]})


async def _stretch(service: Service, size: Size, name: str, arrived_s: dict[str, float]) -> Figures:
    users = [f"{name}-{number}" for number in range(max(1, int(size.rate * (size.deliver_seconds + SETTLE_S))))]
    found = await latencies(service.target, users, size.rate, arrived_s, settle_s=SETTLE_S, wait_s=_ARRIVE_S)
    return {
        f"{name}_p50_ms": found.p50_ms,
        f"{name}_p99_ms": found.p99_ms,
        f"{name}_worst_ms": found.worst_ms,
        f"{name}_deliveries": found.timed,
        f"{name}_missing": found.missing,
        f"{name}_sender_late_ms": found.sender_late_ms,
    }


# --- the command ------------------------------------------------------------------------------------------------------


def run(size: Size, folder: Path, progress: Progress) -> Figures:
    """All of it."""
    precompile()
    os.environ |= {  # of the processes that are started
        f"{PREFIX}WEBHOOKS_PRIVATE": "true",
        f"{PREFIX}API_RATE_PER_S": "1000000",
        f"{PREFIX}API_RATE_BURST": "1000000",
    }
    figures = measure_ingest(folder / "ingest", size, progress)
    with running(folder / "deliver", WorkerPart, DeliverPart) as service:
        return figures | asyncio.run(measure_deliveries(service, size, progress))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("ingest", __doc__)
    command.numbers(
        {
            "seconds": (20.0, "of sending batches"),
            "connections": (16, "that send batches at once"),
            "batch": (100, "events of a batch"),
            "rate": (100.0, "orders a second, each a delivery"),
            "deliver-seconds": (20.0, "of each stretch of them"),
        }
    )
    command.run(arguments, lambda given, folder, progress: run(Size(**given), folder, progress))


if __name__ == "__main__":
    main()
