"""What the API tells Prometheus, and the outermost layer of every request: its id, its time, its count."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from streams.api.limits import InFlight, Receive, Scope, Send
from streams.runtime.process_metrics import add_process

_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ApiMetrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self, in_flight: InFlight) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tideline_api_requests",
            "Requests by route, method and class of the answer's status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "tideline_api_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.events = Counter(
            "tideline_api_events",
            "Events by what became of them: accepted, unusable (a dead letter), ignored (of a type that is not used), "
            "refused (an error was answered).",
            ("result",),
            registry=self.registry,
        )
        for result in ("accepted", "unusable", "ignored", "refused"):
            self.events.labels(result)
        in_hand = Gauge("tideline_api_in_flight_bytes", "Bytes of bodies that are in hand.", registry=self.registry)
        in_hand.set_function(lambda: in_flight.bytes)
        add_process(self.registry)

    def gauge(self, name: str, words: str, value: Callable[[], float]) -> None:
        """One more figure, asked for when somebody looks."""
        Gauge(name, words, registry=self.registry).set_function(value)

    def counter(self, name: str, words: str, value: Callable[[], float]) -> None:
        """One more figure that only grows, asked for when somebody looks; `name` without `_total`."""
        self.registry.register(_Counted(name, words, value))

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(route, method if method in _METHODS else "other", f"{status // 100}xx").inc()
        self.seconds.labels(route).observe(seconds)


class _Counted(Collector):
    """A counter that somebody else counts."""

    def __init__(self, name: str, words: str, value: Callable[[], float]) -> None:
        self._name, self._words, self._value = name, words, value

    def collect(self) -> Iterator[Metric]:
        """See prometheus-client."""
        yield CounterMetricFamily(self._name, self._words, value=self._value())


class Observed:
    """Gives every request an id, which its answer and the log have, and counts it by the template of its route."""

    def __init__(self, app: Any, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started_s = time.perf_counter()

        async def named(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            # An app within the app has a scope of its own, and tells its routes' templates in the state that both have.
            route = scope["state"].get("route") or getattr(scope.get("route"), "path_format", "none")
            self._metrics.note(route, scope["method"], status, time.perf_counter() - started_s)


def _request_id(scope: Scope) -> str:
    """The caller's own, if it is one that can be written into a log, or a new one."""
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
