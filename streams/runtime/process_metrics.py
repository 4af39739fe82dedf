"""What every process of Tideline tells Prometheus of itself: its memory, processor time and open files."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector


def add_process(registry: CollectorRegistry) -> None:
    """Add it; nothing on a system without /proc."""
    ProcessCollector(registry=registry)
