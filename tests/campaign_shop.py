"""A shop with one strategy as it comes: people with a score, a history and a clock of their own, told in few words.

The shop plays the shard: it keeps what happened, asks filters by the reference (`tests/reference/filters.py`), makes a
crossing where a membership changes, and remembers carts. Who gets what is decided by the engine alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from math import nan
from typing import Any, Final

from config.campaign_checks import read_messaging
from config.campaigns import Campaign, Messaging
from config.catalog import Catalog
from config.loader import loads
from streams.campaigns.effects import Send
from streams.campaigns.inputs import Crossing, Facts, Input, Member, Score, Watched
from streams.campaigns.message import Messages
from streams.campaigns.schedule import due_times
from streams.campaigns.state import Books
from streams.campaigns.strategies.make import Language, Scores, make, strategies
from streams.core.chance import is_control, is_held_out
from streams.core.events import Event
from tests.campaign_world import Service
from tests.reference.conditions import plain
from tests.reference.definitions import CATEGORIES
from tests.reference.filters import Answer, evaluate
from tests.reference.filters import Facts as Asked

CATALOG: Final = """
version: 1
name: Shop
features: {value: total, traits: [first_name, email, news, timezone]}
history: [Push Refused]
remember: {Cart Viewed: {properties: [products], cleared_by: [Order]}}
predictions:
  orders: {name: Orders soon, goal: {did: Order}, window: 7d}
  churn: {name: Stays away, kind: churn, goal: {did_not: Order}, window: 30d}
"""
MESSAGING: Final = {
    "channels": {
        "push": {"kind": "webhook", "consent": {"withdrawn": "Push Refused"}},
        "mail": {"kind": "email", "consent": {"trait": "news"}, "address": "email"},
    },
    "quiet_hours": {"from": "21:00", "to": "08:00"},
    "timezone_trait": "timezone",
    "caps": [{"sends": 3, "within": "7d"}],
}
HALF_HOUR_S: Final = 1_800.0
ORDER_VALUE: Final = 50.0


def time_s(text: str) -> float:
    """Seconds since 1970 of a day and time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass
class Person:
    """What the shop knows of a user."""

    traits: dict[str, Any]
    score: float | None = None
    history: list[Event] = field(default_factory=list)
    members: dict[str, bool] = field(default_factory=dict)
    remembered: dict[str, dict[str, Any]] = field(default_factory=dict)
    sequence: int = 0
    became: list[str] = field(default_factory=list)
    """What became of occasions of the user, in order: sent, or why not."""


