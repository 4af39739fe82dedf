"""What is asked of the figures of `make bench`, and whether it holds."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

LIMIT_MINUTES: Final = 30.0
"""What all benchmarks together may take."""
_HOLDS: Final = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Asked:
    """Of a figure of a benchmark. `than`: one of the signs of `_HOLDS`."""

    benchmark: str
    key: str
    than: str
    bound: float

    @property
    def words(self) -> str:
        """The sign and the bound."""
        return f"{self.than} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside what is asked of it. None was not measured."""

    asked: Asked
    value: float | None

    @property
    def holds(self) -> bool:
        """What was not measured does not hold; nor does NaN."""
        return self.value is not None and _HOLDS[self.asked.than](self.value, self.asked.bound)

    @property
    def words(self) -> str:
        """What is asked, and whether it holds."""
        if self.value is None:
            return f"{self.asked.words}: does not hold (not measured)"
        return f"{self.asked.words}: {'holds' if self.holds else 'does not hold'}"


ASKED: Final = (
    Asked("peers", "ratio_to_faust", "≥", 20.0),
    Asked("peers", "ratio_to_quix_streams", "≥", 8.0),
    Asked("peers", "ratio_to_bytewax", "≥", 8.0),
    Asked("growth", "cpu_us_per_event_largest_to_smallest", "≤", 1.5),
    Asked("kafka", "ratio_to_plain_faust", "≥", 20.0),
    Asked("kafka", "ratio_to_consume_and_decode", "≥", 0.08),
    Asked("kafka", "latency_p50_ms", "<", 25.0),
    Asked("kafka", "latency_p99_ms", "<", 150.0),
    Asked("kafka", "dead_letters", "≤", 0.0),
    Asked("engine", "ratio_to_reference", "≥", 30.0),
    Asked("ingest", "healthy_missing", "≤", 0.0),
    Asked("ingest", "dead_beside_missing", "≤", 0.0),
    Asked("messages", "missing", "≤", 0.0),
    Asked("console", "page_within_limit", "≥", 1.0),
)
"""In the sizes of `make bench`; docs/benchmarks.md says what the keys mean. (A million users in 1 GiB, and how often
intervals cover the truth, need larger ones.)"""
_TIME: Final = Asked("all", "minutes", "<", LIMIT_MINUTES)


def judge(benchmark: str, figures: Mapping[str, Any] | None) -> list[Verdict]:
    """All that is asked of a benchmark; `figures` is None where it gave none."""
    return [Verdict(asked, _figure(figures, asked.key)) for asked in ASKED if asked.benchmark == benchmark]


def judge_time(seconds: float) -> Verdict:
    """Of all together."""
    return Verdict(_TIME, seconds / 60.0)


def complaints(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each that does not hold."""
    return [
        f"{each.asked.benchmark}: {each.asked.key} is "
        f"{'not measured' if each.value is None else f'{each.value:.4g}'}, asked for {each.asked.words}"
        for each in verdicts
        if not each.holds
    ]


def _figure(figures: Mapping[str, Any] | None, key: str) -> float | None:
    value = None if figures is None else figures.get(key)
    return float(value) if isinstance(value, int | float) else None
