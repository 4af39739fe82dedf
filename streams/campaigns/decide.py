"""Whether a message is sent: every rule in its order, and the reason for each one that is not.

The same rules are asked at the occasion and again when a message that had to wait is due, each time with what the store
says of the user then. Chance comes last, so that the groups that are compared differ in nothing but the message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, Final, Literal, TypeAlias

from config.campaigns import Campaign, Message, Rules
from config.journeys import Journey
from config.offers import Offer
from config.times import QuietHours
from streams.campaigns.allowance import Allowance
from streams.campaigns.caps import is_capped
from streams.campaigns.chance import is_control, is_held_out
from streams.campaigns.consent import open_channels
from streams.campaigns.inputs import Facts
from streams.campaigns.offers import cents, given
from streams.campaigns.plan import Plan
from streams.campaigns.quiet import quiet_until, zone_or
from streams.campaigns.schedule import period_of
from streams.campaigns.state import Given, Occasion, Row, Told

Reason: TypeAlias = Literal[
    "inactive",  # paused, archived, not begun or over
    "stale",  # the occasion is too long ago
    "unknown",  # there is no such user (any more)
    "left",  # the crossing has been undone
    "filter",  # the campaign's own filter does not hold
    "goal",  # the user has just done it
    "again",  # the user had it, and may not have it again (yet)
    "cooldown",
    "consent",  # by no channel
    "caps",
    "quiet",  # quiet hours last longer than the occasion is worth
    "breaker",
    "rate",  # as for quiet
    "no_score",  # the ladder has nothing to go by
    "budget",
    "message",  # the template fails
    "holdout",
    "control",
]
ARMS: Final = ("treated", "control", "holdout")


class MessageFailed(Exception):
    """A template cannot be rendered; the message says where and why."""


Render: TypeAlias = Callable[[Message, Mapping[str, Any]], Mapping[str, str]]
"""From a message and what it may name to its texts. Raises MessageFailed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What decisions use beside their subject."""

    plan: Plan
    allowance: Allowance
    render: Render
    usual: Mapping[str, float]
    """Campaign or journey -> messages in a usual hour, over all partitions; without one its breaker does nothing."""
    tripped: Collection[str]
    """Campaigns and journeys that a breaker has paused."""


@dataclass(frozen=True, slots=True)
class Question:
    """One would-be message."""

    id: str
    """Of the campaign or journey."""
    rules: Rules
    user: str
    occasion: Occasion
    message: Message | None
    """None: it is asked for something else, the beginning of a journey."""
    offer: Offer | None
    row: Row
    facts: Facts | None
    now_s: float
    filter: str | None = None
    """Name of the filter that has to hold."""

    @property
    def told(self) -> Told | None:
        """What the user had of it."""
        return self.row.told.get(self.id)

    @property
    def known(self) -> Facts:
        """The facts, behind the rule that there are any."""
        assert self.facts is not None, "asked before `unknown`"
        return self.facts


@dataclass(frozen=True, slots=True)
class Withhold:
    """Nothing is sent, for good."""

    reason: Reason
    words: str = ""
    offer: Given | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is sent yet."""

    reason: Literal["quiet", "rate"]
    due_s: float


@dataclass(frozen=True, slots=True)
class Go:
    """It is sent."""

    channels: tuple[str, ...]
    offer: Given | None
    texts: Mapping[str, str]


Verdict: TypeAlias = Withhold | Wait | Go
Rule: TypeAlias = Callable[[Question, Tools], Withhold | Wait | None]


def decide(question: Question, tools: Tools) -> Verdict:
    """What becomes of a message; what it uses of shared allowances is used when this says Go."""
    assert question.message is not None, "there is something to send"
    for rule in RULES:
        found = rule(question, tools)
        if found is not None:
            return found
    offer = _offer(question, tools)
    if isinstance(offer, Withhold):
        return offer
    try:
        texts = tools.render(question.message, context_of(question, offer))
    except MessageFailed as failed:
        return Withhold("message", str(failed), offer)
    arm = arm_of(question, tools)
    if arm == "treated":
        for resource, _, amount, until_s in _uses(question, tools, offer):
            tools.allowance.use(resource, amount, until_s)
        return Go(_channels(question, tools), offer, texts)
    return Withhold("control" if arm == "control" else "holdout", offer=offer)


