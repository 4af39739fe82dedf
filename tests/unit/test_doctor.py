"""`tideline doctor` without servers: the machine, the settings, and servers that never answer."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.adapters.log_folder import LogFolder
from streams.runtime.doctor import machine
from streams.runtime.doctor.finding import judge_clock
from streams.runtime.doctor.log import check_embedded_log
from streams.runtime.doctor.machine import check_data_dir, check_packages, check_ports
from tests.conftest import SLOWNESS
from tests.integration.bad_input_world import command
from tests.unit.test_cli import CATALOG

GB = 1_000_000_000


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def look(*options: object) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and of every check its state and words."""
    code, out, err = command("doctor", "--json", *map(str, options))
    assert err == ""
    found = json.loads(out)
    assert found["ok"] == (code == 0)
    assert all(set(each) == {"check", "state", "words"} for each in found["checks"])
    return code, {each["check"]: (each["state"], each["words"]) for each in found["checks"]}


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's server, which may run on the machine, is asked."""
    for name in ("WEB_PORT", "API_PORT", "WEBHOOKS_PORT", "CAMPAIGNS_PORT"):
        monkeypatch.setenv(f"TIDELINE_{name}", str(free_port()))


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


# --- the whole -------------------------------------------------------------------------------------------------------


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(tmp_path: Path) -> None:
    data, catalog = tmp_path / "data", tmp_path / "shop.yaml"
    catalog.write_text(CATALOG)
    code, found = look("--data-dir", data, "--catalog", catalog)
    assert code == 0
    assert {state for state, _ in found.values()} == {"ok"}
    assert list(found)[:3] == ["packages", "settings", "data directory"]
    assert {"catalog", "log", "store", "deletion key", "disk"} < set(found)
    assert not data.exists()


