"""What the service of campaigns does with partitions of the embedded log, beside working them."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.errors import BrokerUnavailable
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_writer import PartitionWriter
from streams.campaigns.ports import Seen
from streams.runtime.campaigns import partitions
from streams.runtime.campaigns.partitions import EmbeddedLogs, EmbeddedOwning
from streams.runtime.campaigns.two_logs import Place
from tests.conftest import SLOWNESS


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder.make(tmp_path / "log", 2)


def test_what_was_told_is_known_to_the_next_process_each_partition_for_itself(folder: LogFolder) -> None:
    logs = EmbeddedLogs(folder)
    assert logs.seen(0) is None
    logs.tell(0, Seen("g", 7))
    logs.tell(1, Seen("h", 1))
    logs.tell(0, Seen("g", 12))
    again = EmbeddedLogs(folder)
    assert (again.seen(0), again.seen(1)) == (Seen("g", 12), Seen("h", 1))


def test_a_transition_ends_the_wait(folder: LogFolder) -> None:
    run: Any = SimpleNamespace(place=Place())
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        logs = EmbeddedLogs(folder)
        logs.open(1, stack)
        began_s = time.monotonic()
        waiting = threads.submit(logs.wait, 1, run, 30.0 * SLOWNESS, threading.Event())
        with closing(PartitionWriter(folder.partition("segment-events", 1))) as writer:
            writer.append([(b"ann", b"{}")])
        waiting.result(20.0 * SLOWNESS)
        assert time.monotonic() - began_s < 20.0 * SLOWNESS


def test_two_processes_do_not_own_one_log(folder: LogFolder) -> None:
    taken: list[int] = []
    partitions: Any = SimpleNamespace(take=taken.extend)
    first, second = EmbeddedOwning(folder, partitions), EmbeddedOwning(folder, partitions)
    first.start()
    with pytest.raises(BrokerUnavailable, match="run by process"):
        second.start()
    assert taken == [0, 1]


def test_a_log_of_kafka_that_does_not_open_is_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no error that ends the work."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        given: Any = None
        with pytest.raises(BrokerUnavailable, match="has not opened events 3"):
            await asyncio.to_thread(partitions.KafkaLogs(given, given).open_events, 3)

    monkeypatch.setattr(partitions, "open_partition", never)
    monkeypatch.setattr(partitions, "_OPEN_S", 0.01)
    asyncio.run(story())
