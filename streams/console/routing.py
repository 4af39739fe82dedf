"""How pages say where they are and who may open them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from starlette.responses import Response

from streams.api.keys import Role
from streams.console.visit import Visit

Handler = Callable[[Visit], Response] | Callable[[Visit], Awaitable[Response]]
"""Answers a visit; one that is no coroutine runs in a thread."""


class PageRoute(NamedTuple):
    """One address below the console."""

    path: str
    method: Literal["GET", "POST"]
    role: Role
    """What a key has to allow."""
    handler: Handler
