"""A running `tideline up`, for tests that talk to it, listen to it, and kill its parts."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue

import pytest

from benchmarks._ports import free_port
from tests.conftest import ROOT, SLOWNESS

PATIENCE_S = 180.0 * SLOWNESS


class Service:
    """A running command that stays, and what it says."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """`env`: None for that of this process."""
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
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


class Up(Service):
    """A running `tideline up`."""

    def __init__(
        self, data_dir: Path, port: int, catalog: str, *options: str, env: Mapping[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", "streams", "up", "--catalog", catalog, *options]
        self.api = f"http://127.0.0.1:{(api_port := free_port())}"
        command += ["--shards", "2", "--data-dir", str(data_dir), "--port", str(port), "--api-port", str(api_port)]
        command += ["--webhooks-port", str(free_port()), "--campaigns-port", str(free_port())]
        super().__init__(command, env)


def pids(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
