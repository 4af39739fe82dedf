"""Files behind files: which are read together, and that later ones change nothing of what was read before."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.adapters.file_order import LATE_SHARE, reading_order, stretches

DAY = list(range(100))
DAYS = [
    pytest.param([DAY, [99, 150]], [1, 2], [0, 0], id="follows"),
    pytest.param([[150, 160], DAY], [2], [0, 0], id="the wrong way round"),
    pytest.param([DAY, [50, 150]], [2], [0, 0], id="overlaps"),
    pytest.param([DAY, [98, *range(100, 119)]], [1, 2], [0, 1], id="one late row of twenty"),
    pytest.param([DAY, [98, *range(100, 118)]], [2], [0, 0], id="one late row of nineteen"),
    pytest.param([DAY, DAY, [100, 200], [100, 200]], [2, 4], [0, 0, 0, 0], id="two kinds of files, two days"),
    pytest.param([DAY, [100, 200], DAY, [100, 200]], [4], [0, 0, 0, 0], id="one kind after the other"),
    pytest.param([DAY, [], [99, 150]], [1, 2, 3], [0, 0, 0], id="a file without times"),
]


@pytest.mark.parametrize(("times", "files", "late"), DAYS)
def test_files_that_overlap_are_read_together(times: list[list[float]], files: list[int], late: list[int]) -> None:
    assert stretches([np.array(of_file, float) for of_file in times], LATE_SHARE) == (files, late)


def test_without_a_share_all_rows_are_in_the_order_of_time() -> None:
    assert stretches([np.array([5.0]), np.array([6.0])], None) == ([2], [0, 0])


files_of_times = st.lists(st.lists(st.integers(0, 40), max_size=30), min_size=1, max_size=6)


@given(files_of_times, st.sampled_from([0.0, 0.05, 0.3]))
def test_what_was_found_for_the_first_files_stays(times: list[list[int]], late_share: float) -> None:
    arrays = [np.array(of_file, float) for of_file in times]
    ends, late = stretches(arrays, late_share)
    assert ends[-1] == len(times)
    assert ends == sorted(set(ends))
    for number in range(1, len(times)):
        before, late_before = stretches(arrays[:number], late_share)
        if number in ends:
            assert before == [end for end in ends if end <= number]
            assert late_before == late[:number]
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        latest = max((max(of_file, default=-inf) for of_file in times[:begin]), default=-inf)
        first = times[begin]
        assert late[begin] == sum(time < latest for time in first)
        if begin and end == begin + 1:
            assert late[begin] <= late_share * len(first)


@given(files_of_times.filter(any))
def test_rows_are_sorted_within_their_stretch_only(times: list[list[int]]) -> None:
    full = [of_file for of_file in times if of_file]
    arrays = [np.array(of_file, float) for of_file in full]
    ends, _ = stretches(arrays, LATE_SHARE)
    rows = np.cumsum([len(of_file) for of_file in full])
    together = np.concatenate(arrays)
    order = reading_order(together, [int(rows[end - 1]) for end in ends])
    expected: list[int] = []
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        first, last = (int(rows[begin - 1]) if begin else 0), int(rows[end - 1])
        expected += sorted(range(first, last), key=lambda row: together[row])
    assert (list(range(len(together))) if order is None else order.tolist()) == expected
    assert (order is None) == (expected == list(range(len(together))))
