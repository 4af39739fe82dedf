"""Segment's own client for Python, unmodified, sends events through the API, and every one of them is scored once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from streams.runtime.kafka.watch import follow
from tests.conftest import need
from tests.integration.api_process import ApiProcess
from tests.integration.kafka_world import KafkaWorld
from tests.integration.worker_world import WorkerWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EVENTS, USERS, SHARDS = 10_000, 500, 3
SDK = Path(sys.prefix) / "segment-sdk"

# What a shop's server would do. Every tenth event is given twice, as a shop may do whose own queue repeats.
SENDER = """
import json, sys
from segment.analytics.client import Client
key, host, count, users, packed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "gzip"
failed = []
note = lambda error, batch: failed.append(str(error))
client = Client(key, host=host, gzip=packed, max_queue_size=2 * count, on_error=note)
for number in range(count):
    for _ in range(2 if number % 10 == 0 else 1):
        client.track(f"user-{number % users}", "Product Viewed", {"number": number}, message_id=f"m-{number}")
client.flush()
client.join()
print(json.dumps(failed))
"""


class Forgetful(ThreadingHTTPServer):
    """In front of an API: one of every `EVERY` answers is lost, when the events were taken, so the SDK asks again.

    Use as a context manager.
    """

    EVERY = 5
    daemon_threads = True

    def __init__(self, api: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.api = api
        self.asked = 0
        self.lost = 0
        self._lock = threading.Lock()

    def loses(self) -> bool:
        """Whether the next answer is lost."""
        with self._lock:
            self.asked += 1
            is_lost = self.asked % self.EVERY == 0
            self.lost += is_lost
            return is_lost

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Forgetful

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        given = {name: value for name, value in self.headers.items() if name not in ("Host", "Content-Length")}
        with urllib.request.urlopen(
            urllib.request.Request(self.server.api + self.path, body, given), timeout=60
        ) as got:
            status, answer = got.status, got.read()
        if self.server.loses():
            status, answer = 503, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing into the output of tests."""


def send(api: ApiProcess, *, packed: bool) -> int:
    """Returns how many answers were lost."""
    with Forgetful(api.url) as between:
        _send(api.keys[Role.INGEST], f"http://127.0.0.1:{between.server_port}", packed=packed)
    return between.lost


def _send(key: str, url: str, *, packed: bool) -> None:
    need((SDK / "segment").is_dir(), "Segment's SDK", "make install")
    words = [key, url, str(EVENTS), str(USERS), "gzip" if packed else "plain"]
    environment = {**os.environ, "PYTHONPATH": str(SDK)}
    done = subprocess.run(
        [sys.executable, "-c", SENDER, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


def check_ids(events: list[bytes]) -> None:
    """Every event is there, and the ones that came twice with one id."""
    found = [json.loads(event)["messageId"] for event in events]
    assert set(found) == {f"m-{number}" for number in range(EVENTS)}
    assert len(found) > EVENTS + EVENTS // 10, "what was given twice, and what was sent again"


def members(api: ApiProcess, segment: str) -> Iterator[str]:
    """All of them, page by page."""
    page = api.get(f"/v1/segments/{segment}/members?limit=50")
    while True:
        yield from (member["user_id"] for member in page["items"])
        if page["next_cursor"] is None:
            return
        page = api.get(f"/v1/segments/{segment}/members?limit=50&cursor={page['next_cursor']}")


def test_the_embedded_log_has_every_event(valkey: EmbeddedValkey, tmp_path: Path, port: int) -> None:
    settings = load_settings(redis_url=valkey.url, data_dir=tmp_path / "data", shards=2)
    with ApiProcess(settings, tmp_path / "data", port) as api:
        assert send(api, packed=True) > 10
    log = LogFolder.find(tmp_path / "data")
    assert log.path == tmp_path / "data" / LOG_FOLDER
    events: list[bytes] = []
    for number in range(2):
        reader = PartitionReader(log.partition("events", number))
        at = reader.begin
        while at < reader.end:
            entries = reader.read(at, 1_000)
            events += [entry.value for entry in entries]
            at = entries[-1].offset + 1
        reader.close()
    check_ids(events)


def test_workers_score_every_event_once(
    kafka_world: KafkaWorld, valkey: EmbeddedValkey, tmp_path: Path, port: int
) -> None:
    settings = kafka_world.settings(shards=SHARDS, redis_url=valkey.url, api_log="kafka")
    world = WorkerWorld(settings, tmp_path)
    try:
        world.make_topics()
        with ApiProcess(settings, tmp_path / "api", port) as api:
            worker = world.start_working("worker")
            assert send(api, packed=False) > 10
            world.await_end(seconds=240)
            topic = settings.topic("events")
            check_ids([seen.raw for seen in follow(settings, topic, from_start=True, limit=sum(world.ends("events")))])
            for user in range(0, USERS, 7):
                (counted,) = api.get(f"/v1/users/user-{user}")["events"]
                assert (counted["name"], counted["total"]) == ("Product Viewed", EVENTS // USERS)
            busy = api.get("/v1/segments/busy")
            assert busy["members"] == USERS  # over all three shards
            assert set(members(api, "busy")) == {f"user-{number}" for number in range(USERS)}
            items = api.get("/v1/predictions")["items"]
            assert [item["id"] for item in items] == ["views_1d", "orders_2d", "gone_1d"]
        worker.stop()
    finally:
        world.close()
