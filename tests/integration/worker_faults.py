"""What goes wrong in production, done to the servers of a test; and how long partitions stand still meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.worker_evidence import Logged, StoreImage
from tests.integration.worker_world import WorkerWorld, connect

_TRANSACTION = re.compile(rb"\*1\r\n\$5\r\nMULTI\r\n")
_COMMIT = b"$6\r\ncommit\r\n"


def kill_store(server: EmbeddedValkey) -> None:
    """SIGKILL, and wait until it is gone."""
    os.kill(int((server.data_dir / "valkey.pid").read_text()), signal.SIGKILL)
    assert server._ended.wait(30.0)
    server.stop()


def set_store_back(server: EmbeddedValkey, commits: int, copy: Path) -> StoreImage:
    """Cut so many commits off the end of the file of a server that does not run. What is left is read from a copy.

    The file must not have been rewritten just before.
    """
    (log,) = (server.data_dir / "appendonlydir").glob("*.incr.aof")
    data = log.read_bytes()
    starts = [match.start() for match in _TRANSACTION.finditer(data)]
    ends = [*starts[1:], len(data)]
    cut = [start for start, end in zip(starts, ends, strict=True) if _COMMIT in data[start:end]]
    assert len(cut) >= commits, f"there are only {len(cut)} commits in {log.name}"
    log.write_bytes(data[: cut[-commits]])
    shutil.copytree(server.data_dir / "appendonlydir", copy / "appendonlydir")
    with EmbeddedValkey(copy) as left:
        client = connect(left.url)
        image = StoreImage.read(client)
        client.close()
    return image


class Watch(threading.Thread):
    """Looks again and again where every shard stands, to know when an event was committed, and by which generation."""

    def __init__(self, world: WorkerWorld, *, every_s: float = 0.02) -> None:
        super().__init__(name="watch", daemon=True)
        self._client = connect(str(world.settings.redis_url))
        self._world = world
        self._every_s = every_s
        self._ended = threading.Event()
        self._seen: list[list[tuple[int, float]]] = [[(0, 0.0)] for _ in range(world.settings.shards)]
        """Of each shard: offset, and when it was seen first."""
        self.generations: list[list[str]] = [[] for _ in range(world.settings.shards)]
        """Of each shard, in their order."""

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                offsets = self._world.offsets(client=self._client)
                generations = self._world.generations(self._client)
            except redis.exceptions.RedisError:
                continue  # it is being restarted
            now_s = time.time()
            for seen, offset in zip(self._seen, offsets, strict=True):
                if offset != seen[-1][0]:
                    seen.append((offset, now_s))
            for known, generation in zip(self.generations, generations, strict=True):
                if generation and generation not in known:
                    known.append(generation)

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._client.close()

    def pauses(self, events: Sequence[Sequence[Logged]]) -> list[float]:
        """Of each shard the longest time from an event's arrival in the topic to its commit, in seconds."""
        return [_longest(records, seen) for records, seen in zip(events, self._seen, strict=True)]


def _longest(records: Sequence[Logged], seen: Sequence[tuple[int, float]]) -> float:
    """`seen` grows: the store was not set back."""
    offsets = [offset for offset, _ in seen]
    waits = []
    for record in records:
        at = bisect_right(offsets, record.offset)  # the first offset behind the record
        waits.append(seen[at][1] - record.time_s)
    return max(waits, default=0.0)


def published_after(events: Sequence[Sequence[Logged]], transitions: Sequence[Sequence[Logged]]) -> list[float]:
    """Of each shard the longest time from an event's arrival to that of the first transition it caused, in seconds."""
    longest = []
    for records, told in zip(events, transitions, strict=True):
        arrived = {message: record.time_s for record in reversed(records) if (message := _message_id(record))}
        first: dict[str, float] = {}
        for record in told:
            headers = dict(record.headers)
            if "ce_causationid" in headers:
                first.setdefault(headers["ce_causationid"].decode(), record.time_s)
        longest.append(max((at_s - arrived[cause] for cause, at_s in first.items() if cause in arrived), default=0.0))
    return longest


def _message_id(record: Logged) -> str | None:
    found = re.search(rb'"messageId":"([^"]*)"', record.value)
    return None if found is None else found[1].decode()


def describe(pauses: Sequence[float]) -> dict[str, Any]:
    """For people."""
    return {"longest_s": round(max(pauses), 3), "by_partition_s": [round(each, 2) for each in pauses]}
