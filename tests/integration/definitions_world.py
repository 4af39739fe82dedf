"""Definitions that are made while workers run, and what comes of them in the store."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from config.settings import Settings
from streams.adapters.definition_store import Change, Entry, Step
from streams.adapters.redis_definitions import RedisDefinitions
from tests.integration.worker_evidence import Logged
from tests.integration.worker_world import Sent, WorkerProcess, await_until

ORDERED = {"event": "Order Completed", "count": {"min": 1}}
ADDED = {"event": "Product Added", "count": {"min": 2}}


class World(Protocol):
    """A running service with its store."""

    settings: Settings
    store: Any


def define(world: World, kind: Any, id_: str, definition: dict[str, Any]) -> None:
    """As the API does."""
    _write(world, kind, {id_: definition})


def define_all(world: World, segments: dict[str, dict[str, Any]]) -> None:
    """Several segments in one change."""
    _write(world, "segment", segments)


def _write(world: World, kind: Any, definitions: dict[str, dict[str, Any]]) -> None:
    with closing(RedisDefinitions(str(world.settings.redis_url))) as kept:
        revision, now_s, steps = kept.revision(), time.time(), []
        for place, (id_, definition) in enumerate(definitions.items()):
            found = kept.kept().find(kind, id_)
            made = (revision + 1, place) if found is None else found.made
            entry = Entry(kind, id_, definition, revision + 1, made, now_s, now_s)
            before = None if found is None else found.definition
            change = Change(kind, id_, "create" if before is None else "edit", now_s, "test", before, definition)
            steps.append(Step(entry, change))
        kept.write(revision, steps)


def catalogs(world: World) -> list[dict[str, Any]]:
    """Under which every shard stands; empty where nothing is stored."""
    stored = [world.store.hget(f"tl:{{{shard}}}:state", "catalog") for shard in range(world.settings.shards)]
    return [{"segments": {}, "predictions": {}} if data is None else msgspec.json.decode(data) for data in stored]


def knows(world: World, segment: str) -> bool:
    """Whether every shard stands under a catalog with the segment."""
    return all(segment in catalog["segments"] for catalog in catalogs(world))


def members(world: World, segment: str) -> set[str]:
    found: set[bytes] = set()
    for shard in range(world.settings.shards):
        found |= world.store.smembers(f"tl:{{{shard}}}:members:{segment}")
    return {user.decode() for user in found}


def who(traffic: Sequence[Sent], event: str, times: int) -> set[str]:
    """By brute force over everything that was sent."""
    seen: dict[str, set[str]] = {}
    for user, value in traffic:
        body = msgspec.json.decode(value)
        if body.get("event") == event:
            seen.setdefault(user, set()).add(body["messageId"])
    return {user for user, ids in seen.items() if len(ids) >= times}


def told_once(log: Sequence[Sequence[Logged]]) -> list[dict[str, Any]]:
    """Transitions, each once. Whoever takes a shard over says again what may not have been said: the very same."""
    found: dict[str, Logged] = {}
    for records in log:
        for record in records:
            first = found.setdefault(dict(record.headers)["ce_id"].decode(), record)
            assert (first.key, first.value, first.headers) == (record.key, record.value, record.headers)
    return [msgspec.json.decode(record.value) for record in found.values()]


def phase(world: World) -> str | None:
    """What the service says of how far it is with the past."""
    told = world.store.get("tl:past")
    return None if told is None else msgspec.json.decode(told)["phase"]


def _readers(worker: WorkerProcess) -> list[int]:
    """Processes of the worker that read the past."""
    found: list[int] = []
    for children in Path(f"/proc/{worker.process.pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process that has ended meanwhile
            pids = map(int, children.read_text().split())
            found += [pid for pid in pids if b"read_past" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


@contextmanager
def held_reading(workers: Sequence[WorkerProcess]) -> Iterator[WorkerProcess]:
    """The worker that reads the past, and gets no further with it; what reads for it is killed at the end."""
    held: list[tuple[WorkerProcess, int]] = []

    def hold() -> bool:
        for worker in workers:
            for child in _readers(worker):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGSTOP)
                    held.append((worker, child))
        return bool(held)

    await_until(hold, "one worker reads the past", seconds=60.0, watched=workers)
    ((worker, child),) = held
    try:
        yield worker
    finally:
        os.kill(child, signal.SIGKILL)


def took_s(holds: Callable[[], bool], watched: Sequence[WorkerProcess]) -> float:
    """How long it takes until this holds, in seconds."""
    began_s = time.monotonic()
    await_until(holds, "it has reached every shard", seconds=30.0, watched=watched)
    return time.monotonic() - began_s


def is_complete(world: World, prediction: str) -> list[bool]:
    """By shard: it knows the prediction, and nothing of it began later than the rest."""
    found = []
    for shard in range(world.settings.shards):
        since, catalog = world.store.hmget(f"tl:{{{shard}}}:state", "since", "catalog")
        is_known = catalog is not None and prediction in msgspec.json.decode(catalog)["predictions"]
        found.append(is_known and not any(msgspec.json.decode(since).values()))
    return found


def frozen(world: World, prediction: str) -> list[bool]:
    """By shard: everybody was scored for good."""
    found = []
    for shard in range(world.settings.shards):
        small, catalog = world.store.hmget(f"tl:{{{shard}}}:state", "shard", "catalog")
        names = [] if catalog is None else list(msgspec.json.decode(catalog)["predictions"])
        at_s = msgspec.msgpack.decode(small)["frozen"] if prediction in names else []
        found.append(prediction in names and not math.isnan(at_s[names.index(prediction)]))
    return found


def scores(world: World, prediction: str) -> dict[str, bytes]:
    """What is said of everybody, as it is stored."""
    found: dict[bytes, bytes] = {}
    for shard in range(world.settings.shards):
        found |= world.store.hgetall(f"tl:{{{shard}}}:scores:{prediction}")
    return {user.decode(): text for user, text in found.items()}
