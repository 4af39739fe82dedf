"""A real Prometheus reads a worker and an API while events come in, and works out every rule."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from config.settings import load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.owned_process import OwnedProcess
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from tests.conftest import need
from tests.contract.redis_servers import free_ports
from tests.integration.api_process import ApiProcess
from tests.integration.worker_world import CATALOG, WorkerProcess, await_until
from tests.unit.test_alerts import RECORDED, RULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WITHOUT_DELIVERIES = {record for record in RECORDED if not record.startswith("tideline:webhooks_")}


class Prometheus:
    """One that runs, asked by its own API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """What it answers; None while it does not."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=10) as reply:
                found = msgspec.json.decode(reply.read())
        except (urllib.error.URLError, ConnectionError):
            return None
        assert found["status"] == "success"
        return found["data"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with how it went the last time."""
        found = self.ask("rules") or {"groups": []}
        return [rule for group in found["groups"] for rule in group["rules"]]

    def up(self) -> set[str]:
        """The jobs whose targets answered the last time."""
        found = self.ask("targets") or {"activeTargets": []}
        return {each["labels"]["job"] for each in found["activeTargets"] if each["health"] == "up"}

    def has_data(self, query: str) -> bool:
        """Whether a query has a result."""
        found = self.ask("query", query=query)
        return found is not None and bool(found["result"])


@contextmanager
def prometheus(folder: Path, worker: WorkerProcess, api: ApiProcess) -> Iterator[Prometheus]:
    """It scrapes both every second, with the rules of the service."""
    program = shutil.which("prometheus")
    need(program, "prometheus", "apt-get install prometheus")
    key = folder / "api.key"
    key.write_text(api.keys[Role.READ])
    jobs = [
        {"job_name": "tideline-worker", "static_configs": [{"targets": [f"127.0.0.1:{worker.port}"]}]},
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


def send(api: ApiProcess, number: int) -> None:
    """Ten events over HTTP."""
    batch = [
        {"type": "track", "userId": f"u{n}", "event": "Product Viewed", "messageId": f"m{number}-{n}"}
        for n in range(10)
    ]
    headers = {"Authorization": f"Bearer {api.keys[Role.INGEST]}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{api.url}/v1/batch", json.dumps({"batch": batch}).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.status == 200


def test_prometheus_reads_a_service_and_works_out_every_rule(tmp_path: Path) -> None:
    catalog, data = tmp_path / "catalog.yaml", tmp_path / "data"
    catalog.write_text(CATALOG)
    LogFolder.make(data / LOG_FOLDER, 1)
    with EmbeddedValkey(tmp_path / "store") as store:
        settings = load_settings(redis_url=store.url, data_dir=data)
        worker = WorkerProcess(settings, catalog, tmp_path, "worker", "--embedded", data_dir=data)
        try:
            with ApiProcess(settings, data, free_ports(1)[0]) as api, prometheus(tmp_path, worker, api) as asked:
                await_until(worker.is_working, "it works", seconds=120.0, watched=[worker])
                await_until(lambda: asked.up() == {"tideline-worker", "tideline-api"}, "both are read", seconds=60.0)
                numbers = count()

                def has_all() -> bool:
                    send(api, next(numbers))
                    return all(map(asked.has_data, WITHOUT_DELIVERIES))

                await_until(has_all, "every recording rule has data", seconds=60.0, watched=[worker])
                rules = asked.rules()
                assert {rule["name"] for rule in rules} > WITHOUT_DELIVERIES
                assert {rule["health"] for rule in rules} == {"ok"}, rules
                assert asked.has_data('tideline_users{job="tideline-worker"} > 0')
                assert asked.has_data('tideline_api_events_total{job="tideline-api",result="accepted"} > 0')
        finally:
            worker.kill()
