"""What a soak notes of a worker while it runs, and what is made of it at the end."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import theilslopes

MB: Final = 1e6
_LEVEL: Final = re.compile(r"^\S+ \S+ (WARNING|ERROR|CRITICAL) ")
_JSON_LEVEL: Final = re.compile(r'^\{"time": "[^"]*", "level": "(warning|error|critical)"')
_FAMILIES: Final = frozenset(
    {
        "process_resident_memory_bytes",
        "tideline_store_memory_bytes",
        "tideline_lag_records",
        "tideline_records",
        "tideline_client_errors",
        "tideline_dead_letters",
    }
)
"""What a page of metrics has to have: what is not there would look as if nothing was wrong."""
_TRACEBACK: Final = "Traceback (most recent call last)"


class Sample(NamedTuple):
    """One look at the metrics of a worker."""

    at_s: float
    """Monotonic clock."""
    rss_bytes: float
    store_bytes: float
    """Of all servers of the store; 0 before the first look at them."""
    lag_records: float
    records: float
    """That were worked since the worker began."""
    client_errors: float
    dead_letters: float


def look(url: str, at_s: float) -> Sample:
    """At the page of metrics. Raises OSError where it does not answer."""
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return sample_of(answer.read().decode(), at_s)


def sample_of(page: str, at_s: float) -> Sample:
    """Sums over the partitions and servers. Raises ValueError for a page that does not have all that is looked at."""
    sums: Counter[str] = Counter()
    missing = set(_FAMILIES)
    for family in text_string_to_metric_families(page):
        missing.discard(family.name)
        for each in family.samples:
            sums[each.name] += each.value  # type: ignore[assignment]  # counts may be floats
    if missing:
        raise ValueError(f"the page of metrics has no {', '.join(sorted(missing))}")
    return Sample(
        at_s,
        sums["process_resident_memory_bytes"],
        sums["tideline_store_memory_bytes"],
        sums["tideline_lag_records"],
        sums["tideline_records_total"],
        sums["tideline_client_errors_total"],
        sums["tideline_dead_letters_total"],
    )


def growth(at_s: Sequence[float], values: Sequence[float]) -> float:
    """By how much the values grow from the first to the last time, by the median of the slopes of all pairs.

    Some values that are far off, as in a pause of the machine, do not move it. NaN for fewer than two times.
    """
    if len(set(at_s)) < 2:
        return float("nan")
    slope = theilslopes(np.asarray(values), np.asarray(at_s)).slope
    return float(slope) * (max(at_s) - min(at_s))


def growth_percent(at_s: Sequence[float], values: Sequence[float]) -> float:
    """The same, of their median."""
    return 100.0 * growth(at_s, values) / float(np.median(values))


def complaints(log: Path, begin: int = 0) -> dict[str, int]:
    """Lines of a worker's log by level from byte `begin` on, and tracebacks; what is well is not counted.

    Of a log of either form: text, or an object a line.
    """
    found = Counter({"WARNING": 0, "ERROR": 0, "CRITICAL": 0, "traceback": 0})
    for line in log.read_bytes()[begin:].decode(errors="replace").splitlines():
        if (level := _LEVEL.match(line) or _JSON_LEVEL.match(line)) is not None:
            found[level[1].upper()] += 1
        found["traceback"] += _TRACEBACK in line
    return dict(found)
