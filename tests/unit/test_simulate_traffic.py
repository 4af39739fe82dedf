"""What users do: the same for the same seed, as often as the rates say, and with the likelihoods that are told."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2

from streams.simulate.draws import F64, I64
from streams.simulate.shop import CART_VIEWED, COUNTRIES, IDENTIFY, KINDS, MARKS, ORDERED, PLANS, STATES, build_shop
from streams.simulate.traffic import MAX_QUANTITY, Rows, Traffic, prices_cents
from streams.simulate.truth import LOOK, Moments, Truth, WeeklyLooks

DAY_MS = 86_400_000
ARRIVE_S = 10 * 86_400.0
SHOP = build_shop()


def traffic(users: int, seed: int = 1) -> Traffic:
    return Traffic(SHOP, users, seed=seed, arrive_s=ARRIVE_S)


def in_slices(made: Traffic, *ends_ms: int) -> Rows:
    return Rows.joined([made.until(end_ms) for end_ms in ends_ms])


def same(a: Rows, b: Rows) -> None:
    for field in fields(Rows):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


def test_the_same_seed_gives_the_same_in_any_slices() -> None:
    whole = traffic(300).until(20 * DAY_MS)
    assert len(whole) > 3_000
    draw = np.random.default_rng(3)
    cuts = np.sort(draw.integers(1, 20 * DAY_MS, 40)).tolist()
    same(whole, in_slices(traffic(300), *cuts, 20 * DAY_MS))
    other = traffic(300, seed=2).until(20 * DAY_MS)
    assert not np.array_equal(whole.ms[:100], other.ms[:100])


def test_a_user_does_the_same_among_more_users() -> None:
    few, many = traffic(40).until(20 * DAY_MS), traffic(400).until(20 * DAY_MS)
    same(few, many.take(many.user < 40))


def test_rows_are_in_order_and_numbered_without_gaps() -> None:
    rows = traffic(200).until(30 * DAY_MS)
    assert (np.diff(rows.ms) >= 0).all()
    events = rows.take(rows.visible)
    for user in range(200):
        numbers = events.number[events.user == user]
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    first = events.take(events.number == 0)
    assert (first.mark == IDENTIFY).all()
    assert (events.mark == IDENTIFY).sum() == 200
    assert first.ms.max() < ARRIVE_S * 1_000


def test_kinds_of_users_and_traits_come_in_their_shares() -> None:
    users = 40_000
    made = traffic(users)
    for name, got, shares in (
        ("country", made.country, SHOP.kind_share @ SHOP.country),
        ("plan", made.plan, SHOP.kind_share @ SHOP.plan),
        ("consent", made.consent, SHOP.kind_share @ SHOP.consent),
    ):
        counts = np.bincount(got, minlength=len(shares))
        statistic = ((counts - users * shares) ** 2 / (users * shares)).sum()
        assert statistic < chi2.isf(1e-4, len(shares) - 1), name
    assert (len(COUNTRIES), len(PLANS)) == (SHOP.country.shape[1], SHOP.plan.shape[1])


def test_events_are_as_many_as_the_rates_say() -> None:
    """The expected number of events of a kind in the first 60 days of a user, by the differential equation."""
    process, users, days = SHOP.process, 3_000, 60
    made = traffic(users)
    rows = made.until(round(ARRIVE_S * 1_000) + days * DAY_MS)
    age_ms = rows.ms - made.sign_up_ms[rows.user]
    expected = _expected_events(days * 86_400.0)
    for mark in range(1, len(MARKS)):
        per_user = np.bincount(rows.user[(rows.mark == mark) & (age_ms <= days * DAY_MS)], minlength=users)
        error = per_user.std() / users**0.5
        assert abs(per_user.mean() - expected[mark]) < 4.0 * error, MARKS[mark]
    assert process.marked.shape[0] == len(expected)


def _expected_events(span_s: float) -> F64:
    """[K] integral of the rates over the first so many seconds of a user."""
    from scipy.linalg import expm

    process = SHOP.process
    generator = process.silent + process.marked.sum(axis=0)
    size = len(generator)
    # exp of [[G, 1], [0, 0]] t holds the integral of exp(G s) from 0 to t in its upper right part.
    both = np.zeros((2 * size, 2 * size))
    both[:size, :size], both[:size, size:] = generator, np.eye(size)
    time_in_state = SHOP.users_at_first @ expm(both * span_s)[:size, size:]
    expected: F64 = process.marked.sum(axis=2) @ time_in_state
    return expected


@pytest.fixture(scope="module")
def followed() -> tuple[Rows, Moments]:
    """One look at each of 12,000 users, 15 days after the start, and what they did in the week behind it."""
    users = 12_000
    made = traffic(users, seed=11)
    truth = Truth(made, ORDERED, 7 * 86_400.0)
    before = made.until(15 * DAY_MS + 1)
    looks = truth.follow(before, np.arange(users), np.full(users, 15 * DAY_MS))
    after = made.until(22 * DAY_MS + 1)
    looks = looks.take(np.flatnonzero(looks.mark == LOOK))
    return after, looks.take(np.argsort(looks.user))


def happened(after: Rows, users: int) -> npt.NDArray[np.bool_]:
    goal = np.zeros(users, np.bool_)
    goal[after.user[after.mark == ORDERED]] = True
    return goal


def test_the_goal_is_as_frequent_in_every_state_as_the_formula_says(followed: tuple[Rows, Moments]) -> None:
    after, looks = followed
    goal = happened(after, len(looks))
    statistic, states = 0.0, 0
    for state in range(len(STATES) * len(KINDS)):
        there = looks.state == state
        expected, size = SHOP.process.goal_likelihood(ORDERED, 7 * 86_400.0)[state], int(there.sum())
        np.testing.assert_array_equal(looks.true[there], expected)
        if size * expected * (1.0 - expected) >= 5.0:
            statistic += (goal[there].sum() - size * expected) ** 2 / (size * expected * (1.0 - expected))
            states += 1
    assert states >= 12
    assert statistic < chi2.isf(1e-3, states)


def test_the_oracle_is_calibrated_and_knows_less_than_the_truth(followed: tuple[Rows, Moments]) -> None:
    after, looks = followed
    goal = happened(after, len(looks))
    parts = np.array_split(np.argsort(looks.oracle), 20)
    statistic = 0.0
    for part in parts:
        said = looks.oracle[part]
        statistic += (goal[part].sum() - said.sum()) ** 2 / (said * (1.0 - said)).sum()
    assert statistic < chi2.isf(1e-3, len(parts))

    def log_loss(said: F64) -> float:
        return float(-np.where(goal, np.log(said), np.log1p(-said)).mean())

    base = np.full(len(goal), goal.mean())
    assert log_loss(looks.true) < 0.95 * log_loss(looks.oracle) < 0.95 * 0.95 * log_loss(base)


def test_the_truth_does_not_depend_on_the_slices() -> None:
    whole = _moments(30 * DAY_MS)
    cut = _moments(7, 9 * DAY_MS, 9 * DAY_MS + 60_000, 23 * DAY_MS, 30 * DAY_MS)
    for name in ("user", "ms", "mark", "state", "true"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))
    np.testing.assert_allclose(whole.oracle, cut.oracle, rtol=1e-9)
    looks = whole.ms[(whole.mark == LOOK) & (whole.user == 3)]
    assert (np.diff(looks) == 7 * DAY_MS).all()
    assert len(looks) >= 3


def _moments(*ends_ms: int) -> Moments:
    made = traffic(100)
    truth, looks = Truth(made, ORDERED, 7 * 86_400.0), WeeklyLooks(made)
    parts = [truth.follow(made.until(end_ms), *looks.until(end_ms)) for end_ms in ends_ms]
    return Moments(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Moments)))


def test_a_look_counts_events_of_its_own_millisecond() -> None:
    made = traffic(50)
    rows = made.until(20 * DAY_MS)
    events = rows.take(rows.visible)
    truth = Truth(made, ORDERED, 7 * 86_400.0)
    moments = truth.follow(rows, events.user, events.ms)
    moments = moments.take(np.lexsort((np.arange(len(moments)), moments.ms, moments.user)))
    single = _pairs(moments)
    np.testing.assert_allclose(moments.oracle[single], moments.oracle[single + 1], rtol=1e-9)
    np.testing.assert_array_equal(moments.state[single], moments.state[single + 1])


def _pairs(moments: Moments) -> I64:
    """Places of events that are followed by the look at the same user and time."""
    both = (moments.user[1:] == moments.user[:-1]) & (moments.ms[1:] == moments.ms[:-1])
    kinds = (moments.mark[:-1] != LOOK) & (moments.mark[1:] == LOOK)
    found = np.flatnonzero(both & kinds)
    assert len(found) > 500
    return found


def test_a_look_before_the_sign_up_is_refused() -> None:
    made = traffic(5)
    with pytest.raises(ValueError, match="not signed up"):
        Truth(made, ORDERED, 60.0).follow(Rows.none(), np.array([2]), np.array([0]))


def test_an_order_costs_what_is_in_the_cart() -> None:
    rows = traffic(3_000).until(30 * DAY_MS)
    shown = rows.take((rows.mark == CART_VIEWED) | (rows.mark == ORDERED))
    assert (shown.lines >= 1).all()
    prices = prices_cents()
    orders = rows.take(rows.mark == ORDERED)
    assert len(orders) > 200
    for cart, lines, cents in zip(orders.cart, orders.lines, orders.cents, strict=True):
        items = [divmod(int(item), MAX_QUANTITY + 1) for item in cart[:lines]]
        assert all(1 <= quantity <= MAX_QUANTITY for _, quantity in items)
        assert sum(int(prices[product]) * quantity for product, quantity in items) == cents
