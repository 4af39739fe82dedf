"""The engine: one input at a time, with the rows and facts of the users that inputs name.

Whatever is due of a user is done before a later input of the same user is looked at, and inputs of different users meet
in shared allowances only. So it does not matter how inputs are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from config.campaigns import Campaign
from config.journeys import Journey
from streams.campaigns import journeys
from streams.campaigns.caps import with_send
from streams.campaigns.chance import digest
from streams.campaigns.decide import Go, Question, Tools, Verdict, Wait, Withhold, decide
from streams.campaigns.effects import SENT, WITHHELD, Alert, Effects, FactsOf, Note, Rows, Send, send_id
from streams.campaigns.inputs import Crossing, Deleted, Due, Input, Member, Watched
from streams.campaigns.outcomes import assign, close, convert
from streams.campaigns.plan import fulfils
from streams.campaigns.state import HOUR_S, Occasion, Row, State, Waiting


class Engine:
    """Changes `rows` and `state` in place; after a failure drop both, and load again."""

    def __init__(self, tools: Tools, state: State, rows: dict[str, Row], facts: FactsOf) -> None:
        self.tools = tools
        self.plan = tools.plan
        self.state = state
        self.rows = rows
        self.facts = facts
        self.effects = Effects()
        self.now_s = 0.0

    def take(self, inputs: Iterable[Input], now_s: float) -> None:
        """Inputs in their order, at this time of the wall clock; what came out is in `effects`."""
        self.now_s = now_s
        for each in inputs:
            self._take_one(each)

    def _take_one(self, each: Input) -> None:
        user = each.user
        if isinstance(each, Watched) and self._is_repeated(each):
            return
        if isinstance(each, Deleted) or (isinstance(each, Crossing) and each.origin == "deleted"):
            self.rows.pop(user, None)
            self.effects.changed.pop(user, None)
            self.effects.gone[user] = None
            return
        row = self.rows.get(user)
        if row is None:
            if self.facts[user] is None:
                return  # said again after the user was deleted
            row = self.rows[user] = Row()
        self._do_due(user, row)
        if isinstance(each, Crossing):
            self._cross(user, row, each)
        elif isinstance(each, Watched):
            self._watch(user, row, each)
        elif isinstance(each, Member):
            self._address(user, row, each)

    def touch(self, user: str) -> None:
        """The user's row is to be stored."""
        self.effects.changed[user] = None
        self.effects.gone.pop(user, None)

    # --- inputs ------------------------------------------------------------------------------------------------------

    def _cross(self, user: str, row: Row, crossing: Crossing) -> None:
        if crossing.segment not in self.plan.segments or _is_old(row, crossing):
            return
        row.crossings[crossing.segment] = (crossing.sequence, crossing.at_s)
        self.touch(user)
        journeys.crossed(self, user, row, crossing)
        kind = "enter" if crossing.is_entry else "exit"
        key = f"{crossing.segment}:{crossing.sequence}:{crossing.at_s:.3f}"
        occasion = Occasion(kind, key, crossing.at_s, crossing.caused_by_goal)
        for id_ in self.plan.on_segment.get(crossing.segment, ()):
            rules = self.plan.rules(id_)
            if rules is None or crossing.origin not in rules.origins:
                continue
            if isinstance(rules, Campaign) and rules.trigger in (kind, "both"):
                self._begin(user, row, id_, rules, occasion)
            elif isinstance(rules, Journey) and crossing.is_entry:
                journeys.enter(self, user, row, id_, occasion)

    def _watch(self, user: str, row: Row, event: Watched) -> None:
        if convert(row, self.plan, event):
            self.touch(user)
        journeys.happened(self, user, row, event)
        occasion = Occasion("event", f"event:{event.message_id}", event.at_s, False, dict(event.properties))
        for id_ in self.plan.on_event.get(event.event, ()):
            campaign = self.plan.campaigns[id_]
            trigger = campaign.trigger
            assert not isinstance(trigger, str), "listens to an event"
            if fulfils(getattr(trigger, "where", {}), event.properties):
                self._begin(user, row, id_, campaign, occasion)

    def _address(self, user: str, row: Row, member: Member) -> None:
        """A scheduled campaign has come to the user; pages of members may repeat some, which the row knows."""
        campaign = self.plan.campaigns.get(member.campaign)
        if campaign is None or row.scheduled.get(member.campaign) == member.at_s:
            return
        row.scheduled[member.campaign] = member.at_s
        self.touch(user)
        self._begin(
            user, row, member.campaign, campaign, Occasion("schedule", f"schedule:{member.at_s:.0f}", member.at_s)
        )

    def _is_repeated(self, event: Watched) -> bool:
        state = self.state
        if event.generation == state.generation and event.number <= state.watched:
            return True
        state.generation, state.watched = event.generation, event.number
        return False

    # --- what is due -------------------------------------------------------------------------------------------------

    def _do_due(self, user: str, row: Row) -> None:
        """All that the clock has reached, in the order of time, and of priority at one time."""
        while row.next_s() <= self.now_s:
            self.touch(user)
            due = [(at_s, -1, "", id_) for id_, at_s in row.closes_s.items()]
            due += [(each.due_s, self.plan.rank(id_), "waiting", id_) for id_, each in row.waiting.items()]
            due += [(each.due_s, self.plan.rank(id_), "journey", id_) for id_, each in row.journeys.items()]
            _, _, kind, id_ = min(due)
            if kind == "waiting":
                waiting, rules = row.waiting.pop(id_), self.plan.campaigns.get(id_)
                if rules is not None:
                    self._ask(user, row, id_, rules, waiting.occasion)
            elif kind == "journey":
                journeys.wake(self, user, row, id_)
            else:
                close(row, self.state, id_)

    def _begin(self, user: str, row: Row, id_: str, campaign: Campaign, occasion: Occasion) -> None:
        """A new occasion; while an earlier one waits for its time, that one holds."""
        if id_ in row.waiting:
            self.state.count(id_, "waiting")
            return
        self._ask(user, row, id_, campaign, occasion)

    def _ask(self, user: str, row: Row, id_: str, campaign: Campaign, occasion: Occasion) -> None:
        question = Question(
            id=id_,
            rules=campaign,
            user=user,
            occasion=occasion,
            message=campaign.message,
            offer=campaign.offer,
            row=row,
            facts=self.facts[user],
            now_s=self.now_s,
            filter=id_ if campaign.filter is not None else None,
        )
        verdict = self.settle(question)
        if isinstance(verdict, Wait):
            row.waiting[id_] = Waiting(occasion, verdict.due_s)

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def settle(self, question: Question, step: str | None = None) -> Verdict:
        """Decide, note what came of it, and put out what is to be sent and told."""
        verdict = decide(question, self.tools)
        id_, state = question.id, self.state
        self.touch(question.user)
        if isinstance(verdict, Wait):
            state.count(id_, f"waited_{verdict.reason}")
        elif isinstance(verdict, Go):
            state.count(id_, "sent")
            state.count_hour(id_, question.now_s)
            self._send(question, verdict, step)
        else:
            state.count(id_, verdict.reason)
            self._withhold(question, verdict, step)
        return verdict

    def _send(self, q: Question, go: Go, step: str | None) -> None:
        row = q.row
        told = assign(row, q.id, q.rules, q.occasion, "treated", go.offer, q.now_s)
        told.sends += 1
        row.sends_s = with_send(self.plan.messaging.caps, row.sends_s, q.now_s)
        self.state.number += 1
        self.effects.sends.append(
            Send(
                id=send_id(q.id, q.user, q.occasion),
                number=self.state.number,
                user=q.user,
                campaign=q.id,
                step=step,
                channels=go.channels,
                texts=go.texts,
                offer=go.offer,
                at_s=q.now_s,
                expires_s=q.occasion.at_s + q.rules.max_trigger_age_s,
            )
        )
        self._tell(q, SENT, "sent", step)

    def _withhold(self, q: Question, verdict: Withhold, step: str | None) -> None:
        if verdict.reason in ("control", "holdout"):
            assign(q.row, q.id, q.rules, q.occasion, verdict.reason, verdict.offer, q.now_s)
            self._tell(q, WITHHELD, verdict.reason, step)
        elif verdict.reason == "breaker" and q.id not in self.state.tripped:
            self.state.tripped.add(q.id)
            self.effects.alerts.append(Alert(q.id, "breaker", "far more messages in an hour than usual; it is paused"))
        elif verdict.reason == "message" and self.state.alerted.get(q.id) != q.now_s // HOUR_S:
            self.state.alerted[q.id] = int(q.now_s // HOUR_S)
            self.effects.alerts.append(Alert(q.id, "message", verdict.words))

    def _tell(self, q: Question, event: str, why: str, step: str | None) -> None:
        id_ = digest("note", send_id(q.id, q.user, q.occasion), why)
        told = q.row.told[q.id]
        properties = {"campaign": q.id, "step": step, "why": why, "rung": told.rung, "first": told.first_s == q.now_s}
        self.effects.notes.append(Note(id_, q.user, event, q.now_s, properties))


def _is_old(row: Row, crossing: Crossing) -> bool:
    """Whether a crossing has been seen, or says nothing new.

    Sequences of a user and segment grow for as long as the store lives. In a store that was rebuilt or set back they
    begin lower, and what was said is said again; then only a later change of the membership is news.
    """
    sequence, at_s = row.crossings.get(crossing.segment, (0, -inf))
    if crossing.sequence > sequence:
        return False
    is_change = (sequence % 2 == 1) != crossing.is_entry
    return not (is_change and crossing.at_s > at_s)


def users_of(inputs: Sequence[Input]) -> list[str]:
    """Whose rows and facts the engine needs, each once."""
    return list(dict.fromkeys(each.user for each in inputs))


__all__ = ["Due", "Effects", "Engine", "Rows", "users_of"]
