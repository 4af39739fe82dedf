"""A real Prometheus reads a service while events come in: every rule and every query of the dashboards has a result."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import redis
import yaml

from config.settings import Settings, load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.owned_process import OwnedProcess
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from streams.runtime.store_watch import EVERY_S
from tests.conftest import ROOT, SLOWNESS, need
from tests.contract.redis_servers import free_ports
from tests.dashboards.all import BOARDS
from tests.dashboards.board import in_test
from tests.integration.api_process import ApiProcess
from tests.integration.kill_world import Receiver
from tests.integration.worker_world import CATALOG, WorkerProcess, await_until, environment
from tests.unit.test_alerts import RECORDED, RULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CAMPAIGN = """
messaging: {channels: {lines: {kind: log}}}
campaigns:
  thanks:
    name: Thanks
    segment: buyers
    conversion: {event: Product Added}
    channels: [lines]
    control: 0
    message: {parts: {body: "Thank you"}}
"""
QUERIES = {in_test(query.expr) for board in BOARDS for query in board.queries()}
HOURS, AT_ONCE, USERS = 100, 60, 40


class Prometheus:
    """One that runs, asked by its own API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """What it answers; None while it does not."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=10 * SLOWNESS) as reply:
                found = msgspec.json.decode(reply.read())
        except (urllib.error.URLError, ConnectionError):
            return None
        assert found["status"] == "success"
        return found["data"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with how it went the last time."""
        found = self.ask("rules") or {"groups": []}
        return [rule for group in found["groups"] for rule in group["rules"]]

    def raised(self) -> set[str]:
        """Alerts whose condition holds, whether for long enough or not."""
        return {rule["name"] for rule in self.rules() if rule.get("state") in ("pending", "firing")}

    def up(self) -> set[str]:
        """The jobs whose targets answered the last time."""
        found = self.ask("targets") or {"activeTargets": []}
        return {each["labels"]["job"] for each in found["activeTargets"] if each["health"] == "up"}

    def has_data(self, query: str) -> bool:
        """Whether a query has a result, with a number in it."""
        found = self.ask("query", query=query)
        return found is not None and any(sample["value"][1] != "NaN" for sample in found["result"])


