"""How the service of campaigns is: for `/readyz`, and for Prometheus, read at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from streams.runtime.campaigns.partition_run import CampaignRun
from streams.runtime.channels.run import ChannelRun
from streams.runtime.process_metrics import add_process

SILENT_S: Final = 15.0
"""A store that has not answered for so long makes the service not ready."""


class Worked(Protocol):
    """A partition in the hands of this process."""

    @property
    def run(self) -> CampaignRun | None: ...

    @property
    def is_ready(self) -> bool: ...


class Delivering(Protocol):
    """The channels of this process (`channels.service.ChannelService`)."""

    @property
    def runs(self) -> Mapping[str, ChannelRun]: ...

    @property
    def unread(self) -> Mapping[str, int]: ...

    @property
    def lacking(self) -> Mapping[str, str]: ...

    @property
    def is_owner(self) -> bool: ...

    @property
    def answered_s(self) -> float | None: ...


class Seen(Protocol):
    """What is asked how it is; `channels` is None before anything has begun."""

    @property
    def works(self) -> Mapping[int, Worked]: ...

    @property
    def channels(self) -> Delivering | None: ...

    @property
    def troubles(self) -> int: ...


def health(service: Seen, monotonic_s: float) -> dict[str, Any]:
    """As `/readyz` tells it."""
    works, channels = dict(service.works), service.channels
    answered_s = None if channels is None else channels.answered_s
    answers = answered_s is not None and monotonic_s - answered_s < SILENT_S
    return {
        "ready": answers and all(work.is_ready for work in works.values()),
        "assigned": sorted(works),
        "loading": sorted(number for number, work in works.items() if not work.is_ready),
        "delivering": channels is not None and channels.is_owner,
        "lacking": {} if channels is None else dict(channels.lacking),
    }


def registry(service: Seen, wall: Callable[[], float] = time.time) -> CollectorRegistry:
    """What `/metrics` shows."""
    found = CollectorRegistry()
    found.register(_Campaigns(service, wall))
    add_process(found)
    return found


class _Campaigns(Collector):
    """Series are bounded by partitions, reasons and channels (32), never by campaigns or users."""

    def __init__(self, service: Seen, wall: Callable[[], float]) -> None:
        self._service = service
        self._wall = wall

    def collect(self) -> Iterator[Metric]:
        """See prometheus-client."""
        runs = {n: work.run for n, work in sorted(self._service.works.items()) if work.run is not None}
        yield from self._of_partitions(runs)
        yield _gauge(
            "troubles", "Campaigns that are paused because they do not fit the catalog.", self._service.troubles
        )
        channels = self._service.channels
        yield _gauge(
            "owner", "1 if this process delivers, 0 if it stands by.", channels is not None and channels.is_owner
        )
        if channels is not None:
            yield from self._of_channels(channels)

    def _of_partitions(self, runs: Mapping[int, CampaignRun]) -> Iterator[Metric]:
        decisions = CounterMetricFamily("tideline_campaign_decisions", "What became of occasions.", labels=("result",))
        total: dict[str, int] = {}
        for run in runs.values():
            for what, number in dict(run.counts.decided).items():
                total[what] = total.get(what, 0) + number
        for what, number in sorted(total.items()):
            decisions.add_metric([what], number)
        yield decisions
        for name, words, value in _COUNTED:
            family = CounterMetricFamily(f"tideline_campaign_{name}", words, labels=("partition",))
            for number, run in runs.items():
                family.add_metric([str(number)], value(run))
            yield family
        outbox = GaugeMetricFamily(
            "tideline_campaign_outbox", "What is stored and not published.", labels=("partition",)
        )
        past = GaugeMetricFamily(
            "tideline_campaign_reading_past", "Records that are to be read again.", labels=("partition",)
        )
        behind = GaugeMetricFamily(
            "tideline_campaign_behind_seconds", "How long ago all was read that had happened.", labels=("partition",)
        )
        now_s = self._wall()
        for number, run in runs.items():
            outbox.add_metric([str(number)], run.counts.outbox)
            past.add_metric([str(number)], run.place.left)
            if isfinite(run.read_s):
                behind.add_metric([str(number)], max(0.0, now_s - run.read_s))
        yield outbox
        yield past
        yield behind

    def _of_channels(self, channels: Delivering) -> Iterator[Metric]:
        by_channel = ("channel",)
        yield _gauge("channels_lacking", "Channels that lack settings or a secret.", len(channels.lacking))
        deliveries = CounterMetricFamily(
            "tideline_campaign_deliveries", "What became of messages.", labels=("channel", "result")
        )
        waiting = GaugeMetricFamily("tideline_campaign_waiting", "Messages that wait.", labels=by_channel)
        closed = GaugeMetricFamily(
            "tideline_campaign_open_circuit", "1 if nothing is sent at the moment.", labels=by_channel
        )
        latency = HistogramMetricFamily(
            "tideline_campaign_latency_seconds", "Time until a message arrived.", labels=("channel", "since")
        )
        for id_, run in sorted(channels.runs.items()):
            for since, tally in run.latency.since.items():
                latency.add_metric([id_, since], buckets=tally.buckets(), sum_value=tally.total)
            for what, number in sorted(dict(run.desk.taken.counts).items()):
                deliveries.add_metric([id_, what], number)
            waiting.add_metric([id_], run.desk.pace.waiting)
            closed.add_metric([id_], run.desk.pace.breaker.state(self._wall()) != "closed")
        unread = GaugeMetricFamily(
            "tideline_campaign_unread", "Records of messages that were not taken in.", labels=by_channel
        )
        for id_, number in sorted(channels.unread.items()):
            unread.add_metric([id_], number)
        yield from (deliveries, latency, waiting, closed, unread)


_COUNTED: Final[tuple[tuple[str, str, Callable[[CampaignRun], int]], ...]] = (
    ("inputs", "Crossings, events and timers that were decided about.", lambda run: run.counts.inputs),
    ("commits", "Commits of a partition.", lambda run: run.counts.commits),
    ("published", "Messages, notes and alerts that were published.", lambda run: run.counts.published),
)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tideline_campaign_{name}", words, value=value)
