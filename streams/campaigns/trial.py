"""What one user would be sent now, and what speaks against it: by the rules and templates of the engine.

All rules are asked, not the first that says no alone, so that somebody who tries a campaign out sees all there is to
see. What partitions share (rate, budget, the breaker's volume) is not asked: nothing is taken out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from config.campaigns import Campaign, Message
from config.journeys import Journey, SendStep
from config.offers import FixedOffer, Offer
from config.times import EventTrigger
from streams.campaigns.allowance import Allowance
from streams.campaigns.consent import address_of, open_channels
from streams.campaigns.context import context_of
from streams.campaigns.decide import RULES, arm_of
from streams.campaigns.inputs import Facts
from streams.campaigns.message import Messages
from streams.campaigns.offers import given
from streams.campaigns.plan import Plan
from streams.campaigns.question import Answer, Asked, MessageFailed, Question, Tools, Wait
from streams.campaigns.recommending import asked_of
from streams.campaigns.state import Books, Given, Occasion, Row, State

_KEY: Final = "trial"
Recommend: TypeAlias = Callable[[Asked], Answer]


class Objection(msgspec.Struct, frozen=True):
    """A rule that says no."""

    reason: str
    """As it is counted (docs/campaigns.md)."""
    until_s: float | None
    """It would be asked again then; None: the message would not be sent."""


class Part(msgspec.Struct, frozen=True):
    """What goes by one channel."""

    channel: str
    is_open: bool
    """Whether there is such a channel, the user has agreed to it, and it reaches them."""
    address: str | None
    """Of channels that need one; None also if it is not known."""
    texts: Mapping[str, str]
    """Part of the message -> text; empty if a template fails."""


class Trial(msgspec.Struct, frozen=True):
    """See the module."""

    step: str | None
    """Of a journey."""
    group: str
    """treated, control or holdout: as the user was drawn, or would be."""
    offer: Given | None
    parts: tuple[Part, ...]
    """One for each channel of the definition."""
    failed: str | None
    """Which part of the message fails in which line, and why."""
    against: tuple[Objection, ...]
    """In the order of the rules; the first is what would be counted."""


def sends(rules: Campaign | Journey) -> Iterator[tuple[str | None, Message, Offer | None]]:
    """Step (None: of a campaign), message and offer of each message."""
    if isinstance(rules, Campaign):
        yield None, rules.message, rules.offer
        return
    for id_, step in rules.steps.items():
        if isinstance(step, SendStep):
            yield id_, step.send, step.offer


def trial(  # noqa: PLR0913  all of it is about one message
    plan: Plan,
    id_: str,
    user: str,
    facts: Facts,
    row: Row,
    now_s: float,
    *,
    step: str | None = None,
    properties: Mapping[str, Any] | None = None,
    recommend: Recommend | None = None,
) -> Trial:
    """Of the version in force of a campaign or journey.

    `row`: what campaigns know of the user; an empty one if nothing. `step`: which message of a journey; None: the
    first. `properties`: of the event, for a campaign that is triggered by one. `recommend`: asks for
    recommendations, where the message wants some; None: nobody answers. Raises KeyError for a step that sends nothing,
    or a journey without any that does.
    """
    version, rules = plan.current(id_)
    found = next((each for each in sends(rules) if step in (None, each[0])), None)
    if found is None:
        raise KeyError(step)
    at, message, offer = found
    question = Question(
        id=id_,
        version=version,
        rules=rules,
        user=user,
        occasion=Occasion(_kind(rules), _KEY, now_s, False, dict(properties or {})),
        deadline_s=now_s + rules.max_trigger_age_s,
        message=message,
        offer=offer,
        row=row,
        facts=facts,
        now_s=now_s,
        filter=id_ if rules.filter is not None else None,
    )
    return _answer(question, plan, at, recommend or _nobody)


def _kind(rules: Campaign | Journey) -> str:
    """Of the occasion that there would be."""
    if isinstance(rules, Journey):
        return "enter"
    if isinstance(rules.trigger, str):
        return "exit" if rules.trigger == "exit" else "enter"
    return "event" if isinstance(rules.trigger, EventTrigger) else "schedule"


def _answer(q: Question, plan: Plan, step: str | None, recommend: Recommend) -> Trial:
    tools = _tools(plan)
    verdicts = [verdict for rule in RULES if (verdict := rule(q, tools)) is not None]
    against = [Objection(each.reason, each.due_s if isinstance(each, Wait) else None) for each in verdicts]
    offer = None
    if q.offer is not None:
        kind = "event" if isinstance(q.offer, FixedOffer) else plan.kinds[q.offer.prediction]
        offer = given(q.offer, kind, q.facts, q.assigned, q.now_s)
        against += [Objection("no_score", None)] if offer is None else []
    texts, failed, reason = _texts(q, tools, offer, recommend)
    against += [] if reason is None else [Objection(reason, None)]
    known = plan.messaging.channels
    is_open = open_channels(q.rules.channels, known, q.facts)
    parts = tuple(
        Part(id_, id_ in is_open, address_of(known[id_], q.facts) if id_ in known else None, texts.get(id_, {}))
        for id_ in q.rules.channels
    )
    return Trial(step, arm_of(q, tools), offer, parts, failed, tuple(against))


def _nobody(_: Asked) -> Answer:
    return Answer(None)


def _texts(
    q: Question, tools: Tools, offer: Given | None, recommend: Recommend
) -> tuple[Mapping[str, Mapping[str, str]], str | None, str | None]:
    """For every channel, open or not; or why there are none, in words and as it is counted."""
    assert q.message is not None, "there is something to send"
    context = context_of(q, offer)
    if (wanted := q.message.recommendations) is not None:
        found = recommend(asked_of(q, wanted, context)).found
        if found is None and wanted.on_failure == "wait":
            return {}, f"recommendations: {wanted.source!r} has not answered with any", "recommendations"
        context["recommendations"] = [] if found is None else found
    try:
        return tools.render(q.message, q.rules.channels, context), None, None
    except MessageFailed as failed:
        return {}, str(failed), "message"


def _tools(plan: Plan) -> Tools:
    books = Books({})
    allowance = Allowance(State(), books, _Plenty(), generation="", partitions=1)
    return Tools(plan, books, allowance, Messages(plan.messages()).render, {})


class _Plenty:
    """Grants whatever is wanted, out of nothing."""

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:  # noqa: ARG002  see `Grants`
        return wanted

    def lower_to(self, resource: str, amount: int) -> None:
        """There is nothing to give back."""
