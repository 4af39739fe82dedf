"""The stream over HTTP: a process of its own, an embedded log, connections that are real."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks._ports import free_port
from config.settings import Settings, load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from tests.conftest import SLOWNESS
from tests.integration.api_process import ApiProcess
from tests.integration.worker_world import await_until
from tests.unit.crossing_examples import crossing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
SHARDS = 2


class Stream:
    """One client's connection."""

    def __init__(self, api: ApiProcess, query: str = "", last_id: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", int(api.url.rpartition(":")[2]), timeout=30.0)
        headers = {"Authorization": f"Bearer {api.keys[Role.READ]}"}
        self._connection.request(
            "GET", f"/v1/stream?{query}", headers=headers | ({} if last_id is None else {"Last-Event-ID": last_id})
        )
        self.answer = self._connection.getresponse()
        assert self.answer.status == 200
        assert self.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        self.last_id = ""

    def blocks(self) -> Iterator[dict[str, str]]:
        """Fields of the events as they come, until the end."""
        fields: dict[str, str] = {}
        while line := self.answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                self.last_id = fields.get("id", self.last_id)
            elif fields:
                yield fields
                fields = {}

    def next_ids(self, count: int) -> list[int]:
        """Of so many transitions."""
        found = []
        for block in self.blocks():
            if block.get("event") == "transition":
                found.append(int(json.loads(block["data"])["id"], 16))
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        self._connection.close()


@contextmanager
def running(tmp_path: Path) -> Iterator[tuple[ApiProcess, LogFolder]]:
    port = free_port()
    folder = LogFolder.make(tmp_path / LOG_FOLDER, SHARDS)
    with EmbeddedValkey(tmp_path / "store") as store:
        settings: Settings = load_settings(redis_url=store.url, data_dir=tmp_path)
        with ApiProcess(settings, tmp_path, port) as api:
            yield api, folder


def put(folder: LogFolder, partition: int, *numbers: int) -> None:
    with closing(PartitionWriter(folder.partition("segment-events", partition))) as writer:
        writer.append([(b"ann", crossing(number)) for number in numbers])


def test_it_goes_on_from_an_id_and_ends_in_order(tmp_path: Path) -> None:
    with running(tmp_path) as (api, folder):
        put(folder, 0, 1, 2)
        with closing(Stream(api, "from=start")) as stream:
            assert stream.next_ids(2) == [1, 2]
            put(folder, 1, 3)
            assert stream.next_ids(1) == [3]
        put(folder, 0, 4)
        with closing(Stream(api, last_id=stream.last_id)) as again:
            assert again.next_ids(1) == [4]
            began_s = time.monotonic()
            api.process.terminate()
            assert [block["event"] for block in again.blocks() if "event" in block] == ["closing"]
            assert api.process.wait(30 * SLOWNESS) == 0
            assert time.monotonic() - began_s < 10.0 * SLOWNESS, "streams are not waited for"


def test_a_client_that_reads_nothing_is_let_go_and_costs_little(tmp_path: Path) -> None:
    with running(tmp_path) as (api, folder):
        with closing(Stream(api, "from=start")) as stream:
            await_until(lambda: metric(api, "tideline_api_streams") == 1.0, "the stream is counted", seconds=10.0)
            for start in range(0, 20_000, 1_000):
                put(folder, 0, *range(start, start + 1_000))
            assert memory_mb(api) < 400.0
            await_until(lambda: metric(api, "tideline_api_streams_dropped_total") == 1.0, "it is dropped", seconds=60.0)
            assert metric(api, "tideline_api_streams") == 0.0
            had = sum(1 for block in readable(stream) if block.get("event") == "transition")
            assert had < 20_000
        assert "Traceback" not in api.words()


def readable(stream: Stream) -> Iterator[dict[str, str]]:
    """What is in the buffers of the system still."""
    try:
        yield from stream.blocks()
    except (http.client.IncompleteRead, ConnectionResetError):
        return


def metric(api: ApiProcess, name: str) -> float:
    request = http.client.HTTPConnection("127.0.0.1", int(api.url.rpartition(":")[2]), timeout=30.0)
    with closing(request):
        request.request("GET", "/metrics", headers={"Authorization": f"Bearer {api.keys[Role.READ]}"})
        lines = request.getresponse().read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def memory_mb(api: ApiProcess) -> float:
    text = Path(f"/proc/{api.process.pid}/status").read_text()
    return next(float(line.split()[1]) / 1_000 for line in text.splitlines() if line.startswith("VmRSS"))
