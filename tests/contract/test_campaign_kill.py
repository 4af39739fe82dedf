"""Campaigns on real logs and a real store, killed again and again: nothing is lost, and a repeat has the same id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.adapters.embedded_log import EventWriter, LogSink
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.memory_sinks import ListCourier
from streams.core.definitions import segment_ids_of
from streams.ports import Identity
from streams.runtime.deletion_log import mark_of
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from tests.campaign_run_world import CATALOG, delete, track
from tests.conftest import ROOT, SLOWNESS
from tests.contract.campaign_child import KEY, lines_path
from tests.contract.worlds import PATIENCE, RedisWorld

SHARDS = 2
WITHIN_S = 60.0 * SLOWNESS


class Shards:
    """The shards of the service, worked in a thread each until they are closed."""

    def __init__(self, world: RedisWorld, folder: LogFolder) -> None:
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(SHARDS)
        self._works = [self._threads.submit(self._work, world.open(), folder, n) for n in range(SHARDS)]

    def _work(self, store: Any, folder: LogFolder, number: int) -> None:
        segments = segment_ids_of(CATALOG)
        store.prepare(SHARDS, Identity("c", None, tuple(CATALOG.predictions), segments, mark_of(KEY)))
        place = folder.partition("segment-events", number)
        with (
            closing(PartitionWriter(place)) as writer,
            closing(PartitionReader(folder.partition("events", number))) as reader,
        ):
            writer.open()
            sink = LogSink(place, writer)
            ports = Ports(store, sink, ListCourier(), PATIENCE, lambda: f"g{number}", ledger_key=KEY)
            run = ShardRun(CATALOG, ports, shard=number, shards=SHARDS, source=f"events-{number}")
            at = run.assign().offset
            while not self._stopping.is_set():
                entries = reader.read(at, 50) if reader.wait(at, 0.1, self._stopping) else []
                if entries:
                    run.step([Record(each.offset, each.log_time_s, each.value) for each in entries], {}, None)
                    at = entries[-1].offset + 1

    def check(self) -> None:
        """Raises what one has failed by."""
        for work in self._works:
            if work.done():
                work.result()

    def close(self) -> None:
        self._stopping.set()
        self._threads.shutdown()
        self.check()


class Process:
    """Campaigns in a process of their own."""

    def __init__(self, world: RedisWorld, data_dir: Path) -> None:
        command = [sys.executable, "-m", "tests.contract.campaign_child", world.url, world.prefix, str(data_dir)]
        self._process = subprocess.Popen(command, cwd=ROOT)

    def check(self) -> None:
        assert self._process.poll() is None, "campaigns have ended"

    def end(self, number: signal.Signals) -> int:
        os.kill(self._process.pid, number)
        return self._process.wait(WITHIN_S)


def await_true(holds: Callable[[], bool], *watched: Any) -> None:
    """Until this holds; what is watched goes on meanwhile."""
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        for each in watched:
            each.check()
        assert time.monotonic() < deadline_s, "it does not come"
        time.sleep(0.002)  # files of another process have nobody who tells of a change


def lines(data_dir: Path) -> list[list[dict[str, Any]]]:
    """Of each partition what was put out, in order; a line that a kill has cut is none."""
    found = []
    for number in range(SHARDS):
        path = lines_path(data_dir, number)
        data = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found.append([msgspec.json.decode(line) for line in data])
    return found


def has_lines(data_dir: Path, at_least: int) -> bool:
    return count(data_dir) >= at_least


def count(data_dir: Path) -> int:
    return sum(len(each) for each in lines(data_dir))


@pytest.mark.timeout(180)
def test_killed_anywhere_nothing_is_lost_and_a_repeat_has_the_same_id(server_url: str, tmp_path: Path) -> None:
    folder = LogFolder.make(tmp_path / LOG_FOLDER, SHARDS)
    with ExitStack() as stack:
        world = stack.enter_context(closing(RedisWorld(server_url)))
        writer = stack.enter_context(closing(EventWriter(folder)))
        shards = stack.enter_context(closing(Shards(world, folder)))
        users: list[str] = []
        for kill in range(6):
            # Somewhere in the middle of what it has to do, also of what a kill has left: two lines and more a user.
            target = count(tmp_path) + 7 + 11 * kill
            process = Process(world, tmp_path)
            more = [f"user {kill}.{n}" for n in range(40)]
            users += more
            for first in range(0, 40, 10):
                now_s = time.time()
                some = more[first : first + 10]
                writer.append([(user, track(user, "Enter", now_s, f"enter {user}")) for user in some])
            await_true(partial(has_lines, tmp_path, target), process, shards)
            process.end(signal.SIGKILL)
        writer.append([("user 0.0", delete("user 0.0", time.time()))])
        process = Process(world, tmp_path)

        def all_are_sent_to() -> bool:
            said = [each for part in lines(tmp_path) for each in part]
            sent = {each["user"] for each in said if each["kind"] == "Send"}
            return sent == set(users) and any(each["kind"] == "Purge" for each in said)

        await_true(all_are_sent_to, process, shards)
        assert process.end(signal.SIGTERM) == 0
    for part in lines(tmp_path):
        numbers = {(each["generation"], each["number"]): each for each in part if "number" in each}
        assert all(numbers[each["generation"], each["number"]] == each for each in part if "number" in each)
        for generation in {generation for generation, _ in numbers}:
            of_it = sorted(number for each, number in numbers if each == generation)
            assert of_it == list(range(1, len(of_it) + 1)), "no number is missing"
        sends = [each for each in numbers.values() if each["kind"] == "Send"]
        assert len({each["id"] for each in sends}) == len({each["user"] for each in sends}) == len(sends)
        notes = {each["id"] for each in part if each["kind"] == "Note"}
        assert len(notes) == len(sends), "every message is told, under one id"
