"""Definitions reach a worker that runs: without a restart, within a second, and whatever is killed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from config.settings import load_settings
from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.stored import read_state
from streams.simulate.run import Plan
from tests.conftest import SLOWNESS
from tests.integration.definitions_world import (
    ADDED,
    ORDERED,
    catalogs,
    define,
    frozen,
    held_reading,
    is_complete,
    knows,
    members,
    phase,
    scores,
    told_once,
    took_s,
    who,
)
from tests.integration.simulate_world import simulated
from tests.integration.test_embedded_worker import SHARDS, EmbeddedWorld
from tests.integration.worker_world import START_MS, Sent, WorkerProcess, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def traffic() -> list[Sent]:
    """A shop's weeks."""
    return simulated(Plan(users=250, days=20, start_ms=START_MS, seed=7, arrive_days=5))


@pytest.fixture
def world(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[EmbeddedWorld]:
    world = EmbeddedWorld(load_settings(redis_url=valkey.url, shards=SHARDS), tmp_path)
    yield world
    world.close()


def test_a_segment_is_there_within_a_second_without_a_restart_and_says_who_was_told_what(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    worker = world.start_working()
    world.produce(traffic[: len(traffic) // 2])
    world.await_end(worker)
    define(world, "segment", "ordered", {"name": "Has ordered", "filter": ORDERED})
    made_s = took_s(lambda: knows(world, "ordered"), [worker])
    assert world.store.hget("tl:meta", "segments").decode().split()[-1] == "ordered"
    world.produce(traffic)
    world.await_end(worker)
    await_until(
        lambda: members(world, "ordered") == who(traffic, "Order Completed", 1),
        "members",
        seconds=90.0,
        watched=[worker],
    )
    assert members(world, "ordered") == members(world, "buyers"), "of the same filter in the catalog file"
    define(world, "segment", "ordered", {"name": "Has ordered", "filter": ORDERED, "archived": True})
    archived_s = took_s(lambda: all(c["segments"]["ordered"].get("archived") for c in catalogs(world)), [worker])
    await_until(lambda: not members(world, "ordered"), "nobody is left", seconds=90.0, watched=[worker])
    origins = {
        (told["origin"], told["in_segment"])
        for records in world.read("segment-events")
        for told in (msgspec.json.decode(record.value) for record in records)
        if told["segment_id"] == "ordered"
    }
    assert origins <= {("backfill", True), ("live", True), ("definition_change", False)}
    assert {("backfill", True), ("definition_change", False)} <= origins
    worker.stop()
    assert min(made_s, archived_s) < SLOWNESS, "where others use the machine, too, it takes longer now and then"


def test_workers_that_are_killed_while_they_change_go_on_with_every_definition(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    worker: WorkerProcess = world.start_working()
    parts = 6
    for n in range(parts):
        world.produce(traffic[: (n + 1) * len(traffic) // (parts + 1)])
        define(world, "segment", f"s{n}", {"name": f"S{n}", "filter": ADDED if n % 2 else ORDERED})
        time.sleep(0.05 + 0.1 * n)  # somewhere in the middle
        worker.kill()
        worker = world.start_working()
    world.produce(traffic)
    world.await_end(worker)
    wanted = {0: who(traffic, "Order Completed", 1), 1: who(traffic, "Product Added", 2)}
    await_until(
        lambda: all(members(world, f"s{n}") == wanted[n % 2] for n in range(parts)),
        "everybody is where they belong",
        seconds=120.0,
        watched=[worker],
    )
    sequences: dict[tuple[str, str], list[bool]] = {}
    ids = set()
    for records in world.read("segment-events"):
        for record in records:
            if record.headers and (headers := dict(record.headers))["ce_id"] not in ids:
                ids.add(headers["ce_id"])
                told = msgspec.json.decode(record.value)
                sequences.setdefault((told["user_id"], told["segment_id"]), []).append(told["in_segment"])
    assert len(ids) > 500
    for key, directions in sequences.items():
        assert directions == [n % 2 == 0 for n in range(len(directions))], key
    assert not [key for key in world.store.keys("tl:*") if b":staged:" in key or key.endswith(b":staging")]
    worker.stop()


def test_a_prediction_learns_from_the_log_while_the_service_goes_on_and_is_told_when_it_is_there(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    worker = world.start_working()
    world.produce(traffic[: 3 * len(traffic) // 4])
    world.await_end(worker)
    goal = {"did": "Product Added"}
    define(world, "prediction", "adds_1d", {"name": "Adds within a day", "goal": goal, "window": "24h"})
    define(world, "segment", "added", {"name": "Has added", "filter": ADDED})
    world.produce(traffic)
    phases: dict[str, None] = {}

    def is_done() -> bool:
        status = world.store.get("tl:past")
        if status is not None:
            phases[msgspec.json.decode(status)["phase"]] = None
        return "done" in phases

    await_until(is_done, "the past has joined", seconds=200.0, watched=[worker])
    world.await_end(worker)
    assert "failed" not in phases
    for shard in range(SHARDS):
        since = msgspec.json.decode(world.store.hget(f"tl:{{{shard}}}:state", "since"))
        assert not any(since.values()), "nothing is left that began later than the rest"
    with closing(RedisReader(str(world.settings.redis_url))) as reader:
        learned = {one.spec.id: one.learned for one in read_state(reader).learner.predictions}
    assert learned["adds_1d"] == learned["views_1d"] > 1_000, "both have the same audience and window"
    await_until(lambda: members(world, "added") == who(traffic, "Product Added", 2), "members", seconds=90.0)
    assert not (world.data_dir / "past").exists()
    worker.stop()


def test_a_worker_that_is_killed_while_history_is_read_and_while_it_joins_reads_it_anew_and_learns_all_of_it_once(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    worker = world.start_working()
    world.produce(traffic[: 3 * len(traffic) // 4])
    world.await_end(worker)
    goal = {"did": "Product Added"}
    define(world, "prediction", "adds_1d", {"name": "Adds within a day", "goal": goal, "window": "24h"})
    with held_reading([worker]):
        await_until(lambda: phase(world) == "reading", "the past is read", seconds=60.0, watched=[worker])
        worker.kill()
    worker = world.start_working()
    world.produce(traffic[: 7 * len(traffic) // 8])
    await_until(lambda: any(is_complete(world, "adds_1d")), "a shard has joined", seconds=120.0, watched=[worker])
    worker.kill()
    worker = world.start_working()
    world.produce(traffic)
    await_until(lambda: all(is_complete(world, "adds_1d")), "all shards have joined", seconds=120.0, watched=[worker])
    world.await_end(worker)
    with closing(RedisReader(str(world.settings.redis_url))) as reader:
        found = {one.spec.id: one for one in read_state(reader).learner.predictions}
    assert found["adds_1d"].learned == found["views_1d"].learned > 1_000, "both have the same audience and window"
    assert found["adds_1d"].missed == 0
    await_until(lambda: not (world.data_dir / "past").exists(), "what was read is gone", seconds=20.0)
    worker.stop()


def test_a_preview_is_scored_once_by_what_the_log_has_and_learns_anew_when_it_is_made_live(
    world: EmbeddedWorld, traffic: list[Sent]
) -> None:
    worker = world.start_working()
    world.produce(traffic[: 3 * len(traffic) // 4])
    world.await_end(worker)
    shown = {"name": "Looks within a day", "goal": {"did": "Product Viewed"}, "window": "24h", "access": "preview"}
    define(world, "prediction", "again_1d", shown)
    await_until(lambda: any(frozen(world, "again_1d")), "a shard has scored all", seconds=200.0, watched=[worker])
    worker.kill()
    worker = world.start_working()
    await_until(lambda: all(frozen(world, "again_1d")), "everybody is scored", seconds=200.0, watched=[worker])
    said, others = scores(world, "again_1d"), scores(world, "views_1d")
    assert len(said) > 100
    assert not [text for text in said.values() if b"null" in text]
    world.produce(traffic)
    world.await_end(worker)
    assert scores(world, "views_1d") != others
    assert scores(world, "again_1d") == said
    worker.kill()
    worker = world.start_working()
    define(world, "prediction", "again_1d", shown | {"access": "live"})
    await_until(lambda: not any(frozen(world, "again_1d")), "it is taken up", seconds=60.0, watched=[worker])
    categories = ("again_1d.low", "again_1d.medium", "again_1d.high")
    await_until(
        lambda: all(is_complete(world, "again_1d")) and all(members(world, name) for name in categories),
        "it has learned from the log, and its segments have members",
        seconds=200.0,
        watched=[worker],
    )
    worker.stop()
    first: dict[tuple[str, str], str] = {}
    for body in told_once(world.read("segment-events")):
        if body["prediction_id"] == "again_1d":
            first.setdefault((body["user_id"], body["segment_id"]), body["origin"])
    assert set(first.values()) >= {"backfill"}
    with closing(RedisReader(str(world.settings.redis_url))) as reader:
        found = {one.spec.id: one for one in read_state(reader).learner.predictions}
    late, always = found["again_1d"], found["views_1d"]
    assert (late.learned, late.goals) == (always.learned, always.goals), "both ask the same"
