"""The service of deliveries as a process: opens what it needs, shows how it is, and stops in order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from config.settings import Settings
from streams.adapters.redis_deliveries import RedisDeliveries
from streams.ports import TransitionLog
from streams.runtime.deliveries.audience import Members, StoredMembers
from streams.runtime.deliveries.endpoint_run import Counts
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.service import DeliveryService
from streams.runtime.open_files import take_all_files
from streams.runtime.place import Place, join_place
from streams.runtime.process_metrics import add_process
from streams.runtime.traces import Traces, open_traces
from streams.runtime.web_views import serve_views

_SILENT_S: Final = 15.0
"""A store that has not answered for so long makes the service not ready."""


@dataclass(frozen=True, slots=True)
class DeliverJob:
    """What to run. `open_log` is called in the event loop."""

    settings: Settings
    place: Place
    open_log: Callable[[], TransitionLog]
    traces: Traces | None = None
    """None where they are off; opened with the service."""


def run_deliveries(job: DeliverJob, say: Callable[[str], None]) -> None:
    """Deliver until SIGTERM or Ctrl-C. Raises StoreError, SettingsError (the port)."""
    take_all_files()
    with open_traces(job.settings, "deliver") as traces, join_place(job.place) as url:
        store = RedisDeliveries(url, prefix=job.place.prefix)
        try:
            asyncio.run(_run(replace(job, traces=traces), store, StoredMembers(url, job.place.prefix), say))
        finally:
            store.close()


async def _run(job: DeliverJob, store: RedisDeliveries, members: Members, say: Callable[[str], None]) -> None:
    settings = job.settings
    sender = Sender(allow_private=settings.webhooks_private, timeout_s=settings.webhooks_timeout_s, traces=job.traces)
    log = job.open_log()
    limits = Limits(attempts=settings.webhooks_attempts)
    service = DeliveryService(store, log, sender, members=members, limits=limits)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    try:
        views = await _show(settings, service)
        try:
            say(f"Delivering webhooks. http://{settings.web_host}:{settings.webhooks_port}/readyz says whether it can.")
            await service.run()
        finally:
            await views.cleanup()
    finally:
        await log.close()
        await sender.close()


async def _show(settings: Settings, service: DeliveryService) -> web.AppRunner:
    """Answer until `cleanup` of what is returned. Raises SettingsError where it cannot listen."""

    def ready() -> dict[str, bool]:
        answered_s = service.answered_s
        is_ready = answered_s is not None and time.monotonic() - answered_s < _SILENT_S
        return {"ready": is_ready, "delivering": service.is_owner}

    return await serve_views(settings.web_host, settings.webhooks_port, ready, _registry(service), "the deliveries")


def _registry(service: DeliveryService) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Attempts(service.counts))
    add_process(registry)

    def show(name: str, words: str, value: Callable[[], float]) -> None:
        Gauge(f"tideline_webhooks_{name}", words, registry=registry).set_function(value)

    show("waiting", "Deliveries that wait.", service.waiting)
    show("open_circuits", "Webhooks to which nothing is sent at the moment.", service.open_circuits)
    show("owner", "1 if this process delivers, 0 if it stands by.", lambda: float(service.is_owner))
    return registry


class _Attempts(Collector):
    """What came of all attempts of this process."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """See prometheus-client."""
        for name, words, number in (
            ("delivered", "Deliveries that arrived.", self._counts.delivered),
            ("failed", "Attempts that failed.", self._counts.failed),
            ("dead", "Deliveries that were given up.", self._counts.dead),
            ("missed", "Transitions that the log did not keep long enough.", self._counts.missed),
        ):
            yield CounterMetricFamily(f"tideline_webhooks_{name}", words, value=number)
        latency = HistogramMetricFamily(
            "tideline_webhooks_latency_seconds", "Time until a delivery arrived.", labels=("since",)
        )
        for since, tally in (("event", self._counts.since_event), ("taken", self._counts.since_taken)):
            latency.add_metric([since], buckets=tally.buckets(), sum_value=tally.total)
        yield latency
