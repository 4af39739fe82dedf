"""Files that are sent while they are read: few at the same time, and none for somebody who does not take it.

An export reads the store for as long as its client takes, with a connection and, part by part, a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from inspect import GEN_RUNNING, getgeneratorstate
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from streams.api.asking import KEY_ID
from streams.api.few_at_once import Places
from streams.api.problems import Kind, Problem

Content = Generator[bytes, None, None]
_LOG: Final = logging.getLogger(__name__)
AT_ONCE: Final = 4
"""In one process."""
PATIENCE_S: Final = 60.0
"""Who takes nothing for so long is not waited for any more."""
LEAST_BYTES_PER_S: Final = 10_000
"""Nor is who takes less than that on average, beyond `PATIENCE_S`. The time of the store is not counted."""


class Exports:
    """Those of one process. For the one loop of an app."""

    def __init__(
        self, at_once: int = AT_ONCE, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds that never go back."""
        self.places = Places(at_once)
        self.patience_s = patience_s
        self.clock = clock

    def check(self) -> None:
        """Raises `Problem` with Retry-After where no other export may begin with the key that asks."""
        if not self.places.is_free(KEY_ID.get()):
            words = "as many exports are being sent as one process sends at the same time, or with one key; come again"
            raise Problem(Kind.OVERLOADED, words, headers={"Retry-After": "10"})


class ExportResponse(StreamingResponse):
    """Has a place among the exports while it is sent. Raises `Problem` where there is none."""

    def __init__(self, exports: Exports, content: Content, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._exports = exports
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        key_id = KEY_ID.get()
        self._exports.check()
        self._exports.places.take(key_id)
        try:
            with suppress(_Hangs):
                await super().__call__(scope, receive, self._patient(send))
        finally:
            self._exports.places.give(key_id)
            if (
                getgeneratorstate(self._content) != GEN_RUNNING
            ):  # cut off by the end of the process, while a thread still reads
                self._content.close()  # with the connection to the store that it reads by

    def _patient(self, send: Send) -> Send:
        clock, patience_s = self._exports.clock, self._exports.patience_s
        waited_s, taken_bytes = 0.0, 0

        async def sent(message: Message) -> None:
            nonlocal waited_s, taken_bytes
            began_s = clock()
            try:
                async with asyncio.timeout(patience_s):
                    await send(message)
            except TimeoutError as error:
                _LOG.warning("an export ends, as nobody has taken it for %g s", patience_s)
                raise _Hangs from error
            waited_s += clock() - began_s
            taken_bytes += len(message.get("body", b""))
            if waited_s > patience_s + taken_bytes / LEAST_BYTES_PER_S:
                _LOG.warning("an export ends, as it is taken too slowly: %d bytes in %.0f s", taken_bytes, waited_s)
                raise _Hangs

        return sent


class _Hangs(Exception):
    """The client does not take it, or too slowly."""
