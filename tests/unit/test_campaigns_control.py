"""Salted hashes: shares are what they should be, and uses have nothing to do with each other."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest

from benchmarks._campaigning import Campaigning
from streams.campaigns.inputs import Crossing, Score
from streams.core.chance import digest, is_control, is_held_out, path_of, unit
from tests.campaign_world import OPEN, campaign, facts, plan_of

NOW_S = 1_790_000_000.0
USERS = [f"user-{number}" for number in range(40_000)]


def within(found: float, share: float, n: int) -> bool:
    """Whether a share is as chance would have it: four standard errors, so that one in 16,000 fails."""
    return abs(found - share) <= 4.0 * sqrt(share * (1.0 - share) / n)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_control_group_is_as_large_as_it_should_be(share: float) -> None:
    for id_ in ("cart", "rescue", "win_back"):
        found = sum(is_control(id_, user, share) for user in USERS) / len(USERS)
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


def test_groups_that_the_engine_draws_are_those_of_chance_alone() -> None:
    """Of who comes to the send: of each kind of users the share, and of two campaigns independently."""
    messaging = OPEN.model_copy(update={"holdout": 0.1})
    one, two = (campaign(control=0.3, skip_recent_goal="1d", segment=segment) for segment in "st")
    users = USERS[:6_000]
    known = {
        # A third has just ordered, and comes to no send; half of the others have a score.
        user: facts("s", "t", latest_s={"Order": NOW_S - 60.0} if n % 3 == 0 else {}, scores={"p": Score(n % 2 * 50.0)})
        for n, user in enumerate(users)
    }
    crossings = [Crossing(user, segment, True, 1, NOW_S - 1.0, "live") for user in users for segment in "st"]
    engine = Campaigning(plan_of({"one": one, "two": two}, messaging=messaging))
    engine.take(crossings, NOW_S, known)
    came = [user for n, user in enumerate(users) if n % 3]
    assert {user for user, row in engine.rows.items() if row.assigned} == set(came)
    arms = {id_: [engine.rows[user].assigned[id_].arm for user in came] for id_ in ("one", "two")}
    assert [arm == "holdout" for arm in arms["one"]] == [arm == "holdout" for arm in arms["two"]]
    assert within(arms["one"].count("holdout") / len(came), 0.1, len(came))
    drawn = [pair for pair in zip(arms["one"], arms["two"], strict=True) if "holdout" not in pair]
    for place in (0, 1):
        assert within([pair[place] for pair in drawn].count("control") / len(drawn), 0.3, len(drawn))
    assert within(drawn.count(("control", "control")) / len(drawn), 0.09, len(drawn))
    for half in (0, 1):
        kind = [arm for n, arm in enumerate(arms["one"]) if n % 2 == half and arm != "holdout"]
        assert within(kind.count("control") / len(kind), 0.3, len(kind))


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
