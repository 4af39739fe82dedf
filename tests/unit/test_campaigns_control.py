"""Salted hashes: shares are what they should be, and uses have nothing to do with each other."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest

from streams.core.chance import digest, is_control, is_held_out, path_of, unit

USERS = [f"user-{number}" for number in range(40_000)]


def within(found: float, share: float, n: int) -> bool:
    """Whether a share is as chance would have it: four standard errors, so that one in 16,000 fails."""
    return abs(found - share) <= 4.0 * sqrt(share * (1.0 - share) / n)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_control_group_is_as_large_as_it_should_be(share: float) -> None:
    for campaign in ("cart", "rescue", "win_back"):
        found = sum(is_control(campaign, user, share) for user in USERS) / len(USERS)
        assert within(found, share, len(USERS))


def test_the_same_user_gets_the_same_answer_and_a_larger_share_only_adds() -> None:
    for user in USERS[:2_000]:
        assert is_control("cart", user, 0.1) == is_control("cart", user, 0.1)
        assert not (is_control("cart", user, 0.1) and not is_control("cart", user, 0.2))


def test_control_groups_holdout_and_splits_are_independent() -> None:
    n = len(USERS)
    groups = {
        "cart": [is_control("cart", user, 0.3) for user in USERS],
        "cart2": [is_control("cart2", user, 0.3) for user in USERS],
        "holdout": [is_held_out(user, 0.3) for user in USERS],
        "split": [path_of("cart", "split", user, (0.3, 0.7)) == 0 for user in USERS],
        "other": [path_of("cart", "other", user, (0.3, 0.7)) == 0 for user in USERS],
    }
    for (_, a), (_, b) in combinations(groups.items(), 2):
        assert within(sum(x and y for x, y in zip(a, b, strict=True)) / n, 0.09, n)


def test_paths_of_a_split_get_their_shares() -> None:
    ways = [path_of("j", "s", user, (0.2, 0.0, 0.5, 0.3)) for user in USERS]
    for way, share in enumerate((0.2, 0.0, 0.5, 0.3)):
        assert within(ways.count(way) / len(USERS), share, len(USERS))
    assert all(path_of("j", "s", user, (1.0, 0.0)) == 0 for user in USERS[:1_000])


def test_numbers_lie_below_one_and_parts_are_told_apart() -> None:
    assert all(0.0 <= unit("u", user) < 1.0 for user in USERS[:1_000])
    assert unit("u", "ab", "c") != unit("u", "a", "bc")
    assert unit("u", "a") != unit("u", "a", "")
    assert digest("a", "b") != digest("ab")
