"""What a campaign or journey has done so far, from the books of all partitions, in numbers that people can read.

Books are read as they are committed, each by itself: a figure is as of the last commit of each partition. Counts are of
*occasions* (a user may have several); what is compared are *users*, once their window has closed (`outcomes.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, get_args

import msgspec

from config.campaigns import Campaign
from config.journeys import Journey
from config.offers import Budget
from streams.campaigns.lift import MIN_CONVERTED, MIN_USERS, MIN_VALUED, Difference, Lift, lift, lift_by_rung
from streams.campaigns.offers import CENTS
from streams.campaigns.preview import offers_of
from streams.campaigns.question import Reason
from streams.campaigns.schedule import period_of
from streams.campaigns.state import Book, Spent, Tally

_Key = TypeVar("_Key", str, int)
WAITED: Final = "waited_"
BY_CHANCE: Final = ("holdout", "control")
ENDS: Final = ("finished", "goal_reached", "left_segment", "gone")
"""How users come out of a journey."""
Early: TypeAlias = Literal["few_users", "few_converted", "wide", "several"]
NoMoney: TypeAlias = Literal["few_users", "few_converted", "no_revenue", "no_cap"]


class BookReader(Protocol):
    """What every partition keeps of one campaign or journey. Both raise StoreUnavailable, and disturb no owner."""

    def books_of(self, id_: str) -> list[Book]:
        """As last committed, of the partitions that have one."""

    def waiting_for_rate(self, id_: str) -> int:
        """Users whom its rate keeps waiting."""


class Measured(msgspec.Struct, frozen=True):
    """Of the goal or of money, treated users less those of the control group."""

    difference: Difference | None
    """None: it cannot be said yet, or at all."""
    why: Early | NoMoney | None
    """Why there is none, or why nothing is claimed by it; None: something is."""


class Comparison(msgspec.Struct, frozen=True):
    """Of all users, or of one rung."""

    rung: int | None
    value: float | None
    """Of the offer on that rung, by the version in force; None where that is not known."""
    treated_users: int
    control_users: int
    rate: Measured
    """Share of users who did it."""
    net: Measured
    """Money per user up to the cap, less the offers that were used."""


class Group(msgspec.Struct, frozen=True):
    """Users of one group whose window has closed, all versions and rungs together."""

    users: int
    converted: int
    revenue: float
    """All of it, without a cap."""
    offers: float
    """What the offers cost that were used."""


class Spending(msgspec.Struct, frozen=True):
    """A budget, and what messages have used of it in the present period, whether or not anybody takes their offer."""

    amount: float
    per: str
    period: str
    spent: float


class InJourney(msgspec.Struct, frozen=True):
    """Of a journey."""

    entered: int
    inside: int
    """Users who are in it now, on any version,"""
    waiting: Mapping[str, int]
    """and at which step."""
    ended: Mapping[str, int]
    """Of `ENDS`."""
    steps: Mapping[str, int]
    """Step of the version in force -> how often a user has come to it so far, also on earlier versions."""


class Figures(msgspec.Struct, frozen=True):
    """See the module."""

    sent: int
    withheld: Mapping[str, int]
    """Reason -> occasions for which nothing was sent, for good; the most frequent first."""
    control: int
    """Occasions withheld for the comparison,"""
    holdout: int
    """and because no campaign sends to the user."""
    waited: Mapping[str, int]
    """Why -> occasions that had to wait."""
    replaced: int
    """Occasions in whose place a newer one came while they waited."""
    waiting_for_rate: int
    journey: InJourney | None
    open_windows: int
    """Users who are not compared yet."""
    groups: Mapping[str, Group]
    """treated, control, holdout."""
    budgets: tuple[Spending, ...]
    overall: Comparison
    rungs: tuple[Comparison, ...]
    """Empty where everybody was on one."""


def figures(rules: Campaign | Journey, id_: str, books: Sequence[Book], waiting: int, now_s: float) -> Figures:
    """`rules`: the version in force. `waiting`: see `BookReader.waiting_for_rate`."""
    total = merged(books)
    counts = total.counts
    found = lift_by_rung(total.tallies)
    return Figures(
        sent=counts.get("sent", 0),
        withheld=_withheld(counts, is_journey=isinstance(rules, Journey)),
        control=counts.get("control", 0),
        holdout=counts.get("holdout", 0),
        waited={name.removeprefix(WAITED): n for name, n in counts.items() if name.startswith(WAITED)},
        replaced=counts.get("replaced", 0),
        waiting_for_rate=waiting,
        journey=_in_journey(rules, total) if isinstance(rules, Journey) else None,
        open_windows=sum(total.open.values()),
        groups={arm: _group(total.tallies, arm) for arm in ("treated", "control", "holdout")},
        budgets=tuple(_budgets(rules, id_, total, now_s)),
        overall=_comparison(rules, None, lift(total.tallies), total.tallies),
        rungs=tuple(_comparison(rules, rung, each, total.tallies) for rung, each in found.items())
        if len(found) > 1
        else (),
    )


def merged(books: Iterable[Book]) -> Book:
    """One book that says what all of them say; what belongs to a partition alone is left out."""
    total = Book()
    for book in books:
        _add(total.counts, book.counts)
        _add(total.steps, book.steps)
        _add(total.at, book.at)
        _add(total.inside, book.inside)
        _add(total.open, book.open)
        for name, tally in book.tallies.items():
            total.tallies[name] = total.tallies.get(name, Tally()) + tally
        for resource, spent in book.spent.items():
            before = total.spent[resource].amount if resource in total.spent else 0
            total.spent[resource] = Spent(before + spent.amount, spent.until_s)
    return total


def _add(total: dict[_Key, int], more: Mapping[_Key, int]) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def _withheld(counts: Mapping[str, int], *, is_journey: bool) -> dict[str, int]:
    reasons = {*get_args(Reason), "again", "inside"} - {*BY_CHANCE, *(ENDS if is_journey else ())}
    found = {reason: n for reason, n in counts.items() if reason in reasons}
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _in_journey(rules: Journey, total: Book) -> InJourney:
    return InJourney(
        entered=total.counts.get("entered", 0),
        inside=sum(total.inside.values()),
        waiting=dict(sorted(total.at.items())),
        ended={name: total.counts.get(name, 0) for name in ENDS},
        steps={step: total.steps.get(step, 0) for step in rules.steps},
    )


def _group(tallies: Mapping[str, Tally], arm: str) -> Group:
    total = sum((tally for name, tally in tallies.items() if name.startswith(f"{arm}:")), Tally())
    return Group(total.users, total.converted, total.revenue, total.cost)


def _budgets(rules: Campaign | Journey, id_: str, total: Book, now_s: float) -> Iterable[Spending]:
    """Of a journey's offers each, though what they spend in a like period is one sum."""
    seen: dict[tuple[float, str], Budget] = {}
    for _, offer in offers_of(rules):
        if offer.budget is not None:
            seen.setdefault((offer.budget.amount, offer.budget.per), offer.budget)
    for budget in seen.values():
        period, _ = period_of(budget.per, now_s)
        spent = total.spent.get(f"budget:{id_}:{period}", Spent(0, now_s))
        yield Spending(budget.amount, budget.per, period, spent.amount / CENTS)


