"""Whether a message is sent: every rule in its order, and the reason for each one that is not.

The same rules are asked at the occasion and again when a message that had to wait is due, each time with what the store
says of the user then. Chance comes last, so that the groups that are compared differ in nothing but the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, inf, nextafter
from typing import Final, Literal

from config.campaigns import Campaign
from config.journeys import Journey
from config.offers import FixedOffer
from config.times import QuietHours
from streams.campaigns.allowance import Use
from streams.campaigns.caps import is_capped
from streams.campaigns.consent import address_of, open_channels
from streams.campaigns.context import context_of
from streams.campaigns.offers import cents, given
from streams.campaigns.plan import Plan, rests_on
from streams.campaigns.question import ASK_AGAIN_S, Go, MessageFailed, Question, Rule, Tools, Verdict, Wait, Withhold
from streams.campaigns.quiet import quiet_until, zone_or
from streams.campaigns.recommending import question_id, recommended
from streams.campaigns.schedule import period_of
from streams.campaigns.state import HOUR_S, Books, Given
from streams.core.chance import is_control, is_held_out


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
    channels = _channels(question, tools)
    texts = _texts(question, tools, offer, channels)
    if isinstance(texts, Withhold | Wait):
        return texts
    if tools.plan.standing(question.id).state == "dry":
        return Withhold("dry", offer=offer)
    arm = arm_of(question, tools)
    if arm == "treated":
        for use in _uses(question, tools, offer):
            tools.allowance.use(use)
        return Go(channels, offer, texts, _addresses(channels, question, tools))
    return Withhold("control" if arm == "control" else "holdout", offer=offer)


def _texts(
    q: Question, tools: Tools, offer: Given | None, channels: tuple[str, ...]
) -> Mapping[str, Mapping[str, str]] | Withhold | Wait:
    assert q.message is not None, "there is something to send"
    context = context_of(q, offer)
    if q.message.recommendations is not None:
        if tools.plan.standing(q.id).state == "dry":
            return Withhold("dry", offer=offer)  # nobody is asked for what is not sent
        found = recommended(q, q.message.recommendations, tools, context)
        if isinstance(found, Wait | Withhold):
            return found
        context["recommendations"] = found.found
    try:
        return tools.render(q.message, channels, context)
    except MessageFailed as failed:
        return Withhold("message", str(failed), offer)


def refusal_to_enter(question: Question, tools: Tools) -> Withhold | Wait | None:
    """Why a user may not begin a journey; None if they may. Whether they are sent to is asked at each message."""
    return next((found for rule in _TO_ENTER if (found := rule(question, tools)) is not None), None)


def refusal_to_deliver(question: Question, tools: Tools, channel: str) -> Withhold | Wait | None:
    """Why a message that was decided a while ago should not be delivered (now); None if it still should."""
    for rule in _TO_DELIVER:
        found = rule(question, tools)
        if found is not None:
            return found
    is_open = open_channels((channel,), tools.plan.messaging.channels, question.facts)
    return None if is_open else Withhold("consent")


def arm_of(question: Question, tools: Tools) -> str:
    """Which group the user is in: as drawn at the first message, whatever the shares are by now."""
    if is_held_out(question.user, tools.plan.messaging.holdout):
        return "holdout"
    if question.assigned is not None:
        return question.assigned.arm
    return "control" if is_control(question.id, question.user, question.rules.control) else "treated"


# --- the rules, in their order ---------------------------------------------------------------------------------------


def _is_active(q: Question, tools: Tools) -> Withhold | Wait | None:
    activity = tools.plan.activity(q.id, q.now_s)
    if activity in ("on", "dry"):
        return None
    return held(q) if activity == "paused" and q.has_waited else Withhold("inactive")


def _is_fresh(q: Question, _: Tools) -> Withhold | None:
    return Withhold("stale") if q.now_s > q.deadline_s else None


def _is_current(q: Question, tools: Tools) -> Withhold | Wait | None:
    is_current = q.facts.as_of_s >= q.now_s - tools.plan.messaging.max_behind_s
    is_read = not q.facts.unread or q.facts.unread.isdisjoint(rests_on(q.rules, tools.plan.messaging))
    return None if is_current and is_read else _later(q, "behind", q.now_s + ASK_AGAIN_S)


def _is_known(q: Question, _: Tools) -> Withhold | None:
    return None if q.facts.known else Withhold("unknown")


def _still_applies(q: Question, _: Tools) -> Withhold | None:
    is_in = q.rules.segment in q.facts.segments
    if q.occasion.kind == "step":
        exits = isinstance(q.rules, Journey) and q.rules.exit_on in ("leaving", "goal_or_leaving")
        return Withhold("left") if exits and not is_in else None
    return Withhold("left") if is_in == (q.occasion.kind == "exit") else None


def _fits(q: Question, _: Tools) -> Withhold | None:
    return Withhold("filter") if q.filter is not None and q.filter not in q.facts.fits else None


def _has_no_goal(q: Question, _: Tools) -> Withhold | Wait | None:
    event, recent_s = q.rules.conversion.event, q.rules.skip_recent_goal_s
    if recent_s <= 0.0:
        return None
    if q.occasion.caused_by_goal or q.now_s - q.facts.latest_s.get(event, -inf) < recent_s:
        return Withhold("goal")
    complete_s = q.facts.since_s.get(event, -inf) + recent_s
    return _later(q, "behind", complete_s) if q.now_s < complete_s else None


def _may_have_it(q: Question, _: Tools) -> Withhold | None:
    assigned = q.assigned
    if q.occasion.kind == "step" or assigned is None:
        return None
    after_s = q.rules.again_after_s
    is_again = assigned.key == q.occasion.key or after_s is None or q.occasion.at_s - assigned.trigger_s < after_s
    return Withhold("again") if is_again else None


def _has_cooled_down(q: Question, _: Tools) -> Withhold | None:
    if not isinstance(q.rules, Campaign) or q.assigned is None:
        return None
    return Withhold("cooldown") if q.now_s - q.assigned.last_s < q.rules.cooldown_s else None


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
    zone = zone_or(None if trait is None else q.facts.traits.get(trait), messaging.timezone)
    due_s = quiet_until(hours, zone, q.now_s)
    return None if due_s <= q.now_s else _later(q, "quiet", due_s)


def _is_usual(q: Question, tools: Tools) -> Withhold | Wait | None:
    if is_tripped(q.id, tools.plan, tools.books):
        return held(q) if q.has_waited else Withhold("breaker")
    is_usual = all(tools.allowance.has(use, q.now_s) for use in _breaker(q, tools))
    return None if is_usual else Withhold("breaker")


def _is_in_rate(q: Question, tools: Tools) -> Withhold | Wait | None:
    use = _rate(q, tools)
    if use is None:
        return None
    if not tools.allowance.has(use, q.now_s):
        return _in_queue(q, use)
    if q.id in tools.queues and q.why not in ("rate", "recommendations"):
        return Wait("rate", inf)  # who waits goes before who comes
    return None if _has_room_to_ask(q, tools, use) else _in_queue(q, use)


def _in_queue(q: Question, rate: Use) -> Withhold | Wait:
    found = _later(q, "rate", rate.until_s)
    return Wait("rate", inf) if isinstance(found, Wait) else found


def _has_room_to_ask(q: Question, tools: Tools, rate: Use) -> bool:
    """Whether the rate has room beside those who are asked about, and use it when they are answered."""
    asks = q.message is not None and q.message.recommendations is not None
    if not asks or question_id(q) in tools.answers:
        return True
    return tools.allowance.has(rate._replace(amount=1 + tools.under_way[q.id]), q.now_s)


_TO_DELIVER: Final[tuple[Rule, ...]] = (_is_active, _is_fresh, _is_current, _is_known, _still_applies, _has_no_goal)
_TO_ENTER: Final[tuple[Rule, ...]] = (
    _is_active,
    _is_fresh,
    _is_current,
    _is_known,
    _still_applies,
    _fits,
    _has_no_goal,
)
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


def _later(q: Question, reason: Literal["behind", "quiet", "rate"], due_s: float) -> Withhold | Wait:
    """Wait, unless the message could only be refused as stale then."""
    return Withhold(reason) if due_s > q.deadline_s else Wait(reason, due_s)


def held(q: Question) -> Withhold | Wait:
    """What has waited already waits for the campaign to be put on again, for as long as it is worth."""
    return Withhold("stale") if q.now_s > q.deadline_s else Wait("paused", nextafter(q.deadline_s, inf))


def is_tripped(id_: str, plan: Plan, books: Books) -> bool:
    """Whether the breaker has tripped here, and nobody has put the campaign on again since."""
    return books.of(id_).tripped_s == plan.standing(id_).since_s


def is_held(id_: str, plan: Plan, books: Books, now_s: float) -> bool:
    """Whether what waits stays where it is: nobody is called while the campaign is paused."""
    return plan.activity(id_, now_s) == "paused" or is_tripped(id_, plan, books)


# --- parts -----------------------------------------------------------------------------------------------------------


def _channels(q: Question, tools: Tools) -> tuple[str, ...]:
    return open_channels(q.rules.channels, tools.plan.messaging.channels, q.facts)


def _addresses(channels: tuple[str, ...], q: Question, tools: Tools) -> dict[str, str]:
    known = tools.plan.messaging.channels
    found = {id_: address_of(known[id_], q.facts) for id_ in channels}
    return {id_: address for id_, address in found.items() if address is not None}


def _offer(q: Question, tools: Tools) -> Given | Withhold | None:
    if q.offer is None:
        return None
    kind = "event" if isinstance(q.offer, FixedOffer) else tools.plan.kinds[q.offer.prediction]
    found = given(q.offer, kind, q.facts, q.assigned, q.now_s)
    if found is None:
        return Withhold("no_score")
    for use in _budget(q, found):
        if not tools.allowance.has(use, q.now_s):
            return Withhold("budget", use.resource, offer=found)
    return found


def _uses(q: Question, tools: Tools, offer: Given | None) -> list[Use]:
    rate = _rate(q, tools)
    budget = _budget(q, offer) if offer is not None else []
    return [*_breaker(q, tools), *([rate] if rate is not None else []), *budget]


def _breaker(q: Question, tools: Tools) -> list[Use]:
    """By the hour of the occasion, not of the message: what a night has held back is not a flood in the morning.

    Whoever puts a campaign on again has looked: what was held until then may go, and the rest is counted anew.
    Otherwise the hour in which it tripped would trip it again at once.
    """
    breaker, since_s = q.rules.breaker, tools.plan.standing(q.id).since_s
    was_held = q.why not in ("", "moment") and q.occasion.at_s < since_s
    if breaker is None or q.occasion.kind == "schedule" or was_held:
        return []
    hour = int(q.occasion.at_s // HOUR_S)
    usual = tools.usual.get(q.id)
    limit = breaker.until_known
    if usual is not None:
        limit = max(breaker.at_least, ceil(breaker.times * usual.get(hour % 24, 0)))
    until_s = max((hour + 1) * HOUR_S, q.deadline_s)
    return [Use(q.id, f"breaker:{q.id}:{since_s!r}:{hour}", limit, 1, until_s)]


def _rate(q: Question, tools: Tools) -> Use | None:
    """By the version in force, as those who wait are called by it, whatever the one is on which the user is."""
    return rate_of(q.id, tools.plan.rules(q.id) or q.rules, q.now_s)


def rate_of(id_: str, rules: Campaign | Journey, now_s: float) -> Use | None:
    """What one message uses of the rate; None if there is none."""
    rate = rules.rate
    if rate is None:
        return None
    period, until_s = period_of(rate.per, now_s)
    return Use(id_, f"rate:{id_}:{period}", rate.sends, 1, until_s)


def _budget(q: Question, offer: Given) -> list[Use]:
    budget = q.offer.budget if q.offer is not None else None
    if budget is None or offer.cost == 0.0:
        return []
    period, until_s = period_of(budget.per, q.now_s)
    # The budget in whole hundredths is rounded down, costs up: the sum never exceeds what was written.
    limit = int(budget.amount * 100.0 + 1e-6)
    return [Use(q.id, f"budget:{q.id}:{period}", limit, cents(offer.cost), until_s)]
