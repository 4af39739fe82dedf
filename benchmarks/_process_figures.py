"""What another process has used, as Linux counts it. Elsewhere every figure is None."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_s(pid: int) -> float | None:
    """Processor time of all its threads since its start, in seconds."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return None
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int | None:
    """Its memory now, shared libraries included."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int | None:
    """The most it ever had."""
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, name: str) -> int | None:
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
