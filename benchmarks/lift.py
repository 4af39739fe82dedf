"""Whether the measured lift of an offer covers the true one, on users whose hidden intent is known. docs/benchmarks.md.

Each run is a shop of its own (`streams.simulate`) in which the template `sliding_scale` goes out once. A message moves
users, with a probability that grows with the offer, into a state in which they are likelier to order, so the true
effect on everybody follows from their hidden states. Who gets what, who is compared with whom, and what was measured is
the engine's doing. What the offer brings in money is known by twins: the same users, if all or none are sent to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks._campaigning import Campaigning
from benchmarks._measure import Figures, Progress, show
from config.campaign_checks import read_messaging
from config.campaigns import Campaign
from config.loader import loads
from streams.campaigns.inputs import Facts, Member, Score, Watched
from streams.campaigns.lift import Lift, lift, lift_by_rung
from streams.campaigns.plan import Definitions, Plan
from streams.campaigns.state import Assignment
from streams.campaigns.strategies.make import make
from streams.simulate.draws import F64, I64
from streams.simulate.shop import MARKS, ORDERED, build_shop, moved_states
from streams.simulate.traffic import Rows, Traffic

_DAY_MS: Final = 86_400_000
_ARRIVE_S: Final = 5 * 86_400.0
_SENT_DAY: Final = 21
_WINDOW_DAYS: Final = 7
_START_S: Final = 1_790_000_000.0
_HALF_LIFE_DAYS: Final = 3.0
"""Of the score, which is the rank of a decayed count of events: as good as a simple model."""
ORDER_VALUE: Final = 60.0
MOVED_PER_PERCENT: Final = 0.02
"""Of the users whom an offer of one percent reaches so many are moved by it."""
_USERS_AT_ONCE: Final = 100_000
_ID: Final = "sliding_scale"
_CATALOG: Final = """
version: 1
name: Shop
features: {value: revenue}
predictions: {orders: {name: Orders, goal: {did: Order Completed}, window: 7d}}
"""
_SHOP: Final = build_shop()
_TRUE: Final = _SHOP.process.goal_likelihood(ORDERED, _WINDOW_DAYS * 86_400.0)
_MOVED_BY: Final[F64] = _TRUE[moved_states(_SHOP)] - _TRUE


class Expected(NamedTuple):
    """Of a group of users: how many were expected to order without a message, and how many did."""

    users: int
    expected: float
    variance: float
    """Of the number who do, if nothing but chance is at work."""
    observed: int

    @property
    def deviations(self) -> float:
        """By how many standard deviations more did it."""
        return (self.observed - self.expected) / sqrt(self.variance)


@dataclass
class Run:
    """What one run has measured, and what was true."""

    measured: Lift
    by_rung: dict[int, Lift]
    effects: F64
    """[n] true effect on the probability to order, of all who are compared,"""
    rungs: I64
    """[n] and the rung of each."""
    net: float
    """Mean over them of the true effect on money up to the cap, less the offer, by twins."""
    groups: dict[str, Expected]


@dataclass
class Coverage:
    """Of all runs together."""

    runs: list[Run] = field(default_factory=list)

    @property
    def true_rate(self) -> float:
        """The effect on a user of the population: that of each run is a sample of it."""
        return float(np.concatenate([run.effects for run in self.runs]).mean())

    @property
    def true_net(self) -> float:
        """Likewise in money."""
        users = [len(run.effects) for run in self.runs]
        return float(np.average([run.net for run in self.runs], weights=users))

    def rate(self) -> tuple[int, int]:
        """In how many runs the interval covers the truth, and how many had one."""
        found = [run.measured.rate for run in self.runs if run.measured.rate is not None]
        return sum(each.low <= self.true_rate <= each.high for each in found), len(found)

    def net(self) -> tuple[int, int]:
        """Of money."""
        found = [run.measured.net for run in self.runs if run.measured.net is not None]
        return sum(each.low <= self.true_net <= each.high for each in found), len(found)

    def rungs(self) -> tuple[int, int]:
        """Of each rung by itself, all together."""
        covered = total = 0
        for rung in sorted({rung for run in self.runs for rung in run.by_rung}):
            true = float(np.concatenate([run.effects[run.rungs == rung] for run in self.runs]).mean())
            found = [run.by_rung[rung].rate for run in self.runs if rung in run.by_rung]
            covered += sum(each.low <= true <= each.high for each in found if each is not None)
            total += sum(each is not None for each in found)
        return covered, total

    def group(self, arm: str) -> Expected:
        """Of all runs."""
        groups = [run.groups[arm] for run in self.runs]
        return Expected(
            users=sum(each.users for each in groups),
            expected=sum(each.expected for each in groups),
            variance=sum(each.variance for each in groups),
            observed=sum(each.observed for each in groups),
        )


def simulate(runs: int, users: int, *, control: float, seed: int = 1) -> Iterator[Run]:
    """`runs` shops of so many users; `control`: share of the control group."""
    catalog = loads(_CATALOG)
    made = make("sliding_scale", catalog, "orders", channels=("app",), order_value=ORDER_VALUE)
    assert isinstance(made.definition, Campaign)
    campaign = made.definition.model_copy(update={"control": control})
    messaging = read_messaging({"channels": {"app": {"kind": "log"}}})
    plan = Plan(Definitions(messaging, {_ID: {1: campaign}}, kinds={"orders": "event"}))
    at_once = max(1, _USERS_AT_ONCE // users)
    for number, first in enumerate(range(0, runs, at_once)):
        many = _Traffic(min(at_once, runs - first), users, seed=seed * 1_000_003 + number)
        shops = [_Shop(plan, campaign, many, shop) for shop in range(many.shops)]
        for shop in shops:
            shop.send()
        worlds = _Worlds.of(many, shops)
        for shop in shops:
            yield shop.judge(worlds)


class _Traffic:
    """The users of several shops until the message, drawn together: that is much faster than shop by shop."""

    def __init__(self, shops: int, users: int, *, seed: int) -> None:
        self.shops = shops
        self.users = users
        self.names = [f"{seed}-{number}" for number in range(shops * users)]
        self._traffic = Traffic(_SHOP, shops * users, seed=seed, arrive_s=_ARRIVE_S)
        self.activity, self.ordered_s = np.zeros(shops * users), np.full(shops * users, -inf)
        self._look()
        self.states = self._traffic.states

    def _look(self) -> None:
        """[users] decayed count of events, and time of the latest order (minus infinity: none)."""
        for day in range(1, _SENT_DAY + 1):
            rows = self._traffic.until(day * _DAY_MS)
            seen = np.bincount(rows.user[rows.visible], minlength=len(self.names))
            self.activity = self.activity * 0.5 ** (1.0 / _HALF_LIFE_DAYS) + seen
            orders = rows.mark == ORDERED
            np.maximum.at(self.ordered_s, rows.user[orders], _at_s(rows.ms[orders]))

    def orders_after(self, moved: Mapping[int, Assignment]) -> Rows:
        """All orders of the window, in the order of time, if a message comes to these users."""
        mine = deepcopy(self._traffic)
        users = np.array(sorted(moved), np.int64)
        mine.nudge(users, _SENT_DAY * _DAY_MS, np.array([_share(moved[n]) for n in users.tolist()]))
        rows = mine.until((_SENT_DAY + _WINDOW_DAYS) * _DAY_MS)
        return rows.take(rows.mark == ORDERED)


class _Worlds(NamedTuple):
    """What happens in the window: as it is, and to the twins of all who are compared."""

    real: Rows
    net_of_all: F64
    """[users] if all of them are sent to,"""
    net_of_none: F64
    """and if nobody is."""

    @classmethod
    def of(cls, traffic: _Traffic, shops: Sequence[_Shop]) -> _Worlds:
        compared = {n: each for shop in shops for n, each in shop.assigned.items() if each.arm != "holdout"}
        treated = {n: each for n, each in compared.items() if each.arm == "treated"}
        cap = shops[0].campaign.conversion.revenue_cap
        assert cap is not None, "the template knows what an order is worth"
        users = len(traffic.names)
        return cls(
            real=traffic.orders_after(treated),
            net_of_all=_net(traffic.orders_after(compared), users, cap, compared),
            net_of_none=_net(traffic.orders_after({}), users, cap, {}),
        )


class _Shop:
    """One run: users `first` and up of the traffic, in an engine of their own."""

    def __init__(self, plan: Plan, campaign: Campaign, traffic: _Traffic, number: int) -> None:
        self.campaign = campaign
        self.assigned: dict[int, Assignment] = {}
        """Number of the user -> group and offer."""
        self._traffic = traffic
        self._first = number * traffic.users
        self._end = self._first + traffic.users
        self._engine = Campaigning(plan)
        self._known = self._facts()

    def send(self) -> None:
        """The message goes out."""
        now_s = _at_s(_SENT_DAY * _DAY_MS)
        inside = [user for user, each in self._known.items() if each.segments]
        self._engine.take([Member(user, _ID, now_s) for user in inside], now_s, self._known)
        for n in range(self._first, self._end):
            row = self._engine.rows.get(self._traffic.names[n])
            if row is not None and _ID in row.assigned:
                self.assigned[n] = row.assigned[_ID]

    def judge(self, worlds: _Worlds) -> Run:
        """Count what happened, and look at what is known to be true."""
        own = worlds.real.take((worlds.real.user >= self._first) & (worlds.real.user < self._end))
        end_s = _at_s((_SENT_DAY + _WINDOW_DAYS) * _DAY_MS)
        self._engine.take(self._orders(own), end_s, self._known)
        self._engine.let_pass(end_s + 86_400.0, self._known)
        tallies = self._engine.books[_ID].tallies
        places = np.array([n for n, each in self.assigned.items() if each.arm != "holdout"], np.int64)
        shares = np.array([_share(self.assigned[n]) for n in places.tolist()])
        ordered = np.isin(np.arange(len(self._traffic.names)), own.user)
        states = self._traffic.states
        return Run(
            measured=lift(tallies),
            by_rung=lift_by_rung(tallies),
            effects=shares * _MOVED_BY[states[places]],
            rungs=np.array([self.assigned[n].rung for n in places.tolist()]),
            net=float((worlds.net_of_all - worlds.net_of_none)[places].mean()),
            groups={arm: _expected(self.assigned, arm, states, ordered) for arm in ("treated", "control", "holdout")},
        )

    def _facts(self) -> dict[str, Facts]:
        traffic, segment = self._traffic, frozenset([self.campaign.segment])
        rank = np.argsort(np.argsort(traffic.activity[self._first : self._end], kind="stable"), kind="stable")
        score = 100.0 * (rank + 0.5) / traffic.users
        ordered_s = traffic.ordered_s[self._first : self._end]
        return {
            traffic.names[self._first + n]: Facts(
                as_of_s=inf,
                segments=segment if score[n] < 75.0 else frozenset(),
                scores={"orders": Score(score=float(score[n]))},
                latest_s={} if ordered_s[n] == -inf else {MARKS[ORDERED]: float(ordered_s[n])},
            )
            for n in range(traffic.users)
        }

    def _orders(self, rows: Rows) -> Iterator[Watched]:
        for place, (user, ms, cents) in enumerate(
            zip(rows.user.tolist(), rows.ms.tolist(), rows.cents.tolist(), strict=True)
        ):
            properties = {"revenue": cents / 100.0}
            name = self._traffic.names[user]
            yield Watched(name, MARKS[ORDERED], _at_s(ms), 0, "g", place + 1, f"m{place}", properties)


def _net(orders: Rows, users: int, cap: float, offered: Mapping[int, Assignment]) -> F64:
    """[users] revenue up to the cap, less the offers that were used, which the first order does."""
    net: F64 = np.minimum(np.bincount(orders.user, orders.cents / 100.0, minlength=users), cap)
    buyers, first = np.unique(orders.user, return_index=True)
    for user, cents in zip(buyers.tolist(), orders.cents[first].tolist(), strict=True):
        offer = offered[user].offer if user in offered else None
        net[user] -= 0.0 if offer is None else offer.used(cents / 100.0)
    return net


def _share(assigned: Assignment) -> float:
    """How likely the offer moves the user, who was, or would have been, given it."""
    assert assigned.offer is not None, "the strategy makes one"
    return MOVED_PER_PERCENT * assigned.offer.value


def _expected(
    assigned: dict[int, Assignment], arm: str, before: npt.NDArray[np.int16], ordered: npt.NDArray[np.bool_]
) -> Expected:
    users = np.array([n for n, each in assigned.items() if each.arm == arm], np.int64)
    p = _TRUE[before[users]]
    return Expected(len(users), float(p.sum()), float((p * (1.0 - p)).sum()), int(ordered[users].sum()))


def _at_s(ms: Any) -> Any:
    """Seconds since 1970 of milliseconds since the start: of a number, or of many."""
    return _START_S + ms / 1_000.0


def measure(runs: Iterator[Run], progress: Progress) -> Figures:
    """Everything that is said of all runs together."""
    started_s = time.perf_counter()
    found = Coverage()
    for run in runs:
        found.runs.append(run)
        progress.say(f"{len(found.runs)} runs")
    figures: Figures = {
        "seconds": round(time.perf_counter() - started_s, 1),
        "runs": len(found.runs),
        "true_rate": found.true_rate,
        "true_net": found.true_net,
    }
    for name, (covered, total) in (("rate", found.rate()), ("net", found.net()), ("rung_rate", found.rungs())):
        figures |= {f"{name}_covered": covered, f"{name}_intervals": total}
    groups = {arm: found.group(arm) for arm in ("holdout", "control", "treated")}
    figures["group_users"] = {arm: group.users for arm, group in groups.items()}
    figures["observed_over_expected"] = {arm: group.observed / group.expected for arm, group in groups.items()}
    figures["deviations"] = {arm: group.deviations for arm, group in groups.items()}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lift", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="shops (default 100)")
    parser.add_argument("--users", type=int, default=20_000, help="of each (default 20,000)")
    parser.add_argument("--control", type=float, default=0.5, help="share of the control group (default 0.5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = parser.parse_args(arguments)
    progress = Progress("lift")
    figures = measure(simulate(given.runs, given.users, control=given.control, seed=given.seed), progress)
    progress.done()
    show(figures | {"users": given.users, "control": given.control}, as_json=given.json)


if __name__ == "__main__":
    main()
