"""What a campaign did: treated against control, by intention to treat, with intervals.

Two intervals stand beside each other. The plain one holds 95 % of the time for who looks once. The one for all times
holds for somebody who looks every day and stops when it pleases: it is wider, and only by it something is claimed. As
long as it reaches across 0 it is too early to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log, sqrt
from typing import Final, Literal

import msgspec
from scipy.special import ndtri, stdtrit

from streams.campaigns.state import Tally

ALPHA: Final = 0.05
MIN_USERS: Final = 100
"""In each group: with fewer neither interval holds what it says (revenues are far from a bell curve)."""
_TUNED_FOR: Final = 2_000
"""Users at which the interval for all times is tightest."""

Verdict = Literal["more", "less", "too early"]


class Difference(msgspec.Struct, frozen=True):
    """Treated less control, per user."""

    treated: float
    control: float
    low: float
    high: float
    low_always: float
    high_always: float

    @property
    def estimate(self) -> float:
        return self.treated - self.control

    @property
    def verdict(self) -> Verdict:
        """What can be said, however often somebody has looked."""
        if self.low_always > 0.0:
            return "more"
        return "less" if self.high_always < 0.0 else "too early"


class Lift(msgspec.Struct, frozen=True):
    """Of all users, or of one rung."""

    treated_users: int
    control_users: int
    rate: Difference | None
    """Share of users who reached the goal; None with fewer than `MIN_USERS` in a group."""
    net: Difference | None
    """Revenue less the offers that were used, per user."""


def lift(tallies: Mapping[str, Tally], rung: int | None = None) -> Lift:
    """Of everybody, or of those whose first offer was (or would have been) on this rung."""
    treated, control = (_sum(tallies, arm, rung) for arm in ("treated", "control"))
    if min(treated.users, control.users) < MIN_USERS:
        return Lift(treated.users, control.users, None, None)
    return Lift(treated.users, control.users, _of_rates(treated, control), _of_means(treated, control))


def rungs(tallies: Mapping[str, Tally]) -> list[int]:
    """Rungs on which anybody is."""
    return sorted({int(name.partition(":")[2]) for name in tallies})


def _sum(tallies: Mapping[str, Tally], arm: str, rung: int | None) -> Tally:
    total = Tally()
    for name, tally in tallies.items():
        of_arm, _, of_rung = name.partition(":")
        if of_arm == arm and rung in (None, int(of_rung)):
            total += tally
    return total


def _of_rates(treated: Tally, control: Tally) -> Difference:
    """Newcombe's interval from two of Wilson's: it holds also where the goal is rare."""
    p, q = treated.converted / treated.users, control.converted / control.users
    p_low, p_high = _wilson(treated.converted, treated.users)
    q_low, q_high = _wilson(control.converted, control.users)
    low = p - q - sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    high = p - q + sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    # Half a user more on each side, so that a group in which nobody did it is not thought certain.
    smoothed = [(each.converted + 0.5) / (each.users + 1.0) for each in (treated, control)]
    variance = sum(s * (1.0 - s) / each.users for s, each in zip(smoothed, (treated, control), strict=True))
    half = _always(variance, treated.users + control.users)
    return Difference(p, q, low, high, p - q - half, p - q + half)


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z = float(ndtri(1.0 - ALPHA / 2.0))
    middle = (hits + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * sqrt(hits * (n - hits) / n + z * z / 4.0)
    return middle - half, middle + half


def _of_means(treated: Tally, control: Tally) -> Difference:
    """Welch's interval."""
    parts = [_variance(each) / each.users for each in (treated, control)]
    variance = sum(parts)
    weights = sum(part**2 / (each.users - 1) for part, each in zip(parts, (treated, control), strict=True))
    freedom = variance**2 / weights if weights > 0.0 else inf
    half = sqrt(variance) * float(stdtrit(min(freedom, 1e9), 1.0 - ALPHA / 2.0))
    a, b = treated.net / treated.users, control.net / control.users
    always = _always(variance, treated.users + control.users)
    return Difference(a, b, a - b - half, a - b + half, a - b - always, a - b + always)


def _variance(tally: Tally) -> float:
    mean = tally.net / tally.users
    return max(0.0, (tally.net_squares - tally.users * mean * mean) / (tally.users - 1))


def _always(variance: float, n: int) -> float:
    """Half the width that holds at all sizes of the sample together (Robbins' normal mixture, for large samples).

    `variance`: of the estimate from `n` users.
    """
    tuned = (-2.0 * log(ALPHA) + log(-2.0 * log(ALPHA) + 1.0)) / _TUNED_FOR
    grown = n * tuned + 1.0
    return sqrt(variance * n) * sqrt(2.0 * grown / (n * n * tuned) * log(sqrt(grown) / ALPHA))
