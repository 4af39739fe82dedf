"""Files that are sent while they are read: few at once, half of them with one key, and no place is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from streams.api.asking import KEY_ID
from streams.api.exports import ExportResponse, Exports
from streams.api.problems import Problem

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}
Send = Callable[[Any], Awaitable[None]]


class Client:
    """Takes what it is sent when it may, and goes away when it is told."""

    def __init__(self) -> None:
        self.may_take = asyncio.Event()
        self.goes = asyncio.Event()
        self.began = asyncio.Event()
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        await self.goes.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.began.set()
        await self.may_take.wait()
        self.body += message.get("body", b"")


async def export(exports: Exports, client: Client, key_id: str, lines: Iterator[bytes]) -> None:
    KEY_ID.set(key_id)
    await ExportResponse(exports, lines, "text/csv", {})(SCOPE, client.receive, client.send)


def begun(exports: Exports, client: Client, key_id: str, lines: Iterator[bytes]) -> asyncio.Task[None]:
    return asyncio.create_task(export(exports, client, key_id, lines))


def test_few_are_sent_at_once_and_half_of_them_to_one_key() -> None:
    async def run() -> None:
        exports, clients = Exports(at_once=4), [Client() for _ in range(4)]
        tasks: list[asyncio.Task[None]] = []
        for client, key_id in zip(clients, ("greedy", "greedy", "other", "third"), strict=True):
            if len(tasks) == 2:
                with pytest.raises(Problem) as caught:
                    await export(exports, Client(), "greedy", iter([b"a"]))
                assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "10"})
            tasks.append(begun(exports, client, key_id, iter([b"a", b"b"])))
            await client.began.wait()
        with pytest.raises(Problem):
            await export(exports, Client(), "fourth", iter([b"a"]))
        for client in clients:
            client.may_take.set()
        await asyncio.gather(*tasks)
        assert [client.body for client in clients] == [b"ab"] * 4
        assert exports.places.taken == 0

    asyncio.run(run())


def test_who_goes_away_gives_the_place_back() -> None:
    async def run() -> None:
        exports, client = Exports(at_once=1), Client()
        task = begun(exports, client, "ann", itertools.repeat(b"a"))
        await client.began.wait()
        client.goes.set()
        await task
        assert exports.places.taken == 0

    asyncio.run(run())


def test_who_takes_nothing_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        exports, client = Exports(at_once=1, patience_s=0.01), Client()
        await export(exports, client, "ann", itertools.repeat(b"a"))
        assert (exports.places.taken, client.body) == (0, b"")

    asyncio.run(run())
    assert "nobody has taken it" in caplog.text
