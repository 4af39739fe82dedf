"""One partition of campaigns over the ports alone: reads both logs, decides, commits, publishes.

    run = CampaignRun(...)
    run.assign()               # claim, load, publish what a stop left
    run.step(now_s)            # who is due, turns of queues, members of scheduled campaigns, then a round of the logs
    run.assign()               # after `Fenced`, and after any other failure

A step is one commit at most, so that a stop waits for no more than that. It has no thread and no connection of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec

from config.campaigns import Campaign
from config.catalog import Catalog
from streams.campaigns.allowance import Allowance
from streams.campaigns.decide import is_held, rate_of
from streams.campaigns.effects import Out, Place
from streams.campaigns.engine import Engine
from streams.campaigns.inputs import Due, Facts, Input, Member, Turn
from streams.campaigns.listening import needs_facts, users_of
from streams.campaigns.message import Messages
from streams.campaigns.plan import Plan
from streams.campaigns.ports import CampaignStore, Claim, Commit, FactsReader, Seen
from streams.campaigns.ports import Due as StoredDue
from streams.campaigns.profiles import Profile, pack_profile, unpack_profile, with_profile
from streams.campaigns.question import Answer, Asked, Tools
from streams.campaigns.schedule import Under, begun, done, due_times
from streams.campaigns.state import (
    HOUR_S,
    Book,
    Books,
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
from streams.campaigns.volume import usual_hours
from streams.commit import Patience, patiently
from streams.runtime.campaigns.listening import Learned, Listener, Shard
from streams.runtime.campaigns.past import PastReader, known_of
from streams.runtime.campaigns.traced import Contexts, TracedDecisions, traced_decisions
from streams.runtime.campaigns.two_logs import OwnLog, TwoLogs
from streams.runtime.campaigns.two_logs import Place as LogPlace
from streams.runtime.traces import Traces

USERS: Final = 500
"""Users in one batch of those who are due, whose turn it is, or who are members."""
UNSAVED: Final = 20_000
"""So many events that concern nobody are read at most before it is stored how far that was."""
PAST_PAGES: Final = 20
"""Likewise, of pages that are read again."""


class Defined(NamedTuple):
    """What is in force: another object after every change."""

    plan: Plan
    catalog: Catalog


class Outlet(Protocol):
    """Where things go that campaigns put out."""

    def publish(self, outs: Sequence[Out]) -> None:
        """In order; durable when it returns. What was given before may be given again, with the same ids and numbers.

        Raises BrokerUnavailable, StoreUnavailable (try again), BrokerError.
        """


class Recommender(Protocol):
    """Asks for recommendations beside the partition; nothing of it is kept, as messages come again for what is lost."""

    def ask(self, asked: Iterable[Asked]) -> None:
        """Begin to ask. Never waits."""

    def take(self, limit: int) -> list[tuple[Asked, Answer]]:
        """What was answered and is not taken yet, at most so many."""

    def under_way(self) -> Counter[str]:
        """Campaign or journey -> questions that were asked, and whose answers are not taken yet."""


class NobodyAsked:
    """See `Recommender`: where no campaign asks."""

    def ask(self, asked: Iterable[Asked]) -> None:
        """They wait for as long as they are worth."""

    def take(self, limit: int) -> list[tuple[Asked, Answer]]:  # noqa: ARG002  see `Recommender`
        """Nobody answers."""
        return []

    def under_way(self) -> Counter[str]:
        """None is."""
        return Counter()


_NOBODY: Final = NobodyAsked()


@dataclass(frozen=True, slots=True)
class Ports:
    """What a run works on."""

    store: CampaignStore
    logs: TwoLogs
    facts: FactsReader
    outlet: Outlet
    patience: Patience
    defined: Callable[[], Defined]
    past: Callable[[], OwnLog]
    """Opens the log of events once more. Raises BrokerUnavailable, BrokerError."""
    look: Callable[[], object] = lambda: None
    """Looks at what is defined: from then on `defined` is not older than this. Raises StoreUnavailable, and
    StoreIncompatible for what this version cannot read."""
    recommender: Recommender = _NOBODY
    tell: Callable[[Seen], None] = lambda _: None
    """Keeps, durably when it returns and where no set-back of the store reaches, what the next `assign` is given.
    Nothing is published before. Raises BrokerUnavailable, BrokerError."""
    traces: Traces | None = None
    """None where they are off."""


@dataclass(slots=True)
class Counts:
    """What a run has done since it was made; for metrics."""

    inputs: int = 0
    commits: int = 0
    published: int = 0
    outbox: int = 0
    """What is stored and not known to be published, as it was looked at last."""
    decided: dict[str, int] = field(default_factory=dict)
    """What became of occasions (`Book.counts`), over all campaigns."""


class _Clock(NamedTuple):
    now_s: float
    read_s: float


@dataclass(slots=True)
class _Batch:
    """What one commit is made of, beside the engine's part."""

    inputs: Sequence[Input]
    place: LogPlace
    as_of_s: float
    learned: Sequence[Learned] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """See `Tools`."""
    under: Under | None = None
    """Inputs are members of this campaign, at this time,"""
    is_last: bool = False
    """and the last of them."""


