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
REWRITE_S: Final = 600.0
"""So often at most: a rewrite writes all of the store anew."""
_TIMEOUT_S: Final = 30.0


async def rewrite_after_deletions(
    place: Place, runs: Callable[[], Mapping[int, Run]], every_s: float = REWRITE_S
) -> None:
    """As long as it is not cancelled: have the file rewritten when users were deleted since the last time.

    A server that is not the one of the data directory is somebody else's, who decides that. What was deleted before
    this start may be in the file still: where anybody ever was, it begins with a rewrite.
    """
    done: int | None = None
    while True:
        await asyncio.sleep(every_s)
        deleted, ever = _counted(runs())
        if done is None:
            done = -1 if ever else 0
        if deleted > done and await asyncio.to_thread(_rewrite, place):
            done = deleted


def _counted(runs: Mapping[int, Run]) -> tuple[int, bool]:
    """Users who were deleted since the start, and whether the store knows of any at all."""
    shards = [run for run in runs.values() if isinstance(run, ShardRun)]
    return sum(run.counts.deletions for run in shards), any(_knows_deleted(run) for run in shards)


def _knows_deleted(run: ShardRun) -> bool:
    try:
        return len(run.shard.ledger) > 0
    except RuntimeError:  # not loaded; its own thread may drop it at any time
        return False


def _rewrite(place: Place) -> bool:
    """Whether there is nothing left to do."""
    address = running_server(place.data_dir) if place.data_dir.is_dir() else None
    if address is None or place.url not in (None, address):
        return True
    try:
        with closing(Wire(address, timeout_s=_TIMEOUT_S)) as wire:
            wire.ask("BGREWRITEAOF")
    except StoreError as error:  # one that is under way may have begun before the deletion
        _LOG.warning("the store's file still holds users who were deleted, and is rewritten later: %s", error)
        return False
    return True
