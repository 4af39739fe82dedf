"""How the store's servers are, looked at now and then: what they promise, their memory, and whether they can write.

A scrape gets the latest look and never waits for a server; one that is old begins the next, in a thread of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock, Thread
from typing import Final, Protocol

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from config.errors import StoreError
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_server import ServerCondition, condition, inspect_all, keeps_all, weakest

_LOG: Final = logging.getLogger(__name__)
EVERY_S: Final = 30.0
TIMEOUT_S: Final = 5.0


class Promise(IntEnum):
    """What the weakest server promises of commits that it has acknowledged."""

    NOTHING = 0
    """`appendonly no`: a restart forgets what came since the last dump."""
    MOST = 1
    """The last ones may be forgotten, when a machine or a primary fails."""
    ALL = 2


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """As of one look. `servers`: by their addresses, without passwords."""

    promise: Promise
    servers: dict[str, ServerCondition]


class Watched(Protocol):
    """What is asked at a scrape."""

    def latest(self) -> StoreFacts | None: ...


def look(url: str, replicas_waited_for: int) -> StoreFacts:
    """Ask every server that has keys. Raises StoreError."""
    with closing(open_nodes(url, timeout_s=TIMEOUT_S)) as nodes:
        found = weakest(inspect_all(nodes))
        servers = {wire.name: condition(wire) for wire in nodes.primaries()}
    if not found.appendonly:
        return StoreFacts(Promise.NOTHING, servers)
    return StoreFacts(Promise.ALL if keeps_all(found, replicas_waited_for) else Promise.MOST, servers)


class StoreWatch:
    """Of the store at `url`. `pace_s` is monotonic."""

    def __init__(
        self,
        url: str,
        replicas_waited_for: int,
        *,
        looking: Callable[[str, int], StoreFacts] = look,
        pace_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._replicas = replicas_waited_for
        self._looking = looking
        self._pace_s = pace_s
        self._lock = Lock()
        self._facts: StoreFacts | None = None
        self._since_s: float | None = None
        """When the latest look began; None before the first."""
        self._thread: Thread | None = None

    def latest(self) -> StoreFacts | None:
        """What was seen last; None where that is not known, since no server has answered."""
        with self._lock:
            now_s = self._pace_s()
            is_due = self._since_s is None or now_s - self._since_s >= EVERY_S
            if is_due and (self._thread is None or not self._thread.is_alive()):
                self._since_s = now_s
                self._thread = Thread(target=self._look, name="store-watch", daemon=True)
                self._thread.start()
            return self._facts

    def wait(self) -> None:
        """Until no look is under way."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _look(self) -> None:
        try:
            found: StoreFacts | None = self._looking(self._url, self._replicas)
        except StoreError as error:  # whoever commits tells of it, too, and decides what becomes of that
            _LOG.debug("the store was not looked at: %s", error)
            found = None
        with self._lock:
            self._facts = found


def store_metrics(facts: StoreFacts | None) -> Iterator[Metric]:
    """No series where nothing is known."""
    promise = GaugeMetricFamily(
        "tideline_store_promise", "0: a restart forgets commits, 1: a failure may forget the last ones, 2: nothing can."
    )
    by_server = ("server",)
    used = GaugeMetricFamily("tideline_store_memory_bytes", "Memory that a server of the store uses.", labels=by_server)
    most = GaugeMetricFamily(
        "tideline_store_memory_limit_bytes", "Its maxmemory, or without one its machine's memory.", labels=by_server
    )
    unwritten = GaugeMetricFamily(
        "tideline_store_unwritten", "1 if it could not write to its disk at the last try.", labels=by_server
    )
    if facts is not None:
        promise.add_metric([], facts.promise)
        for name, server in sorted(facts.servers.items()):
            used.add_metric([name], server.used_bytes)
            if limit_bytes := server.max_bytes or server.machine_bytes:
                most.add_metric([name], limit_bytes)
            unwritten.add_metric([name], bool(server.unwritten))
    yield from (promise, used, most, unwritten)
