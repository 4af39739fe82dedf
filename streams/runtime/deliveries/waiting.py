"""How a task that sends things waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from typing import Any


async def until_something(changed: asyncio.Event, flying: Iterable[asyncio.Task[Any]], pause_s: float) -> None:
    """Until an attempt ends, there is something new, or it is time; an infinite pause ends by these alone."""
    is_new = asyncio.create_task(changed.wait())
    try:
        timeout = None if pause_s == inf else max(0.0, pause_s)
        await asyncio.wait([is_new, *flying], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_new.cancel()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for it for at most so long; a cancellation that comes with it, or with the end of the time, is not lost."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