def refusal_to_enter(question: Question, tools: Tools) -> Withhold | Wait | None:
    """Why a user may not begin a journey; None if they may. Whether they are sent to is asked at each message."""
    return next((found for rule in _TO_ENTER if (found := rule(question, tools)) is not None), None)


def arm_of(question: Question, tools: Tools) -> str:
    """Which group the user is in: as drawn at the first message, whatever the shares are by now."""
    if is_held_out(question.user, tools.plan.messaging.holdout):
        return "holdout"
    if question.told is not None and question.told.arm != "holdout":
        return question.told.arm
    return "control" if is_control(question.id, question.user, question.rules.control) else "treated"


# --- the rules, in their order ---------------------------------------------------------------------------------------


def _is_active(q: Question, _: Tools) -> Withhold | None:
    off = q.rules.paused or q.rules.archived or not q.rules.starts_s <= q.now_s < q.rules.ends_s
    return Withhold("inactive") if off else None


def _is_fresh(q: Question, _: Tools) -> Withhold | None:
    return Withhold("stale") if q.now_s - q.occasion.at_s > q.rules.max_trigger_age_s else None


def _is_known(q: Question, _: Tools) -> Withhold | None:
    return Withhold("unknown") if q.facts is None else None


def _still_applies(q: Question, _: Tools) -> Withhold | None:
    is_in = q.rules.segment in q.known.segments
    if q.occasion.kind == "step":
        ends = isinstance(q.rules, Journey) and q.rules.ends_on in ("leaving", "goal_or_leaving")
        return Withhold("left") if ends and not is_in else None
    return Withhold("left") if is_in == (q.occasion.kind == "exit") else None


def _fits(q: Question, _: Tools) -> Withhold | None:
    return Withhold("filter") if q.filter is not None and q.filter not in q.known.fits else None


def _has_no_goal(q: Question, _: Tools) -> Withhold | None:
    latest_s = q.known.latest_s.get(q.rules.conversion.event, -inf)
    just_did = q.occasion.caused_by_goal or q.now_s - latest_s < q.rules.skip_recent_goal_s
    return Withhold("goal") if just_did and q.rules.skip_recent_goal_s > 0.0 else None


def _may_have_it(q: Question, _: Tools) -> Withhold | None:
    told = q.told
    if q.occasion.kind == "step" or told is None:
        return None
    after_s = q.rules.reentry.after_s
    is_again = told.key == q.occasion.key or after_s is None or q.occasion.at_s - told.trigger_s < after_s
    return Withhold("again") if is_again else None


def _has_cooled_down(q: Question, _: Tools) -> Withhold | None:
    if not isinstance(q.rules, Campaign) or q.told is None:
        return None
    return Withhold("cooldown") if q.now_s - q.told.last_s < q.rules.cooldown_s else None


def _has_agreed(q: Question, tools: Tools) -> Withhold | None:
    return None if _channels(q, tools) else Withhold("consent")


def _is_under_caps(q: Question, tools: Tools) -> Withhold | None:
    capped = q.rules.capped and is_capped(tools.plan.messaging.caps, q.row.sends_s, q.now_s)
    return Withhold("caps") if capped else None


def _is_loud(q: Question, tools: Tools) -> Withhold | Wait | None:
    messaging = tools.plan.messaging
    hours = messaging.quiet_hours if q.rules.quiet_hours == "default" else q.rules.quiet_hours
    if not isinstance(hours, QuietHours):
        return None
    trait = messaging.timezone_trait
    zone = zone_or(None if trait is None else q.known.traits.get(trait), messaging.timezone)
    due_s = quiet_until(hours, zone, q.now_s)
    return None if due_s <= q.now_s else _later(q, "quiet", due_s)


def _is_usual(q: Question, tools: Tools) -> Withhold | None:
    if q.id in tools.tripped:
        return Withhold("breaker")
    for resource, limit, amount, until_s in _breaker(q, tools):
        if not tools.allowance.has(resource, limit, amount, until_s):
            return Withhold("breaker")
    return None


def _is_in_rate(q: Question, tools: Tools) -> Withhold | Wait | None:
    for resource, limit, amount, until_s in _rate(q):
        if not tools.allowance.has(resource, limit, amount, until_s):
            return _later(q, "rate", until_s)
    return None


