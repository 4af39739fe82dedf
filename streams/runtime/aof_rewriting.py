"""The embedded server's file is a log of commands, and holds users who were deleted until it is rewritten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

from config.errors import StoreError
from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import running_server
from streams.runtime.place import Place
from streams.runtime.records import Run
from streams.runtime.shard_run import ShardRun

_LOG: Final = logging.getLogger(__name__)
FIRST_S: Final = 60.0
"""After the start; shards are loaded by then, or their turn comes later."""
REWRITE_S: Final = 600.0
"""So often at most: a rewrite writes all of the store anew."""
_TIMEOUT_S: Final = 30.0


async def rewrite_after_deletions(
    place: Place, runs: Callable[[], Mapping[int, Run]], first_s: float = FIRST_S, every_s: float = REWRITE_S
) -> None:
    """As long as it is not cancelled: have the file rewritten when users were deleted since the last time.

    A server that is not the one of the data directory is somebody else's, who decides that. What was deleted before a
    shard was loaded here may be in the file still: where anybody ever was, it is rewritten once.
    """
    done: dict[int, int] = {}
    is_asked = False
    await asyncio.sleep(first_s)
    while True:
        if is_asked and await asyncio.to_thread(_has_failed, place):
            done.clear()
        counted = _counted(runs())
        if any(shard not in done or count > done[shard] for shard, count in counted.items()):
            is_asked = await asyncio.to_thread(_rewrite, place)
            done |= counted if is_asked else {}
        await asyncio.sleep(every_s)


def _counted(runs: Mapping[int, Run]) -> dict[int, int]:
    """Users who were deleted since the start, by shard; only shards of which anybody ever was."""
    shards = {number: run for number, run in runs.items() if isinstance(run, ShardRun)}
    return {number: run.counts.deletions for number, run in shards.items() if _knows_deleted(run)}


def _knows_deleted(run: ShardRun) -> bool:
    try:
        return bool(run.counts.deletions) or len(run.shard.ledger) > 0
    except RuntimeError:  # not loaded; its own thread may drop it at any time
        return False


def _own_server(place: Place) -> str | None:
    """The address of the data directory's server, if that is the store's."""
    address = running_server(place.data_dir) if place.data_dir.is_dir() else None
    return address if place.url in (None, address) else None


def _rewrite(place: Place) -> bool:
    """Whether nothing is left to be asked for."""
    address = _own_server(place)
    if address is None:
        return True
    try:
        with closing(Wire(address, timeout_s=_TIMEOUT_S)) as wire:
            wire.ask("BGREWRITEAOF")
    except StoreError as error:  # one that is under way may have begun before the deletion
        _LOG.warning("the store's file still holds users who were deleted, and is rewritten later: %s", error)
        return False
    return True


def _has_failed(place: Place) -> bool:
    """Whether the server says that it could not rewrite its file."""
    address = _own_server(place)
    if address is None:
        return False
    try:
        with closing(Wire(address, timeout_s=_TIMEOUT_S)) as wire:
            is_ok = b"aof_last_bgrewrite_status:ok" in wire.ask("INFO", "persistence")
    except StoreError as error:
        _LOG.warning("it is not known whether the store's file still holds users who were deleted: %s", error)
        return True
    if not is_ok:
        _LOG.warning(
            "the store could not rewrite its file, which still holds users who were deleted: is its disk full?"
        )
    return not is_ok
