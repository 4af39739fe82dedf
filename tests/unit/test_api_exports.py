"""Files that are sent while they are read: few at once, half of them with one key, and no place is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from streams.api.asking import KEY_ID
from streams.api.exports import ExportResponse, Exports
from streams.api.problems import Problem

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}
Send = Callable[[Any], Awaitable[None]]
Lines = Generator[bytes, None, None]


def lines(*each: bytes) -> Lines:
    yield from each


def endless(ended: list[str] | None = None) -> Lines:
    try:
        while True:
            yield b"a" * 1_000
    finally:
        if ended is not None:
            ended.append("closed")


class Client:
    """Takes what it is sent when it may, and goes away when it is told."""

    def __init__(self) -> None:
        self.may_take = asyncio.Event()
        self.goes = asyncio.Event()
        self.began = asyncio.Event()
        self.body = b""
        self.taken = 0
        self.hangs_from: int | None = None
        """Takes so many messages."""
        self.takes: Callable[[], None] = lambda: None

    async def receive(self) -> dict[str, Any]:
        await self.goes.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.began.set()
        await self.may_take.wait()
        if self.taken == self.hangs_from:
            await asyncio.Event().wait()
        self.taken += 1
        self.takes()
        self.body += message.get("body", b"")


async def export(exports: Exports, client: Client, key_id: str, content: Lines) -> None:
    KEY_ID.set(key_id)
    await ExportResponse(exports, content, "text/csv", {})(SCOPE, client.receive, client.send)


def begun(exports: Exports, client: Client, key_id: str, content: Lines) -> asyncio.Task[None]:
    return asyncio.create_task(export(exports, client, key_id, content))


def test_few_are_sent_at_once_and_half_of_them_to_one_key() -> None:
    async def run() -> None:
        exports, clients = Exports(at_once=4), [Client() for _ in range(4)]
        tasks: list[asyncio.Task[None]] = []
        for client, key_id in zip(clients, ("greedy", "greedy", "other", "third"), strict=True):
            if len(tasks) == 2:
                with pytest.raises(Problem) as caught:
                    await export(exports, Client(), "greedy", lines(b"a"))
                assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "10"})
            tasks.append(begun(exports, client, key_id, lines(b"a", b"b")))
            await client.began.wait()
        with pytest.raises(Problem):
            await export(exports, Client(), "fourth", lines(b"a"))
        for client in clients:
            client.may_take.set()
        await asyncio.gather(*tasks)
        assert [client.body for client in clients] == [b"ab"] * 4
        assert exports.places.taken == 0

    asyncio.run(run())


def test_who_goes_away_gives_the_place_back() -> None:
    async def run() -> None:
        exports, client = Exports(at_once=1), Client()
        task = begun(exports, client, "ann", endless())
        await client.began.wait()
        client.goes.set()
        await task
        assert exports.places.taken == 0

    asyncio.run(run())


def test_who_takes_nothing_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        exports, client, ended = Exports(at_once=1, patience_s=0.01), Client(), list[str]()
        client.hangs_from = 3  # the head and two pieces are taken
        client.may_take.set()
        await export(exports, client, "ann", endless(ended))
        assert (exports.places.taken, len(client.body), ended) == (0, 2_000, ["closed"])

    asyncio.run(run())
    assert "nobody has taken it" in caplog.text


def test_who_takes_a_little_now_and_then_is_not_waited_for_either(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        now_s, ended = 0.0, list[str]()

        def a_minute_later() -> None:
            nonlocal now_s
            now_s += 59.0

        exports, client = Exports(at_once=1, clock=lambda: now_s), Client()
        client.takes = a_minute_later
        client.may_take.set()
        async with asyncio.timeout(10.0):
            await export(exports, client, "ann", endless(ended))
        assert (exports.places.taken, ended) == (0, ["closed"])
        assert now_s < 60.0 + 3 * 59.0

    asyncio.run(run())
    assert "too slowly" in caplog.text


def test_a_slow_store_is_nothing_against_who_takes_all_at_once() -> None:
    async def run() -> None:
        now_s = 0.0

        def slowly() -> Lines:
            nonlocal now_s
            for _ in range(5):
                now_s += 1_000.0
                yield b"a"

        exports, client = Exports(at_once=1, clock=lambda: now_s), Client()
        client.may_take.set()
        await export(exports, client, "ann", slowly())
        assert client.body == b"aaaaa"

    asyncio.run(run())
