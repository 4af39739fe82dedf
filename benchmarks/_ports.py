"""Ports for servers that tests and benchmarks start: chosen beforehand, and nobody else's until they are used.

A port that a system has just given, and that is free again, is given to whoever asks next: a connection of any program
may have it when the server comes. These are below the ones that systems give, and those of the embedded Kafka. Each
process has a block of them, which it holds by the block's first port, so that processes beside each other share none.
"""

from __future__ import annotations

import socket
from typing import Final

HOST: Final = "127.0.0.1"
PORTS: Final = range(10_000, 20_000)
BLOCK: Final = 500


class Ports:
    """The ports of one process, in turn: a port comes again when all others of its block have been given."""

    def __init__(self) -> None:
        self._held: socket.socket | None = None
        self._block = range(0)
        self._given = 0

    def take(self) -> int:
        """One that nobody listens at, and that no other process takes from here."""
        if self._held is None:
            self._held, self._block = _hold_block()
        for _ in self._block:
            port = self._block[self._given % len(self._block)]
            self._given += 1
            if (found := _bound(port)) is not None:
                found.close()
                return port
        raise OSError(f"every port of {HOST} from {self._block.start} to {self._block.stop - 1} is taken")

    def close(self) -> None:
        """Others may have the block."""
        if self._held is not None:
            self._held.close()
            self._held = None


def _hold_block() -> tuple[socket.socket, range]:
    for first in PORTS[::BLOCK]:
        if (held := _bound(first)) is not None:
            return held, range(first + 1, first + BLOCK)
    raise OSError(f"{len(PORTS[::BLOCK])} processes have all blocks of ports of {HOST} from {PORTS.start} on")


def _bound(port: int) -> socket.socket | None:
    """A socket that has the port; None where somebody has it."""
    found = socket.socket()
    try:
        found.bind((HOST, port))
    except OSError:
        found.close()
        return None
    return found


_PORTS: Final = Ports()


def free_port() -> int:
    """For a server of this process, or one that it starts."""
    return _PORTS.take()


def free_ports(count: int) -> list[int]:
    """So many of them."""
    return [free_port() for _ in range(count)]
