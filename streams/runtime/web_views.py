"""The web views of a process that is no API: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from config.errors import SettingsError

Ready = Callable[[], Mapping[str, Any]]
"""How the process is, as `/readyz` tells it; `ready` is true or false."""


async def serve_views(host: str, port: int, ready: Ready, registry: CollectorRegistry, who: str) -> web.AppRunner:
    """Answer until `cleanup` of what is returned. `who`: "the worker", for words.

    Raises SettingsError where it cannot listen.
    """

    async def healthz(_: web.Request) -> web.Response:
        """The process is alive."""
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        """It can do its work."""
        found = ready()
        return web.json_response(found, status=200 if found["ready"] else 503)

    async def metrics(_: web.Request) -> web.Response:
        """For Prometheus."""
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        words = f"{who} cannot listen at {host}:{port} ({error.strerror}). Choose another --port."
        raise SettingsError(words) from error
    return runner
