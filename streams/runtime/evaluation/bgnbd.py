"""The BG/NBD model as a peer: what a marketing scientist would fit to purchase histories, with nothing online.

P. S. Fader, B. G. S. Hardie and K. L. Lee, "'Counting your customers' the easy way: an alternative to the
Pareto/NBD model", Marketing Science 24(2), 2005. A customer buys at a rate of their own, gamma(r, alpha) over the
customers, and after each purchase stops for ever with a probability of their own, beta(a, b) over the customers.
All that the model sees of a customer are x, the number of repeat purchases, t_x, the time of the last one, and T, the
customer's age, the latter two counted from the first purchase. Times are days here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, psi

from config.durations import DAY_S
from config.errors import ModelError
from models.jit import F64, I64, U64
from streams.runtime.evaluation.points import Points

__all__ = ["BgNbd", "GoalHistory", "Habits", "bgnbd_likelihoods", "fit"]

REFIT_EVERY_S: Final = 30 * DAY_S

MAX_CUSTOMERS: Final = 100_000
"""A fit uses at most so many customers, those with the lowest hashes; four parameters need no more."""

_BOUND: Final = 14.0
"""Parameters are sought between exp(-14) and exp(14); a likelihood that still rises there is flat for our purpose."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What BG/NBD sees of `n` customers at a time; all float64[n], in days."""

    repeats: F64
    """x: days with a purchase after the first one; -1 for who has not bought yet."""
    recency: F64
    """t_x: from the first purchase to the last one."""
    age: F64
    """T: from the first purchase to now."""


@dataclass(frozen=True, slots=True)
class GoalHistory:
    """All events of one name, by user and time. Build it with `of`."""

    user: U64
    """[m] hash of the user, rising."""
    time_s: F64
    """[m] rising within a user; several of one UTC day are one, at the time of the first."""

    @classmethod
    def of(cls, user: U64, time_s: F64) -> GoalHistory:
        """From events in any order; `user` uint64[m] hashes as in the examples, `time_s` float64[m].

        Purchases of one day are joined, as it is usual for this model: an order in three parcels says nothing about
        when the next one comes. Raises ValueError when the shapes differ or a time is not finite.
        """
        if user.shape != time_s.shape or user.ndim != 1:
            raise ValueError(f"user and time_s must be [m], not {user.shape} and {time_s.shape}")
        if not np.isfinite(time_s).all():
            raise ValueError("a time is not finite")
        order = np.lexsort((time_s, user))
        # Hashes of another integer type would turn into floats beside those of the points.
        users, times_s = user[order].astype(np.uint64), time_s[order]
        day = np.floor(times_s / DAY_S)
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = (users[1:] != users[:-1]) | (day[1:] != day[:-1])
        return cls(users[fresh], times_s[fresh])

    def habits(self, user: U64, time_s: F64) -> Habits:
        """Habits of each (user, time) of two [n] arrays, from the events up to and including that time."""
        events, points = len(self.user), len(user)
        is_point = np.concatenate((np.zeros(events, dtype=np.bool_), np.ones(points, dtype=np.bool_)))
        both_user = np.concatenate((self.user, user))
        both_time = np.concatenate((self.time_s, time_s))
        # Events stand before points of the same instant, so what stands before a point is what it knows.
        order = np.lexsort((is_point, both_time, both_user))
        before = np.cumsum(~is_point[order])[is_point[order]]
        place = order[is_point[order]] - events
        first = np.searchsorted(self.user, user, side="left")
        until = np.empty(points, dtype=np.int64)
        until[place] = before
        repeats = (until - first - 1).astype(np.float64)
        if not events:
            return Habits(repeats, np.zeros(points), np.zeros(points))
        bought = repeats >= 0
        first_s = self.time_s[np.where(bought, first, 0)]
        last_s = self.time_s[np.where(bought, until - 1, 0)]
        return Habits(
            repeats,
            np.where(bought, (last_s - first_s) / DAY_S, 0.0),
            np.where(bought, (time_s - first_s) / DAY_S, 0.0),
        )


