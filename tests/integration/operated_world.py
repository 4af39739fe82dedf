"""A whole service on the embedded log with what watches it: Prometheus, a collector of traces, a receiver."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
import redis

from benchmarks._ports import free_port
from config.settings import Settings, load_settings
from streams.adapters.embedded_log import EventWriter
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from tests.conftest import ROOT, SLOWNESS
from tests.integration.api_process import ApiProcess
from tests.integration.kill_world import Receiver
from tests.integration.prometheus_world import Prometheus, prometheus
from tests.integration.span_collector import SpanCollector
from tests.integration.worker_world import CATALOG, WorkerProcess, await_until, environment

CAMPAIGN: Final = """
messaging: {channels: {lines: {kind: log}, far: {kind: webhook}}}
campaigns:
  thanks:
    name: Thanks
    segment: buyers
    conversion: {event: Product Added}
    channels: [lines, far]
    control: 0
    breaker: null
    message: {parts: {body: "Thank you"}}
"""
JOBS: Final = frozenset({"tideline-worker", "tideline-api", "tideline-deliver", "tideline-campaigns"})
HOURS, AT_ONCE, USERS = 100, 60, 40


class Few:
    """Some days of a few users, straight into the log."""

    def __init__(self, log: Path, hours: int) -> None:
        self.hours = hours
        self._log = log
        self._numbers = count()
        # Examples are handed over at whole hours: each hour of events passes one, and one alone.
        self._now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._rng = Random(8)

    def hour(self, number: int) -> None:
        """What they do in one of the last `hours`: a label is known after a day or two."""
        at = self.time_of(number)
        users = [user for user in range(USERS) if self._rng.random() < (user + 5) / 100]
        self._send([self._event(f"old-{user}", at + timedelta(minutes=n)) for n, user in enumerate(users)])

    def time_of(self, number: int) -> datetime:
        """When that hour begins."""
        return self._now - timedelta(hours=self.hours - number)

    def append(self, events: Iterable[Mapping[str, str]]) -> None:
        """Into the log itself, which needs no store."""
        with closing(EventWriter(LogFolder.find(self._log))) as writer:
            writer.append([(event["userId"], msgspec.json.encode(event)) for event in events])

    def _event(self, user: str, at: datetime) -> dict[str, str]:
        event = "Order Completed" if self._rng.random() < 0.2 else "Product Viewed"
        number = f"h{next(self._numbers)}"
        return {"type": "track", "userId": user, "event": event, "messageId": number, "timestamp": at.isoformat()}

    def _send(self, batch: list[dict[str, str]]) -> None:
        self.append(batch)


class Load(Few):
    """The same over HTTP, then new ones that come, look twice and buy."""

    def __init__(self, api: ApiProcess, log: Path) -> None:
        super().__init__(log, HOURS)
        self._api = api

    def come(self) -> None:
        """Five new users, and what is of no use."""
        number = next(self._numbers)
        names = [f"new-{number}-{n}" for n in range(5)]
        events = [
            {"type": "track", "userId": name, "event": event, "messageId": f"{name}-{n}"}
            for name in names
            for n, event in enumerate(("Product Viewed", "Product Viewed", "Order Completed"))
        ]
        self._send([*events, events[0], BROKEN])

    def go_wrong(self) -> None:
        """New users, and much that is of no use or dated tomorrow: more than one record in a hundred."""
        self.come()
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        ahead = [{**self._event(f"old-{user}", self._now), "timestamp": tomorrow} for user in range(5)]
        self._send([BROKEN] * 5 + ahead)

    def try_to_come(self) -> None:
        """As `come`, and somebody asks for a user, of a service that may answer that it cannot."""
        try:
            self.come()
            self._api.get("/v1/users/old-1")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 503:
                raise

    def pile_up(self, events: int) -> None:
        """So many, straight into the log."""
        self.append(self._event(f"old-{number % USERS}", self._now) for number in range(events))

    def _send(self, batch: list[dict[str, str]]) -> None:
        if batch:
            assert self._api.post("/v1/batch", {"batch": batch}, Role.INGEST)["success"]


BROKEN: Final = {"type": "track", "userId": "broken", "event": "Product Viewed", "timestamp": "no time"}


class Served:
    """`tideline NAME` beside a worker, at a port of its own."""

    def __init__(self, name: str, settings: Settings, data: Path, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / f"{name}.log"
        command = [sys.executable, "-m", "streams", name, "--embedded", "--data-dir", str(data)]
        self._command = [*command, "--port", str(self.port)]
        self._settings = settings
        self.start()

    @property
    def address(self) -> str:
        """Where its metrics are."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """At the same port each time."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def stop(self) -> None:
        """It has to end in order."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        code = self.process.wait(60 * SLOWNESS)
        assert code == 0, self._log.read_text()


@dataclass
class Operated:
    """All of it."""

    data: Path
    settings: Settings
    store: EmbeddedValkey
    worker: WorkerProcess
    api: ApiProcess
    deliver: Served
    campaigns: Served
    collector: SpanCollector
    asked: Prometheus
    load: Load

    def client(self) -> Any:
        """Of the store."""
        return redis.Redis.from_url(str(self.settings.redis_url))

    @contextmanager
    def webhook(self) -> Iterator[tuple[str, Receiver]]:
        """One of its own for who enters `buyers` from now on: its id, and who receives it."""
        with Receiver() as receiver:
            made = self.api.post("/v1/webhooks", {"url": receiver.url, "segments": ["buyers"]}, Role.ADMIN)
            receiver.secret = made["secret"]
            try:
                yield made["id"], receiver
            finally:
                self.api.delete(f"/v1/webhooks/{made['id']}", Role.ADMIN)


@contextmanager
def operated(folder: Path) -> Iterator[Operated]:
    """A service whose predictions are live, with a campaign, and a channel that lacks its settings."""
    catalog, data = folder / "catalog.yaml", folder / "data"
    catalog.write_text(CATALOG + CAMPAIGN)
    LogFolder.make(data / LOG_FOLDER, 1)
    store_port = free_port()
    with ExitStack() as ending:
        collector = ending.enter_context(SpanCollector())
        patched = ending.enter_context(pytest.MonkeyPatch.context())
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patched.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        store = ending.enter_context(EmbeddedValkey(folder / "store", port=store_port))
        settings = load_settings(
            redis_url=f"redis://127.0.0.1:{store_port}/0",
            data_dir=data,
            webhooks_private=True,
            webhooks_attempts=1,
            traces="otlp",
        )
        worker = WorkerProcess(
            settings, catalog, folder, "worker", "--embedded", data_dir=data, program="tests.integration.watchful"
        )
        ending.callback(worker.kill)
        deliver, campaigns = (Served(name, settings, data, folder) for name in ("deliver", "campaigns"))
        for served in (deliver, campaigns):
            ending.callback(served.stop)
        api = ending.enter_context(ApiProcess(settings, data, free_port()))
        targets = {
            "tideline-worker": [f"127.0.0.1:{worker.port}"],
            "tideline-deliver": [deliver.address],
            # One process by two names, so that one of them can be taken away.
            "tideline-campaigns": [campaigns.address, f"localhost:{campaigns.port}"],
        }
        at = api.url.removeprefix("http://")
        asked = ending.enter_context(prometheus(folder, targets, (at, api.keys[Role.READ])))
        await_until(worker.is_working, "it works", seconds=120.0, watched=[worker])
        await_until(lambda: asked.up() == JOBS, "all are read", seconds=60.0)
        load = Load(api, data)
        go_live(load, worker, "tideline_likelihood_drift{")
        yield Operated(data, settings, store, worker, api, deliver, campaigns, collector, asked, load)


def go_live(load: Few, worker: WorkerProcess, series: str) -> int:
    """Days at once, and then hour by hour, each with its models, until the worker has this series: the next hour."""
    for hour in range(load.hours):
        if hour < AT_ONCE:
            load.hour(hour)
        else:
            learn(worker, partial(load.hour, hour))
            if series.encode() in worker.get("/metrics")[1]:
                return hour + 1
    raise AssertionError(f"there is no {series}")


def learn(worker: WorkerProcess, happens: Callable[[], None]) -> None:
    """Something happens of which models are made."""
    before = worker.health()["models"]
    happens()

    def is_learned() -> bool:
        health = worker.health()
        return not health["lag"] and health["models"] != before

    await_until(is_learned, "a model of it", seconds=30.0, watched=[worker])
