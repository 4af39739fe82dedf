"""BG/NBD against integrals over its definition, simulated customers and histories walked one by one."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln

from config.errors import ModelError
from models.jit import F64
from streams.runtime.evaluation.bgnbd import BgNbd, GoalHistory, Habits, fit
from streams.runtime.evaluation.bgnbd import _log_likelihood as log_likelihood

DAY_S = 86_400.0

positive = st.floats(0.05, 20.0)


@st.composite
def customers(draw: st.DrawFn) -> tuple[float, float, float]:
    """x, t_x and T of one customer, with t_x = 0 where x = 0."""
    repeats = draw(st.integers(0, 30))
    age = draw(st.floats(0.5, 500.0))
    recency = draw(st.floats(0.01, 1.0)) * age if repeats else 0.0
    return float(repeats), recency, age


def habits(*customer: tuple[float, float, float]) -> Habits:
    table = np.array(customer, dtype=np.float64)
    return Habits(table[:, 0], table[:, 1], table[:, 2])


def by_integrals(model: BgNbd, customer: tuple[float, float, float], window_days: float) -> tuple[float, float, float]:
    """Likelihood, P(alive) and P(buys within the window), straight from the story of the model.

    Rate and chance to stop are independent, so the double integral is a product of two single ones. With the rate l:
    the purchases up to the last have the density l^x exp(-l t_x); alive, no purchase until T: exp(-l (T - t_x)).
    """
    repeats, recency, age = customer

    def over_rates(power: float, time: float, extra: float = 0.0) -> float:
        # E[l^power exp(-l time) exp(-l extra)] over gamma(r, alpha).
        shape = model.r + power

        def density(log_rate: float) -> float:
            rate = math.exp(log_rate)
            logs = model.r * math.log(model.alpha) - math.lgamma(model.r) + shape * log_rate
            return math.exp(logs - rate * (model.alpha + time + extra))

        peak = math.log(shape / (model.alpha + time + extra))
        # On the left the density falls like exp(shape * log rate): slowly for a small shape.
        return float(
            quad(density, peak - 40.0 / min(1.0, shape), peak + 8.0, points=[peak], limit=400, epsabs=0.0, epsrel=1e-9)[
                0
            ]
        )

    def over_chances(stops: float, goes_on: float) -> float:
        # E[p^stops (1 - p)^goes_on] over beta(a, b).
        return math.exp(betaln(model.a + stops, model.b + goes_on) - betaln(model.a, model.b))

    alive = over_rates(repeats, age) * over_chances(0, repeats)
    stopped = over_rates(repeats, recency) * over_chances(1, repeats - 1) if repeats else 0.0
    quiet = over_rates(repeats, age, window_days) * over_chances(0, repeats)
    total = alive + stopped
    return total, alive / total, (alive - quiet) / total


@given(st.builds(BgNbd, positive, positive, positive, positive), customers(), st.floats(0.5, 90.0))
def test_likelihood_and_probabilities_are_the_integrals(
    model: BgNbd, customer: tuple[float, float, float], window_days: float
) -> None:
    total, alive, buys = by_integrals(model, customer, window_days)
    one = habits(customer)
    assert model.log_likelihood(one)[0] == pytest.approx(math.log(total), abs=1e-5)
    assert model.alive(one)[0] == pytest.approx(alive, abs=1e-6)
    assert model.buys_within(one, window_days)[0] == pytest.approx(buys, abs=1e-6)


@given(st.tuples(positive, positive, positive, positive), customers())
def test_the_slopes_are_those_of_the_likelihood(
    values: tuple[float, float, float, float], customer: tuple[float, float, float]
) -> None:
    one = habits(customer)
    _, slopes = log_likelihood(np.array(values), one)
    for index in range(4):
        step = 1e-5 * values[index]
        ends = []
        for sign in (-1.0, 1.0):
            moved = np.array(values)
            moved[index] += sign * step
            ends.append(log_likelihood(moved, one)[0][0])
        slope = (ends[1] - ends[0]) / (2 * step)
        assert slopes[index][0] == pytest.approx(slope, rel=1e-4, abs=1e-4)


def simulate(model: BgNbd, count: int, age_days: float, ahead_days: float, seed: int) -> tuple[Habits, F64]:
    """Customers of the model at `age_days`, and whether each buys within the `ahead_days` after it."""
    generator = np.random.default_rng(seed)
    rows, buys = [], []
    for _ in range(count):
        rate, stop = generator.gamma(model.r, 1 / model.alpha), generator.beta(model.a, model.b)
        time, times = 0.0, []
        while True:
            time += generator.exponential(1 / rate) if rate > 0 else math.inf
            if time > age_days + ahead_days:
                break
            times.append(time)
            if generator.random() < stop:
                break
        past = [t for t in times if t <= age_days]
        rows.append((float(len(past)), past[-1] if past else 0.0, age_days))
        buys.append(float(len(past) < len(times)))
    return habits(*rows), np.array(buys)


TRUTH = BgNbd(r=0.6, alpha=12.0, a=0.9, b=2.5)


def test_the_fit_finds_the_parameters_of_simulated_customers() -> None:
    some, _ = simulate(TRUTH, 6_000, 150.0, 0.0, seed=5)
    found = fit(some)
    assert found.log_likelihood(some).sum() >= TRUTH.log_likelihood(some).sum()
    assert found.r == pytest.approx(TRUTH.r, rel=0.15)
    assert found.alpha == pytest.approx(TRUTH.alpha, rel=0.2)
    assert found.a / (found.a + found.b) == pytest.approx(TRUTH.a / (TRUTH.a + TRUTH.b), rel=0.15)
    again = fit(some, start=found)
    assert again.alpha == pytest.approx(found.alpha, rel=0.01)


def test_the_probability_to_buy_holds_for_simulated_customers() -> None:
    some, buys = simulate(TRUTH, 20_000, 100.0, 20.0, seed=6)
    told = TRUTH.buys_within(some, 20.0)
    for low, high in ((0, 0), (1, 1), (2, 4), (5, 1_000)):
        group = (some.repeats >= low) & (some.repeats <= high)
        error = math.sqrt(float((told[group] * (1 - told[group])).sum()))
        assert abs(float(buys[group].sum() - told[group].sum())) < 4 * error


def test_customers_without_a_repeat_purchase_are_alive() -> None:
    assert TRUTH.alive(habits((0.0, 0.0, 400.0)))[0] == 1.0


def test_without_any_repeat_purchase_there_is_no_fit() -> None:
    with pytest.raises(ModelError, match="second day"):
        fit(habits((0.0, 0.0, 10.0), (0.0, 0.0, 20.0)))


moments = st.tuples(st.integers(0, 3), st.integers(0, 40).map(lambda quarter: quarter * DAY_S / 4))


@given(st.lists(moments, max_size=30), st.lists(moments, max_size=15))
def test_habits_are_what_a_walk_through_the_history_finds(
    events: list[tuple[int, float]], asked: list[tuple[int, float]]
) -> None:
    history = GoalHistory.of(
        np.array([user for user, _ in events], dtype=np.uint64), np.array([t for _, t in events], dtype=np.float64)
    )
    found = history.habits(
        np.array([user for user, _ in asked], dtype=np.uint64), np.array([t for _, t in asked], dtype=np.float64)
    )
    for row, (user, now) in enumerate(asked):
        times = sorted(t for who, t in events if who == user and t <= now)
        kept = times[:1] + [t for before, t in pairwise(times) if before // DAY_S != t // DAY_S]
        assert found.repeats[row] == len(kept) - 1
        assert found.recency[row] == ((kept[-1] - kept[0]) / DAY_S if kept else 0.0)
        assert found.age[row] == ((now - kept[0]) / DAY_S if kept else 0.0)


def test_hashes_use_all_64_bits() -> None:
    big = np.array([2**64 - 1, 2**64 - 2, 2**64 - 1], dtype=np.uint64)
    history = GoalHistory.of(big, np.array([0.0, 0.0, 3 * DAY_S]))
    assert history.habits(big[:2], np.array([4 * DAY_S, 4 * DAY_S])).repeats.tolist() == [1.0, 0.0]


def test_wrong_histories_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        GoalHistory.of(np.zeros(2, dtype=np.uint64), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        GoalHistory.of(np.zeros(1, dtype=np.uint64), np.array([np.nan]))
