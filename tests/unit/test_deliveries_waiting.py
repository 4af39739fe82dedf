"""How a task that sends things waits."""

from __future__ import annotations

import asyncio

import pytest

from streams.runtime.deliveries.waiting import is_set_within


def test_an_event_ends_the_wait() -> None:
    async def go() -> bool:
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        return await is_set_within(event, 60.0)

    assert asyncio.run(go())


def test_the_end_of_the_time_ends_it_too() -> None:
    async def go() -> bool:
        return await is_set_within(asyncio.Event(), 0.0)

    assert not asyncio.run(go())


def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    """`asyncio.wait_for` of Python 3.11 gives the result instead, and whoever has cancelled waits for ever."""

    async def go() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(is_set_within(event, 60.0))
        await asyncio.sleep(0)  # it waits now
        event.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(go())
