"""`tideline up`: everything on one machine, looked after, with data that are there again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest

from config.errors import TidelineError
from config.settings import load_settings
from streams.runtime.up import StorePart, UpJob, WorkerPart
from tests.conftest import ROOT
from tests.integration.kafka_world import LEFT_SOCKETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420), LEFT_SOCKETS]
PATIENCE_S = 180.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Up:
    """A running `tideline up`, and what it says."""

    def __init__(self, data_dir: Path, port: int) -> None:
        command = [sys.executable, "-m", "streams", "up", "--catalog", "examples/shop/catalog.yaml", "--kafka"]
        command += ["--shards", "2", "--data-dir", str(data_dir), "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self._lines: Queue[str] = Queue()
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line from now on that the pattern is found in."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except Empty:
                pytest.fail(f"{pattern!r} was not said: {''.join(self.said)}")
            self.said.append(line)
            if (found := re.search(pattern, line)) is not None:
                return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(data_dir: Path, port: int) -> Iterator[tuple[Up, str]]:
    """With the address of its Kafka."""
    up = Up(data_dir, port)
    try:
        address = up.wait_for(r"KAFKA_BOOTSTRAP_SERVERS=(\S+)")[1]
        up.wait_for("tail segment-events")
        yield up, address
    finally:
        up.close()


def tideline(address: str, *args: str) -> str:
    environment = {**os.environ, "TIDELINE_KAFKA_BOOTSTRAP_SERVERS": address, "TIDELINE_SHARDS": "2"}
    command = [sys.executable, "-m", "streams", *args]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lag_is_gone(address: str) -> bool:
    return '"lag": 0' in tideline(address, "lag", "--json")


def pids(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


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


def test_without_kafka_it_says_what_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streams", "up", "-c", "examples/shop/catalog.yaml", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--kafka" in done.stderr


def test_another_program_on_the_port_is_not_taken_for_the_worker(tmp_path: Path) -> None:
    settings = load_settings(web_port=free_port())
    worker = WorkerPart(UpJob(settings, tmp_path / "none.yaml", tmp_path, tmp_path), StorePart(tmp_path), None)  # type: ignore[arg-type]
    refused = pytest.raises(TidelineError, match=f"cannot listen at 127.0.0.1:{settings.web_port}")
    with socket.create_server(("127.0.0.1", settings.web_port)), refused:
        worker.start(threading.Event())
    assert worker.ended() is None
