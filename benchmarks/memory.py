"""How much memory many users take: the process that scores, and Redis. `docs/benchmarks.md` explains the keys.

A simulated shop with three predictions (`benchmarks/shop.yaml`) runs through the whole path, into an embedded Valkey
server, until the 30-day window is as full of pending examples as it will ever be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks._command import Command
from benchmarks._feed import Script, traffic_log
from benchmarks._measure import Figures, Memory, Progress
from benchmarks._traffic import DAY_S, START_S, shop_catalog
from benchmarks._warmup import short_warmup
from models.labels import NEXT, tail_of
from models.snapshot import Status
from streams.adapters.memory_sinks import NullSink
from streams.adapters.redis_store import RedisStore
from streams.core.shard import Shard
from streams.runtime.allocation import return_large_blocks
from streams.runtime.lockstep import LockStep
from streams.runtime.place import PATIENCE, Place, open_place
from streams.runtime.replay import Replay, ReplayResult

GIB = 1 << 30
KINDS = ("event", "silent", "crossing")
STEADY_DAYS = 2
"""The peak of the last so many days is that of the steady state."""
SAMPLES = 1_000


@dataclass
class Watcher:
    """Follows a replay: says where it is, and takes the peaks of its phases apart."""

    progress: Progress
    memory: Memory
    steady_from_s: float
    peaks: dict[str, int | None] = field(default_factory=dict)
    phase: str = "filling"
    day: int = 0

    def begin(self, position: int, rows: int) -> None:  # noqa: ARG002  (what a replay tells)
        """A replay starts."""
        self.memory.forget_peak()

    def advance(self, position: int, clock_s: float) -> None:
        """A batch is committed."""
        if self.phase == "filling" and clock_s >= self.steady_from_s:
            self.close_phase("steady")
        day = int((clock_s - START_S) // DAY_S)
        if day != self.day:
            self.day = day
            resident = self.memory.resident_bytes() or 0
            self.progress.say(f"day {day}, {position:,} events, {resident / GIB:.2f} GiB")

    def close_phase(self, then: str) -> None:
        """A phase ends."""
        self.peaks[self.phase] = self.memory.peak_bytes()
        self.memory.forget_peak()
        self.phase = then


def run(script: Script, data_dir: Path, progress: Progress) -> Figures:
    """Fill a store in `data_dir` and measure."""
    memory = Memory()
    catalog = shop_catalog()
    started = time.perf_counter()
    with short_warmup(), traffic_log(script, catalog.limits.batch_events) as log:
        LockStep(catalog).take([])
        empty_bytes = memory.resident_bytes()
        watcher = Watcher(progress, memory, START_S + (script.days - STEADY_DAYS) * DAY_S)
        with open_place(Place(data_dir / "store")) as url:
            store = RedisStore(url, patience=PATIENCE, outbox_keep=1_000)
            with closing(store):
                # A file of all transitions would have tens of gigabytes.
                replay = Replay(catalog, log, store, NullSink(), patience=PATIENCE, watcher=watcher)
                result = replay.run()
                watcher.close_phase("done")
                figures = _process(result, memory, watcher, empty_bytes)
            seconds = time.perf_counter() - started
            progress.say("asking the server")
            figures |= _server(url, len(result.engine.shard.users))
    return {"seconds": round(seconds, 1), "days": script.days, **figures}


def _process(result: ReplayResult, memory: Memory, watcher: Watcher, empty_bytes: int | None) -> Figures:
    shard = result.engine.shard
    q = shard.pending
    resident = memory.resident_bytes()
    peaks = [peak for peak in watcher.peaks.values() if peak is not None]
    return {
        "users": len(shard.users),
        "events": result.events,
        "looks": shard.counters()["looks"],
        "transitions": result.transitions,
        "commits": result.commits,
        "predictions": len(shard.snapshot.predictions),
        "predictions_live": sum(p.status == Status.LIVE for p in shard.snapshot.predictions),
        "process_bytes": resident,
        "process_peak_bytes": max(peaks, default=None),
        "peak_filling_bytes": watcher.peaks.get("filling"),
        "peak_steady_bytes": watcher.peaks.get("steady"),
        "process_anonymous_bytes": memory.anonymous_bytes(),
        "process_bytes_empty": empty_bytes,
        "process_bytes_per_user": _per_user(resident, empty_bytes, len(shard.users)),
        "row_bytes": shard.definitions.layout.row_bytes,
        "features": shard.definitions.layout.columns.features,
        "pending_examples": int(q.n[NEXT] - tail_of(shard.sealed["pending"])),
        "pending_limit": len(q.time_s),
        "pending_example_bytes": _array_bytes(q) // len(q.time_s),
        "pending_rate": dict(zip(KINDS, q.rates.tolist(), strict=True)),
        "bytes_of": {**_parts(shard)},
    }


def _per_user(resident: int | None, empty: int | None, users: int) -> float | None:
    return None if resident is None or empty is None else round((resident - empty) / users, 1)


def _array_bytes(group: Any) -> int:
    return sum(array.nbytes for array in group if hasattr(array, "nbytes"))


def _parts(shard: Shard) -> dict[str, int]:
    """What the parts of a shard take, in bytes; rows as far as they are used."""
    used = len(shard.users) / len(shard.users.buffer)
    table = shard.users
    return {
        "rows": len(table) * shard.definitions.layout.row_bytes,
        "user_ids": sum(map(sys.getsizeof, table.ids)) + sys.getsizeof(table.ids),
        "rows_by_id": _dict_bytes(table),
        "keys_and_queue": int(used * (_array_bytes(table.users) + _array_bytes(table.queue))),
        "pending_examples": _array_bytes(shard.pending),
        "message_ids": _array_bytes(shard.dedupe),
        "history": _array_bytes(table.history),
    }


def _dict_bytes(table: Any) -> int:
    """The dictionary from id to row, with its numbers: it is private, so a copy of its shape is measured."""
    rows = dict.fromkeys(table.ids, 0)
    return sys.getsizeof(rows) + len(rows) * sys.getsizeof(1 << 20)


def _server(url: str, users: int) -> Figures:
    client = redis.Redis.from_url(url)
    info: dict[str, Any] = client.info("memory")
    kinds: dict[str, int] = {}
    for key in client.scan_iter(count=1_000):
        kind = key.decode().split(":")[2] if b"{" in key else "meta"
        kinds[kind] = kinds.get(kind, 0) + int(client.memory_usage(key, samples=SAMPLES) or 0)
    client.close()
    return {
        "redis_used_bytes": int(info["used_memory"]),
        "redis_bytes_per_user": round(info["used_memory"] / users, 1),
        "redis_resident_bytes": int(info["used_memory_rss"]),
        "redis_bytes_of": dict(sorted(kinds.items(), key=lambda item: -item[1])),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("memory", __doc__)
    command.numbers(
        {
            "users": (1_000_000, "users"),
            "days": (45, "days of event time; at least 10 + 30 fill the window"),
            "arrive-days": (10, "in which all users come for the first time"),
            "events-per-week": (0.6, "of a user who is there"),
        }
    )
    return_large_blocks()  # as the command line does
    command.run(arguments, lambda given, folder, progress: run(_script(given), folder, progress))


def _script(given: dict[str, Any]) -> Script:
    return Script(given["users"], given["days"], given["events_per_week"], given["arrive_days"])


if __name__ == "__main__":
    main()
