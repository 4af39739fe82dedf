"""Which campaigns and journeys an input begins, what is news, and for whom facts have to be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from config.campaigns import Campaign
from config.times import EventTrigger, OnceTrigger, RecurringTrigger
from streams.campaigns.inputs import Crossing, Due, Input, Member, Turn, Watched
from streams.campaigns.plan import Plan, fulfils
from streams.campaigns.state import Occasion, Row


def begun_by(each: Input, plan: Plan) -> list[str]:
    """Ids of campaigns and journeys for which the input is an occasion, those that go first first."""
    if isinstance(each, Crossing):
        return [id_ for id_ in plan.on_segment.get(each.segment, ()) if _listens(plan, id_, each)]
    if isinstance(each, Watched):
        return [id_ for id_ in plan.on_event.get(each.event, ()) if _is_asked_for(plan, id_, each)]
    if isinstance(each, Member):
        rules = plan.rules(each.campaign)
        is_scheduled = isinstance(rules, Campaign) and isinstance(rules.trigger, OnceTrigger | RecurringTrigger)
        return [each.campaign] if is_scheduled else []
    return []


def _listens(plan: Plan, id_: str, crossing: Crossing) -> bool:
    _, rules = plan.current(id_)
    if crossing.origin not in rules.origins:
        return False
    if not isinstance(rules, Campaign):
        return crossing.is_entry
    return rules.trigger in ("enter" if crossing.is_entry else "exit", "both")


def _is_asked_for(plan: Plan, id_: str, event: Watched) -> bool:
    trigger = _trigger(plan, id_)
    return trigger is not None and fulfils(trigger.where, event.properties)


def _trigger(plan: Plan, id_: str) -> EventTrigger | None:
    rules = plan.rules(id_)
    return rules.trigger if isinstance(rules, Campaign) and isinstance(rules.trigger, EventTrigger) else None


def occasion_of(each: Crossing | Watched | Member, plan: Plan, id_: str) -> Occasion:
    """Why something would be sent; neither generation nor shard is in its key."""
    if isinstance(each, Crossing):
        kind = "enter" if each.is_entry else "exit"
        key = f"{each.segment}:{each.sequence}:{each.at_s:.3f}"
        return Occasion(kind, key, each.at_s, each.caused_by_goal, told_s=each.log_time_s)
    if isinstance(each, Member):
        return Occasion("schedule", f"schedule:{each.at_s:.0f}", each.at_s)
    trigger = _trigger(plan, id_)
    wanted = trigger.properties if trigger is not None else ()
    properties = {name: each.properties[name] for name in wanted if name in each.properties}
    return Occasion("event", f"event:{each.message_id}", each.at_s, False, properties)


def is_news(row: Row, crossing: Crossing) -> bool:
    """Whether a crossing has not been seen, and says something new.

    Sequences of a user and segment grow for as long as the store lives. In a store that was rebuilt or set back they
    begin lower, and what was said is said again; then only a later change of the membership is news.
    """
    sequence, at_s = row.crossings.get(crossing.segment, (0, -inf))
    if crossing.sequence > sequence:
        return True
    is_change = (sequence % 2 == 1) != crossing.is_entry
    return is_change and crossing.at_s > at_s


def users_of(inputs: Iterable[Input]) -> list[str]:
    """Whose rows the engine needs, each once."""
    return list(dict.fromkeys(each.user for each in inputs))


def needs_facts(inputs: Iterable[Input], rows: Mapping[str, Row], plan: Plan, until_s: float) -> list[str]:
    """Whose facts the engine may look at, each once: not of those of whom only a conversion is counted.

    `until_s`: the time up to which timers will run.
    """
    return list(dict.fromkeys(each.user for each in inputs if _needs(each, rows.get(each.user), plan, until_s)))


def _needs(each: Input, row: Row | None, plan: Plan, until_s: float) -> bool:
    if isinstance(each, Due | Turn):
        return row is not None
    if begun_by(each, plan):
        return True
    if row is None or not isinstance(each, Crossing | Watched):
        return row is not None and row.next_s() <= until_s
    # A user who is in a journey may go on with any input; one who waits for the rest of a moment is asked about.
    return bool(row.journeys) or row.next_s() <= until_s or any(w.why == "moment" for w in row.waiting.values())
