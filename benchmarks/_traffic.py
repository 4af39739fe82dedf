"""A simulated shop: events of many users with different habits, a day at a time, the same for the same seed.

Users come at different rates (gamma), buy with different odds (beta), and are gone for good after a while
(exponential), so that likelihoods differ and silence means something. A visit is a view, maybe more, maybe something
into the basket and an order; who has left a full basket behind is likelier to order next time. Emails are opened in
between. Nothing of this is known to the shard: it has to learn it from the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan
from pathlib import Path

import numpy as np
import numpy.typing as npt

from config.catalog import Catalog
from config.loader import load_catalog
from streams.core.events import Event, Scalar

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DAY_S = 86_400.0
START_S = 1_704_067_200.0
"""2024-01-01, a Monday."""
IDENTIFY, VIEWED, ADDED, ORDERED, OPENED = range(5)
NAMES = ("identify", "Product Viewed", "Product Added", "Order Completed", "Email Opened")
COUNTRIES = ("DE", "FR", "GB", "US")
_BUYS = np.array([2.0, 1.0, 0.5, 0.25])
_STAYS = np.array([2.0, 1.0, 0.5, 0.3])
"""How much likelier people of a country are to buy, and how much longer they stay: what frequency does not tell."""
_LONGEST_VISIT_S = 3_600.0
_EVENTS_PER_VISIT = 2.6
"""About; turns events into visits."""


def shop_catalog(**limits: int) -> Catalog:
    """The catalog of the simulated shop, with other `limits` than the default where given."""
    catalog = load_catalog(Path(__file__).parent / "shop.yaml")
    return catalog.model_copy(update={"limits": catalog.limits.model_copy(update=limits)})


@dataclass(frozen=True, slots=True)
class Day:
    """The events of a day in the order of their times: user number, kind, time in s, revenue (NaN: none)."""

    user: I64
    kind: I64
    time_s: F64
    value: F64

    def __len__(self) -> int:
        return len(self.user)


class Traffic:
    """Iterating gives one `Day` after another, without end.

    Users come for the first time in the course of `arrive_days`, and stay for `stay_days` on average;
    `events_per_week` is what a user does who is there.
    """

    def __init__(
        self,
        users: int,
        *,
        seed: int = 1,
        events_per_week: float = 3.0,
        stay_days: float = 365.0,
        arrive_days: int = 10,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        rng = self._rng
        self.users = users
        per_day = events_per_week / 7.0 / _EVENTS_PER_VISIT
        self._visits = rng.gamma(0.7, per_day / 0.7, users)
        self._opens = rng.gamma(0.5, 0.3 * per_day / 0.5, users)
        self._adds = rng.beta(1.5, 4.0, users)
        self.country: I64 = rng.choice(len(COUNTRIES), users, p=[0.3, 0.25, 0.2, 0.25])
        self._buys = rng.beta(1.2, 5.0, users) * _BUYS[self.country]
        self._spends = rng.lognormal(3.5, 0.6, users)
        self._first_day = rng.integers(0, arrive_days, users)
        self._last_day = self._first_day + rng.exponential(stay_days * _STAYS[self.country], users)
        self._basket: Flags = np.zeros(users, np.bool_)
        self.days = 0

    def __iter__(self) -> Iterator[Day]:
        return self

    def __next__(self) -> Day:
        n = self.days
        self.days += 1
        return self._day(n)

    def _day(self, n: int) -> Day:
        """Visits and opened emails of day `n`, sorted by time."""
        rng = self._rng
        fresh = np.flatnonzero(self._first_day == n)
        there = (self._first_day <= n) & (self._last_day >= n)
        visitors = np.concatenate([fresh, self._who(self._visits * there)])
        start_s = self._moments(n, len(visitors))
        pieces = [self._piece(fresh, IDENTIFY, start_s[: len(fresh)])]
        viewed_s = start_s + 1.0
        more = rng.random(len(visitors)) < 0.5
        pieces += [
            self._piece(visitors, VIEWED, viewed_s),
            self._piece(visitors[more], VIEWED, viewed_s[more] + rng.uniform(5.0, 600.0, int(more.sum()))),
        ]
        pieces += self._purchases(visitors, start_s)
        readers = self._who(self._opens * there)
        pieces.append(self._piece(readers, OPENED, self._moments(n, len(readers))))
        columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        user, kind, time_s, value = (column[order] for column in columns)
        return Day(user, kind, np.round(time_s, 3), value)

    def _who(self, rate: F64) -> I64:
        """Users as often as something happens to them today."""
        times = self._rng.poisson(rate)
        return np.repeat(np.arange(self.users), times)

    def _moments(self, n: int, size: int) -> F64:
        """Times of day, more of them in the evening; what begins then ends before midnight."""
        hours = self._rng.beta(3.0, 2.0, size) * (24.0 - _LONGEST_VISIT_S / 3_600.0)
        return START_S + n * DAY_S + hours * 3_600.0

    def _purchases(self, visitors: I64, start_s: F64) -> list[tuple[I64, I64, F64, F64]]:
        """What goes into baskets and what is ordered, and the baskets that stay full."""
        rng = self._rng
        adds = rng.random(len(visitors)) < self._adds[visitors]
        full = self._basket[visitors] | adds
        odds = self._buys[visitors] * np.where(full, 2.5, 0.3)
        buys = rng.random(len(visitors)) < odds
        added_s = start_s + rng.uniform(610.0, 1_200.0, len(visitors))
        bought_s = added_s + rng.uniform(30.0, 1_200.0, len(visitors))
        self._basket[visitors[full]] = True
        self._basket[visitors[buys]] = False
        buyers = visitors[buys]
        value = np.round(self._spends[buyers] * rng.lognormal(0.0, 0.4, len(buyers)), 2)
        return [
            self._piece(visitors[adds], ADDED, added_s[adds]),
            (buyers, np.full(len(buyers), ORDERED), bought_s[buys], value),
        ]

    @staticmethod
    def _piece(users: I64, kind: int, time_s: F64) -> tuple[I64, I64, F64, F64]:
        return users, np.full(len(users), kind), time_s, np.full(len(users), nan)


def user_id(number: int) -> str:
    """The id of a user: the length of a usual one."""
    return f"user-{number:09d}"


class Writer:
    """Turns days into events or into records of the Segment spec; every event has a message id of its own.

    `country` is `Traffic.country`.
    """

    def __init__(self, country: I64) -> None:
        self._country = country
        self._traits: list[dict[str, Scalar]] = [{"country": name} for name in COUNTRIES]
        self.position = 0

    def events(self, day: Day) -> list[Event]:
        """The day as decoded events."""
        first = self.position
        self.position += len(day)
        country = self._country[day.user].tolist()
        columns = zip(
            day.user.tolist(), day.kind.tolist(), day.time_s.tolist(), day.value.tolist(), country, strict=True
        )
        return [
            Event(
                user_id(user),
                NAMES[kind] if kind else None,
                time_s,
                value,
                first + n + 1,
                None if kind else self._traits[of],
                None,
                first + n,
                time_s,
            )
            for n, (user, kind, time_s, value, of) in enumerate(columns)
        ]

    def records(self, day: Day) -> list[bytes]:
        """The day as records of the Segment spec, with some of what clients send that nobody asks for."""
        first = self.position
        self.position += len(day)
        columns = zip(day.user.tolist(), day.kind.tolist(), day.time_s.tolist(), day.value.tolist(), strict=True)
        return [self._record(first + n, *fields) for n, fields in enumerate(columns)]

    def _record(self, position: int, user: int, kind: int, time_s: float, value: float) -> bytes:
        stamp = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        if kind == IDENTIFY:
            what = f'"type":"identify","traits":{{"country":"{COUNTRIES[self._country[user]]}","plan":"free"}}'
        else:
            money = f',"revenue":{value},"currency":"EUR"' if kind == ORDERED else ""
            what = f'"type":"track","event":"{NAMES[kind]}","properties":{{"sku":"sku-{position % 977:04d}"{money}}}'
        return (
            f'{{"messageId":"msg-{position:012d}","userId":"{user_id(user)}","timestamp":"{stamp}Z",{what},'
            f'"context":{{"library":{{"name":"analytics.js","version":"2.1.0"}},"locale":"de-DE"}}}}'
        ).encode()
