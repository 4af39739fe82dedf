"""Waiting for copies of every commit, as the settings say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks._ports import free_port
from streams.adapters.valkey_server import EmbeddedValkey
from streams.cli.options import find_place
from tests.integration.small_shop import replay, rows

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server with no replica."""
    found = free_port()
    with EmbeddedValkey(tmp_path / "primary", port=found):
        yield found


def test_without_a_setting_nothing_is_waited_for(tmp_path: Path) -> None:
    assert find_place(None, tmp_path)[0].wait_for is None


def test_missing_replicas_are_an_error_before_the_run(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDELINE_WAIT_REPLICAS", "1")
    code, _, err = replay(tmp_path, rows(40), "--store", f"redis://127.0.0.1:{port}/0")
    assert code == 4
    assert "0 are connected to redis://127.0.0.1" in err
    assert "lower TIDELINE_WAIT_REPLICAS" in err
    code, _, err = replay(tmp_path, rows(40))
    assert (code, "the embedded server has none" in err) == (4, True)
    monkeypatch.setenv("TIDELINE_WAIT_REPLICAS", "0")
    assert replay(tmp_path, rows(40), "--store", f"redis://127.0.0.1:{port}/0")[0] == 0


def test_a_run_waits_for_its_replica(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_WAIT_REPLICAS", "1")
    monkeypatch.setenv("TIDELINE_WAIT_ON_DISK", "true")
    primary: Any = redis.Redis(port=port)
    primary.config_set("repl-diskless-sync-delay", 0)
    with EmbeddedValkey(tmp_path / "replica") as server:
        copy: Any = redis.Redis.from_url(server.url)
        copy.execute_command("REPLICAOF", "127.0.0.1", port)
        connected = threading.Event()
        while not primary.info("replication")["connected_slaves"]:
            connected.wait(0.05)
        code, _, err = replay(tmp_path, rows(40), "--store", f"redis://127.0.0.1:{port}/0")
        assert code == 0, err
        assert copy.hget("tl:{0}:meta", "commit") == primary.hget("tl:{0}:meta", "commit") == b"1"


def test_waiting_for_the_own_disk_needs_no_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_WAIT_ON_DISK", "true")
    assert replay(tmp_path, rows(40))[0] == 0