@dataclass(frozen=True, slots=True)
class BgNbd:
    """The four parameters, all above 0; `alpha` is in days."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, habits: Habits) -> F64:
        """Log likelihood of each customer float64[n] (equation 6 of the paper)."""
        return _log_likelihood(np.array([self.r, self.alpha, self.a, self.b]), habits)[0]

    def alive(self, habits: Habits) -> F64:
        """Probability float64[n] that a customer has not stopped for ever.

        1 / (1 + [x > 0] a / (b + x - 1) ((alpha + T) / (alpha + t_x))^(r + x)): the second part of the likelihood,
        "stopped right after the last purchase", over the first one. It is 1 without a repeat purchase, for in this
        model customers stop only after one.
        """
        odds = np.log(self.a) - np.log(np.maximum(self.b + habits.repeats - 1.0, 1e-300))
        odds += (self.r + habits.repeats) * (np.log(self.alpha + habits.age) - np.log(self.alpha + habits.recency))
        alive: F64 = np.where(habits.repeats > 0, expit(-odds), 1.0)
        return alive

    def buys_within(self, habits: Habits, window_days: float) -> F64:
        """Probability float64[n] of at least one purchase in the next `window_days`.

        A customer who is alive at T has, after x purchases in T, the rate gamma(r + x, alpha + T), because given that
        the customer is alive the likelihood is lambda^x exp(-lambda T) times a factor without lambda. Stopping comes
        only after a purchase, so no purchase in a window W has the probability exp(-lambda W), on average
        ((alpha + T) / (alpha + T + W))^(r + x). Hence

            P(alive) * (1 - ((alpha + T) / (alpha + T + W))^(r + x)).
        """
        quiet = (self.r + habits.repeats) * -np.log1p(window_days / (self.alpha + habits.age))
        result: F64 = self.alive(habits) * -np.expm1(quiet)
        return result


def fit(habits: Habits, start: BgNbd | None = None) -> BgNbd:
    """The parameters of highest likelihood for customers that have all bought.

    `start` is where to look first, a fit of an earlier time. Raises ModelError when nobody has a repeat purchase or
    the search does not end.
    """
    if not (habits.repeats > 0).any():
        raise ModelError("BG/NBD cannot be fitted: nobody has bought on a second day yet")
    grouped, counts = _grouped(habits)
    guess = BgNbd(1.0, float(np.mean(habits.age)) / max(float(np.mean(habits.repeats)), 0.1), 1.0, 2.0)

    def loss(logs: F64) -> tuple[float, F64]:
        values = np.exp(logs)
        each, slopes = _log_likelihood(values, grouped)
        return -float(counts @ each) / counts.sum(), -(slopes @ counts) * values / counts.sum()

    message = ""
    for candidate in (guess,) if start is None else (start, guess):
        first = np.log([candidate.r, candidate.alpha, candidate.a, candidate.b])
        found: Any = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=[(-_BOUND, _BOUND)] * 4)
        # A line search that cannot improve any more ends as "abnormal" at the top, too; the slope tells.
        if found.success or float(np.max(np.abs(found.jac))) < 1e-5:
            return BgNbd(*(float(value) for value in np.exp(found.x)))
        message = str(found.message)
    raise ModelError(f"BG/NBD cannot be fitted: the search for its parameters did not end ({message})")


def bgnbd_likelihoods(
    points: Points, judged: I64, history: GoalHistory, negated: bool, progress: Callable[[float], None]
) -> F64:
    """Likelihood of each judged row float64[len(judged)]; `judged` holds rows of `points` by time.

    Fitted every 30 days on everybody who has bought by then; each point is answered from the user's own history up
    to it. `history` holds the goal's event, `negated` says that the goal is not to do it. The model knows nothing
    about who has never bought; for them the answer is the rate among such examples with known labels.

    Raises ModelError when the first fit is not possible.
    """
    result = np.empty(len(judged))
    if not len(judged):
        return result
    habits = history.habits(points.user, points.time_s)
    window_days = points.prediction.window_s / DAY_S
    times_s = np.arange(points.training_times_s[0], points.end_s + REFIT_EVERY_S, REFIT_EVERY_S)
    cuts = np.append(np.searchsorted(points.time_s[judged], times_s), len(judged))
    model: BgNbd | None = None
    for time_s, start, stop in zip(times_s, cuts[:-1], cuts[1:], strict=True):
        if start == stop:
            continue
        rows = judged[start:stop]
        model = fit(_customers(history, float(time_s)), model)
        buys = model.buys_within(Habits(habits.repeats[rows], habits.recency[rows], habits.age[rows]), window_days)
        answer = 1.0 - buys if negated else buys
        known = slice(0, points.known_at(float(time_s)))
        new = habits.repeats[known] < 0
        # Laplace's rule: one of each class more than was seen.
        rate = (float(points.y[known][new].sum()) + 1.0) / (float(new.sum()) + 2.0)
        result[start:stop] = np.where(habits.repeats[rows] < 0, rate, answer)
        progress(stop / len(judged))
    return result


def _customers(history: GoalHistory, time_s: float) -> Habits:
    """Habits at a time of everybody who has bought by then, at most MAX_CUSTOMERS."""
    users = np.unique(history.user[history.time_s <= time_s])[:MAX_CUSTOMERS]
    return history.habits(users, np.full(len(users), time_s))


def _grouped(habits: Habits) -> tuple[Habits, F64]:
    """Customers with the same numbers joined, and how many they are."""
    table = np.column_stack((habits.repeats, habits.recency, habits.age))
    rows, counts = np.unique(table, axis=0, return_counts=True)
    return Habits(rows[:, 0], rows[:, 1], rows[:, 2]), counts.astype(np.float64)


def _log_likelihood(values: F64, habits: Habits) -> tuple[F64, F64]:
    """Log likelihood float64[n] of each customer, and its slopes float64[4, n] along r, alpha, a and b.

    L = G A2 (A3 + [x > 0] A4), with G = Γ(r+x) α^r / Γ(r) and 1 / B(a,b) in front,
    A3 = B(a, b+x) (α+T)^-(r+x) for "still alive" and A4 = B(a+1, b+x-1) (α+t_x)^-(r+x) for "stopped after the last".
    """
    r, alpha, a, b = values
    x, recency, age = habits.repeats, habits.recency, habits.age
    log_age, log_recency = np.log(alpha + age), np.log(alpha + recency)
    # Without a repeat purchase there is no second part; 1 stands in so that nothing is infinite on the way.
    past = np.where(x > 0, x, 1.0)
    alive = betaln(a, b + x) - (r + x) * log_age
    stopped = np.where(x > 0, betaln(a + 1.0, b + past - 1.0) - (r + x) * log_recency, -np.inf)
    either = np.logaddexp(alive, stopped)
    front = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    share = np.exp(alive - either)
    rest = np.exp(stopped - either)
    both = psi(a + b + x)
    slopes = np.stack((
        psi(r + x) - psi(r) + np.log(alpha) - share * log_age - rest * log_recency,
        r / alpha - (r + x) * (share / (alpha + age) + rest / (alpha + recency)),
        psi(a + b) - psi(a) - both + share * psi(a) + rest * psi(a + 1.0),
        psi(a + b) - psi(b) - both + share * psi(b + x) + rest * psi(b + past - 1.0),
    ))  # fmt: skip
    return front + either, slopes
