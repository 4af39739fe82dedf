"""The log of transitions in memory."""

from __future__ import annotations

import asyncio

import pytest

from streams.adapters.memory_feed import MemoryTransitionLog


@pytest.mark.parametrize("turns", range(4))
def test_a_reader_that_is_cancelled_as_something_comes_ends(turns: int) -> None:
    """Python 3.11's `wait_for` would return what came, and whoever waits for the reader's end would wait for good."""

    async def doing() -> None:
        log = MemoryTransitionLog()
        feed = await log.open()
        reader = asyncio.create_task(feed.read(1, 60.0))
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits
        log.put(0, b"news")
        for _ in range(turns):
            await asyncio.sleep(0)
        is_cancelled = reader.cancel()  # False: it had what came before
        await asyncio.wait([reader])
        assert reader.cancelled() == is_cancelled

    asyncio.run(doing())
