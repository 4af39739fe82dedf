"""What benchmarks share: the memory of this process, words on standard error, figures on standard output."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

Figure = float | int | str | None | Mapping[str, float] | Mapping[str, float | int | str | None]
Figures = dict[str, Figure]


class Memory:
    """The memory of this process as Linux counts it. Elsewhere every figure is None."""

    _STATUS = Path("/proc/self/status")
    _CLEAR = Path("/proc/self/clear_refs")

    def _field(self, name: str) -> int | None:
        if not self._STATUS.exists():
            return None
        for line in self._STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        return None

    def resident_bytes(self) -> int | None:
        """All of it, shared libraries included."""
        return self._field("VmRSS")

    def anonymous_bytes(self) -> int | None:
        """What is this process' own: without the code of libraries."""
        return self._field("RssAnon")

    def peak_bytes(self) -> int | None:
        """The most since the start, or since the last `forget_peak`."""
        return self._field("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        if self._CLEAR.exists():
            self._CLEAR.write_text("5")


class Progress:
    """One line on standard error that says how far a benchmark is; where that is no terminal, one now and then."""

    _PAUSE_S = 10.0

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_s = time.perf_counter()
        self._said_s = -math.inf
        self._is_terminal = sys.stderr.isatty()

    def say(self, words: str) -> None:
        """Replace the line, or add one if the last is old enough."""
        seconds = time.perf_counter() - self._started_s
        if not self._is_terminal and seconds < self._said_s + self._PAUSE_S:
            return
        self._said_s = seconds
        text = f"{self._name} {seconds:6.1f} s  {words}"
        print(f"\r{text:<110}" if self._is_terminal else text, end="" if self._is_terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def done(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            print(file=sys.stderr)


def show(figures: Mapping[str, Figure], *, as_json: bool) -> None:
    """Print figures: one JSON object, or a line each."""
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            print(name)
            for inner, figure in value.items():
                print(f"  {inner:<32} {_text(figure)}")
        else:
            print(f"{name:<34} {_text(value)}")


def _text(value: Figure) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else json.dumps(value)
