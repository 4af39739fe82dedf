"""The parts of the job in plain Python: features from dictionaries per user, river's own models, categories.

Shared by the plain reference (`_plain_reference`) and by the programs of other frameworks (`_peer_job`), so that all of
them say the same of a user. What they say is in docs/core.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from struct import Struct
from typing import Any

import msgspec
import numpy as np
from river import linear_model, optim, preprocessing

from config.catalog import Catalog, TraitValues

DAY_S = 86_400.0
BINS, Z_MIN, Z_MAX = 1_024, -12.0, 12.0
OTHER = "*"


class Properties(msgspec.Struct):
    """Of a record: what is read."""

    revenue: float | None = None


class Traits(msgspec.Struct):
    """Of a record: what is read."""

    country: str | None = None


class Record(msgspec.Struct, rename="camel"):
    """A record of the Segment spec."""

    type: str
    user_id: str
    message_id: str
    timestamp: datetime
    event: str | None = None
    properties: Properties | None = None
    traits: Traits | None = None


@dataclass(slots=True)
class Habits:
    """What the features of a user are made from; times in seconds since 1970, money in the currency of the events."""

    first_s: float
    last_s: float
    counts: dict[str, list[float]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    money: list[float] = field(default_factory=list)
    money_last: float = 0.0
    money_sum: float = 0.0
    money_n: int = 0
    sessions: int = 0
    gap_last_s: float = 0.0
    instants: int = 0
    traits: dict[str, Any] = field(default_factory=dict)


def plain_pipeline() -> Any:
    """The recipe of the design in river's own words."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optim.FTRLProximal(alpha=0.05, beta=1.0, l1=0.0, l2=0.0), intercept_lr=0.01
    )


def bin_of(z: float) -> int:
    """The bin of F of a rank value."""
    return min(max(int((z - Z_MIN) / (Z_MAX - Z_MIN) * BINS), 0), BINS - 1)


def signed_log(value: float) -> float:
    """sign(v) log1p(|v|)."""
    return math.log1p(value) if value >= 0.0 else -math.log1p(-value)


def category_after(before: int | None, score: float, edges: tuple[float, float], hysteresis: float) -> int:
    """The category of a score, kept until it is past an edge by the hysteresis."""
    low, high = edges
    if before is not None:
        floor = (-math.inf, low, high)[before] - hysteresis
        if floor <= score < (low, high, math.inf)[before] + hysteresis:
            return before
    return 0 if score < low else 1 if score < high else 2


class PlainFeatures:
    """From a user's dictionaries to a dictionary of features.

    Counts and features are rounded to 32-bit floats, as docs/core.md has them: two programs that differ in the eighth
    digit of a feature whose variance is still nearly zero say very different likelihoods.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.halves = [days * DAY_S for days in catalog.features.half_lives_days]
        self.names = [*catalog.named_events(), OTHER]
        self._begun = set(catalog.named_events())
        self._nothing = [0.0] * len(self.halves)
        days = [f"{h:g}d" for h in catalog.features.half_lives_days]
        self.keys: list[str] = []
        for name in self.names:
            self.keys += [*(f"count:{name}:{d}" for d in days), f"total:{name}", f"since:{name}"]
        self.keys += [*(f"value:{d}" for d in days), "value:last", "value:mean"]
        self.keys += ["sessions", "age", "gap:mean", "gap:last", "recency", "recency/gap"]
        self._traits: list[tuple[str, Any]] = []
        for trait, kind in catalog.trait_features.items():
            if not isinstance(kind, TraitValues):
                raise NotImplementedError(f"the plain reference reads traits with given values only, not {trait}")
            self._traits += [(trait, value) for value in kind.values]
            self.keys += [f"trait:{trait}={value}" for value in kind.values]
        self._all_floats = Struct(f"{len(self.keys)}f")
        self._few_floats = Struct(f"{len(self.halves)}f")

    def of(self, user: Habits, time_s: float) -> dict[str, float]:
        """All features of the user at a time that is not before the latest event."""
        log1p = math.log1p
        x: list[float] = []
        elapsed_s = time_s - user.last_s
        age_days = (time_s - user.first_s) / DAY_S
        factors = [2.0 ** (-elapsed_s / half) for half in self.halves]
        for name in self.names:
            counts = user.counts.get(name)
            if counts is None:
                x += self._nothing
                x += (0.0, log1p(age_days + 30.0) if name in self._begun else 0.0)
            else:
                x += [log1p(count * factor) for count, factor in zip(counts, factors, strict=True)]
                x += (log1p(user.totals[name]), log1p((time_s - user.latest[name]) / DAY_S))
        x += [signed_log(amount * factor) for amount, factor in zip(user.money, factors, strict=True)]
        mean_gap_s = (user.last_s - user.first_s) / user.instants if user.instants else 0.0
        x += (
            signed_log(user.money_last),
            signed_log(user.money_sum / user.money_n) if user.money_n else 0.0,
            log1p(user.sessions),
            log1p(age_days),
            log1p(mean_gap_s / DAY_S),
            log1p(user.gap_last_s / DAY_S),
            log1p(elapsed_s / DAY_S),
            log1p(elapsed_s / (mean_gap_s + DAY_S)),
        )
        x += [1.0 if user.traits.get(trait) == value else 0.0 for trait, value in self._traits]
        return dict(zip(self.keys, self._all_floats.unpack(self._all_floats.pack(*x)), strict=True))

    def update(
        self, user: Habits, name: str | None, time_s: float, revenue: float | None, session_gap_s: float
    ) -> None:
        """Bring an event into the user's dictionaries; `name` is None for an identify."""
        last_s = user.last_s
        forward = time_s > last_s
        if forward:
            factors = [2.0 ** (-(time_s - last_s) / half) for half in self.halves]
            for column, counts in user.counts.items():
                user.counts[column] = self._rounded([c * factor for c, factor in zip(counts, factors, strict=True)])
            user.money = self._rounded([m * factor for m, factor in zip(user.money, factors, strict=True)])
            user.last_s = time_s
        if name is None:
            return
        weights = [2.0 ** (-(user.last_s - time_s) / half) for half in self.halves]
        column = name if name in self.names else OTHER
        self._begun.add(column)
        counts = user.counts.get(column, self._nothing)
        user.counts[column] = self._rounded([c + weight for c, weight in zip(counts, weights, strict=True)])
        user.totals[column] = user.totals.get(column, 0) + 1
        user.latest[column] = max(user.latest.get(column, 0.0), float(math.floor(time_s)))
        if revenue is not None:
            user.money = self._rounded([m + weight * revenue for m, weight in zip(user.money, weights, strict=True)])
            if time_s >= last_s or not user.money_n:
                user.money_last = revenue
            user.money_sum = float(np.float32(user.money_sum + revenue))
            user.money_n += 1
        if user.sessions == 0 or time_s - last_s > session_gap_s:
            user.sessions += 1
        if forward:
            user.gap_last_s = time_s - last_s
            user.instants += 1

    def _rounded(self, numbers: list[float]) -> list[float]:
        return list(self._few_floats.unpack(self._few_floats.pack(*numbers)))
