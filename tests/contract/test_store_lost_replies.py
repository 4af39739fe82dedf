"""The line to a real server is cut at many bytes of a commit; it is stored and published once all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from streams.adapters.memory_sinks import ListSink
from streams.commit import Patience, commit_batch
from streams.ports import CommitBatch
from tests.contract.cutting_proxy import REPLY, REQUEST, CuttingProxy
from tests.contract.worlds import IDENTITY, RedisWorld

NO_PAUSE = Patience(sleep=lambda _: None, attempts=10)


@pytest.fixture
def proxy(server_url: str, tmp_path: Path) -> Iterator[CuttingProxy]:
    with CuttingProxy(tmp_path / "proxy.sock", Path(unquote(server_url.removeprefix("unix://")))) as proxy:
        yield proxy


def batch(number: int) -> CommitBatch:
    return CommitBatch(
        number=number,
        position=b"%d" % number,
        rows=[(f"user {index}", b"row %d" % number) for index in range(20)],
        appends=[("pending:1", b"[%d]" % number)],
        outbox=[b"%d/%d" % (number, index) for index in range(3)],
    )


def request_bytes(world: RedisWorld) -> int:
    """How long the request of such a commit is, roughly; cuts beyond it fall into the next one."""
    store = world.open()
    return sum(map(len, store._body(store._keys(0), batch(1), 1))) + 150


@pytest.mark.parametrize("direction", [REQUEST, REPLY])
def test_a_line_cut_at_any_byte_neither_loses_nor_doubles_a_commit(
    server_url: str, proxy: CuttingProxy, direction: str
) -> None:
    world = RedisWorld(server_url)
    longest = request_bytes(world) if direction == REQUEST else 150
    cuts = range(0, longest, max(1, longest // 60))
    world.url = proxy.url
    store = world.open(timeout_s=10.0)
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    sink = ListSink()
    trim: int | None = None
    for number, after in enumerate(cuts, start=1):
        proxy.cut(direction, after)
        trim = commit_batch(store, sink, claim, batch(number), trim=trim, patience=NO_PAUSE)
    store.close()
    world.url = server_url
    contents = world.contents(0)
    count = len(cuts)
    assert proxy.cuts > count // 2
    assert contents["meta"] == (1, count, "g1", b"%d" % count, count - 1)
    assert contents["pending:1"] == b"".join(b"[%d]" % number for number in range(1, count + 1))
    assert sink.published == [b"%d/%d" % (number, index) for number in range(1, count + 1) for index in range(3)]


def test_a_server_that_keeps_silent_is_a_lost_reply(server_url: str) -> None:
    world = RedisWorld(server_url)
    store = world.open(timeout_s=0.2)
    store.prepare(1, IDENTITY)
    claim = store.claim(0, new_generation="g1")
    world.client.execute_command("CLIENT", "PAUSE", 700, "WRITE")
    sink = ListSink()
    patience = Patience(sleep=time.sleep, attempts=50, longest_pause_s=0.1)
    commit_batch(store, sink, claim, batch(1), trim=None, patience=patience)
    commit_batch(store, sink, claim, batch(2), trim=1, patience=patience)
    assert world.contents(0)["pending:1"] == b"[1][2]"
    assert len(sink.published) == 6
