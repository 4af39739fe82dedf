"""A pass over all users while shards write: who is there all the time comes once, whatever numbers others get."""

from __future__ import annotations

import numpy as np

from streams.runtime.everybody import _Seen


def test_who_got_the_number_of_somebody_deleted_is_new_since_the_pass_began() -> None:
    """Numbers are given again (core.md, Deletion), and a pass knows users by them."""
    seen = _Seen()
    assert seen.fresh(np.array([3, 7, 3])).tolist() == [0, 1]
    # The user with number 7 is deleted, and somebody who came then has it: neither may be counted beside the other.
    assert seen.fresh(np.array([7, 5_000, 2])).tolist() == [1, 2]
    assert seen.fresh(np.array([5_000, 3])).tolist() == []
