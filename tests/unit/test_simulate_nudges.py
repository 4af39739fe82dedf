"""A message moves hidden intent by a known amount: nobody else changes, and the law of the new state holds."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest, chi2

from streams.simulate.process import HIDDEN
from streams.simulate.shop import BROWSING, COLD, KEEN, KINDS, ORDERED, STATES, build_shop, moved_states
from streams.simulate.traffic import Rows, Traffic
from streams.simulate.truth import Truth
from tests.unit.test_simulate_traffic import ARRIVE_S, DAY_MS, happened, same

SHOP = build_shop()
AT_MS = 15 * DAY_MS
WINDOW_S = 7 * 86_400.0
TRUE = SHOP.process.goal_likelihood(ORDERED, WINDOW_S)
MOVED = moved_states(SHOP)


def traffic(users: int) -> Traffic:
    made = Traffic(SHOP, users, seed=5, arrive_s=ARRIVE_S)
    made.until(AT_MS)
    return made


def everybody(users: int) -> np.ndarray:
    return np.arange(users)


def test_intent_grows_and_kinds_stay() -> None:
    for state, after in ((COLD, BROWSING), (BROWSING, KEEN), (KEEN, KEEN)):
        for kind in range(len(KINDS)):
            assert MOVED[kind * len(STATES) + state] == kind * len(STATES) + after
    assert (TRUE[MOVED] >= TRUE).all()
    assert (TRUE[MOVED] - TRUE).max() > 0.2


def test_whom_a_message_does_not_move_does_what_they_would_have_done() -> None:
    plain, told = traffic(500), traffic(500)
    assert len(told.nudge(everybody(500), AT_MS, np.zeros(500))) == 0
    same(plain.until(22 * DAY_MS), told.until(22 * DAY_MS))


def test_others_do_what_they_would_have_done() -> None:
    plain, told = traffic(500), traffic(500)
    told.nudge(np.arange(0, 500, 2), AT_MS, np.ones(250))
    without, with_it = plain.until(22 * DAY_MS), told.until(22 * DAY_MS)
    same(without.take(without.user % 2 == 1), with_it.take(with_it.user % 2 == 1))
    assert len(with_it) != len(without)


def test_orders_after_it_are_as_likely_as_in_the_state_to_which_it_leads() -> None:
    users = 12_000
    told = traffic(users)
    before = told.states
    told.nudge(everybody(users), AT_MS, np.ones(users))
    np.testing.assert_array_equal(told.states, MOVED[before])
    goal = happened(told.until(AT_MS + int(WINDOW_S * 1_000)), users)
    statistic, states = 0.0, 0
    for state in np.unique(before).tolist():
        there, p = before == state, TRUE[MOVED[state]]
        size, variance = int(there.sum()), float(there.sum() * p * (1.0 - p))
        if variance >= 5.0:
            statistic += (goal[there].sum() - size * p) ** 2 / variance
            states += 1
    assert states >= 8
    assert statistic < chi2.isf(1e-3, states)


def test_it_moves_the_share_that_is_said_and_another_one_the_next_time() -> None:
    users = 4_000
    told = traffic(users)
    can = MOVED[told.states] != told.states
    first = told.nudge(everybody(users), AT_MS, np.full(users, 0.3))
    assert binomtest(len(first), int(can.sum()), 0.3).pvalue > 1e-3
    assert not np.isin(first.user, np.flatnonzero(~can)).any()
    again = told.nudge(everybody(users), AT_MS, np.full(users, 0.3))
    both = np.isin(again.user, first.user).sum()
    assert 0 < both < len(again) - 100


def test_the_truth_follows_hidden_moves() -> None:
    users = 300
    made = Traffic(SHOP, users, seed=5, arrive_s=ARRIVE_S)
    truth = Truth(made, ORDERED, WINDOW_S)
    rows = [made.until(AT_MS)]
    moved = made.nudge(everybody(users), AT_MS, np.ones(users))
    assert (moved.mark == HIDDEN).all()
    assert not moved.visible.any()
    rows.append(moved)
    found = truth.at(Rows.joined(rows), everybody(users), np.full(users, AT_MS))
    np.testing.assert_array_equal(found.state, made.states)
    np.testing.assert_array_equal(found.true, TRUE[made.states])


def test_draws_of_messages_are_no_draws_of_jumps() -> None:
    """Else whoever is moved would be of a certain kind, or go on in a certain way."""
    users = 6_000
    told = traffic(users)
    before = told.states
    moved = np.zeros(users, np.bool_)
    moved[told.nudge(everybody(users), AT_MS, np.full(users, 0.5)).user] = True
    cold = (before % len(STATES) == COLD) & ~moved
    goal = happened(told.until(AT_MS + int(WINDOW_S * 1_000)), users)
    expected = float(TRUE[before[cold]].sum())
    variance = float((TRUE[before[cold]] * (1.0 - TRUE[before[cold]])).sum())
    assert abs(goal[cold].sum() - expected) < 4.0 * variance**0.5


def test_a_message_to_nobody_moves_nobody() -> None:
    told, plain = traffic(3), traffic(3)
    assert len(told.nudge(np.zeros(0, np.int64), AT_MS, np.zeros(0))) == 0
    same(plain.until(22 * DAY_MS), told.until(22 * DAY_MS))
