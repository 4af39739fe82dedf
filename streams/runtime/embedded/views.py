"""The web views of a worker on the embedded log: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from config.errors import SettingsError
from config.settings import Settings
from streams.runtime.latest_models import LatestModels
from streams.runtime.worker_health import Working, health, registry


async def serve(settings: Settings, scoring: Working, learning: Working, models: LatestModels) -> web.AppRunner:
    """Answer until `cleanup` of what is returned. Raises SettingsError where it cannot listen."""
    metrics_of = registry(scoring, learning, models)

    async def healthz(_: web.Request) -> web.Response:
        """The process is alive."""
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        """Loaded and caught up."""
        found = health(scoring, models, ready_lag=settings.ready_lag)
        return web.json_response(found, status=200 if found["ready"] else 503)

    async def metrics(_: web.Request) -> web.Response:
        """For Prometheus."""
        return web.Response(body=generate_latest(metrics_of), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.web_host, settings.web_port).start()
    except OSError as error:
        await runner.cleanup()
        where = f"{settings.web_host}:{settings.web_port}"
        raise SettingsError(
            f"the worker cannot listen at {where} ({error.strerror}). Choose another --port."
        ) from error
    return runner