_TO_ENTER: Final[tuple[Rule, ...]] = (_is_active, _is_fresh, _is_known, _still_applies, _fits, _has_no_goal)
RULES: Final[tuple[Rule, ...]] = (
    *_TO_ENTER,
    _may_have_it,
    _has_cooled_down,
    _has_agreed,
    _is_under_caps,
    _is_loud,
    _is_usual,
    _is_in_rate,
)


def _later(q: Question, reason: Literal["quiet", "rate"], due_s: float) -> Withhold | Wait:
    """Wait, unless the message could only be refused as stale then."""
    too_late = due_s - q.occasion.at_s > q.rules.max_trigger_age_s
    return Withhold(reason) if too_late else Wait(reason, due_s)


# --- parts -----------------------------------------------------------------------------------------------------------

Use: TypeAlias = tuple[str, int, int, float]
"""A shared resource, its limit, how much of it, and until when it counts."""


def _channels(q: Question, tools: Tools) -> tuple[str, ...]:
    return open_channels(q.rules.channels, tools.plan.messaging.channels, q.known)


def _offer(q: Question, tools: Tools) -> Given | Withhold | None:
    if q.offer is None:
        return None
    prediction = getattr(q.offer, "prediction", "")
    found = given(q.offer, tools.plan.kinds.get(prediction, "event"), q.known, q.told, q.now_s)
    if found is None:
        return Withhold("no_score")
    for resource, limit, amount, until_s in _budget(q, found):
        if not tools.allowance.has(resource, limit, amount, until_s):
            return Withhold("budget", offer=found)
    return found


def _uses(q: Question, tools: Tools, offer: Given | None) -> list[Use]:
    return [*_breaker(q, tools), *_rate(q), *(_budget(q, offer) if offer is not None else [])]


def _breaker(q: Question, tools: Tools) -> list[Use]:
    breaker = q.rules.breaker
    if breaker is None or q.id not in tools.usual or q.occasion.kind == "schedule":
        return []
    hour, until_s = period_of("hour", q.now_s)
    limit = max(breaker.at_least, ceil(breaker.times * tools.usual[q.id]))
    return [(f"breaker:{q.id}:{hour}", limit, 1, until_s)]


def _rate(q: Question) -> list[Use]:
    rate = q.rules.rate
    if rate is None:
        return []
    period, until_s = period_of(rate.per, q.now_s)
    return [(f"rate:{q.id}:{period}", rate.sends, 1, until_s)]


def _budget(q: Question, offer: Given) -> list[Use]:
    budget = q.offer.budget if q.offer is not None else None
    if budget is None or offer.cost == 0.0:
        return []
    period, until_s = period_of(budget.per, q.now_s)
    # The budget in whole hundredths is rounded down, costs up: the sum never exceeds what was written.
    return [(f"budget:{q.id}:{period}", int(budget.amount * 100.0 + 1e-6), cents(offer.cost), until_s)]


def context_of(q: Question, offer: Given | None) -> dict[str, Any]:
    """What a message may name."""
    facts = q.known
    prediction = _prediction_of(q, facts)
    said = facts.said.get(prediction) if prediction is not None else None
    return {
        "user": {"id": q.user, **facts.traits},
        "score": None if said is None else said.score,
        "likelihood": None if said is None else said.likelihood,
        "category": None if said is None else said.category,
        "reasons": [] if said is None else list(said.reasons),
        "offer": None if offer is None else {"value": _number(offer.value), "unit": offer.unit},
        "remembered": facts.remembered,
        "event": q.occasion.properties,
        "campaign": {"id": q.id, "name": q.rules.name},
    }


def _prediction_of(q: Question, facts: Facts) -> str | None:
    """The prediction that a message speaks of: the ladder's, the segment's, or the only one."""
    named = getattr(q.offer, "prediction", None)
    if named is not None:
        return str(named)
    before, dot, _ = q.rules.segment.partition(".")
    if dot:
        return before
    return next(iter(facts.said)) if len(facts.said) == 1 else None


def _number(value: float) -> float | int:
    """Whole numbers without decimals: 20, not 20.0."""
    return int(value) if value == int(value) else value
