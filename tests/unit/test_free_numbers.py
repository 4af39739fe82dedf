"""Numbers that are free again come back smallest first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.core.free_numbers import give_back, take_smallest, unused


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=60))
def test_the_smallest_comes_first(steps: list[int | None]) -> None:
    heap, size, left = np.zeros(64, np.int64), 0, set[int]()
    for number in steps:
        if number is None and left:
            assert take_smallest(heap, size) == min(left)
            left.remove(min(left))
            size -= 1
        elif number is not None and number not in left:
            give_back(heap, size, number)
            left.add(number)
            size += 1
    assert [take_smallest(heap, size - n) for n in range(size)] == sorted(left)


def test_what_is_not_used_is_a_heap() -> None:
    free = unused(np.array([3, 0, 5], np.int64), 7)
    assert free.tolist() == [1, 2, 4, 6]
    assert [take_smallest(free, 4 - n) for n in range(4)] == [1, 2, 4, 6]
