"""How far a service is with learning from its log: a key in the store, which the API shows (docs/redis.md)."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from config.errors import StoreUnavailable
from streams.adapters.redis_nodes import Nodes, open_nodes

_LOG: Final = logging.getLogger(__name__)
_TIMEOUT_S: Final = 5.0
KEY: Final = "past"


class PastStatus(msgspec.Struct, frozen=True):
    """`phase`: reading (the log), joining (the live stream), done, or failed (what is new learns from now on)."""

    phase: str
    predictions: list[str]
    """For which it is read; none where only counts are new."""
    records: int
    """So many are read."""
    of: int
    """So many there are."""
    at_s: float
    """When this was true, seconds since 1970 UTC."""


def write_status(nodes: Nodes, prefix: str, status: PastStatus) -> None:
    """Keep it in the store. Raises StoreError."""
    nodes.ask("SET", status_key(prefix), msgspec.json.encode(status))


def read_status(nodes: Nodes, prefix: str) -> PastStatus | None:
    """What was kept; None where nothing was ever read. Raises StoreError."""
    data = nodes.ask("GET", status_key(prefix))
    return None if data is None else msgspec.json.decode(data, type=PastStatus)


class StatusTeller:
    """Writes it for a worker, to which it does not matter whether it is read."""

    def __init__(self, url: str, prefix: str) -> None:
        self._nodes, self._prefix = open_nodes(url, timeout_s=_TIMEOUT_S), prefix

    def tell(self, status: PastStatus) -> None:
        """Once; where the store does not answer, the next one is told."""
        try:
            write_status(self._nodes, self._prefix, status)
        except StoreUnavailable as error:
            _LOG.debug("how far the past is was not told: %s", error)


def status_key(prefix: str) -> bytes:
    """Where it is kept."""
    return f"{prefix}:{KEY}".encode()
