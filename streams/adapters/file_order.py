"""The order in which the rows of several files are read.

Files that overlap in time are read together, row by row in the order of event time: a *stretch*. A file that begins
where those before it end is a stretch of its own. So files that are put behind others later on change nothing of
what was read before, and a run can go on with them (`streams.runtime.going_on`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

LATE_SHARE = 0.05
"""With so many of its rows earlier than the end of the files before it, a file of a run still follows them.

Files by day have a few late events as a rule. If one of them joined the files, tomorrow's could never be put behind
today's; the core takes late events in any case.
"""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Files that are read together. Both figures count from the start of the log up to the end of the stretch."""

    files: int
    rows: int


def stretches(times: Sequence[Times], late_share: float | None) -> tuple[list[int], list[int]]:
    """How many files lie before the end of each stretch, and how many rows of each file are late.

    `times`: per file the event times of its rows, seconds, finite ones only. A row is late if it is earlier than the
    end of the stretches before its own. What is found for the first files does not depend on later ones, except
    that these may join the stretches at the end. `late_share`: None makes all files one stretch.
    """
    if late_share is None:
        return [len(times)], [0] * len(times)
    starts: list[int] = []
    ends_s: list[float] = []
    latest_s = -inf
    for at, of_file in enumerate(times):
        start = at
        while starts and np.count_nonzero(of_file < ends_s[-1]) > late_share * len(of_file):
            start = starts.pop()
            ends_s.pop()
        latest_s = max(latest_s, float(of_file.max(initial=-inf)))
        starts.append(start)
        ends_s.append(latest_s)
    late = [0] * len(times)
    files = [*starts[1:], len(times)]
    for start, end, before_s in zip(starts[1:], files[1:], ends_s, strict=False):
        for at in range(start, end):
            late[at] = int(np.count_nonzero(times[at] < before_s))
    return files, late


def reading_order(times: Times, ends: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """The rows in the order in which they are read; None if that is the order in which they stand.

    `times`: of all rows, one file after the other, none of them NaN. `ends`: the number of rows before the end of each
    stretch. Within a stretch rows of the same time keep their order.
    """
    begins = [0, *ends[:-1]]
    unsorted = [bool(np.any(times[a + 1 : b] < times[a : b - 1])) for a, b in zip(begins, ends, strict=True)]
    if not any(unsorted):
        return None
    order = np.arange(len(times))
    for begin, end, sort in zip(begins, ends, unsorted, strict=True):
        if sort:
            order[begin:end] = begin + np.argsort(times[begin:end], kind="stable")
    return order
