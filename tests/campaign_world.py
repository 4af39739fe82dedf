"""What drives the engine in tests: the store in memory, and a service that can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple, cast

import msgspec

from config.campaigns import Campaign, Channel, Messaging
from config.journeys import Journey
from streams.adapters.memory_campaigns import MemoryCampaigns, Partition
from streams.campaigns.allowance import Allowance
from streams.campaigns.decide import is_held, rate_of
from streams.campaigns.effects import Alert, Note, Out, Place, Purge, Send, Trip
from streams.campaigns.engine import Engine
from streams.campaigns.inputs import Due, Facts, Input, Member, Turn
from streams.campaigns.listening import needs_facts, users_of
from streams.campaigns.offers import Kind
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.campaigns.ports import Claim, Commit
from streams.campaigns.ports import Due as StoredDue
from streams.campaigns.question import Answer, Asked, Render, Tools
from streams.campaigns.schedule import Under, begun, done, due_times
from streams.campaigns.state import (
    Book,
    Books,
    Row,
    State,
    campaign_of_queue,
    held_queue,
    is_rate_queue,
    pack,
    timers_until,
    unpack_book,
    unpack_row,
    unpack_state,
)

OPEN = Messaging(holdout=0.0, channels={"open": Channel(kind="log")})
"""Everybody may be sent to."""
NOBODY = Facts(as_of_s=inf, known=False)
PAGE = 3
"""Users whom the store gives at a time: few, so that tests go through several pages."""
MAX_ROUNDS = 1_000
"""Of a queue at one time: more than any test has users in it."""


def facts(*segments: str, **given: Any) -> Facts:
    """Of a user who is in these segments, as of now unless something else is given."""
    fields: dict[str, Any] = {"as_of_s": inf, "segments": frozenset(segments)}
    return Facts(**fields | given)


def campaign(**given: Any) -> Campaign:
    """A campaign that sends to everybody who enters `s`, unless something else is given."""
    data: dict[str, Any] = {
        "name": "Test",
        "segment": "s",
        "conversion": {"event": "Order", "revenue": "value", "revenue_cap": 1_000.0},
        "channels": ["open"],
        "message": {"parts": {"body": "Hello"}},
        "control": 0.0,
        "reentry": "always",
        "skip_recent_goal": 0,
        "max_trigger_age": "1d",
        "breaker": None,
    }
    return Campaign.model_validate(data | given, context={})


def journey(steps: dict[str, Any], **given: Any) -> Journey:
    """A journey that everybody enters who enters `s`, unless something else is given."""
    data = campaign().model_dump(by_alias=True, include={"name", "segment", "channels", "control", "breaker"})
    data |= {"conversion": {"event": "Order"}, "reentry": "always", "skip_recent_goal": 0, "max_trigger_age": "1d"}
    return Journey.model_validate(data | given | {"steps": steps}, context={})


def send_step(text: str = "Hello", **given: Any) -> dict[str, Any]:
    """A step that sends."""
    return {"send": {"parts": {"body": text}}, **given}


class Clock(NamedTuple):
    """The wall clock, and up to when everything has been read."""

    now_s: float
    read_s: float


class Crash(Exception):
    """The process is gone."""


def plain(_message: object, channels: Sequence[str], context: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """Renders what it is given, so that tests see it."""
    return {channel: {"body": f"{context['user']['id']} {context.get('offer')}"} for channel in channels}


_OUT = msgspec.msgpack.Decoder(cast("Any", Out))


@dataclass
class Service:
    """One partition: its store, and whoever takes in what is published, by numbers and ids."""

    plan: Plan
    store: MemoryCampaigns = field(default_factory=MemoryCampaigns)
    partition: int = 0
    partitions: int = 1
    usual: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    render: Render = plain
    taken: list[Send] = field(default_factory=list)
    """What the channel took in: each once."""
    purged: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Users whose facts were read."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """Recommendations for the next batches, by the message;"""
    asks: dict[str, Asked] = field(default_factory=dict)
    """and what is to be asked for."""
    runs_schedules: bool = False
    """Whether scheduled campaigns go out to all members whose facts are known; otherwise tests say who is asked."""
    decided: int = 0
    """Inputs that were given to engines."""
    _numbers: dict[str, int] = field(default_factory=dict)
    _claim: Claim | None = None
    _allowance: Allowance | None = None
    _state: State = field(default_factory=State)
    _books: dict[str, Book] = field(default_factory=dict)
    _number: int = 0

    @classmethod
    def of(
        cls,
        campaigns: Mapping[str, Campaign] | None = None,
        journeys: Mapping[str, Journey] | None = None,
        *,
        messaging: Messaging = OPEN,
        kinds: Mapping[str, Kind] | None = None,
        **given: Any,
    ) -> Service:
        return cls(plan_of(campaigns, journeys, messaging=messaging, kinds=kinds), **given)

    # --- what a service does -----------------------------------------------------------------------------------------

    def load(self) -> Claim:
        """Take the partition over, and publish what the outbox still holds."""
        self._claim = claim = self.store.claim(self.partition)
        data = self.store.state(claim)
        self._state = State() if data is None else unpack_state(data)
        self._books = {id_: unpack_book(book) for id_, book in self.store.books(claim).items()}
        self._number = claim.number
        books = Books(self._books)
        self._allowance = Allowance(
            self._state, books, self.store.grants(claim), generation=claim.generation, partitions=self.partitions
        )
        self.publish()
        return claim

    def step(
        self,
        now_s: float,
        inputs: Sequence[Input],
        known: Mapping[str, Facts],
        crash: int | None = None,
        *,
        read_s: float = inf,
    ) -> None:
        """What is due, in pages; turns of queues; and then inputs: a commit for each.

        `crash` says behind which part of the last commit it ends with Crash: 0 deciding, 1 storing, 2 publishing one
        thing, 3 publishing all.
        """
        claim = self._claim or self.load()
        clock = Clock(now_s, timers_until(self._state, now_s, read_s))
        while due := self.store.due(claim, clock.read_s, PAGE):
            self.batch(clock, [Due(user) for user in due], known)
        for name in [name for id_ in self.plan.versions for name in (held_queue(id_), id_)]:
            self._empty(name, clock, known)
        for under in due_times(self.plan, Books(self._books), now_s) if self.runs_schedules else ():
            self._page_through(under, clock, known)
        self.batch(clock, inputs, known, crash, is_last=True)
        assert self._allowance is not None
        self._allowance.give_back_idle(now_s)

    def _empty(self, name: str, clock: Clock, known: Mapping[str, Facts]) -> None:
        """Call those who stand in a queue until nobody does, or nobody may be called: in bounded steps, as whoever is
        called leaves it.
        """
        for _ in range(MAX_ROUNDS):
            turns = self._turns(name, clock.now_s)
            if not turns:
                return
            self.batch(clock, turns, known)
        raise AssertionError(f"those who stand in {name} are called again and again, and stay there")

    def _turns(self, name: str, now_s: float) -> list[Input]:
        """Those who are first in a queue, of that of a rate as many as there is room for."""
        assert self._claim is not None
        assert self._allowance is not None
        id_ = campaign_of_queue(name)
        heads = self.store.queued(self._claim, name, PAGE)
        if not heads or is_held(id_, self.plan, Books(self._books), now_s):
            return []
        rules = self.plan.rules(id_)
        use = rate_of(id_, rules, now_s) if rules is not None and is_rate_queue(name) else None
        if use is not None and self.plan.activity(id_, now_s) in ("on", "dry"):
            heads = heads[: self._allowance.room(use, now_s)]
        return [Turn(user, id_) for user in heads]

    def _page_through(self, under: Under, clock: Clock, known: Mapping[str, Facts]) -> None:
        """Its members, by name, a commit for each page; the last page is not full."""
        segment = self.plan.scheduled[under.campaign].segment
        users = sorted(user for user in known if segment in known[user].segments)
        for first in range(0, len(users) + 1, PAGE):
            page = users[first : first + PAGE]
            members = [Member(user, under.campaign, under.at_s) for user in page]
            self.batch(clock, members, known, under=under, is_done=len(page) < PAGE)

    def batch(
        self,
        clock: Clock,
        inputs: Sequence[Input],
        known: Mapping[str, Facts],
        crash: int | None = None,
        *,
        is_last: bool = False,
        under: Under | None = None,
        is_done: bool = False,
    ) -> None:
        """Read, decide, commit, publish, trim. `under`: inputs are members, and if `is_done` the last of them."""
        claim = self._claim or self.load()
        state, books = self._state, Books(self._books)
        assert self._allowance is not None
        allowance = self._allowance
        allowance.books = books
        allowance.forget_over(clock.now_s)
        stored = self.store.rows(claim, users_of(inputs))
        rows: dict[str, Row] = {user: unpack_row(data) for user, data in stored.items()}
        asked = needs_facts(inputs, rows, self.plan, clock.read_s)
        self.asked += asked
        self.decided += len(inputs)
        names = [name for id_ in self.plan.versions for name in (held_queue(id_), id_)]
        queues = self.store.queues(claim, names)
        tools = Tools(self.plan, books, allowance, self.render, self.usual, self.answers, self.asks, queues=queues)
        place = Place(self.partition, claim.generation)
        engine = Engine(tools, place, state, rows, {user: known[user] for user in asked})
        engine.take(inputs, *clock)
        if under is not None:
            begun(books, under)
            if is_done:
                done(books, under)
        self._end(crash, 0)
        effects = engine.effects
        self._number += 1
        commit = Commit(
            number=self._number,
            position=str(self.position + is_last).encode(),
            state=pack(state),
            rows={user: (pack(rows[user]), StoredDue.of(rows[user])) for user in effects.changed},
            rows_removed=list(effects.gone),
            books={id_: pack(self._books[id_]) for id_ in books.changed},
            books_removed=list(books.gone),
            outbox=[msgspec.msgpack.encode(each) for each in effects.out],
        )
        self.store.commit(claim, commit)
        self._end(crash, 1)
        self.publish(crash)

    def publish(self, crash: int | None = None) -> None:
        """What the outbox holds; on a new start all of it again."""
        assert self._claim is not None
        outbox = self.store.outbox(self._claim)
        for _, data in outbox:
            self._receive(_OUT.decode(data))
            self._end(crash, 2)
        self._end(crash, 3)
        if outbox:
            self.store.trim(self._claim, outbox[-1][0])

    def _receive(self, each: Out) -> None:
        if isinstance(each, Send | Purge):
            if each.number <= self._numbers.get(each.generation, 0):
                return
            self._numbers[each.generation] = each.number
        if isinstance(each, Send):
            if all(each.id != other.id for other in self.taken):
                self.taken.append(each)
        elif isinstance(each, Purge):
            self.purged.append(each.user)
        elif isinstance(each, Note):
            if all(each.message_id != other.message_id for other in self.notes):
                self.notes.append(each)
        elif isinstance(each, Alert):
            if all(each.id != other.id for other in self.alerts):
                self.alerts.append(each)
        else:
            self.trips.append(each)

    def _end(self, crash: int | None, place: int) -> None:
        if crash == place:
            self._claim = None  # memory is gone; the next step loads what is stored
            raise Crash

    def lose_memory(self) -> None:
        """As after a stop: the next step loads what is stored."""
        self._claim = None

    # --- what tests do and look at -----------------------------------------------------------------------------------

    def stand(self, id_: str, state: str, since_s: float) -> None:
        """People put a campaign on, pause it, and so on."""
        before = self.plan.standings.get(id_)
        earlier = () if before is None else before.earlier
        if before is not None and before.since_s != since_s:
            earlier = (*earlier, (before.since_s, before.state))
        self.plan.standings[id_] = Standing(cast("Any", state), since_s, earlier=earlier)

    @property
    def position(self) -> int:
        """Steps that are committed."""
        return int(self._stored.position or b"0")

    @property
    def _stored(self) -> Partition:
        if self._claim is None:
            self.load()
        return self.store.copy(self.partition)

    @property
    def now(self) -> State:
        """The state as it is stored."""
        data = self._stored.state
        return State() if data is None else unpack_state(data)

    @property
    def rows(self) -> dict[str, Row]:
        """As they are stored."""
        return {user: unpack_row(data) for user, (data, _) in self._stored.rows.items()}

    def book(self, id_: str) -> Book:
        """As it is stored."""
        data = self._stored.books.get(id_)
        return Book() if data is None else unpack_book(data)

    def counts(self, id_: str) -> dict[str, int]:
        """What became of a campaign's messages."""
        return self.book(id_).counts


def plan_of(
    campaigns: Mapping[str, Campaign] | None = None,
    journeys: Mapping[str, Journey] | None = None,
    *,
    messaging: Messaging = OPEN,
    kinds: Mapping[str, Kind] | None = None,
    goals: Collection[str] = (),
) -> Plan:
    """Definitions of which there is one version each."""
    return Plan(
        Definitions(
            messaging,
            {id_: {1: each} for id_, each in (campaigns or {}).items()},
            {id_: {1: each} for id_, each in (journeys or {}).items()},
            kinds=kinds or {"p": "event"},
            goals=frozenset(goals),
        )
    )
