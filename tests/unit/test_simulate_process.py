"""The arithmetic of hidden states: likelihoods and beliefs against other ways to compute the same."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from streams.simulate.draws import F64, pick, uniform, user_keys
from streams.simulate.process import HIDDEN, Jumps, Observer, Process
from streams.simulate.shop import COLD, KINDS, MARKS, ORDERED, STATES, belief_at_sign_up, build_shop, kind_process

GOAL, OTHER = 0, 1
DAY_S = 86_400.0


def small() -> Process:
    """Three states and two kinds of events; both kinds may move the state or leave it alone."""
    hidden = np.array([[0.0, 0.02, 0.0], [0.05, 0.0, 0.01], [0.0, 0.3, 0.0]])
    marked = np.zeros((2, 3, 3))
    marked[GOAL, 1, 2], marked[GOAL, 2, 2] = 0.04, 0.001
    marked[OTHER, 0, 0], marked[OTHER, 1, 1], marked[OTHER, 0, 1] = 0.01, 0.2, 0.005
    return Process(hidden, marked)


def test_one_state_is_a_plain_poisson_process() -> None:
    process = Process(np.zeros((1, 1)), np.array([[[0.3]], [[7.0]]]))
    assert process.goal_likelihood(GOAL, 5.0)[0] == pytest.approx(1.0 - math.exp(-1.5), rel=1e-12)
    assert process.event_rate(np.ones(1)) == pytest.approx(7.3)


def test_the_likelihood_solves_its_differential_equation() -> None:
    """No goal within w: v' = G v from v(0) = 1, integrated step by step instead of by an exponential."""
    process = small()
    rates = process.hidden + process.marked[OTHER]
    leave = process.hidden.sum(axis=1) + process.marked.sum(axis=(0, 2))

    def slope(_w: float, never: F64) -> F64:
        change: F64 = rates @ never - leave * never
        return change

    never = solve_ivp(slope, (0.0, 60.0), np.ones(3), rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(process.goal_likelihood(GOAL, 60.0), 1.0 - never, rtol=1e-7)


def test_the_shop_has_likelihoods_of_all_sizes_and_a_longer_window_never_less() -> None:
    process = build_shop().process
    week, month = (process.goal_likelihood(ORDERED, days * DAY_S) for days in (7, 30))
    assert (week <= month).all()
    assert week.min() < 0.01
    assert week.max() > 0.8
    assert len(week) == len(STATES) * len(KINDS)


def test_the_belief_equals_the_sum_over_all_hidden_paths() -> None:
    """Bayes by brute force: every sequence of states before and behind every event, weighted by its probability."""
    process, start = small(), np.array([0.5, 0.2, 0.3])
    story = ((13.0, OTHER), (4.5, GOAL), (0.25, OTHER), (31.0, None))
    generator = process.hidden - np.diag(process.hidden.sum(axis=1) + process.marked.sum(axis=(0, 2)))
    steps = [(expm(generator * silent_s), mark) for silent_s, mark in story]
    weight = np.zeros(3)
    for first in range(3):
        for path in itertools.product(range(3), repeat=2 * len(story)):
            chance, state = float(start[first]), first
            for (silence, mark), before, after in zip(steps, path[::2], path[1::2], strict=True):
                shown = float(before == after) if mark is None else float(process.marked[mark, before, after])
                chance *= float(silence[state, before]) * shown
                state = after
            weight[state] += chance
    observer = Observer(process, GOAL, 60.0)
    belief = start[None]
    for silent_s, mark in story:
        belief = observer.after_silence(belief, np.array([round(silent_s * 1_000)]))
        if mark is not None:
            belief = observer.after_event(belief, np.array([mark], np.int8))
    np.testing.assert_allclose(belief[0], weight / weight.sum(), rtol=1e-9)
    best = weight / weight.sum() @ process.goal_likelihood(GOAL, 60.0)
    assert observer.likelihood(belief)[0] == pytest.approx(best, rel=1e-9)


def test_silence_of_any_length_is_the_exponential_of_it() -> None:
    process = kind_process(KINDS[1])
    observer = Observer(process, ORDERED, 7 * DAY_S)
    belief = np.full((1, len(STATES)), 1.0 / len(STATES))
    for silent_ms in (0, 1, 63, 64, 12_345, 86_400_000, 90 * 86_400_000 + 7):
        wanted = belief[0] @ expm(process.silent * (silent_ms / 1_000.0))
        got = observer.after_silence(belief, np.array([silent_ms]))[0]
        np.testing.assert_allclose(got, wanted / wanted.sum(), rtol=1e-6, atol=1e-12)


def test_beliefs_of_many_are_those_of_each_alone() -> None:
    observer = Observer(small(), GOAL, 60.0)
    draws = np.random.default_rng(5)
    belief = draws.dirichlet(np.ones(3), 3_000)
    silent_ms = draws.integers(0, 1 << 20, 3_000)
    mark = draws.integers(0, 2, 3_000).astype(np.int8)
    together = observer.after_event(observer.after_silence(belief, silent_ms), mark)
    np.testing.assert_allclose(together.sum(axis=1), 1.0)
    for row in (0, 1_023, 1_024, 2_999):
        one = slice(row, row + 1)
        alone = observer.after_event(observer.after_silence(belief[one], silent_ms[one]), mark[one])
        np.testing.assert_allclose(together[one], alone, rtol=1e-12)


def test_traits_say_something_about_the_kind_of_user() -> None:
    shop = build_shop()
    country, plan, consent = np.array([3, 0]), np.array([0, 2]), np.array([0, 1])
    belief = belief_at_sign_up(shop, country, plan, consent)
    kinds = belief.reshape(2, len(KINDS), len(STATES)).sum(axis=2)
    weights = [
        [
            kind.share * kind.countries[c] * kind.plans[p] * (kind.consent if ok else 1.0 - kind.consent)
            for kind in KINDS
        ]
        for c, p, ok in ((3, 0, False), (0, 2, True))
    ]
    np.testing.assert_allclose(kinds, [np.array(row) / sum(row) for row in weights])
    assert kinds[0].argmax() == 0
    assert kinds[1].argmax() == 2


def test_jumps_follow_the_rates() -> None:
    jumps = Jumps.of(small())
    assert jumps.mean_s[1] == pytest.approx(1.0 / (0.06 + 0.04 + 0.2))
    draw = (np.arange(30_000) + 0.5) / 30_000
    choice = pick(np.repeat(jumps.cumulative[1:2], len(draw), axis=0), draw)
    seen = list(zip(jumps.target[1, choice].tolist(), jumps.mark[1, choice].tolist(), strict=True))
    for target, mark, rate in ((0, HIDDEN, 0.05), (2, HIDDEN, 0.01), (2, GOAL, 0.04), (1, OTHER, 0.2)):
        assert seen.count((target, mark)) / len(seen) == pytest.approx(rate / 0.3, abs=1e-3)


def test_what_is_no_process_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden must be"):
        Process(np.zeros((2, 2)), np.zeros((1, 3, 3)))
    with pytest.raises(ValueError, match="negative"):
        Process(-np.ones((1, 1)), np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="never left"):
        Jumps.of(Process(np.zeros((1, 1)), np.zeros((1, 1, 1))))
    assert kind_process(KINDS[0]).marked.shape == (len(MARKS), len(STATES), len(STATES))
    assert kind_process(KINDS[0]).out[COLD] > 0


def test_draws_are_even_and_belong_to_their_user() -> None:
    keys = user_keys(7, 200)
    draws = np.concatenate([uniform(keys, np.full(200, number)) for number in range(500)])
    counts = np.bincount((draws * 100).astype(int), minlength=100)
    # 100,000 draws in 100 boxes: chi-square with 99 degrees of freedom stays below 148.2 in 999 of 1,000 cases.
    assert ((counts - 1_000.0) ** 2 / 1_000.0).sum() < 148.2
    assert abs(np.corrcoef(draws[:-200], draws[200:])[0, 1]) < 0.015
    assert 0.0 < draws.min() < draws.max() < 1.0
    np.testing.assert_array_equal(user_keys(7, 50), keys[:50])
    assert not np.isin(user_keys(8, 200), keys).any()
