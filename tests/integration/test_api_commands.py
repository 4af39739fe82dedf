"""`tideline keys` and `tideline api` on the terminal, with the embedded store of a data directory."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks._ports import free_port
from streams.cli.app import app
from tests.conftest import ROOT
from tests.integration.worker_world import await_until


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "200", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    where = ["--data-dir", str(tmp_path)]
    code, out, err = run("keys", "create", "--role", "read", "--name", "dash [b]", *where)
    assert code == 0
    match = re.fullmatch(r"tl_read_([0-9a-f]{12})_([0-9a-f]{64})\n", out)
    assert match is not None
    assert (match[1] in err, match[2] in err) == (True, False)
    code, out, _ = run("keys", "list", *where)
    assert (code, "dash [b]" in out, match[1] in out, match[2] in out) == (0, True, True, False)
    assert run("keys", "revoke", match[1], *where)[0] == 0
    ((found),) = json.loads(run("keys", "list", "--json", *where)[1])
    assert (found["id"], found["role"], found["used_s"], found["revoked_s"] > 0) == (match[1], "read", None, True)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["keys", "create", "--role", "owner", "--name", "x"], 2, "admin"),
        (["keys", "create", "--role", "read", "--name", " "], 2, "--name"),
        (["keys", "revoke", "nothing"], 1, "no key with the id 'nothing'"),
        (["keys", "revoke", "0" * 12], 1, "no key with the id"),
    ],
)
def test_mistakes_with_keys_are_told(args: list[str], code: int, words: str, tmp_path: Path) -> None:
    found, out, err = run(*args, "--data-dir", str(tmp_path))
    assert (found, out) == (code, "")
    assert words in re.sub(r"[\s│]+", " ", err)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("api", "--data-dir", str(tmp_path), "--port", str(port))
    assert code == 1
    assert f"the API cannot listen at 127.0.0.1:{port}" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_without_a_key_and_says_how_to_make_one_and_stops_in_order(number: int, tmp_path: Path) -> None:
    port = free_port()

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5.0) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    log = tmp_path / "api.log"
    command = [sys.executable, "-m", "streams", "api", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        await_until(answers, "it answers", seconds=60.0)
        process.send_signal(number)
        assert process.wait(30) == 0, log.read_text()
    words = log.read_text()
    assert "There is no key yet" in words
    assert "tideline keys create" in words
    assert "Traceback" not in words
