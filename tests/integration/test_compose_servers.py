"""The servers of docker-compose.yml, started without containers with just what it tells them.

Kafka's image makes its configuration from the environment, by a program that is part of Kafka and so is here too.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streams.adapters.kafka_jars import java, kafka_jars
from streams.adapters.kafka_server import QUICK_JVM, _answers, _free_port
from streams.adapters.owned_process import OwnedProcess
from streams.adapters.valkey_server import _binary
from tests.integration.bad_input_world import command
from tests.integration.kafka_world import CACHE
from tests.unit.deploy_world import PASSWORDS, compose, service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

START_S = 120.0


def wait_until(process: OwnedProcess, is_ready: Any) -> None:
    """Until a server answers; fails with its last words when it ends, or does not answer."""
    deadline_s = time.monotonic() + START_S
    while not is_ready():
        if process.ended.wait(0.02) or time.monotonic() > deadline_s:
            pytest.fail(f"does not start{process.last_words()}")


# --- Valkey ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server with the configuration of docker-compose.yml, but for its place."""
    text = compose()["configs"]["valkey"]["content"]
    (target,) = [each["target"] for each in service("valkey")["configs"] if each["source"] == "valkey"]
    assert service("valkey")["command"] == ["valkey-server", target]
    own, places = re.subn(r"(?m)^(dir|port|bind) .*$", "", text)
    assert places == 3
    (tmp_path / "valkey.conf").write_text(f"{own}\ndir {tmp_path}\nport 0\nunixsocket {tmp_path}/socket\n")
    process = OwnedProcess("valkey", [str(_binary()), str(tmp_path / "valkey.conf")], log=tmp_path / "log")
    process.start(folder=tmp_path)
    try:
        wait_until(process, (tmp_path / "socket").exists)
        yield tmp_path / "socket"
    finally:
        process.stop(10)


def test_valkey_forgets_nothing_and_evicts_nobody(valkey: Path) -> None:
    with redis.Redis(unix_socket_path=str(valkey), password=PASSWORDS["VALKEY_PASSWORD"], decode_responses=True) as r:
        found = {name: r.config_get(name)[name] for name in ("appendonly", "appendfsync", "save", "maxmemory-policy")}
        assert found == {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        assert int(r.config_get("maxmemory")["maxmemory"]) == 2 << 30
        assert r.set("tl:x", "1")
    assert any((valkey.parent / "appendonlydir").glob("*.incr.aof"))


def test_valkey_lets_nobody_in_without_the_password(valkey: Path) -> None:
    with (
        redis.Redis(unix_socket_path=str(valkey)) as r,
        pytest.raises(redis.AuthenticationError),
    ):
        r.ping()


# --- Kafka -----------------------------------------------------------------------------------------------------------


def environment(folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Kafka's environment with free ports of this machine; and those ports by the name of the listener."""
    taken: set[int] = set()
    ports = {name: _free_port(0, taken) for name in ("INSIDE", "CONTROLLER", "HOST")}
    by_old = {"9092": ports["INSIDE"], "9093": ports["CONTROLLER"], "29092": ports["HOST"]}
    found = {}
    for name, value in service("kafka")["environment"].items():
        local = value.replace("://:", "://127.0.0.1:").replace("kafka:", "127.0.0.1:")
        found[name] = re.sub(r"(?<=:)\d{4,5}\b", lambda port: str(by_old[port[0]]), local)
    found["KAFKA_LOG_DIRS"] = str(folder / "data")
    return found, ports


def java_command(program: str, *arguments: str) -> list[str]:
    return [str(java()), *QUICK_JVM, "-cp", os.pathsep.join(map(str, kafka_jars(CACHE))), program, *arguments]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Ports of a broker with the environment of docker-compose.yml."""
    folder = tmp_path_factory.mktemp("compose-kafka")
    for name in ("default", "mounted", "final"):
        (folder / name).mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "default" / name).touch()
    variables, ports = environment(folder)
    options = [f"--{name}-configs-dir={folder / name}" for name in ("default", "mounted", "final")]
    made = java_command("kafka.docker.KafkaDockerWrapper", "setup", *options)
    done = subprocess.run(made, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    broker = java_command("kafka.Kafka", str(folder / "final" / "server.properties"))
    process = OwnedProcess("kafka", broker, log=folder / "log")
    process.start(folder=folder)
    try:
        wait_until(process, lambda: all(_answers(port) for port in ports.values()))
        yield ports
    finally:
        process.stop(30)


@pytest.mark.parametrize("listener", ["INSIDE", "HOST"])
def test_topics_are_made_as_the_workers_need_them(
    listener: str, kafka: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in service("topics")["environment"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("TIDELINE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{kafka[listener]}")
    monkeypatch.setenv("TIDELINE_KAFKA_TOPIC_PREFIX", f"{listener}.".lower())
    code, said, problems = command("topics")
    assert (code, "does not exist" in said + problems) == (6, True)
    code, said, problems = command(*service("topics")["command"])
    assert code == 0, said + problems
    code, said, problems = command("topics")
    assert code == 0, said + problems