class Shop:
    """One strategy, and everybody who is in the shop."""

    def __init__(
        self,
        strategy: str,
        *,
        language: Language = "en",
        since: str = "2026-09-21 12:00",
        scores: str | Scores | None = None,
    ) -> None:
        self.catalog: Catalog = loads(CATALOG)
        self.messaging: Messaging = read_messaging(MESSAGING)
        self.prediction = "churn" if strategy in strategies("churn") else "orders"
        self.made = make(
            strategy,
            self.catalog,
            self.prediction,
            channels=("push", "mail"),
            language=language,
            scores=scores,
            order_value=ORDER_VALUE,
        )
        self.id = self.made.id
        definition = self.made.definition
        is_campaign = isinstance(definition, Campaign)
        self.service = Service.of(
            {self.id: definition} if isinstance(definition, Campaign) else {},
            {} if is_campaign else {self.id: definition},  # type: ignore[dict-item]
            messaging=self.messaging,
            kinds={"orders": "event", "churn": "churn"},
        )
        self.service.render = Messages(self.service.plan.messages()).render
        self.now_s = time_s(since)
        self.people: dict[str, Person] = {}
        self._numbers = count(1)
        self._scheduled: dict[str, float] = {}

    # --- who is there ------------------------------------------------------------------------------------------------

    def person(self, name: str, score: float | None = None, *, group: str = "treated", **traits: Any) -> str:
        """Somebody who is in that group by chance; a mail address and consent to mail are there unless left out.

        Their first score makes no crossing: they have had it for long.
        """
        user = next(each for number in count() if self._group(each := f"{name}-{number}") == group)
        known = {"first_name": name.title(), "email": f"{name}@example.org", "news": True} | traits
        self.people[user] = Person({key: value for key, value in known.items() if value is not None}, score)
        self.people[user].members = self._members(user)
        return user

    def _group(self, user: str) -> str:
        if is_held_out(user, self.messaging.holdout):
            return "holdout"
        return "control" if is_control(self.id, user, self.made.definition.control) else "treated"

    # --- what happens ------------------------------------------------------------------------------------------------

    def scores(self, user: str, score: float | None, *, origin: str = "live") -> None:
        """The score moves, and with it perhaps the membership."""
        self.people[user].score = score
        self._tell(user, self._crossings(user, origin))

    def does(self, user: str, event: str, *, score: float | None = None, **properties: Any) -> None:
        """An event, which may move the score."""
        person = self.people[user]
        person.history.append(Event(user, event, self.now_s, nan, 0, None, properties, 0, self.now_s))
        rule = self.catalog.remember.get(event)
        if rule is not None:
            person.remembered[event] = {name: properties[name] for name in rule.properties if name in properties}
        for source, each in self.catalog.remember.items():
            if event in each.cleared_by:
                person.remembered.pop(source, None)
        wanted = self.service.plan.events().get(event)
        inputs: list[Input] = []
        if wanted is not None:
            number = next(self._numbers)
            named = {name: properties[name] for name in wanted if name in properties}
            inputs.append(Watched(user, event, self.now_s, 0, "g", number, f"m{number}", named))
        if score is not None:
            person.score = score
            inputs += self._crossings(user, "live", by_goal=event == self.made.definition.conversion.event)
        self._tell(user, inputs)

    def until(self, text: str) -> None:
        """Time passes, half an hour by half an hour; what is due is done, and schedules have their time."""
        while self.now_s < time_s(text):
            self.now_s = min(self.now_s + HALF_HOUR_S, time_s(text))
            self.service.step(self.now_s, [], self._facts())
            books = Books({self.id: self.service.book(self.id)})
            for id_, at_s in due_times(self.service.plan, books, self.now_s):
                if self._scheduled.get(id_) != at_s:
                    self._scheduled[id_] = at_s
                    inside = [user for user, each in self.people.items() if each.members[self.made.definition.segment]]
                    for user in inside:
                        self._tell(user, [Member(user, id_, at_s)])

    # --- what came of it ---------------------------------------------------------------------------------------------

    def sent(self, user: str) -> list[Send]:
        """Messages of the user, in order."""
        return [each for each in self.service.taken if each.user == user]

    def offers(self, user: str) -> list[tuple[str | None, float | None]]:
        """Step and value of the offer of each message."""
        return [(each.step, None if each.offer is None else each.offer.value) for each in self.sent(user)]

    def became(self, user: str) -> list[str]:
        """What became of the user's occasions, in order: sent, or why not."""
        return self.people[user].became

    def times(self, user: str) -> list[str]:
        """When each message was decided (UTC)."""
        return [f"{datetime.fromtimestamp(each.at_s, UTC):%Y-%m-%d %H:%M}" for each in self.sent(user)]

    # --- parts -------------------------------------------------------------------------------------------------------

    def _crossings(self, user: str, origin: str, *, by_goal: bool = False) -> list[Input]:
        person, found = self.people[user], list[Input]()
        before, person.members = person.members, self._members(user)
        for segment, is_in in person.members.items():
            if before[segment] != is_in:
                person.sequence += 1 if (person.sequence % 2 == 0) == is_in else 2
                found.append(
                    Crossing(user, segment, is_in, person.sequence, self.now_s, origin, caused_by_goal=by_goal)
                )
        return found

    def _members(self, user: str) -> dict[str, bool]:
        """Of the segment that the strategy is for."""
        if self.made.segment is not None:
            id_, segment = self.made.segment
            return {id_: self._holds(user, plain(segment.filter), {})}
        id_ = self.made.definition.segment
        filter_ = {"prediction": self.prediction, "category": (id_.partition(".")[2],)}
        return {id_: self._holds(user, filter_, {})}

    def _holds(self, user: str, filter_: dict[str, Any], members: Mapping[str, bool]) -> bool:
        person = self.people[user]
        category = None if person.score is None else (person.score >= 50.0) + (person.score >= 75.0)
        assert CATEGORIES == ("low", "medium", "high")
        answers = {self.prediction: Answer(person.score is not None, score=person.score, category=category)}
        return evaluate(filter_, Asked(person.history, person.traits, self.now_s, answers, members))

    def _tell(self, user: str, inputs: Sequence[Input]) -> None:
        """One user's inputs by themselves, so that what became of them is known to be the user's."""
        self.service.step(self.now_s, [], self._facts())
        before = Counter(self.service.counts(self.id))
        self.service.step(self.now_s, inputs, self._facts())
        self.people[user].became += (Counter(self.service.counts(self.id)) - before).elements()

    def _facts(self) -> Mapping[str, Facts]:
        return _Now(self)

    def facts_of(self, user: str) -> Facts:
        """What the store would say now."""
        person = self.people[user]
        latest_s: dict[str, float] = {}
        for event in person.history:
            assert event.name is not None
            latest_s[event.name] = event.time_s
        members = person.members
        filters = self.service.plan.filters()
        return Facts(
            as_of_s=self.now_s,
            segments=frozenset(id_ for id_, is_in in members.items() if is_in),
            fits=frozenset(name for name, each in filters.items() if self._holds(user, plain(each), members)),
            scores={} if person.score is None else {self.prediction: Score(score=person.score)},
            traits=person.traits,
            latest_s=latest_s,
            remembered=person.remembered,
        )


@dataclass
class _Now(Mapping[str, Facts]):
    """Facts as of now, made when they are asked for."""

    shop: Shop

    def __getitem__(self, user: str) -> Facts:
        return self.shop.facts_of(user)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shop.people)

    def __len__(self) -> int:
        return len(self.shop.people)
