"""What a campaign would do if it came to everybody in its audience now: who gets which offer, and what it costs.

It is asked with columns of users, a page at a time, and keeps sums only. What it says is of this moment: a campaign on
a crossing comes to its users one by one, and each is decided by the score of then (`decide.py`).

What an offer will bring nobody knows beforehand; a control group tells afterwards (`lift.py`). So the cost has two
ends. If the offer changed nothing, those would use it who do it anyway, and all of it would be given away. If everybody
used it, it would cost the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from config.campaigns import Campaign, Channel, EventConsent, Messaging, TraitConsent
from config.conditions import CountRange
from config.filters import (
    AllFilter,
    AnyFilter,
    CountFilter,
    Filter,
    NotFilter,
    SegmentFilter,
    SinceFilter,
    SinceRange,
    TraitFilter,
)
from config.journeys import Journey, SendStep
from config.offers import FixedOffer, Offer
from config.predictions import Prediction
from streams.campaigns.offers import CENTS, Kind, cents, rungs_of

Flags = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]

Answer: TypeAlias = Filter | bool | None
"""Of whom something holds: whom a filter chooses, everybody, nobody; None: no filter can say it."""
LEAVE_OUT: Final = ("goal", "consent")
"""Reasons that are looked at, in the order of the rules; names as in `decide.RULES`."""


class Basis(NamedTuple):
    """Which likelihood says who would do it anyway."""

    prediction: str
    is_inverse: bool
    """A prediction of staying away: its likelihood is that of not doing it."""
    window_s: float
    """Within which the likelihood holds."""


class OfferOf(NamedTuple):
    """An offer of the definition, and the step of a journey that makes it; None of a campaign."""

    step: str | None
    offer: Offer


class RungPreview(msgspec.Struct, frozen=True):
    """One value of an offer."""

    value: float
    """Percent or amount."""
    users: int
    """Users who may be sent to and whose score leads here."""
    messages: float
    """Of them, expected in the treated group."""
    anyway: float | None
    """Of the messages, expected to go to users who do it anyway; None: not known."""
    cost_at_least: float | None
    """Money, if the offer changes nothing: what those cost."""
    cost_at_most: float | None
    """Money, if everybody uses it; None: what an order is worth is not said."""


class BudgetPreview(msgspec.Struct, frozen=True):
    """A budget beside what all messages together would take of it. Every message takes its whole cost."""

    amount: float
    per: str
    needed: float
    """Money."""
    messages: float
    """Messages that can go out with it, expected, if users come in any order; those that cost nothing always do."""


class OfferPreview(msgspec.Struct, frozen=True):
    """One offer."""

    step: str | None
    unit: str
    rungs: tuple[RungPreview, ...]
    without_score: int
    """Users who get nothing, because the ladder has nothing to go by."""
    cost_at_least: float | None
    cost_at_most: float | None
    budget: BudgetPreview | None


class Preview(msgspec.Struct, frozen=True):
    """See the module. Groups are expected numbers: who is in them, a hash decides."""

    users: int
    """In the audience: in the segment, and the filter holds."""
    left_out: Mapping[str, int | None]
    """Reason -> users who are withheld for it (the first one counts); None: it cannot be asked of everybody at once."""
    reachable: int
    """The rest."""
    holdout: float
    control: float
    messages: float
    anyway: float | None
    """Of the messages, to users who are expected to do it anyway; None: not known."""
    offers: tuple[OfferPreview, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """`n` users. What cannot be asked is None."""

    inside: Flags
    """[n] whether they are in the audience."""
    withheld: Mapping[str, Flags | None]
    """Of `LEAVE_OUT`: reason -> [n] whether it holds."""
    scores: Mapping[str, F64]
    """Prediction by which an offer goes -> [n] score, NaN without one."""
    likelihood: F64 | None
    """[n] probability of the conversion without a message, NaN where it is not known; see `of_conversion`."""


def offers_of(rules: Campaign | Journey) -> tuple[OfferOf, ...]:
    """All offers of a definition."""
    if isinstance(rules, Campaign):
        return () if rules.offer is None else (OfferOf(None, rules.offer),)
    steps = [(id_, step.offer) for id_, step in rules.steps.items() if isinstance(step, SendStep)]
    return tuple(OfferOf(id_, offer) for id_, offer in steps if offer is not None)


def basis_of(rules: Campaign | Journey, predictions: Mapping[str, Prediction]) -> Basis | str:
    """By whose likelihood it is told who would do it anyway; else why it cannot be told."""
    laddered = [each.offer.prediction for each in offers_of(rules) if not isinstance(each.offer, FixedOffer)]
    name = next(iter(laddered), None) or rules.speaks_of
    prediction = predictions.get(name) if name is not None else None
    if name is None or prediction is None:
        return "no prediction is named"
    atoms, conversion = prediction.goal.atoms, rules.conversion
    if len(atoms) != 1 or (atoms[0].event, dict(atoms[0].where)) != (conversion.event, dict(conversion.where)):
        return f"the conversion is not what {name} predicts"
    return Basis(name, atoms[0].negated, prediction.window_s)


def of_conversion(basis: Basis, likelihood: F64) -> F64:
    """[n] the probability that users do it, from the likelihood of the prediction."""
    return 1.0 - likelihood if basis.is_inverse else likelihood


# --- what is asked of everybody --------------------------------------------------------------------------------------


def audience_filter(rules: Campaign | Journey, instead: Filter | None = None) -> Filter:
    """Who is in the audience. `instead`: of the segment, where it is yet to be made."""
    segment = SegmentFilter(segment=rules.segment) if instead is None else instead
    return segment if rules.filter is None else AllFilter(all=(segment, rules.filter))


def withheld_filters(rules: Campaign | Journey, messaging: Messaging) -> dict[str, Answer]:
    """Of `LEAVE_OUT`: reason -> whom it keeps a message from."""
    recent_s = rules.skip_recent_goal_s
    goal = SinceFilter(event=rules.conversion.event, since=SinceRange(max=recent_s)) if recent_s > 0.0 else False
    return {"goal": goal, "consent": _nowhere([messaging.channels[id_] for id_ in rules.channels])}


def _nowhere(channels: Sequence[Channel]) -> Answer:
    """Who has agreed to none of these."""
    agreed = [_agreed(each) for each in channels]
    if any(each is True for each in agreed):
        return False
    filters = [each for each in agreed if each is not None and not isinstance(each, bool)]
    return NotFilter.model_validate({"not": AnyFilter(any=tuple(filters))}) if len(filters) == len(agreed) else None


def _agreed(channel: Channel) -> Answer:
    """Who may be sent to by a channel, as `consent.open_channels` says of one user."""
    asked = [_consented(channel)]
    if channel.address is not None:
        asked.append(TraitFilter(trait=channel.address, exists=True))
    filters = [each for each in asked if each is not None and not isinstance(each, bool)]
    if None in asked:
        return None
    return AllFilter(all=tuple(filters)) if filters else True


def _consented(channel: Channel) -> Answer:
    consent = channel.consent
    if isinstance(consent, TraitConsent):
        return TraitFilter.model_validate({"trait": consent.trait, "in": consent.values})
    if not isinstance(consent, EventConsent):
        return True
    if consent.given is not None:
        return None  # which of two events was later, no filter says
    return NotFilter.model_validate({"not": CountFilter(event=consent.withdrawn, count=CountRange(min=1))})


# --- sums ------------------------------------------------------------------------------------------------------------


class Previewer:
    """Takes columns of users, page by page."""

    def __init__(self, rules: Campaign | Journey, messaging: Messaging, kinds: Mapping[str, Kind]) -> None:
        """`kinds`: of the predictions by which offers go."""
        self._rules = rules
        self._messaging = messaging
        self._kinds = kinds
        self._users = self._reachable = 0
        self._left_out: dict[str, int | None] = dict.fromkeys(LEAVE_OUT, 0)
        self._likely = _Likely()
        self._offers = [_OfferSums.of(each) for each in offers_of(rules)]

    def add(self, page: Columns) -> None:
        """Some users, each of whom comes once."""
        left = page.inside
        self._users += int(left.sum())
        for reason in LEAVE_OUT:
            flags = page.withheld[reason]
            if flags is None:
                self._left_out[reason] = None
                continue
            known = self._left_out[reason]
            self._left_out[reason] = None if known is None else known + int((left & flags).sum())
            left = left & ~flags
        self._reachable += int(left.sum())
        likelihood = np.full(len(left), np.nan) if page.likelihood is None else page.likelihood
        self._likely.add(likelihood[left])
        for sums in self._offers:
            kind, scores = self._scores(sums.offer, page)
            sums.add(kind, scores[left], likelihood[left])

    def result(self) -> Preview:
        """Of all users so far."""
        holdout, control = self._messaging.holdout, self._rules.control
        treated = (1.0 - holdout) * (1.0 - control)
        return Preview(
            users=self._users,
            left_out=dict(self._left_out),
            reachable=self._reachable,
            holdout=self._reachable * holdout,
            control=self._reachable * (1.0 - holdout) * control,
            messages=self._reachable * treated,
            anyway=_times(self._likely.expected, treated),
            offers=tuple(each.result(treated) for each in self._offers),
        )

    def _scores(self, offer: Offer, page: Columns) -> tuple[Kind, F64]:
        """A fixed offer goes by none."""
        if isinstance(offer, FixedOffer):
            return "event", np.zeros(len(page.inside))
        return self._kinds[offer.prediction], page.scores[offer.prediction]


@dataclass(slots=True)
class _Likely:
    """Sum of likelihoods; those who have none are as likely as the others."""

    users: int = 0
    known: int = 0
    total: float = 0.0

    def add(self, likelihood: F64) -> None:
        is_known = ~np.isnan(likelihood)
        self.users += len(likelihood)
        self.known += int(is_known.sum())
        self.total += float(likelihood[is_known].sum())

    @property
    def expected(self) -> float | None:
        """Users who do it; None where nothing is known."""
        if self.known:
            return self.total * self.users / self.known
        return None if self.users else 0.0


@dataclass(slots=True)
class _OfferSums:
    """Of one offer."""

    step: str | None
    offer: Offer
    rungs: list[_Likely]
    without_score: int = 0

    @classmethod
    def of(cls, given: OfferOf) -> _OfferSums:
        return cls(given.step, given.offer, [_Likely() for _ in given.offer.values_offered])

    def add(self, kind: Kind, scores: F64, likelihood: F64) -> None:
        has_score = ~np.isnan(scores)
        self.without_score += int((~has_score).sum())
        chosen = rungs_of(self.offer, kind, scores[has_score])
        for rung, sums in enumerate(self.rungs):
            sums.add(likelihood[has_score][chosen == rung])

    def result(self, treated: float) -> OfferPreview:
        rungs = tuple(
            self._rung(value, sums, treated) for value, sums in zip(self.offer.values_offered, self.rungs, strict=True)
        )
        return OfferPreview(
            step=self.step,
            unit=self.offer.unit,
            rungs=rungs,
            without_score=self.without_score,
            cost_at_least=_sum(each.cost_at_least for each in rungs),
            cost_at_most=_sum(each.cost_at_most for each in rungs),
            budget=self._budget(rungs),
        )

    def _rung(self, value: float, sums: _Likely, treated: float) -> RungPreview:
        is_priced = self.offer.unit == "amount" or self.offer.order_value is not None
        cost = self.offer.cost(value) if is_priced or value == 0.0 else None
        messages, anyway = sums.users * treated, _times(sums.expected, treated)
        return RungPreview(value, sums.users, messages, anyway, _times(anyway, cost), _times(messages, cost))

    def _budget(self, rungs: Sequence[RungPreview]) -> BudgetPreview | None:
        """As `decide` counts it: in whole hundredths, costs rounded up, and only of messages that cost something."""
        budget = self.offer.budget
        if budget is None:
            return None
        priced = [(rung.messages, cents(self.offer.cost(rung.value)) / CENTS) for rung in rungs]
        needed = sum(messages * cost for messages, cost in priced)
        share = min(1.0, budget.amount / needed) if needed > 0.0 else 1.0
        paid = sum(messages * (share if cost > 0.0 else 1.0) for messages, cost in priced)
        return BudgetPreview(budget.amount, budget.per, needed, paid)


def _times(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def _sum(parts: Iterable[float | None]) -> float | None:
    """None if one of them is not known."""
    known = list(parts)
    return None if any(each is None for each in known) else sum(each for each in known if each is not None)
