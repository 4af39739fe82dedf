"""Users on their way through journeys. A user stays on the version on which they entered."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from config.journeys import END, Journey, SendStep, SharesStep, SplitStep, Step, WaitStep, WaitUntilStep
from streams.campaigns.chance import way_of
from streams.campaigns.decide import Question, Wait, refusal_to_enter
from streams.campaigns.inputs import Crossing, Watched
from streams.campaigns.plan import entry_filter, fulfils, way_filter
from streams.campaigns.state import HOUR_S, At, Occasion, Row

if TYPE_CHECKING:
    from streams.campaigns.engine import Engine


def enter(engine: Engine, user: str, row: Row, id_: str, occasion: Occasion) -> None:
    """Begin a journey, if the user may; why not is counted."""
    version, journey = engine.plan.current(id_)
    reason = _refusal(engine, user, row, id_, occasion)
    engine.state.count(id_, reason or "entered")
    if reason is None:
        row.entered_s[id_] = occasion.at_s
        row.journeys[id_] = At(version, "", occasion.key, occasion.at_s, engine.now_s, inf)
        _walk(engine, user, row, id_, next(iter(journey.steps)))


def _refusal(engine: Engine, user: str, row: Row, id_: str, occasion: Occasion) -> str | None:
    """Why a user does not enter; None if they do."""
    if id_ in row.journeys:
        return "inside"
    version, journey = engine.plan.current(id_)
    question = Question(
        id=id_,
        rules=journey,
        user=user,
        occasion=occasion,
        message=None,
        offer=None,
        row=row,
        facts=engine.facts[user],
        now_s=engine.now_s,
        filter=entry_filter(id_, version) if journey.filter is not None else None,
    )
    found = refusal_to_enter(question, engine.tools)
    if found is not None:
        return found.reason
    after_s = journey.reentry.after_s
    had = id_ in row.entered_s and (after_s is None or occasion.at_s - row.entered_s[id_] < after_s)
    return "again" if had else None


def crossed(engine: Engine, user: str, row: Row, crossing: Crossing) -> None:
    """A crossing may end journeys, or be what they wait for."""
    for id_ in sorted(row.journeys, key=engine.plan.rank):
        at = row.journeys[id_]
        journey = _journey(engine, id_, at)
        if journey is None:
            continue
        leaves = crossing.segment == journey.segment and not crossing.is_entry
        if leaves and journey.ends_on in ("leaving", "goal_or_leaving"):
            _leave(engine, user, row, id_, "left")
            continue
        step = journey.steps[at.step]
        if isinstance(step, WaitUntilStep):
            awaited = step.until.enters if crossing.is_entry else step.until.leaves
            if awaited == crossing.segment:
                _walk(engine, user, row, id_, step.then or journey.behind(at.step))


def happened(engine: Engine, user: str, row: Row, event: Watched) -> None:
    """A watched event may end journeys, or be what they wait for."""
    for id_ in sorted(row.journeys, key=engine.plan.rank):
        at = row.journeys[id_]
        journey = _journey(engine, id_, at)
        if journey is None:
            continue
        is_goal = event.event == journey.conversion.event and fulfils(journey.conversion.where, event.properties)
        if is_goal and journey.ends_on in ("goal", "goal_or_leaving"):
            _leave(engine, user, row, id_, "goal_reached")
            continue
        step = journey.steps[at.step]
        if (
            isinstance(step, WaitUntilStep)
            and step.until.event == event.event
            and event.at_s >= at.trigger_s  # a late one, from before the journey, is not what is waited for
            and fulfils(step.until.where, event.properties)
        ):
            _walk(engine, user, row, id_, step.then or journey.behind(at.step))


def wake(engine: Engine, user: str, row: Row, id_: str) -> None:
    """A step is over, or the time has come to ask again whether its message may be sent."""
    at = row.journeys[id_]
    journey = _journey(engine, id_, at)
    if journey is None or engine.plan.current(id_)[1].archived:
        _leave(engine, user, row, id_, "gone")
        return
    step = journey.steps[at.step]
    next_: str | None = None
    if isinstance(step, WaitUntilStep):
        next_ = step.otherwise or step.then or journey.behind(at.step)
    elif isinstance(step, WaitStep):
        next_ = step.then or journey.behind(at.step)
    elif isinstance(step, SendStep):
        next_ = _send(engine, user, row, id_, step)
    if next_ is not None:
        _walk(engine, user, row, id_, next_)


def _walk(engine: Engine, user: str, row: Row, id_: str, next_: str) -> None:
    """From step to step until one waits or the journey is over."""
    engine.touch(user)
    at = row.journeys[id_]
    journey = _journey(engine, id_, at)
    assert journey is not None, "somebody is on this version"
    # A wait that was due in an outage began to be over then; what comes behind it is counted from there.
    begun_s = min(at.due_s, engine.now_s)
    while next_ != END:
        step = journey.steps[next_]
        at.step, at.since_s, at.due_s = next_, begun_s, inf
        at.visits += 1
        counts = engine.state.steps.setdefault(id_, {})
        counts[next_] = counts.get(next_, 0) + 1
        found = _do(engine, user, row, id_, step)
        if found is None:
            return
        next_ = found
    _leave(engine, user, row, id_, "finished")


def _do(engine: Engine, user: str, row: Row, id_: str, step: Step) -> str | None:
    """Come to a step. The next one, or None if this one takes time."""
    at = row.journeys[id_]
    journey = _journey(engine, id_, at)
    assert journey is not None, "somebody is on this version"
    behind = journey.behind(at.step)
    if isinstance(step, WaitStep):
        at.due_s = at.since_s + step.wait_s
        return None
    if isinstance(step, WaitUntilStep):
        if _is_so(engine, user, step):
            return step.then or behind
        at.due_s = at.since_s + step.at_most_s
        return None
    if isinstance(step, SendStep):
        return _send(engine, user, row, id_, step)
    return _choose(engine, user, id_, at, step) or behind


def _choose(engine: Engine, user: str, id_: str, at: At, step: SplitStep | SharesStep) -> str | None:
    """The step to which a split leads; None for the one below."""
    if isinstance(step, SharesStep):
        return step.shares[way_of(id_, at.step, user, tuple(way.share for way in step.shares))].then
    facts = engine.facts[user]
    fits = facts.fits if facts is not None else frozenset()
    names = [way_filter(id_, at.version, at.step, index) for index in range(len(step.ways))]
    return next((way.then for way, name in zip(step.ways, names, strict=True) if name in fits), step.otherwise)


def _is_so(engine: Engine, user: str, step: WaitUntilStep) -> bool:
    """Whether what is waited for is the case already; an event has to come."""
    facts = engine.facts[user]
    if facts is None:
        return False
    if step.until.enters is not None:
        return step.until.enters in facts.segments
    return step.until.leaves is not None and step.until.leaves not in facts.segments


def _send(engine: Engine, user: str, row: Row, id_: str, step: SendStep) -> str | None:
    """Ask whether the message of the step the user is at may be sent. The next step, or None if it has to wait."""
    at = row.journeys[id_]
    journey = _journey(engine, id_, at)
    assert journey is not None, "somebody is on this version"
    if engine.plan.current(id_)[1].paused:
        # Whatever the version: the user stays here, and is asked about again.
        at.due_s = engine.now_s + HOUR_S
        return None
    key = f"{at.key}/{at.step}/{at.visits}"
    question = Question(
        id=id_,
        rules=journey,
        user=user,
        occasion=Occasion("step", key, at.since_s),
        message=step.send,
        offer=step.offer,
        row=row,
        facts=engine.facts[user],
        now_s=engine.now_s,
    )
    verdict = engine.settle(question, at.step)
    if isinstance(verdict, Wait):
        at.due_s = verdict.due_s
        return None
    at.due_s = engine.now_s
    return step.then or journey.behind(at.step)


def _leave(engine: Engine, user: str, row: Row, id_: str, why: str) -> None:
    del row.journeys[id_]
    engine.state.count(id_, why)
    engine.touch(user)


def _journey(engine: Engine, id_: str, at: At) -> Journey | None:
    """The version on which a user is; None if it has been taken away."""
    return engine.plan.journeys.get(id_, {}).get(at.version)