@contextmanager
def prometheus(folder: Path, worker: WorkerProcess, api: ApiProcess, ports: Mapping[str, int]) -> Iterator[Prometheus]:
    """It scrapes all every second, with the rules of the service."""
    program = shutil.which("prometheus")
    need(program, "prometheus", "apt-get install prometheus")
    key = folder / "api.key"
    key.write_text(api.keys[Role.READ])
    jobs = [
        {"job_name": "tideline-worker", "static_configs": [{"targets": [f"127.0.0.1:{worker.port}"]}]},
        *(
            {"job_name": f"tideline-{name}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in ports.items()
        ),
        {
            "job_name": "tideline-api",
            "authorization": {"credentials_file": str(key)},
            "static_configs": [{"targets": [api.url.removeprefix("http://")]}],
        },
    ]
    often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": often, "rule_files": [str(RULES)], "scrape_configs": jobs}))
    (port,) = free_ports(1)
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"]
    process = OwnedProcess(
        "prometheus", [str(program), *options, f"--web.listen-address=127.0.0.1:{port}"], log=folder / "prometheus.log"
    )
    process.start(folder=folder)
    try:
        yield Prometheus(port)
    finally:
        process.stop(20)


@contextmanager
def serving(name: str, settings: Settings, data: Path, folder: Path) -> Iterator[int]:
    """`tideline NAME`; the port of its metrics."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "streams", name, "--embedded", "--data-dir", str(data), "--port", str(port)]
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield port
    finally:
        process.terminate()
        code = process.wait(60 * SLOWNESS)
    assert code == 0, (folder / f"{name}.log").read_text()


class Load:
    """Events over HTTP: some days of a few users, then new ones that come, look twice and buy."""

    def __init__(self, api: ApiProcess) -> None:
        self._api = api
        self._numbers = count()
        self._now = datetime.now(UTC)
        self._rng = Random(8)

    def hour(self, number: int) -> None:
        """What the few do in one of the last `HOURS`: a label is known after a day or two."""
        at = self._now - timedelta(hours=HOURS - number)
        users = [user for user in range(USERS) if self._rng.random() < (user + 5) / 100]
        self._send([self._event(f"old-{user}", at + timedelta(minutes=n)) for n, user in enumerate(users)])

    def come(self) -> None:
        """Five new users, and what is of no use."""
        number = next(self._numbers)
        names = [f"new-{number}-{n}" for n in range(5)]
        events = [
            {"type": "track", "userId": name, "event": event, "messageId": f"{name}-{n}"}
            for name in names
            for n, event in enumerate(("Product Viewed", "Product Viewed", "Order Completed"))
        ]
        broken = {"type": "track", "userId": "broken", "event": "Product Viewed", "timestamp": "no time"}
        self._send([*events, events[0], broken])

    def broken(self) -> None:
        """So much that is of no use that it is more than one record in a hundred."""
        event = {"type": "track", "userId": "broken", "event": "Product Viewed", "timestamp": "no time"}
        self._send([event] * 90)

    def _event(self, user: str, at: datetime) -> dict[str, str]:
        event = "Order Completed" if self._rng.random() < 0.2 else "Product Viewed"
        number = f"h{next(self._numbers)}"
        return {"type": "track", "userId": user, "event": event, "messageId": number, "timestamp": at.isoformat()}

    def _send(self, batch: list[dict[str, str]]) -> None:
        if batch:
            assert self._api.post("/v1/batch", {"batch": batch}, Role.INGEST)["success"]


def go_live(load: Load, worker: WorkerProcess) -> None:
    """Days at once, and then hour by hour, each with its models, until the learner compares distributions."""

    def is_learned(before: object) -> bool:
        health = worker.health()
        return not health["lag"] and health["models"] != before

    for hour in range(HOURS):
        before = worker.health()["models"]
        load.hour(hour)
        if hour >= AT_ONCE:
            await_until(partial(is_learned, before), f"the model of hour {hour}", seconds=30.0, watched=[worker])
            if b"tideline_likelihood_drift{" in worker.get("/metrics")[1]:
                return
    raise AssertionError("no prediction has gone live")


def check_faults(asked: Prometheus, store_url: str, worker: WorkerProcess, load: Load) -> None:
    """What is wrong is told, and what is not is not."""
    wrong = {"TidelineStoreNotPersistent", "TidelineDown", "TidelineNobodyDelivers"}
    # A scrape that is late on a busy machine raises one for a moment.
    await_until(lambda: not asked.raised() & wrong, "what is not wrong is not told", seconds=30.0, every_s=0.5)
    load.broken()
    await_until(
        lambda: "TidelineDeadLetters" in asked.raised(), "records of no use are told", seconds=30.0, every_s=0.5
    )
    with closing(redis.Redis.from_url(store_url)) as client:
        client.config_set("appendonly", "no")
    await_until(
        lambda: "TidelineStoreNotPersistent" in asked.raised(),
        "a store without its file is told",
        seconds=2 * EVERY_S,
        watched=[worker],
        every_s=0.5,
    )
    worker.send(signal.SIGSTOP)
    try:
        await_until(lambda: "TidelineDown" in asked.raised(), "a worker that hangs is told", seconds=30.0, every_s=0.5)
    finally:
        worker.send(signal.SIGCONT)
    await_until(lambda: "TidelineDown" not in asked.raised(), "and no more when it is back", seconds=30.0, every_s=0.5)


def test_prometheus_reads_a_service_and_every_rule_and_query_has_a_result(tmp_path: Path) -> None:
    catalog, data = tmp_path / "catalog.yaml", tmp_path / "data"
    catalog.write_text(CATALOG + CAMPAIGN)
    LogFolder.make(data / LOG_FOLDER, 1)
    with EmbeddedValkey(tmp_path / "store") as store, Receiver() as receiver:
        settings = load_settings(redis_url=store.url, data_dir=data, webhooks_private=True)
        worker = WorkerProcess(
            settings, catalog, tmp_path, "worker", "--embedded", data_dir=data, program="tests.integration.short_warmup"
        )
        try:
            with (
                ApiProcess(settings, data, free_ports(1)[0]) as api,
                serving("deliver", settings, data, tmp_path) as deliver,
                serving("campaigns", settings, data, tmp_path) as campaigns,
                prometheus(tmp_path, worker, api, {"deliver": deliver, "campaigns": campaigns}) as asked,
            ):
                await_until(worker.is_working, "it works", seconds=120.0, watched=[worker])
                jobs = {"tideline-worker", "tideline-api", "tideline-deliver", "tideline-campaigns"}
                await_until(lambda: asked.up() == jobs, "all are read", seconds=60.0)
                hook = {"url": receiver.url, "segments": ["buyers"]}
                receiver.secret = api.post("/v1/webhooks", hook, Role.ADMIN)["secret"]
                load, missing = Load(api), RECORDED | QUERIES
                go_live(load, worker)

                def has_all() -> bool:
                    load.come()
                    missing.difference_update(query for query in list(missing) if asked.has_data(query))
                    return not missing

                try:
                    await_until(has_all, "every rule and query has data", seconds=120.0, watched=[worker], every_s=0.5)
                except AssertionError as error:
                    raise AssertionError(f"no data of {sorted(missing)}") from error
                rules = asked.rules()
                assert {rule["name"] for rule in rules} > RECORDED
                assert {rule["health"] for rule in rules} == {"ok"}, rules
                assert asked.has_data('tideline_users{job="tideline-worker"} > 0')
                assert asked.has_data('tideline_api_events_total{job="tideline-api",result="accepted"} > 0')
                assert asked.has_data('tideline_webhooks_delivered_total{job="tideline-deliver"} > 0')
                assert asked.has_data('tideline_campaign_deliveries_total{channel="lines",result="arrived"} > 0')
                assert receiver.wrong == []
                check_faults(asked, store.url, worker, load)
        finally:
            worker.kill()
