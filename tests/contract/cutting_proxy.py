"""A line to a server that can be cut at any byte, in either direction."""

from __future__ import annotations

import selectors
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

REQUEST, REPLY = "request", "reply"


class CuttingProxy:
    """Listens on a unix socket and passes everything on to another one, until it is told to cut.

    `cut(direction, after)` cuts the line once that many further bytes have gone in that direction: with
    `REQUEST` the server sees a part of what was sent, with `REPLY` it has done it and the answer is lost.
    New lines work again.
    """

    def __init__(self, listen: Path, server: Path) -> None:
        self.url = f"unix://{listen}"
        self.cuts = 0
        self._server = str(server)
        self._left: dict[str, int | None] = {REQUEST: None, REPLY: None}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listen))
        self._listener.listen()
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def cut(self, direction: str, after: int) -> None:
        with self._lock:
            self._left[direction] = after

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            thread = threading.Thread(target=self._pump, args=(client, server))
            thread.start()
            self._threads.append(thread)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, client, server:
            selector.register(client, selectors.EVENT_READ, (REQUEST, server))
            selector.register(server, selectors.EVENT_READ, (REPLY, client))
            while True:
                for key, _ in selector.select():
                    direction, target = key.data
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    try:
                        data = source.recv(65_536)
                        allowed = self._allowed(direction, len(data))
                        target.sendall(data[:allowed])
                    except OSError:
                        return
                    if not data or allowed < len(data):
                        return

    def _allowed(self, direction: str, size: int) -> int:
        """How many of `size` bytes may still pass; fewer than `size` cuts the line and ends the order."""
        with self._lock:
            left = self._left[direction]
            if left is None:
                return size
            if size < left:
                self._left[direction] = left - size
                return size
            # Cut when the count is reached, also if nothing is left over to hold back.
            self._left[direction] = None
            self.cuts += 1
            return min(left, size - 1)
