"""`tideline api` as a process of its own, with a key of each role."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from config.settings import Settings
from streams.adapters.redis_api_keys import RedisApiKeys
from streams.api.keys import Role, make_key
from tests.conftest import ROOT, SLOWNESS
from tests.integration.worker_world import await_until, environment


class ApiProcess:
    """One API on the store of the settings. Use as a context manager; it ends with SIGTERM, and has to with code 0."""

    def __init__(
        self, settings: Settings, folder: Path, port: int, *, program: Sequence[str] = (sys.executable, "-m", "streams")
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "api.log"
        self._settings = settings
        self._command = [*program, "api", "--port", str(port), "--data-dir", str(folder)]
        self.keys: dict[Role, str] = {}

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        store = RedisApiKeys(str(self._settings.redis_url), prefix=self._settings.key_prefix)
        for role in Role:
            self.keys[role], record = make_key(role, "a test", time.time())
            store.add(record)
        store.close()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        await_until(self._is_ready, "the API is ready", seconds=60.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        code = self.process.wait(60 * SLOWNESS)
        assert code == 0, self.words()

    def get(self, path: str, role: Role = Role.READ) -> Any:
        """The answer to a question, from JSON."""
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, headers=headers), timeout=30 * SLOWNESS
        ) as reply:
            return msgspec.json.decode(reply.read())

    def post(self, path: str, body: Any, role: Role = Role.WRITE, **more: str) -> Any:
        """The answer to a request with a body, from JSON; both are JSON. `more`: further headers."""
        return self._send("POST", path, body, role, more)

    def put(self, path: str, body: Any, role: Role = Role.WRITE) -> Any:
        """As `post`."""
        return self._send("PUT", path, body, role, {})

    def delete(self, path: str, role: Role = Role.WRITE) -> None:
        """What it answers has no body that anybody looks at."""
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        asked = urllib.request.Request(self.url + path, headers=headers, method="DELETE")
        urllib.request.urlopen(asked, timeout=30 * SLOWNESS).close()

    def _send(self, method: str, path: str, body: Any, role: Role, more: Mapping[str, str]) -> Any:
        headers = {"Authorization": f"Bearer {self.keys[role]}", "Content-Type": "application/json", **more}
        asked = urllib.request.Request(self.url + path, msgspec.json.encode(body), headers, method=method)
        with urllib.request.urlopen(asked, timeout=30 * SLOWNESS) as reply:
            return msgspec.json.decode(reply.read())

    def words(self) -> str:
        """All it has said."""
        return self.log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.words()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5.0) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False
