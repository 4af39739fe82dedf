"""Somebody who receives webhooks, on this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web


@dataclass
class Receiver:
    """A server on this machine; `answer` is what it does."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            self.requests.append((request.method, request.path_qs, dict(request.headers), body))
            return await self.answer(request)

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