class _Page(NamedTuple):
    """Where a scheduled campaign stands with its members."""

    at_s: float
    rules: Campaign
    cursor: str


_OUT: Final = msgspec.msgpack.Decoder(cast("Any", Out))


class CampaignRun:
    """See the module."""

    def __init__(self, ports: Ports, shard: Shard) -> None:
        self.counts = Counts()
        self.place = LogPlace()
        self.is_behind = True
        """Whether there is more in the logs than was read."""
        self._ports = ports
        self._shard = shard
        self._claim: Claim | None = None
        self._number = 0
        self._state = State()
        self._books: dict[str, Book] = {}
        self._counted: dict[str, dict[str, int]] = {}
        """`Book.counts` as they are in `counts` already."""
        self._allowance: Allowance | None = None
        self._defined: Defined | None = None
        self._listener: Listener | None = None
        self._contexts = None if ports.traces is None else Contexts()
        self._messages = Messages(())
        self._usual: dict[str, Mapping[int, int]] = {}
        self._usual_s = -inf
        self._read_s = -inf
        self._pages: dict[str, _Page] = {}
        """Scheduled campaign that is under way -> its next page of members."""
        self._queues: dict[str, None] | None = None
        """Queues (`Row.queued`) in which somebody may stand; None: nobody has looked since the partition was taken."""
        self._saved = 0
        """Offset of the events as last committed."""
        self._past = PastReader(ports.past)
        self._past_pages = 0
        """Read again since it was last stored how far that was."""
        self._has_new_names = False
        """Whether events are asked for of which nothing is stored yet."""
        self._tasks = deque([self._do_logs, self._do_waiting, self._do_scheduled, self._do_answers, self._do_past])

    @property
    def is_loaded(self) -> bool:
        """Whether the memory is that of the last commit."""
        return self._claim is not None

    def assign(self, seen: Seen | None = None) -> None:
        """Take the partition, load it, and publish what a stop left in the outbox.

        `seen`: what was told last. Raises Fenced, StoreUnavailable, and what `look` and `publish` raise.
        """
        self.drop()
        ports = self._ports
        patiently(ports.patience, ports.look)  # who cannot read what is defined must not stop one who can
        claim = patiently(ports.patience, lambda: ports.store.claim(self._shard.number, seen))
        # Behind the claim: whoever had the partition may have known campaigns of which nobody has heard here yet, and
        # by an older plan they would be forgotten, with who had what of them.
        patiently(ports.patience, ports.look)
        state = patiently(ports.patience, lambda: ports.store.state(claim))
        books = patiently(ports.patience, lambda: ports.store.books(claim))
        self._state = State() if state is None else unpack_state(state)
        self._books = {id_: unpack_book(data) for id_, data in books.items()}
        self._counted = {id_: dict(book.counts) for id_, book in self._books.items()}
        self._number = claim.number
        self.place = ports.logs.begin(LogPlace.from_bytes(claim.position), is_first=claim.position is None)
        self._saved, self._read_s = self.place.events, -inf
        grants = ports.store.grants(claim)
        self._allowance = Allowance(
            self._state,
            Books(self._books),
            grants,
            generation=claim.generation,
            partitions=self._shard.shards,
        )
        self._publish(claim)
        self._claim = claim

    @property
    def read_s(self) -> float:
        """What the log of events held up to this time is in what was committed; minus infinity before it is known."""
        return self._read_s

    def drop(self) -> None:
        """Forget the memory: it is not, or not known to be, that of the last commit."""
        self._claim = self._allowance = self._defined = self._listener = None
        self._pages, self._queues = {}, None
        self.is_behind = True
        self._past.close()

    def step(self, now_s: float) -> bool:
        """The next batch; False if there was nothing to do. `now_s`: the wall clock.

        Whatever it raises, the memory is dropped: `assign` again. Raises what `assign` raises.
        """
        try:
            self._use(self._ports.defined(), now_s)
            clock = _Clock(now_s, timers_until(self._state, now_s, self._read_s))
            # In turn: a million users who are due must not keep a crossing waiting. Of each user what is due is done
            # before the next input in any case.
            for _ in range(len(self._tasks)):
                task = self._tasks[0]
                self._tasks.rotate(-1)
                if task(clock):
                    return True
            return False
        except BaseException:
            self.drop()
            raise

    # --- what there is to do -----------------------------------------------------------------------------------------

    def _do_waiting(self, clock: _Clock) -> bool:
        """Who is due, then whose turn it is."""
        claim, store = self._owned(), self._ports.store
        due = store.due(claim, clock.read_s, USERS)
        if due:
            self._batch(clock, self._of_store(clock, [Due(user) for user in due]))
            return True
        # Those whom a pause held find their places in the queue of the rate before anybody there is called.
        for name in sorted(self._standing_in(claim), key=is_rate_queue):
            turns = self._turns(claim, name, clock.now_s)
            if turns:
                self._batch(clock, self._of_store(clock, turns))
                return True
        return False

    def _standing_in(self, claim: Claim) -> dict[str, None]:
        """Queues in which somebody may stand; after a start those in which somebody does."""
        if self._queues is None:
            names = [name for id_ in self._plan.versions for name in (held_queue(id_), id_)]
            self._queues = dict.fromkeys(self._ports.store.queues(claim, names))
        return self._queues

    def _turns(self, claim: Claim, name: str, now_s: float) -> list[Input]:
        """Those who are first in a queue: of that of a rate as many as there is room for, of that of a pause anybody.

        Whoever is called leaves the queue: for the place that a pause held for them, or for good.
        """
        id_, books = campaign_of_queue(name), Books(self._books)
        if is_held(id_, self._plan, books, now_s):
            return []
        heads = self._ports.store.queued(claim, name, USERS)
        if not heads:
            self._standing_in(claim).pop(name, None)
        rules = self._plan.rules(id_)
        use = rate_of(id_, rules, now_s) if rules is not None and is_rate_queue(name) else None
        if heads and use is not None and self._plan.activity(id_, now_s) in ("on", "dry"):
            self._allowance_now.books = books
            # Those who are asked about use the rate when they are answered: nobody else may have their room meanwhile.
            room = self._allowance_now.room(use, now_s) - self._ports.recommender.under_way()[id_]
            heads = heads[: max(0, room)]
        return [Turn(user, id_) for user in heads]

    def _do_scheduled(self, clock: _Clock) -> bool:
        """A page of the members of a scheduled campaign whose time has come."""
        for under in due_times(self._plan, Books(self._books), clock.now_s):
            id_, at_s = under
            rules, page = self._plan.scheduled[id_], self._pages.pop(id_, None)
            # Another time, or an edited campaign, begins with the first member; rows know who has had it.
            cursor = page.cursor if page is not None and (page.at_s, page.rules) == (at_s, rules) else ""
            users, cursor = self._ports.facts.members(rules.segment, cursor, USERS)
            batch = self._of_store(clock, [Member(user, id_, at_s) for user in users])
            batch.under, batch.is_last = under, not cursor
            if users or batch.is_last:
                self._batch(clock, batch)
            if cursor:
                self._pages[id_] = _Page(at_s, rules, cursor)
            return True
        return False

    def _do_logs(self, clock: _Clock) -> bool:
        """A round of both logs."""
        assert self._listener is not None, "a plan is in use"
        if self._contexts is not None:
            self._contexts.clear()  # what the round before has left is read again
        found = self._ports.logs.read(self.place, self._listener, clock.now_s)
        has_moved = found.place != self.place
        self.is_behind = has_moved or not found.is_idle
        if found.inputs or found.learned or found.place.events - self._saved >= UNSAVED:
            self._batch(clock, _Batch(found.inputs, found.place, found.as_of_s, found.learned))
            self._saved = found.place.events
        # Only from here on: what is due must not run ahead of what has just been read.
        self.place, self._read_s = found.place, found.read_s
        self._allowance_now.give_back_idle(clock.now_s)
        return has_moved

    def _do_answers(self, clock: _Clock) -> bool:
        """Those who have recommendations now, or will not have any."""
        arrived = self._ports.recommender.take(USERS)
        if not arrived:
            return False
        batch = self._of_store(clock, [Turn(asked.user, asked.campaign) for asked, _ in arrived])
        batch.answers = {asked.id: answer for asked, answer in arrived}
        self._batch(clock, batch)
        return True

    def _do_past(self, clock: _Clock) -> bool:
        """A page of what is read again, for events that were not asked for when they came."""
        assert self._listener is not None, "a plan is in use"
        found = self._past.read(self.place, self._listener)
        if found is None and not self._has_new_names:
            return False
        learned, place = found or ([], self.place)
        self._past_pages += 1
        if learned or place.past is None or self._past_pages >= PAST_PAGES:
            self._batch(clock, _Batch((), place, -inf, learned))
            self._past_pages, self._has_new_names = 0, False
        self.place = place
        return True

    def _of_store(self, clock: _Clock, inputs: Sequence[Input]) -> _Batch:
        return _Batch(inputs, self.place, self._ports.logs.as_of_s(self.place, clock.now_s))

    # --- a batch -----------------------------------------------------------------------------------------------------

    def _batch(self, clock: _Clock, batch: _Batch) -> None:
        """Read, decide, commit, publish, trim."""
        traces, contexts = self._ports.traces, self._contexts
        if traces is None or contexts is None:
            self._decide(clock, batch, None)
            return
        with traced_decisions(traces, contexts, batch.inputs) as decisions:
            self._decide(clock, batch, decisions)

    def _decide(self, clock: _Clock, batch: _Batch, decisions: TracedDecisions | None) -> None:
        claim, ports, inputs = self._owned(), self._ports, batch.inputs
        state, books, allowance = self._state, Books(self._books), self._allowance_now
        allowance.books = books
        allowance.forget_over(clock.now_s)
        stored = patiently(ports.patience, lambda: ports.store.rows(claim, users_of(inputs)))
        rows = {user: unpack_row(data) for user, data in stored.items()}
        asked = needs_facts(inputs, rows, self._plan, clock.read_s)
        profiles = _Profiles(self._stored_profiles(claim, batch.learned, asked), self._plan.latest())
        self._learn(profiles, batch.learned)
        facts = self._facts(asked, profiles, batch)
        queues, under_way = self._standing_in(claim), ports.recommender.under_way()
        render = self._messages.render
        tools = Tools(self._plan, books, allowance, render, self._usual, batch.answers, queues=queues)
        tools.under_way.update(under_way)
        engine = Engine(tools, Place(self._shard.number, claim.generation), state, rows, facts)
        engine.take(inputs, *clock)
        if batch.under is not None:
            begun(books, batch.under)
            if batch.is_last:
                done(books, batch.under)
        effects = engine.effects
        if decisions is not None:
            effects.out = decisions.mark(effects.out)
        self._number += 1
        commit = Commit(
            number=self._number,
            position=batch.place.to_bytes(),
            state=pack(state),
            rows={user: (pack(rows[user]), StoredDue.of(rows[user])) for user in effects.changed},
            rows_removed=list(effects.gone),
            profiles=profiles.changed(),
            profiles_removed=profiles.gone(),
            books={id_: pack(self._books[id_]) for id_ in books.changed},
            books_removed=list(books.gone),
            outbox=[msgspec.msgpack.encode(each) for each in effects.out],
        )
        patiently(ports.patience, lambda: ports.store.commit(claim, commit))
        for _, due in commit.rows.values():
            queues |= dict.fromkeys(due.queued)
        self.counts.inputs += len(inputs)
        self.counts.commits += 1
        self._count(books.changed)
        for id_ in books.gone:
            self._counted.pop(id_, None)
        if effects.out:
            self._publish(claim)
        ports.recommender.ask(tools.asks.values())

    def _count(self, changed: Iterable[str]) -> None:
        decided = self.counts.decided
        for id_ in changed:
            before, now = self._counted.get(id_, {}), dict(self._books[id_].counts)
            for what, number in now.items():
                decided[what] = decided.get(what, 0) + number - before.get(what, 0)
            self._counted[id_] = now

    def _publish(self, claim: Claim) -> None:
        """What the outbox holds; after a stop perhaps again."""
        ports = self._ports
        outbox = patiently(ports.patience, lambda: ports.store.outbox(claim))
        self.counts.outbox = len(outbox)
        if not outbox:
            return
        last = outbox[-1][0]
        patiently(ports.patience, lambda: ports.tell(Seen(claim.generation, last)))
        outs = [_OUT.decode(data) for _, data in outbox]
        patiently(ports.patience, lambda: ports.outlet.publish(outs))
        patiently(ports.patience, lambda: ports.store.trim(claim, last))
        self.counts.published += len(outs)
        self.counts.outbox = 0

    def _stored_profiles(self, claim: Claim, learned: Sequence[Learned], asked: Sequence[str]) -> dict[str, Profile]:
        users = dict.fromkeys([*(each.user for each in learned), *asked])
        found = patiently(self._ports.patience, lambda: self._ports.store.profiles(claim, users))
        return {user: unpack_profile(data) for user, data in found.items()}

    def _learn(self, profiles: _Profiles, learned: Sequence[Learned]) -> None:
        """What the shard has refused, because the user was deleted, is not learned either."""
        users = dict.fromkeys(each.user for each in learned if not each.is_gone)
        lives_s = patiently(self._ports.patience, lambda: self._ports.facts.lives_s(list(users))) if users else {}
        for each in learned:
            if each.is_gone or each.at_s > lives_s.get(each.user, inf):
                profiles.learn(each)

    def _facts(self, asked: Sequence[str], profiles: _Profiles, batch: _Batch) -> dict[str, Facts]:
        if not asked:
            return {}
        ports = self._ports
        found = patiently(ports.patience, lambda: ports.facts.facts(asked, batch.as_of_s))
        known = known_of(batch.place, self._plan.latest())
        return {user: with_profile(found[user], profiles.of(user), known) for user in asked}

    # --- what is in force --------------------------------------------------------------------------------------------

    def _use(self, defined: Defined, now_s: float) -> None:
        """What is defined now, and what is usual at this hour."""
        if defined is not self._defined:
            plan = defined.plan
            self._defined = defined
            self._messages = Messages(plan.messages())
            self._ports.facts.use(plan)
            place = self._ports.logs.ask_for(self.place, plan.latest())
            # Previews and second looks go by what is stored; where nothing was stored yet, nothing is wrong with it.
            self._has_new_names |= self._number > 0 and place.since_s.keys() != self.place.since_s.keys()
            self.place = place
            self._listener = Listener(plan, defined.catalog, self._shard, f"log{self.place.log}", self._contexts)
            self._usual_s = -inf
        if now_s - self._usual_s >= HOUR_S or now_s < self._usual_s:
            hours = self._ports.store.hours(self._plan.with_breaker())
            usual = {id_: usual_hours(found, now_s) for id_, found in hours.items()}
            self._usual = {id_: found for id_, found in usual.items() if found is not None}
            self._usual_s = now_s

    @property
    def _plan(self) -> Plan:
        assert self._defined is not None, "a plan is in use"
        return self._defined.plan

    @property
    def _allowance_now(self) -> Allowance:
        assert self._allowance is not None, "assign comes first"
        return self._allowance

    def _owned(self) -> Claim:
        if self._claim is None:
            raise RuntimeError(f"partition {self._shard.number} of campaigns is not loaded")
        return self._claim


class _Profiles:
    """Profiles of the users of a batch, and what becomes of them. `events`: of which the latest time is asked for."""

    def __init__(self, stored: dict[str, Profile], events: frozenset[str]) -> None:
        self._found = stored
        self._events = events
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}

    def learn(self, learned: Learned) -> None:
        """One record, in its order."""
        user = learned.user
        if learned.is_gone:
            self._found.pop(user, None)
            self._changed.pop(user, None)
            self._gone[user] = None
            return
        profile = self._found.setdefault(user, Profile())
        profile.keep(self._events)
        if learned.traits is not None:
            profile.identify(learned.traits)
        if learned.event is not None:
            profile.happened(learned.event, learned.at_s)
        self._changed[user] = None
        self._gone.pop(user, None)

    def of(self, user: str) -> Profile | None:
        """As it is now; None if nothing is known."""
        return self._found.get(user)

    def changed(self) -> dict[str, bytes]:
        """To be stored."""
        return {user: pack_profile(self._found[user]) for user in self._changed}

    def gone(self) -> list[str]:
        """To be deleted."""
        return list(self._gone)
