"""Definitions over HTTP with real servers: what was answered is kept, through every kill; files go in and come out."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks._ports import free_ports
from config.loader import loads
from config.settings import Settings, load_settings
from streams.adapters.redis_definitions import RedisDefinitions
from streams.api.keys import Role
from streams.cli.app import app
from tests.conftest import SLOWNESS
from tests.contract.redis_servers import PERSISTENT, Server
from tests.integration.api_process import ApiProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
FILE = """
version: 1
name: Shop
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
"""
MADE = """
  returns: {name: Returns, goal: {did: Return, where: {kind: shoes}}, window: 30d}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
  loyal: {name: Loyal, filter: {all: [{segment: top}, {not: {segment: returns.high}}]}, min_dwell: 1h}
"""
WANTED = FILE[: FILE.index("segments:")].rstrip() + MADE


class World:
    """A store that forgets nothing, and an API that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store_port, self.api_port = free_ports(2)
        self.settings: Settings = load_settings(redis_url=f"redis://127.0.0.1:{self.store_port}/0", data_dir=folder)
        self.start_store()
        with closing(self.open()) as definitions:
            definitions.tell_file(loads(FILE))
        self.start_api()

    def open(self) -> RedisDefinitions:
        return RedisDefinitions(str(self.settings.redis_url))

    def start_store(self) -> None:
        self.store = Server(self.folder / "store", self.store_port, PERSISTENT)

    def start_api(self) -> None:
        self.api = ApiProcess(self.settings, self.folder / "api", self.api_port).__enter__()

    def kill_api(self) -> None:
        self.api.process.kill()
        self.api.process.wait(30)

    def ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        """The answer; status 0 where there was none."""
        given = {"Authorization": f"Bearer {self.api.keys[Role.WRITE]}", "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api.url + path, data, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10.0) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (OSError, ValueError):
            return 0, None

    def run(self, *args: str) -> tuple[int, str, str]:
        """A command that talks to the API."""
        env = {"TIDELINE_API_URL": self.api.url, "TIDELINE_API_KEY": self.api.keys[Role.WRITE], "COLUMNS": "200"}
        result = CliRunner().invoke(app, list(args), env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.kill_api()
    found.store.stop()


class Maker(threading.Thread):
    """Makes one segment after another, each with a name for its request, until each was answered."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.answered: dict[str, int] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            id_ = f"s{number}"
            body = {"id": id_, "name": f"Number {number}", "filter": {"segment": "top"}}
            status, answer = self._world.ask("POST", "/v1/segments", body, {"Idempotency-Key": id_})
            if status == 201:
                self.answered[id_] = answer["version"]
                number = (number + 1) % 250
            elif status in (401, 409):
                raise AssertionError(f"{status}: {answer}")  # 409 would be a second one of it
            else:
                self.stopping.wait(0.02)


def test_every_definition_that_was_answered_is_there_after_kills(world: World) -> None:
    maker = Maker(world)
    maker.start()
    try:
        for victim in ("api", "store", "api", "store"):
            before = len(maker.answered)
            deadline_s = time.monotonic() + 60.0 * SLOWNESS
            while len(maker.answered) < before + 10:
                assert maker.is_alive(), "it has failed"
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            if victim == "api":
                world.kill_api()
                world.start_api()
            else:
                world.store.stop()  # SIGKILL
                world.start_store()
    finally:
        maker.stopping.set()
        maker.join(60.0 * SLOWNESS)
    with closing(world.open()) as definitions:
        kept = {entry.id: entry.version for entry in definitions.kept().entries}
        assert len(maker.answered) >= 40
        assert maker.answered.items() <= kept.items()
        assert len(kept) <= len(maker.answered) + 1, "one may have been made and not answered"
        assert definitions.revision() == len(kept), "each was made once"
        assert [change.id for _, change in definitions.history(None, 1_000)] == list(kept)[::-1]


def test_a_file_is_planned_applied_and_exported(world: World, tmp_path: Path) -> None:
    path = tmp_path / "wanted.yaml"
    path.write_text(WANTED)
    code, out, _ = world.run("apply", str(path), "--plan")
    assert (code, "create" in out, "returns" in out, "loyal" in out) == (0, True, True, True)
    code, _, err = world.run("apply", str(path))
    assert (code, "--yes" in err) == (2, True)
    assert world.run("apply", str(path), "--yes")[0] == 0
    code, out, _ = world.run("apply", str(path), "--yes")
    assert (code, "Nothing to do: all 4 definitions" in out) == (0, True)
    code, exported, _ = world.run("export")
    assert (code, loads(exported)) == (0, loads(WANTED))
    copy = tmp_path / "copy.yaml"
    copy.write_text(exported)
    assert world.run("check", str(copy))[0] == 0
    assert "Nothing to do" in world.run("apply", str(copy))[1]
    path.write_text(WANTED.replace("30d", "14d").replace("  loyal:", "  devoted:"))
    code, out, _ = world.run("apply", str(path), "--yes")
    assert code == 0
    assert 'window: "30d", then "14d"' in out
    with closing(world.open()) as definitions:
        found = definitions.read()
        assert found.predictions["returns"].window_s == 14 * 86_400.0
        assert (found.segments["loyal"].archived, found.segments["devoted"].archived) == (True, False)
        assert definitions.revision() == 2


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (WANTED.replace("window: 7d", "window: 1d"), 1, "defines in another way: predictions.orders"),
        (WANTED.replace("segment: top}", "segment: nope}"), 2, "nope"),
        ("features: {traits: [country]}\n" + WANTED, 0, "other features"),
    ],
)
def test_what_cannot_be_applied_is_told(world: World, tmp_path: Path, text: str, code: int, words: str) -> None:
    path = tmp_path / "wanted.yaml"
    path.write_text(text)
    found, _, err = world.run("apply", str(path), "--yes")
    assert (found, words in " ".join(err.split())) == (code, True), err


def test_an_api_that_is_away_or_refuses_is_told(world: World, tmp_path: Path) -> None:
    path = tmp_path / "wanted.yaml"
    path.write_text(WANTED)
    code, _, err = world.run("apply", str(path), "--api", "http://127.0.0.1:9")
    assert (code, "no answer from http://127.0.0.1:9" in err) == (1, True)
    code, _, err = world.run("export", "--key", "tl_read_nope")
    assert (code, "no such key" in err) == (2, True)
    code, _, err = world.run("apply", str(path), "--key", world.api.keys[Role.READ])
    assert (code, "role write" in err) == (2, True)