# --- comparisons -----------------------------------------------------------------------------------------------------


def _comparison(rules: Campaign | Journey, rung: int | None, found: Lift, tallies: Mapping[str, Tally]) -> Comparison:
    return Comparison(
        rung=rung,
        value=_value(rules, rung),
        treated_users=found.treated_users,
        control_users=found.control_users,
        rate=Measured(found.rate, _why_rate(found)),
        net=Measured(found.net, _why_net(rules, found, tallies)),
    )


def _value(rules: Campaign | Journey, rung: int | None) -> float | None:
    """A journey may make several offers, and a user's rung is that of the first."""
    offer = rules.offer if isinstance(rules, Campaign) else None
    if rung is None or offer is None or not 0 <= rung < len(offer.values_offered):
        return None
    return offer.values_offered[rung]


def _why_rate(found: Lift) -> Early | None:
    if found.rate is None:
        return "few_users"
    if found.rate.verdict != "too early":
        return None
    if found.converted < MIN_CONVERTED:
        return "few_converted"
    return _why_wide(found.rate)


def _why_net(rules: Campaign | Journey, found: Lift, tallies: Mapping[str, Tally]) -> Early | NoMoney | None:
    if found.net is not None:
        return None if found.net.verdict != "too early" else _why_wide(found.net)
    if rules.conversion.revenue is None:
        return "no_revenue"
    if rules.conversion.revenue_cap is None or any(tally.capped < tally.users for tally in tallies.values()):
        return "no_cap"
    return "few_users" if found.rate is None else "few_converted"


def _why_wide(difference: Difference) -> Early:
    """The interval for all times reaches across 0; or it does not, but of several rungs one is so by chance."""
    return "wide" if difference.low_always <= 0.0 <= difference.high_always else "several"


_WORDS: Final[Mapping[str, str]] = {
    "few_users": f"too early: a version is compared from {MIN_USERS} users on in each group, whose windows have closed",
    "few_converted": f"too early: fewer than {MIN_CONVERTED} (of money {MIN_VALUED}) have done it in one of the groups",
    "wide": "too early: what has been seen so far could be chance, for somebody who looks again and again",
    "several": "too early: of so many rungs one would look so by chance",
    "no_revenue": "nothing can be said of money: the conversion names no property with the revenue",
    "no_cap": "nothing is said of money without revenue_cap (about five usual orders), as one order would decide",
}


def words(measured: Measured) -> str:
    """What people may make of it, in English."""
    if measured.why is not None:
        return _WORDS[measured.why]
    assert measured.difference is not None, "without a difference there is a reason"
    return f"the treated do {measured.difference.verdict}"
