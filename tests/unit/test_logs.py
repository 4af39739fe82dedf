"""Logs: JSON or lines for people, with the ids of what they are about, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._ports import free_ports
from config.settings import LogFormat, load_settings
from streams.runtime.logs import HIDDEN, JsonFormatter, TextFormatter, is_json, secrets_of
from tests.conftest import ROOT

KEY = "a-signing-key-of-thirty-two-chars!"
DELETION = "another-key-of-thirty-two-characters"


def record(message: str, *args: object, error: BaseException | None = None, **ids: object) -> logging.LogRecord:
    found = logging.makeLogRecord({"name": "streams.x", "levelname": "WARNING", "msg": message, "args": args, **ids})
    found.created = 1_717_405_964.031
    found.exc_info = None if error is None else (type(error), error, error.__traceback__)
    return found


def parsed(line: str) -> dict[str, Any]:
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_json_has_what_it_is_about() -> None:
    line = JsonFormatter().format(record("%d records\nof “é”", 3, partition=2, offset=17, event_id=None, reason="x y"))
    assert parsed(line) == {
        "time": "2024-06-03T09:12:44.031Z",
        "level": "warning",
        "logger": "streams.x",
        "message": "3 records\nof “é”",
        "partition": 2,
        "offset": 17,
        "event_id": None,
        "reason": "x y",
    }


def failed() -> BaseException:
    try:
        raise ValueError(f"the key is {KEY}")
    except ValueError as error:
        return error


def test_an_error_has_its_traceback_and_no_secret() -> None:
    found = parsed(JsonFormatter([KEY]).format(record("failed with %s", KEY, error=failed(), about=f"<{KEY}>")))
    assert found["message"] == f"failed with {HIDDEN}"
    assert found["error"].startswith("Traceback")
    assert found["error"].endswith(f"ValueError: the key is {HIDDEN}")
    assert found["about"] == f"<{HIDDEN}>"
    text = TextFormatter([KEY]).format(record("failed", error=failed(), about=KEY))
    assert KEY not in text
    assert "Traceback" in text


def test_a_line_for_people_has_the_ids_behind_it() -> None:
    line = TextFormatter().format(record("%s is odd", "this", partition=2, offset=17))
    assert line.endswith(" WARNING streams.x: this is odd [partition=2 offset=17]")
    assert TextFormatter().format(record("plain")).endswith(" WARNING streams.x: plain")


def test_what_a_server_says_once_more_for_a_terminal_is_left_out() -> None:
    said = record("Started server process [%d]", 7, color_message="Started server process [\033[36m%d\033[0m]")
    assert TextFormatter(()).format(said).endswith("Started server process [7]")
    assert "color_message" not in parsed(JsonFormatter(()).format(said))


@given(st.text(min_size=4, max_size=20), st.text(max_size=30), st.text(max_size=30))
def test_whatever_a_secret_is_made_of_it_shows_nowhere(secret: str, before: str, behind: str) -> None:
    words = f"{before}{secret}{behind}"
    for formatter in (JsonFormatter([secret]), TextFormatter([secret])):
        line = formatter.format(record("%s", words, about=words))
        shown = json.dumps(json.loads(line), ensure_ascii=False) if isinstance(formatter, JsonFormatter) else line
        assert line.count(HIDDEN) >= 2
        assert secret not in [shown, *(json.loads(line).values() if isinstance(formatter, JsonFormatter) else [])]
        assert words not in shown


def test_all_secrets_of_the_settings_are_known() -> None:
    settings = load_settings(
        redis_url="rediss://ann:hunter%402@valkey:6379/0?ssl_password=opensesame",
        signing_key=KEY,
        deletion_key=DELETION,
        api_key="tl_read_abcdef",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="PLAIN",
        kafka_username="ann",
        kafka_password="brokers",
    )
    expected = {"hunter%402", "hunter@2", "opensesame", KEY, DELETION, "tl_read_abcdef", "brokers"}
    assert secrets_of(settings) == expected
    assert secrets_of(load_settings()) == frozenset()
    assert "abc" not in secrets_of(load_settings(redis_url="redis://:abc@valkey:6379/0")), "too short to look for"


@pytest.mark.parametrize(("chosen", "expected"), [("auto", True), ("json", True), ("text", False)])
def test_a_pipe_gets_json_unless_something_else_is_chosen(chosen: LogFormat, expected: bool) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as stream:
        assert is_json(chosen, stream) is expected


def test_a_terminal_and_a_file_get_text_and_a_socket_json(tmp_path: Path) -> None:
    with (tmp_path / "worker.log").open("w") as file:
        assert not is_json("auto", file)
        assert is_json("json", file)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as terminal:
        assert not is_json("auto", terminal)
    assert not is_json("auto", io.StringIO())
    left, right = socket.socketpair()
    with left, right, os.fdopen(os.dup(left.fileno()), "w") as stream:
        assert is_json("auto", stream)


def test_a_process_that_cannot_start_says_so_in_one_line_of_json(tmp_path: Path) -> None:
    (store_port, port) = free_ports(2)
    with socket.create_server(("127.0.0.1", port)):
        store = f"redis://:hunter2secret@127.0.0.1:{store_port}/0"
        words = ["deliver", "--store", store, "--embedded", "--data-dir", str(tmp_path), "--port", str(port)]
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    lines = [parsed(line) for line in done.stderr.splitlines()]
    assert done.returncode == lines[-1]["exit_code"] == 2
    assert lines[-1]["level"] == "error"
    assert f"cannot listen at 127.0.0.1:{port}" in lines[-1]["message"]
    assert "hunter2secret" not in done.stderr + done.stdout