def test_people_see_a_line_for_each_check_and_a_sum(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    code, out, _ = command("doctor", "--data-dir", data)
    assert code == 0
    assert "catalog: not looked at" in out
    assert f"chmod 700 {data}" in out
    assert out.splitlines()[-1].endswith("checks: 0 wrong, 1 warnings.")


def test_every_wrong_setting_is_told_and_nothing_else_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_SHARDZ", "3")
    monkeypatch.setenv("TIDELINE_SHARDS", "0")
    code, out, _ = command("doctor", "--json")
    wrong = [each["words"] for each in json.loads(out)["checks"] if each["state"] == "wrong"]
    assert code == 2
    assert [words.split(":")[0].split()[0] for words in wrong] == ["TIDELINE_SHARDZ", "TIDELINE_SHARDS"]
    assert "store" not in out


def test_every_problem_of_the_catalog_is_told(tmp_path: Path) -> None:
    catalog = tmp_path / "shop.yaml"
    catalog.write_text(CATALOG.replace("7d\n", "91d\n") + "  other: {}\n")
    code, out, _ = command("doctor", "--json", "--data-dir", tmp_path / "data", "--catalog", catalog)
    wrong = [each["words"] for each in json.loads(out)["checks"] if each["state"] == "wrong"]
    assert code == 2
    assert any("line 8, predictions.orders_7d.window" in words for words in wrong)
    assert len(wrong) > 1
    assert look("--data-dir", tmp_path / "data", "--catalog", tmp_path / "none.yaml")[0] == 2


def test_servers_that_never_answer_are_given_up(silent: str, tmp_path: Path) -> None:
    started_s = time.monotonic()
    options = ["--data-dir", tmp_path / "data", "--timeout", "1"]
    code, found = look("--kafka", silent, "--store", f"redis://{silent}/0", *options)
    assert (
        time.monotonic() - started_s < 15 * SLOWNESS
    )  # a tenth of it without a busy machine; patience elsewhere is 10 s and more
    assert code == 6
    assert found["Kafka"][0] == found["store"][0] == "wrong"
    assert silent in found["Kafka"][1]
    assert silent in found["store"][1]
    assert not {"topic events", "promise", "stored"} & set(found)


def test_nobody_there_is_told_with_what_to_check(tmp_path: Path) -> None:
    options = ["--data-dir", tmp_path / "data"]
    code, found = look("--embedded", "--store", "unix:///no/such/socket", *options)
    assert (code, found["store"][0]) == (4, "wrong")
    assert "Kafka" not in found
    code, found = look("--kafka", "localhost:1", *options)
    assert (code, found["Kafka"][0]) == (6, "wrong")
    assert "TIDELINE_KAFKA_BOOTSTRAP_SERVERS" in found["Kafka"][1]


def test_settings_say_which_log_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDELINE_KAFKA_BOOTSTRAP_SERVERS", "localhost:1")
    assert "Kafka" in look("--data-dir", tmp_path / "data")[1]
    assert "Kafka" not in look("--data-dir", tmp_path / "data", "--embedded")[1]


def test_a_bug_in_a_check_is_no_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: object) -> Iterator[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr("streams.runtime.doctor.examine.check_store", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(RuntimeError, match="a bug in the checks of store"):
        command("doctor", "--data-dir", tmp_path / "data")


# --- packages --------------------------------------------------------------------------------------------------------


def test_packages_that_are_old_or_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    assert check_packages().state == "ok"

    def version(name: str) -> str:
        if name == "river":
            raise metadata.PackageNotFoundError
        return "1.26.4" if name == "numpy" else real(name)

    monkeypatch.setattr(machine, "version", version)
    found = check_packages()
    assert (found.state, found.exit_code) == ("wrong", 1)
    assert "numpy 1.26.4 is older than 2.1" in found.words
    assert "river is not installed" in found.words
    assert "pyarrow" not in found.words


# --- data directory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "state"), [(6 * GB, "ok"), (4 * GB, "warning"), (GB // 4, "wrong")])
def test_a_disk_that_gets_full_is_told(free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10 * GB, 10 * GB - free, free))
    (found,) = [each for each in check_data_dir(tmp_path / "not" / "yet") if each.check == "disk"]
    assert (found.state, found.exit_code) == (state, 3 if state == "wrong" else 0)


def test_a_data_directory_that_cannot_be_one_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        (found,) = check_data_dir(place)
        assert (found.state, found.exit_code) == ("wrong", 3)
    monkeypatch.setattr("os.access", lambda *_: False)
    (found,) = check_data_dir(tmp_path)
    assert found.state == "wrong"
    assert "cannot write" in found.words


# --- ports -----------------------------------------------------------------------------------------------------------


def test_a_port_of_another_program_is_told(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ANSWER_S", 0.1)
    monkeypatch.setenv("TIDELINE_WEB_PORT", silent.split(":")[1])
    monkeypatch.setenv("TIDELINE_CAMPAIGNS_PORT", silent.split(":")[1])
    worker, api, deliveries, campaigns = check_ports(load_settings())
    assert [each.state for each in (worker, api, deliveries, campaigns)] == ["warning", "ok", "ok", "warning"]
    assert "TIDELINE_WEB_PORT" in worker.words
    assert "TIDELINE_CAMPAIGNS_PORT" in campaigns.words


@pytest.mark.parametrize(
    ("body", "state"), [('{"alive": true}', "ok"), ('{"status":"ok"}', "ok"), ("hello", "warning")]
)
def test_a_port_at_which_tideline_answers_is_right(body: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/healthz"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("TIDELINE_API_PORT", str(server.server_port))
        (found,) = [each for each in check_ports(load_settings()) if each.check == "port of the API"]
        thread.join()
    assert found.state == state


def test_an_address_of_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_WEB_HOST", "192.0.2.1")
    worker, *_ = check_ports(load_settings())
    assert worker.state == "warning"


# --- clock and log ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "state", "words"),
    [
        (1.9, "ok", "within"),
        (-3.0, "warning", "3 s behind"),
        (59.0, "warning", "ahead of"),
        (-61.0, "wrong", "61 s behind"),
    ],
)
def test_a_clock_that_differs_is_told(ahead_s: float, state: str, words: str) -> None:
    from config.errors import StoreError

    found = judge_clock("clock", "the server", ahead_s, StoreError)
    assert (found.state, found.exit_code) == (state, 4 if state == "wrong" else 0)
    assert words in found.words


def test_a_log_that_gets_full_or_is_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LogFolder.make(tmp_path / "log", 3)
    part = folder.partition("events", 2)
    part.mkdir(parents=True)
    (part / "segment").write_bytes(b"x" * 900)
    monkeypatch.setenv("TIDELINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TIDELINE_LOG_MAX_GB", "1e-6")
    log, events = check_embedded_log(load_settings())
    assert (log.state, events.check, events.state) == ("ok", "topic events", "warning")
    assert "3 partitions" in log.words
    (folder.path / "partitions").write_text("many\n")
    (log,) = check_embedded_log(load_settings())
    assert (log.state, log.exit_code) == ("wrong", 6)
