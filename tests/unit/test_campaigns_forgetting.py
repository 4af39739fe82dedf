"""One of the processes of campaigns forgets versions that nobody is in, again and again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from config.errors import StoreError, StoreFull, StoreIncompatible, StoreUnavailable
from streams.runtime.campaigns import serve


@pytest.mark.parametrize("kind", [StoreUnavailable, StoreFull, StoreIncompatible])
def test_a_store_that_refuses_is_asked_again(kind: type[StoreError], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that ended by it ended silently: at a hundred versions every edit was refused then."""
    asked: list[int] = []

    async def go() -> None:
        came_again, loop = asyncio.Event(), asyncio.get_running_loop()

        def forget_now() -> None:
            asked.append(len(asked))
            if len(asked) == 1:
                raise kind("not now")
            loop.call_soon_threadsafe(came_again.set)

        anybody: Any = None
        service = serve.CampaignsService(anybody, anybody)
        monkeypatch.setattr(serve, "FORGET_S", 0.0)
        monkeypatch.setattr(service, "_forget_now", forget_now)
        channels: Any = SimpleNamespace(is_owner=True)
        forgetting = asyncio.create_task(service._forget(channels))
        waiting = asyncio.create_task(came_again.wait())
        await asyncio.wait([forgetting, waiting], timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done()
        forgetting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forgetting

    asyncio.run(go())
    assert len(asked) > 1
