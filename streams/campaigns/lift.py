"""What a campaign did: treated against control, by intention to treat, with intervals.

Two intervals stand beside each other. The plain one holds 95 % of the time for who looks once. The one for all times
holds for somebody who looks every day and stops when it pleases: it is wider, and only by it something is claimed. As
long as it reaches across 0, or fewer than `MIN_CONVERTED` have converted in a group, it is too early to say.

Money is compared up to a cap that the definition fixes beforehand: without one a single order decides, and no interval
holds. Versions are compared each by itself, and then put together by their users: a version with another share of
control would else be compared with another time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, inf, log, sqrt
from typing import Final, Literal, NamedTuple

import msgspec
from scipy.special import ndtri, stdtrit

from streams.campaigns.state import Tally

ALPHA: Final = 0.05
MIN_USERS: Final = 100
"""In each group of a version: with fewer it is left out."""
MIN_CONVERTED: Final = 50
"""In each group: with fewer nothing is claimed."""
MIN_VALUED: Final = 100
"""Converted in each group: with fewer nothing is said of money, whose interval would be too narrow."""
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
    p_always: float
    """The least share of wrong claims at which the interval for all times would exclude 0."""
    verdict: Verdict
    """What can be said, however often somebody has looked."""

    @property
    def estimate(self) -> float:
        return self.treated - self.control


class Lift(msgspec.Struct, frozen=True):
    """Of all users, or of one rung; of versions with enough users in both groups."""

    treated_users: int
    control_users: int
    rate: Difference | None
    """Share of users who reached the goal; None with too few users."""
    net: Difference | None
    """Revenue up to the cap less the offers that were used, per user; None without a cap, or with too few converted."""
    converted: int = 0
    """In the group in which fewer did it, of the versions that are compared."""


class _Groups(NamedTuple):
    """Of one version."""

    treated: Tally
    control: Tally
    share: float
    """Of all users that are compared."""


def lift(tallies: Mapping[str, Tally]) -> Lift:
    """Of everybody."""
    return _lift(tallies, None)


def lift_by_rung(tallies: Mapping[str, Tally]) -> dict[int, Lift]:
    """Of those whose first offer was (or would have been) on each rung.

    Many rungs are many chances to be wrong: what is claimed holds for all of them together (Holm's way).
    """
    found = {rung: _lift(tallies, rung) for rung in rungs(tallies)}
    rates = _corrected({rung: each.rate for rung, each in found.items()})
    nets = _corrected({rung: each.net for rung, each in found.items()})
    return {rung: msgspec.structs.replace(each, rate=rates[rung], net=nets[rung]) for rung, each in found.items()}


def rungs(tallies: Mapping[str, Tally]) -> list[int]:
    """Rungs on which anybody is."""
    return sorted({int(name.split(":")[1]) for name in tallies})


def _lift(tallies: Mapping[str, Tally], rung: int | None) -> Lift:
    groups = _groups(tallies, rung)
    treated, control = sum(each.treated.users for each in groups), sum(each.control.users for each in groups)
    if not groups:
        few = [_sum(tallies, arm, rung, None).users for arm in ("treated", "control")]
        return Lift(few[0], few[1], None, None)
    converted = min(sum(each.treated.converted for each in groups), sum(each.control.converted for each in groups))
    is_capped = all(tally.capped == tally.users for each in groups for tally in each[:2])
    net = _of_means(groups) if converted >= MIN_VALUED and is_capped else None
    return Lift(treated, control, _of_rates(groups, is_enough=converted >= MIN_CONVERTED), net, converted)


def _groups(tallies: Mapping[str, Tally], rung: int | None) -> list[_Groups]:
    """Versions with enough users in both groups."""
    versions = sorted({name.split(":")[2] for name in tallies})
    pairs = [tuple(_sum(tallies, arm, rung, version) for arm in ("treated", "control")) for version in versions]
    pairs = [pair for pair in pairs if min(each.users for each in pair) >= MIN_USERS]
    total = sum(treated.users + control.users for treated, control in pairs)
    return [_Groups(treated, control, (treated.users + control.users) / total) for treated, control in pairs]


def _sum(tallies: Mapping[str, Tally], arm: str, rung: int | None, version: str | None) -> Tally:
    total = Tally()
    for name, tally in tallies.items():
        of_arm, of_rung, of_version = name.split(":")
        if of_arm == arm and rung in (None, int(of_rung)) and version in (None, of_version):
            total += tally
    return total


def _corrected(found: Mapping[int, Difference | None]) -> dict[int, Difference | None]:
    """The most certain first: each claim has to hold at what is left of `ALPHA`, and with one that does not all end."""
    certain = sorted((each.p_always, rung) for rung, each in found.items() if each is not None)
    corrected = dict(found)
    is_claimed = True
    for place, (p, rung) in enumerate(certain):
        is_claimed = is_claimed and p * (len(certain) - place) < ALPHA
        each = found[rung]
        if each is not None and not is_claimed:
            corrected[rung] = msgspec.structs.replace(each, verdict="too early")
    return corrected


def _of_rates(groups: list[_Groups], *, is_enough: bool) -> Difference:
    """Newcombe's interval from Wilson's of each group and version: it holds also where the goal is rare."""
    below = above = variance = 0.0
    for treated, control, share in groups:
        p, q = treated.converted / treated.users, control.converted / control.users
        p_low, p_high = _wilson(treated.converted, treated.users)
        q_low, q_high = _wilson(control.converted, control.users)
        below += share**2 * ((p - p_low) ** 2 + (q_high - q) ** 2)
        above += share**2 * ((p_high - p) ** 2 + (q - q_low) ** 2)
        # Half a user more on each side, so that a group in which nobody did it is not thought certain.
        smoothed = [(each.converted + 0.5) / (each.users + 1.0) for each in (treated, control)]
        sizes = (treated.users, control.users)
        variance += share**2 * sum(s * (1.0 - s) / n for s, n in zip(smoothed, sizes, strict=True))
    means = _means(groups, lambda tally: tally.converted / tally.users)
    return _difference(means, sqrt(below), sqrt(above), variance, groups, is_enough=is_enough)


def _of_means(groups: list[_Groups]) -> Difference:
    """Welch's interval."""
    parts = [
        (share**2 * _variance(tally) / tally.users, tally.users)
        for treated, control, share in groups
        for tally in (treated, control)
    ]
    variance = sum(part for part, _ in parts)
    weights = sum(part**2 / (users - 1) for part, users in parts)
    freedom = variance**2 / weights if weights > 0.0 else inf
    half = sqrt(variance) * float(stdtrit(min(freedom, 1e9), 1.0 - ALPHA / 2.0))
    means = _means(groups, lambda tally: tally.net / tally.users)
    return _difference(means, half, half, variance, groups, is_enough=True)


def _means(groups: list[_Groups], mean: Callable[[Tally], float]) -> tuple[float, float]:
    treated = sum(share * mean(each) for each, _, share in groups)
    return treated, sum(share * mean(each) for _, each, share in groups)


def _difference(
    means: tuple[float, float], below: float, above: float, variance: float, groups: list[_Groups], *, is_enough: bool
) -> Difference:
    """From what lies below and above the estimate, and its variance."""
    found = means[0] - means[1]
    n = sum(treated.users + control.users for treated, control, _ in groups)
    half = _always(variance, n)
    verdict: Verdict = "more" if found > half else "less" if found < -half else "too early"
    return Difference(
        treated=means[0],
        control=means[1],
        low=found - below,
        high=found + above,
        low_always=found - half,
        high_always=found + half,
        p_always=_p_always(found, variance, n),
        verdict=verdict if is_enough else "too early",
    )


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z = float(ndtri(1.0 - ALPHA / 2.0))
    middle = (hits + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * sqrt(hits * (n - hits) / n + z * z / 4.0)
    return middle - half, middle + half


def _variance(tally: Tally) -> float:
    mean = tally.net / tally.users
    return max(0.0, (tally.net_squares - tally.users * mean * mean) / (tally.users - 1))


def _grown(n: int) -> float:
    tuned = (-2.0 * log(ALPHA) + log(-2.0 * log(ALPHA) + 1.0)) / _TUNED_FOR
    return n * tuned + 1.0


def _always(variance: float, n: int) -> float:
    """Half the width that holds at all sizes of the sample together (Robbins' normal mixture, for large samples).

    `variance`: of the estimate from `n` users.
    """
    grown = _grown(n)
    return sqrt(variance * 2.0 * grown / (grown - 1.0) * log(sqrt(grown) / ALPHA))


def _p_always(found: float, variance: float, n: int) -> float:
    """At which ALPHA that width would end at the estimate; at most 1."""
    if variance <= 0.0:
        return 1.0 if found == 0.0 else 0.0
    grown = _grown(n)
    return min(1.0, sqrt(grown) * exp(-(found**2) * (grown - 1.0) / (2.0 * variance * grown)))
