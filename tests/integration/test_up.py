"""`tideline up`: everything on one machine, looked after, with data that are there again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks._ports import free_port
from config.errors import TidelineError
from config.settings import load_settings
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.runtime.up_parts import StorePart, UpJob, WorkerPart
from tests.conftest import ROOT
from tests.integration.up_world import Up, pids
from tests.integration.worker_world import CATALOG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@contextmanager
def running(data_dir: Path, port: int) -> Iterator[tuple[Up, str]]:
    """With the address of its Kafka."""
    up = Up(data_dir, port, "examples/shop/catalog.yaml", "--kafka")
    try:
        address = up.wait_for(r"KAFKA_BOOTSTRAP_SERVERS=(\S+)")[1]
        up.wait_for("tail segment-events")
        yield up, address
    finally:
        up.close()


@contextmanager
def running_without_kafka(data_dir: Path, port: int) -> Iterator[Up]:
    catalog = data_dir / "catalog.yaml"
    catalog.write_text(CATALOG)
    up = Up(data_dir, port, str(catalog))
    try:
        yield up
    finally:
        up.close()


def tideline(address: str | None, *args: str) -> str:
    """What a command says, with the settings of that Kafka if there is one."""
    environment = dict(os.environ)
    if address is not None:
        environment |= {"TIDELINE_KAFKA_BOOTSTRAP_SERVERS": address, "TIDELINE_SHARDS": "2"}
    command = [sys.executable, "-m", "streams", *args]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lag_is_gone(address: str) -> bool:
    return '"lag": 0' in tideline(address, "lag", "--json")


def test_it_works_is_looked_after_and_has_its_data_again(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port) as (up, address):
        tideline(address, "simulate", "--users", "50", "--days", "5", "--out", "kafka")
        (worker,) = pids(f"streams worker .*--port {port} ")
        os.kill(worker, signal.SIGKILL)
        up.wait_for(r"The worker has ended \(status -9\)")
        up.wait_for("The worker runs again")
        for server in pids(f"valkey-server.*{tmp_path}"):
            os.kill(server, signal.SIGKILL)
        up.wait_for("The store has ended")
        up.wait_for("The store runs again")
        deadline = threading.Event()
        while not lag_is_gone(address):
            assert not deadline.wait(0.5)
        assert up.stop() == 0
    assert pids(f"valkey-server.*{tmp_path}") == []
    assert pids(f"streams worker .*--port {port} ") == []
    with running(tmp_path, port) as (up, again):
        assert again == address, "Kafka keeps its port"
        assert '"end": 0' not in tideline(again, "lag", "--json")
        assert up.stop() == 0


def test_without_kafka_it_has_a_log_of_its_own_and_nothing_is_lost(tmp_path: Path) -> None:
    port, where = free_port(), ("--data-dir", str(tmp_path))

    def lags() -> tuple[int, int]:
        """Records in the log, and those that are not worked yet."""
        found = json.loads(tideline(None, "lag", "--json", *where))
        return sum(partition["end"] for partition in found["partitions"]), found["lag"]

    def transitions() -> list[str]:
        log, found = LogFolder.find(tmp_path), []
        for number in range(log.shards):
            reader = PartitionReader(log.partition("segment-events", number))
            found += [json.loads(entry.value)["id"] for entry in reader.read(0, 1_000_000)]
            reader.close()
        return found

    with running_without_kafka(tmp_path, port) as up:
        up.wait_for("tail segment-events")
        tideline(None, "simulate", "--users", "150", "--days", "20", "--start", "2024-01-01", "--out", "log", *where)
        (worker,) = pids(f"streams worker .*--port {port} ")
        os.kill(worker, signal.SIGKILL)
        up.wait_for(r"The worker has ended \(status -9\)")
        up.wait_for("The worker runs again")
        pause = threading.Event()
        while lags()[1]:
            assert not pause.wait(0.5)
        events, _ = lags()
        assert up.stop() == 0
    first = transitions()
    assert events > 1_000
    assert first
    assert pids(f"valkey-server.*{tmp_path}") == []
    assert pids(f"streams worker .*--port {port} ") == []
    more = ("--users", "150", "--days", "20", "--start", "2024-01-21", "--seed", "2")
    tideline(None, "simulate", *more, "--out", "log", *where)
    with running_without_kafka(tmp_path, port) as up:
        up.wait_for("tail segment-events")
        while lags()[1]:
            assert not pause.wait(0.5)
        assert lags()[0] > events
        seen = tideline(
            None, "tail", "segment-events", "--from-start", "--limit", str(len(first) + 1), "--json", *where
        )
        assert len({json.loads(line)["id"] for line in seen.splitlines()}) == len(first) + 1, "and more came"
        assert up.stop() == 0
    assert set(first) < set(transitions())


def test_the_api_runs_beside_the_worker_and_its_first_key_is_shown_once(tmp_path: Path) -> None:
    port = free_port()
    with running_without_kafka(tmp_path, port) as up:
        assert up.wait_for(r"API +(\S+), ")[1] == up.api
        key = up.wait_for(r"^ +(tl_admin_\S+)")[1]
        assert up.wait_for(r"^  KEY=(\S+)")[1] == key
        up.wait_for("tail segment-events")
        assert ask(up.api, "/readyz")["ready"]
        assert "no key" not in (tmp_path / "api.log").read_text(), "it is made before the API looks"
        assert ask(up.api, "/v1/track", key, {"userId": "ann", "event": "Order Completed"})["accepted"] == 1
        (api,) = pids(f"streams api .*--data-dir {tmp_path}")
        os.kill(api, signal.SIGKILL)
        up.wait_for(r"The API has ended \(status -9\)")
        up.wait_for("The API runs again")
        assert ask(up.api, "/v1/track", key, {"userId": "ann", "event": "Order Completed"})["accepted"] == 1
        assert up.stop() == 0
    assert pids(f"streams api .*--data-dir {tmp_path}") == []
    with running_without_kafka(tmp_path, port) as up:
        up.wait_for("keys +those that were made before")
        up.wait_for("tail segment-events")
        assert not any("tl_admin_" in line for line in up.said)
        assert ask(up.api, "/v1/track", key, {"userId": "ann", "event": "Order Completed"})["accepted"] == 1
        assert up.stop() == 0
    events = LogFolder.find(tmp_path)
    readers = [PartitionReader(events.partition("events", number)) for number in range(events.shards)]
    assert sum(reader.end for reader in readers) == 3
    for reader in readers:
        reader.close()


def ask(api: str, path: str, key: str = "", call: object = None) -> dict[str, object]:
    """What the API answers; it fails for a refusal."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if call is None else json.dumps(call).encode()
    with urllib.request.urlopen(urllib.request.Request(api + path, data, headers), timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def test_another_program_on_the_port_is_not_taken_for_the_worker(tmp_path: Path) -> None:
    settings = load_settings(web_port=free_port())
    worker = WorkerPart(UpJob(settings, tmp_path / "none.yaml", tmp_path, tmp_path), StorePart(tmp_path), None)
    refused = pytest.raises(TidelineError, match=f"cannot listen at 127.0.0.1:{settings.web_port}")
    with socket.create_server(("127.0.0.1", settings.web_port)), refused:
        worker.start(threading.Event())
    assert worker.ended() is None


def test_a_worker_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    class Store(StorePart):
        url = "redis://127.0.0.1:1/0"

    settings, folder = load_settings(web_port=free_port()), tmp_path / "none"
    worker = WorkerPart(UpJob(settings, tmp_path / "none.yaml", folder, tmp_path), Store(tmp_path), None)
    with pytest.raises(TidelineError, match=r"the worker cannot be run: .*none/worker\.log"):
        worker.start(threading.Event())
