"""`tideline store` as a process: how it ends, and what it leaves behind for those who come later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streams.adapters.valkey_server import EmbeddedValkey, running_server
from streams.runtime.place import Place, read_place
from tests.conftest import ROOT
from tests.integration.shop_world import USERS, Shop

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def store(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "streams", "store", *shop.options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("The store is running" in line for line in iter(process.stdout.readline, ""))
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly(store: subprocess.Popen[str], how: signal.Signals, shop: Shop) -> None:
    data = shop.job.place.data_dir
    assert running_server(data) is not None
    store.send_signal(how)
    out, err = store.communicate(timeout=60)
    assert (store.returncode, err) == (0, "")
    assert "The store is stopped" in out
    assert not [name for name in ("valkey.address", "valkey.pid", "valkey.sock") if (data / name).exists()]
    assert running_server(data) is None


def test_a_reader_after_a_kill_starts_its_own(store: subprocess.Popen[str], shop: Shop) -> None:
    store.kill()  # the address stays, and its server ends a moment later
    while running_server(shop.job.place.data_dir) is not None:
        os.sched_yield()
    assert (shop.job.place.data_dir / "valkey.address").exists()
    with read_place(shop.job.place) as reader:
        assert reader.shard_infos()[0].users == USERS


@pytest.mark.parametrize("stale", ["unix:///no/such/socket", "", "nonsense"])
def test_a_stale_address_misleads_nobody(stale: str, shop: Shop) -> None:
    data = shop.job.place.data_dir
    (data / "valkey.address").write_text(stale)
    (data / "valkey.pid").write_text("1")
    assert running_server(data) is None
    with read_place(Place(data)) as reader:
        assert reader.shard_infos()[0].users == USERS
    (data / "valkey.address").write_text(stale)
    with EmbeddedValkey(data) as server:
        assert running_server(data) == server.url != stale
    assert not (data / "valkey.address").exists()
