"""The web views of a process that is no API: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from config.errors import SettingsError

Ready = Callable[[], Mapping[str, Any]]
"""How the process is, as `/readyz` tells it; `ready` is true or false."""
_TAKEN: Final = (errno.EADDRINUSE, errno.EACCES)
"""Another process listens there, or this one may not."""


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
        raise cannot_listen(who, host, port, error) from error
    return runner


def cannot_listen(who: str, host: str, port: int, error: OSError) -> SettingsError:
    """What to say of it. `who`: "the worker"."""
    return SettingsError(f"{who} cannot listen at {host}:{port} ({error.strerror}). Choose another --port.")


def refuse_taken_port(host: str, port: int, who: str) -> None:
    """For who listens only after other things are done that a second process should not begin. Raises SettingsError.

    A name may have addresses that this machine has not (`localhost` is `::1`, too, also where there is no IPv6): only
    where it has none of them, nobody can listen.
    """
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        absent = [_why_absent(family, kind, protocol, place) for family, kind, protocol, _, place in places]
    except OSError as error:
        raise cannot_listen(who, host, port, error) from error
    if (why := absent[0]) is not None and None not in absent:
        raise cannot_listen(who, host, port, why)


def _why_absent(family: int, kind: int, protocol: int, place: Any) -> OSError | None:
    """Why this is no address of this machine; None: it is one. Raises OSError where its port is taken or forbidden."""
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as who listens does
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno in _TAKEN:
            raise
        return error
    return None
