"""Users who were deleted leave the file of the embedded server, too."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from pathlib import Path

import pytest

from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.aof_rewriting import rewrite_after_deletions
from streams.runtime.place import Place
from tests.integration.worker_world import await_until
from tests.unit.test_deletion_live import World, record, visit

USER = b"somebody-who-was-deleted"
WITHIN_S = 30.0


def is_in_file(folder: Path) -> bool:
    return any(USER in path.read_bytes() for path in (folder / "appendonlydir").iterdir())


async def looks(place: Place, world: World, looks: int) -> None:
    """So many times it is looked whether anything is to be done."""
    asked = 0
    enough = asyncio.Event()

    def runs() -> dict[int, object]:
        nonlocal asked
        asked += 1
        if asked > looks:
            enough.set()
        return {0: world.run}

    task = asyncio.create_task(rewrite_after_deletions(place, runs, first_s=0.0, every_s=0.01))  # type: ignore[arg-type]
    async with asyncio.timeout(WITHIN_S):
        await enough.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def rewritten(wire: Wire) -> int:
    """How often the file was, or is being."""
    lines = wire.ask("INFO", "persistence").decode().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(facts.get("aof_rewrites", 0)) + int(facts["aof_rewrite_in_progress"])


@pytest.fixture
def world() -> World:
    return World()


def test_the_file_is_rewritten_once_after_a_deletion_and_not_without_one(tmp_path: Path, world: World) -> None:
    with EmbeddedValkey(tmp_path) as server, closing(Wire(server.url, timeout_s=10.0)) as wire:
        wire.ask("HSET", "tl:{0}:rows", USER, "row")
        wire.ask("HDEL", "tl:{0}:rows", USER)
        assert is_in_file(tmp_path)
        place = Place(tmp_path, server.url)
        asyncio.run(looks(place, world, 3))
        assert rewritten(wire) == 0
        world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
        asyncio.run(looks(Place(tmp_path, "redis://elsewhere:6379/0"), world, 3))
        assert rewritten(wire) == 0, "another server is not ours"
        asyncio.run(looks(place, world, 5))
        await_until(lambda: not is_in_file(tmp_path), "the file is rewritten", seconds=WITHIN_S)
        assert wire.ask("EXISTS", "tl:{0}:rows") == 0


def test_a_start_with_users_who_were_deleted_before_begins_with_a_rewrite(tmp_path: Path, world: World) -> None:
    world.take(visit("ann", 0.0, 1), record("delete", "ann", 3.0, 2))
    world.run.counts.deletions = 0
    with EmbeddedValkey(tmp_path) as server, closing(Wire(server.url, timeout_s=10.0)) as wire:
        asyncio.run(looks(Place(tmp_path), world, 4))
        assert rewritten(wire) >= 1
