"""The engine: one input at a time, with the rows and facts of the users that inputs name.

Whatever is due of a user is done before a later input of the same user is looked at, and inputs of different users meet
in shared allowances only. So it does not matter how inputs are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from config.campaigns import Campaign
from config.journeys import Journey
from streams.campaigns import journeys
from streams.campaigns.caps import with_send
from streams.campaigns.decide import decide, held
from streams.campaigns.effects import SENT, WITHHELD, Alert, Effects, Note, Place, Purge, Send, Trip, send_id
from streams.campaigns.inputs import Crossing, Deleted, Facts, Input, Member, Turn, Watched
from streams.campaigns.listening import begun_by, is_news, occasion_of
from streams.campaigns.outcomes import Drawn, assign, close, convert
from streams.campaigns.question import Go, Question, Tools, Verdict, Wait, Withhold
from streams.campaigns.rows import forget, prune
from streams.campaigns.state import HOUR_S, OF_EVENTS, SEEN_KEPT, Refused, Row, State, Waiting, timers_until
from streams.core.chance import digest, unit

CALLED = ("rate", "recommendations", "paused")
"""Who waits for these is called (`Turn`)."""
MOMENT_S = 10.0
"""For so long the rest of a moment is waited for; it comes in the same batch, unless a shard was stopped between."""


class Engine:
    """Changes rows, books and state in place; after a failure drop all of them, and load again."""

    def __init__(
        self, tools: Tools, place: Place, state: State, rows: dict[str, Row], facts: Mapping[str, Facts]
    ) -> None:
        self.tools = tools
        self.place = place
        self.plan = tools.plan
        self.books = tools.books
        self.state = state
        self.rows = rows
        self.facts = facts
        """Of the users of whom `needs_facts` says so; of others they are not looked at."""
        self.effects = Effects()
        self.now_s = self.timers_s = 0.0

    def take(self, inputs: Iterable[Input], now_s: float, read_s: float) -> None:
        """Inputs in their order, at this time of the wall clock; what came out is in `effects`.

        `read_s`: all that happened up to this time has been read before these inputs: the log time of the last record
        read, or now once there is no other, in the shard and behind it. Timers do not run ahead of it, or an outage
        would look as if nobody had done anything.
        """
        self.now_s = now_s
        self.timers_s = timers_until(self.state, now_s, read_s)
        self.state.read_s = max(self.state.read_s, self.timers_s)
        for each in inputs:
            self._take_one(each)
        self.books.keep(self.plan.versions)

    def _take_one(self, each: Input) -> None:
        user = each.user
        if isinstance(each, Watched) and self._is_repeated(each):
            return
        if isinstance(each, Deleted) or (isinstance(each, Crossing) and each.origin == "deleted"):
            self._forget(user)
            return
        row = self.rows.get(user)
        if row is None:
            if not begun_by(each, self.plan) or not self._may_exist(user):
                return
            row = self.rows[user] = Row()
        if prune(row, self.plan, self.books):
            self.touch(user)
        self._do_due(user, row)
        if isinstance(each, Crossing):
            self._cross(user, row, each)
        elif isinstance(each, Watched):
            self._watch(user, row, each)
        elif isinstance(each, Member):
            self._address(user, row, each)
        elif isinstance(each, Turn):
            self._turn(user, row, each.campaign)

    def touch(self, user: str) -> None:
        """The user's row is to be stored."""
        self.effects.changed[user] = None
        self.effects.gone.pop(user, None)

    def _may_exist(self, user: str) -> bool:
        """Not so: something is said again after the user was deleted."""
        facts = self.facts[user]
        return facts.known or facts.as_of_s < self.now_s - self.plan.messaging.max_behind_s

    def _forget(self, user: str) -> None:
        row = self.rows.pop(user, None)
        if row is not None:
            forget(row, self.books)
        self.effects.changed.pop(user, None)
        self.effects.gone[user] = None
        self.effects.out.append(Purge(*self.place, self._next_number(), user))

    def _next_number(self) -> int:
        self.state.number += 1
        return self.state.number

    # --- inputs ------------------------------------------------------------------------------------------------------

    def _cross(self, user: str, row: Row, crossing: Crossing) -> None:
        if crossing.segment in self.plan.segments and is_news(row, crossing):
            row.crossings[crossing.segment] = (crossing.sequence, crossing.at_s)
            self.touch(user)
            journeys.crossed(self, user, row, crossing)
            self._begin(user, row, crossing)
        if not crossing.more:
            self._ask_moment(user, row)

    def _watch(self, user: str, row: Row, event: Watched) -> None:
        # Under another generation of the shard an event that was read may be said once more, with another number.
        seen = int(unit("seen", event.message_id) * 2.0**53)
        if seen not in row.seen:
            row.seen = [*row.seen[-SEEN_KEPT + 1 :], seen]
            self.touch(user)
            convert(row, self.plan, event)
            journeys.happened(self, user, row, event)
            self._begin(user, row, event)
        if not event.more:
            self._ask_moment(user, row)

    def _address(self, user: str, row: Row, member: Member) -> None:
        """A scheduled campaign has come to the user; pages of members may repeat some, which the row knows."""
        if row.scheduled.get(member.campaign) == member.at_s or not begun_by(member, self.plan):
            return
        row.scheduled[member.campaign] = member.at_s
        self.touch(user)
        self._begin(user, row, member)
        self._ask_moment(user, row)

    def _turn(self, user: str, row: Row, id_: str) -> None:
        waiting = row.waiting.get(id_)
        if waiting is not None and waiting.why in CALLED:
            self._ask(user, row, id_)
        elif id_ in row.journeys and row.journeys[id_].why in CALLED:
            journeys.wake(self, user, row, id_)

    def _is_repeated(self, event: Watched) -> bool:
        generation, number = self.state.watched.get(event.shard, ("", -1))
        if event.generation == generation and event.number <= number:
            return True
        self.state.watched[event.shard] = (event.generation, event.number)
        return False

    # --- occasions ---------------------------------------------------------------------------------------------------

    def _begin(self, user: str, row: Row, each: Crossing | Watched | Member) -> None:
        """New occasions wait until all of their moment are there: the caps may have room for one of them only.

        One that finds an earlier one waiting takes its place.
        """
        for id_ in begun_by(each, self.plan):
            occasion = occasion_of(each, self.plan, id_)
            self.touch(user)
            waiting = row.waiting.get(id_)
            if waiting is None:
                row.waiting[id_] = Waiting(occasion, self.now_s + MOMENT_S, occasion.at_s, "moment")
                continue
            self.books.change(id_).count("replaced")
            if occasion.at_s >= waiting.occasion.at_s:
                waiting.occasion = occasion

    def _ask_moment(self, user: str, row: Row) -> None:
        new = [id_ for id_, waiting in row.waiting.items() if waiting.why == "moment"]
        for id_ in sorted(new, key=self.plan.rank):
            self._ask(user, row, id_)

    def _do_due(self, user: str, row: Row) -> None:
        """All that time has come to, in the order of time, and of priority at one time."""
        while row.next_s() <= self.timers_s:
            self.touch(user)
            due = [(each.closes_s(), -1, "", id_) for id_, each in row.assigned.items()]
            due += [(each.due_s, self.plan.rank(id_), "waiting", id_) for id_, each in row.waiting.items()]
            due += [(each.due_s, self.plan.rank(id_), "journey", id_) for id_, each in row.journeys.items()]
            _, _, kind, id_ = min(due)
            if kind == "waiting":
                self._ask(user, row, id_)
            elif kind == "journey":
                journeys.wake(self, user, row, id_)
            else:
                close(row, self.books, self.plan, id_)

    def _ask(self, user: str, row: Row, id_: str) -> None:
        """Decide about the occasion that waits."""
        self.touch(user)
        waiting = row.waiting.pop(id_)
        version, rules = self.plan.current(id_)
        if isinstance(rules, Journey):
            found: Verdict | None = journeys.enter(self, user, row, id_, waiting)
        else:
            found = self.settle(self._question(user, row, id_, version, rules, waiting))
        if isinstance(found, Wait):
            row.waiting[id_] = Waiting(waiting.occasion, found.due_s, waiting.since_s, found.reason)

    def _question(self, user: str, row: Row, id_: str, version: int, campaign: Campaign, waiting: Waiting) -> Question:
        occasion = waiting.occasion
        return Question(
            id=id_,
            version=version,
            rules=campaign,
            user=user,
            occasion=occasion,
            deadline_s=occasion.at_s + campaign.max_trigger_age_s,
            message=campaign.message,
            offer=campaign.offer,
            row=row,
            facts=self.facts[user],
            now_s=self.now_s,
            filter=id_ if campaign.filter is not None else None,
            why=waiting.why,
        )

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def settle(self, question: Question, step: str | None = None) -> Verdict:
        """Decide, note what came of it, and put out what is to be sent and told."""
        verdict = decide(question, self.tools)
        if isinstance(verdict, Withhold) and verdict.reason == "breaker":
            self._trip(question.id)
            if step is not None:
                verdict = Wait("paused", inf)  # its journey holds it
            elif question.has_waited:
                verdict = held(question)
        book = self.books.change(question.id)
        if isinstance(verdict, Wait):
            if verdict.reason != question.why:
                book.count(f"waited_{verdict.reason}")
        elif isinstance(verdict, Go):
            question.row.refused.pop(question.id, None)
            book.count("sent")
            book.count_hour(question.occasion.at_s)
            self._send(question, verdict, step)
        else:
            book.count(verdict.reason)
            self._withhold(question, verdict, step)
        return verdict

    def _send(self, q: Question, go: Go, step: str | None) -> None:
        self._assign(q, "treated", go)
        q.row.assigned[q.id].sends += 1
        q.row.sends_s = with_send(self.plan.messaging.caps, q.row.sends_s, q.now_s)
        send = Send(
            id=send_id(q.id, q.user, q.occasion),
            partition=self.place.partition,
            generation=self.place.generation,
            number=self._next_number(),
            user=q.user,
            campaign=q.id,
            version=q.version,
            step=step,
            kind=q.occasion.kind,
            channels=go.channels,
            texts=go.texts,
            addresses=go.addresses,
            offer=go.offer,
            at_s=q.now_s,
            expires_s=q.deadline_s,
            event_s=q.occasion.at_s if q.occasion.kind in OF_EVENTS else None,
        )
        self.effects.out.append(send)
        self._tell(q, SENT, "sent", step)

    def _withhold(self, q: Question, verdict: Withhold, step: str | None) -> None:
        q.row.refused[q.id] = Refused(q.occasion.key, verdict.reason)
        if verdict.reason in ("control", "holdout"):
            q.row.refused.pop(q.id, None)
            self._assign(q, verdict.reason, verdict)
            self._tell(q, WITHHELD, verdict.reason, step)
        elif verdict.reason == "message":
            self._alert(q.id, "message", str(int(q.now_s // HOUR_S)), verdict.words)
        elif verdict.reason == "budget":
            self._alert(q.id, "budget", verdict.words, "the budget is used up")

    def _assign(self, q: Question, arm: str, verdict: Go | Withhold) -> None:
        drawn = Drawn(arm, verdict.offer, q.version, q.rules.conversion.window_s)
        assign(q.row, self.books.change(q.id), q.id, q.occasion, drawn, q.now_s)

    def _trip(self, id_: str) -> None:
        book, standing = self.books.change(id_), self.plan.standing(id_)
        if book.tripped_s != standing.since_s:
            book.tripped_s = standing.since_s
            self.effects.out.append(Trip(id_, standing.since_s))
            words = "far more messages for one hour than usual; it is paused"
            self._alert(id_, "breaker", f"{standing.since_s:.3f}", words)

    def _alert(self, id_: str, kind: str, occasion: str, words: str) -> None:
        """For people, once for each occasion."""
        alerted = self.books.change(id_).alerted
        if alerted.get(kind) != occasion:
            alerted[kind] = occasion
            self.effects.out.append(Alert(digest("alert", id_, kind, occasion), id_, kind, words))

    def _tell(self, q: Question, event: str, why: str, step: str | None) -> None:
        id_ = digest("note", send_id(q.id, q.user, q.occasion), why)
        assigned = q.row.assigned[q.id]
        properties = {
            "campaign": q.id,
            "version": q.version,
            "step": step,
            "why": why,
            "rung": assigned.rung,
            "first": assigned.first_s == q.now_s,
        }
        self.effects.out.append(Note(id_, q.user, event, q.now_s, properties))
