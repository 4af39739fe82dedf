"""The job that the programs of other frameworks do for each event, and that `_peer_*.py` bring it into.

Decode a record; let three of river's models learn what the user did since the event before; bring the event into the
user's features (the same as Tideline's); say three likelihoods, their rank among all users, and a category; tell when
a category has changed. It is less work than Tideline's: an example gets its label from the user's next event and not
from a window, nobody is looked at who is silent, and there are no segments but the categories.

What a framework keeps of a user is a `Customer`. Models and ranks are the process' own, and nothing saves them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from benchmarks._plain_parts import (
    BINS,
    Habits,
    PlainFeatures,
    Record,
    bin_of,
    category_after,
    plain_pipeline,
)
from config.catalog import Catalog, Did, DidNot, Prediction

_HOUR_S = 3_600.0
_LEAST = 1e-9
WORDS = ("low", "medium", "high")


@dataclass(slots=True)
class Customer:
    """What is remembered of a user; JSON can hold all of it."""

    habits: Habits
    x: list[float] = field(default_factory=list)
    """The features after the latest event, which wait for the next one as their label."""
    bins: list[int] = field(default_factory=list)
    """Per prediction, where the user's likelihood stands in the ranks."""
    categories: list[int] = field(default_factory=list)
    """Per prediction: 0 low, 1 medium, 2 high."""
    crossings: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """A change of a category, for the topic of crossings."""

    cause: str
    """The message id of the event that caused it."""
    value: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of an event."""

    user: str
    scores: bytes
    """JSON for Redis: as of which message, and per prediction likelihood, score and category."""
    crossings: list[Crossing]


@dataclass(slots=True)
class _Rule:
    """A prediction with its model and its ranks."""

    id: str
    event: str
    did: bool
    edges: tuple[float, float]
    hysteresis: float
    model: Any
    counts: list[int] = field(default_factory=lambda: [0] * BINS)
    table: list[float] = field(default_factory=lambda: [50.0] * BINS)

    def move(self, before: int | None, now: int) -> None:
        """A user's likelihood goes from one bin to another."""
        if before is not None:
            self.counts[before] -= 1
        self.counts[now] += 1

    def renew(self) -> None:
        """Scores are ranks among the likelihoods of now, from 0 to 100, ties in their middle."""
        total = sum(self.counts)
        if total:
            below = itertools.accumulate(self.counts, initial=0)
            self.table = [100.0 * (b + 0.5 * n) / total for b, n in zip(below, self.counts, strict=False)]


class PeerJob:
    """The job of one process. Ranks are renewed with each hour of event time, as Tideline's are."""

    def __init__(self, catalog: Catalog) -> None:
        self.decode = msgspec.json.Decoder(Record).decode
        self._features = PlainFeatures(catalog)
        self._keys = self._features.keys
        self._gap_s = catalog.features.session_gap_s
        self._hour = 0
        self._rules = [_rule(name, prediction) for name, prediction in catalog.predictions.items()]

    def take(self, customer: Customer | None, record: Record) -> tuple[Customer, Answer]:
        """One event of a user: the user as remembered from now on, and what comes of it."""
        time_s = record.timestamp.timestamp()
        self._pass_hours(time_s)
        if customer is None:
            customer = Customer(Habits(time_s, time_s, money=[0.0] * len(self._features.halves)))
        else:
            self._learn(customer, record.event)
        habits = customer.habits
        if record.traits is not None:
            habits.traits["country"] = record.traits.country
        revenue = record.properties.revenue if record.properties is not None else None
        self._features.update(habits, record.event, time_s, revenue, self._gap_s)
        x = self._features.of(habits, habits.last_s)
        answer = self._score(customer, record, x)
        customer.x = list(x.values())
        return customer, answer

    def _pass_hours(self, time_s: float) -> None:
        hour = int(time_s // _HOUR_S)
        if hour > self._hour:
            self._hour = hour
            for rule in self._rules:
                rule.renew()

    def _learn(self, customer: Customer, event: str | None) -> None:
        before = dict(zip(self._keys, customer.x, strict=True))
        for rule in self._rules:
            rule.model.learn_one(before, (event == rule.event) is rule.did)

    def _score(self, customer: Customer, record: Record, x: dict[str, float]) -> Answer:
        scores: dict[str, Any] = {"as_of": record.message_id}
        bins, categories, crossings = [], [], []
        for n, rule in enumerate(self._rules):
            p = rule.model.predict_proba_one(x)[True]
            at = bin_of(_log_odds(p))
            was = customer.categories[n] if customer.categories else None
            rule.move(customer.bins[n] if customer.bins else None, at)
            score = rule.table[at]
            category = category_after(was, score, rule.edges, rule.hysteresis)
            scores[rule.id] = {"likelihood": p, "score": score, "category": WORDS[category]}
            bins.append(at)
            categories.append(category)
            if category != was:
                customer.crossings += 1
                crossings.append(_crossing(record, customer.crossings, rule.id, was, category, score))
        customer.bins, customer.categories = bins, categories
        return Answer(record.user_id, msgspec.json.encode(scores), crossings)


def _log_odds(p: float) -> float:
    """Of a young model that is quite sure, as far as the bins go."""
    p = min(max(p, _LEAST), 1.0 - _LEAST)
    return math.log(p / (1.0 - p))


def _rule(name: str, prediction: Prediction) -> _Rule:
    goal = prediction.goal
    if not isinstance(goal, Did | DidNot):
        raise NotImplementedError(f"the programs of peers know goals of one event only, not {name}")
    edges = (prediction.categories.medium, prediction.categories.high)
    return _Rule(name, goal.event, isinstance(goal, Did), edges, prediction.hysteresis, plain_pipeline())


def _crossing(record: Record, sequence: int, prediction: str, was: int | None, now: int, score: float) -> Crossing:
    value = {
        "user_id": record.user_id,
        "sequence": sequence,
        "prediction_id": prediction,
        "category": WORDS[now],
        "previous_category": None if was is None else WORDS[was],
        "score": score,
        "time": record.timestamp,
        "causationid": record.message_id,
    }
    return Crossing(record.message_id, msgspec.json.encode(value))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program has to come to: the stored scores per user, and the crossings of each user in their order."""

    scores: dict[str, bytes]
    crossings: dict[str, list[bytes]]


def expected(catalog: Catalog, records: Iterable[bytes]) -> Outcome:
    """The same, without any framework: what every program is checked against where the order is the same."""
    job = PeerJob(catalog)
    customers: dict[str, Customer] = {}
    outcome = Outcome({}, {})
    for raw in records:
        record = job.decode(raw)
        customers[record.user_id], answer = job.take(customers.get(record.user_id), record)
        outcome.scores[answer.user] = answer.scores
        outcome.crossings.setdefault(answer.user, []).extend(crossing.value for crossing in answer.crossings)
    return outcome
