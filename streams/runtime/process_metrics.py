"""What every process of Tideline tells Prometheus of itself: its memory, processor time, open files, failed clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.adapters.client_errors import CLIENT_ERRORS, ClientErrors

# Of a container, as its processes see them: version 2 of control groups, and version 1.
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def add_process(registry: CollectorRegistry, errors: ClientErrors = CLIENT_ERRORS) -> None:
    """Add it; nothing of memory and files on a system without /proc."""
    ProcessCollector(registry=registry)
    registry.register(_OwnCollector(errors, memory_limit_bytes()))


def memory_limit_bytes(limits: tuple[Path, ...] = _LIMITS) -> int | None:
    """What the process may have: its container's limit, at most the machine's memory. None where nobody says."""
    given = [int(text) for path in limits if (text := _text_of(path)).isdecimal()]
    names = getattr(os, "sysconf_names", {})
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= names.keys():
        given.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(given, default=None)


def _text_of(path: Path) -> str:
    """`max` stands there where there is no limit."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # another version of control groups, or another system
        return ""


class _OwnCollector(Collector):
    def __init__(self, errors: ClientErrors, limit_bytes: int | None) -> None:
        self._errors = errors
        self._limit_bytes = limit_bytes

    def collect(self) -> Iterator[Metric]:
        """See prometheus-client."""
        if self._limit_bytes is not None:
            words = "Memory that the process may have: its container's limit, or the machine's memory."
            yield GaugeMetricFamily("tideline_memory_limit_bytes", words, value=float(self._limit_bytes))
        failed = CounterMetricFamily(
            "tideline_client_errors", "Failures of the clients of Redis and Kafka.", labels=("client", "error")
        )
        for (client, error), number in self._errors.counts().items():
            failed.add_metric([client, error], number)
        yield failed
