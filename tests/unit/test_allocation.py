"""Memory that a shard took goes back to the system when the shard is dropped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
from math import nan
from pathlib import Path
from config.loader import loads
from streams.core.events import Event
from streams.runtime.allocation import return_large_blocks
from streams.runtime.lockstep import LockStep

assert return_large_blocks()
catalog = loads("{version: 1, name: small, predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}}")

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def use_a_shard():
    engine = LockStep(catalog)
    times = [1.7e9 + 40_000.0 * n for n in range(60)]
    engine.take([Event(f"u{n % 5}", "Order", at, nan, n, None, None, n, at) for n, at in enumerate(times)])
    engine.effects(1, b"")

for _ in range(5):
    use_a_shard()
before = resident_mib()
for _ in range(40):
    use_a_shard()
print(resident_mib() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_dropped_shards_leave_little_behind(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300.0  # some 500 without the setting, and 190 to 205 with it
