"""Users on their way through journeys. A user stays on the version on which they entered."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from config.journeys import END, Journey, RandomSplitStep, SendStep, SplitStep, Step, WaitStep, WaitUntilStep
from streams.campaigns.decide import refusal_to_enter
from streams.campaigns.inputs import Crossing, Watched
from streams.campaigns.plan import fulfils, path_filter
from streams.campaigns.question import ASK_AGAIN_S, Question, Wait
from streams.campaigns.rows import leave
from streams.campaigns.state import At, Occasion, Refused, Row, Waiting
from streams.core.chance import path_of

if TYPE_CHECKING:
    from streams.campaigns.engine import Engine

OVERDUE_S: Final = 60.0
"""A step that ends later than it should have by more than this has waited for the service, and the next begins now. Of
an event it is counted from when the log took it: one may be told long after it happened, by a clock that is wrong."""
PACE_S: Final = 60.0
"""Least time between two messages of a journey to a user,"""
LATE_PACE_S: Final = 3_600.0
"""and between the last one and one that is late, unless the journey itself waits less between its steps."""


def enter(engine: Engine, user: str, row: Row, id_: str, waiting: Waiting) -> Wait | None:
    """Begin a journey, if the user may; why not is counted. Wait: ask again later."""
    version, journey = engine.plan.current(id_)
    assert isinstance(journey, Journey), "asked by its id"
    occasion = waiting.occasion
    found: str | Wait | None = _refusal(engine, user, row, id_, waiting)
    if isinstance(found, Wait):
        return found
    book = engine.books.change(id_)
    book.count(found or "entered")
    if found is not None:
        row.refused[id_] = Refused(occasion.key, found)
    else:
        row.refused.pop(id_, None)
        row.entered_s[id_] = occasion.at_s
        row.journeys[id_] = At(version, "", occasion.key, occasion.at_s, engine.now_s, engine.now_s)
        book.move(book.inside, version, 1)
        book.move(book.at, "", 1)
        _walk(engine, user, row, id_, next(iter(journey.steps)), _told_s(occasion))
    return None


def _refusal(engine: Engine, user: str, row: Row, id_: str, waiting: Waiting) -> str | Wait | None:
    """Why a user does not enter; None if they do."""
    occasion = waiting.occasion
    if id_ in row.journeys:
        return "inside"
    version, journey = engine.plan.current(id_)
    question = Question(
        id=id_,
        version=version,
        rules=journey,
        user=user,
        occasion=occasion,
        deadline_s=occasion.at_s + journey.max_trigger_age_s,
        message=None,
        offer=None,
        row=row,
        facts=engine.facts[user],
        now_s=engine.now_s,
        filter=id_ if journey.filter is not None else None,
        why=waiting.why,
    )
    found = refusal_to_enter(question, engine.tools)
    if found is not None:
        return found if isinstance(found, Wait) else found.reason
    after_s = journey.again_after_s
    had = id_ in row.entered_s and (after_s is None or occasion.at_s - row.entered_s[id_] < after_s)
    return "again" if had else None


def crossed(engine: Engine, user: str, row: Row, crossing: Crossing) -> None:
    """A crossing may end journeys, or be what they wait for."""
    for id_ in sorted(row.journeys, key=engine.plan.rank):
        at, journey = row.journeys[id_], _journey(engine, row, id_)
        if _is_over(engine, row, id_):
            continue
        leaves = crossing.segment == journey.segment and not crossing.is_entry
        if leaves and journey.exit_on in ("leaving", "goal_or_leaving"):
            _leave(engine, row, id_, "left_segment")
            continue
        step = journey.steps[at.step]
        if isinstance(step, WaitUntilStep):
            awaited = step.until.enters if crossing.is_entry else step.until.leaves
            if awaited == crossing.segment:
                _walk(engine, user, row, id_, step.then or journey.behind(at.step), crossing.told_s)


def happened(engine: Engine, user: str, row: Row, event: Watched) -> None:
    """A watched event may end journeys, or be what they wait for."""
    for id_ in sorted(row.journeys, key=engine.plan.rank):
        at, journey = row.journeys[id_], _journey(engine, row, id_)
        if _is_over(engine, row, id_):
            continue
        is_goal = event.event == journey.conversion.event and fulfils(journey.conversion.where, event.properties)
        if is_goal and event.at_s >= at.trigger_s and journey.exit_on in ("goal", "goal_or_leaving"):
            _leave(engine, row, id_, "goal_reached")
            continue
        step = journey.steps[at.step]
        if (
            isinstance(step, WaitUntilStep)
            and step.until.event == event.event
            and event.at_s >= at.trigger_s  # a late one, from before the journey, is not what is waited for
            and fulfils(step.until.where, event.properties)
        ):
            _walk(engine, user, row, id_, step.then or journey.behind(at.step), event.told_s)


def wake(engine: Engine, user: str, row: Row, id_: str) -> None:
    """A step is over, or the time has come to ask again about one that was held up."""
    engine.touch(user)
    if _is_over(engine, row, id_):
        return
    at, journey = row.journeys[id_], _journey(engine, row, id_)
    step, was_late = journey.steps[at.step], False
    if isinstance(step, WaitUntilStep):
        next_: str | None = step.otherwise or step.then or journey.behind(at.step)
    elif isinstance(step, WaitStep):
        next_ = step.then or journey.behind(at.step)
    else:
        next_ = _do(engine, user, row, id_, step)
        was_late = at.is_late  # being held up makes nothing timely; a message that was sent has settled it
    if next_ is not None:
        _walk(engine, user, row, id_, next_, at.due_s, was_late=was_late)


def _told_s(occasion: Occasion) -> float:
    return occasion.at_s if occasion.told_s is None else occasion.told_s


def _walk(engine: Engine, user: str, row: Row, id_: str, next_: str, led_s: float, *, was_late: bool = False) -> None:
    """From step to step until one waits or the journey is over. `led_s`: the time of what led to the first of them;
    `was_late`: it is late whatever that says.
    """
    engine.touch(user)
    at, journey = row.journeys[id_], _journey(engine, row, id_)
    # A wait that ends as the clock says has no gap behind it, one that ends in an outage does not pile up with others.
    at.is_late = was_late or engine.now_s - led_s > OVERDUE_S
    begun_s = engine.now_s if at.is_late else min(at.due_s, engine.now_s)
    while next_ != END:
        step = journey.steps[next_]
        book = engine.books.change(id_)
        book.move(book.at, at.step, -1)
        book.move(book.at, next_, 1)
        at.step, at.since_s, at.due_s, at.why = next_, begun_s, inf, ""
        at.visits += 1
        book.steps[next_] = book.steps.get(next_, 0) + 1
        found = _do(engine, user, row, id_, step)
        if found is None:
            return
        next_ = found
    _leave(engine, row, id_, "finished")


def _do(engine: Engine, user: str, row: Row, id_: str, step: Step) -> str | None:
    """What a step does when it is come to, or was held up. The next one, or None if this one takes time."""
    at, journey = row.journeys[id_], _journey(engine, row, id_)
    behind = journey.behind(at.step)
    if isinstance(step, WaitStep):
        at.due_s = at.since_s + step.wait_s
        return None
    if isinstance(step, WaitUntilStep):
        is_so = _is_so(engine, user, step)
        at.due_s = at.since_s + step.at_most_s
        return (step.then or behind) if is_so else None
    if isinstance(step, SendStep):
        return _send(engine, user, row, id_, step)
    if isinstance(step, RandomSplitStep):
        return step.paths[path_of(id_, at.step, user, tuple(path.share for path in step.paths))].then
    if engine.facts[user].as_of_s < engine.now_s - engine.plan.messaging.max_behind_s:
        _hold(at, "behind", engine.now_s + ASK_AGAIN_S)
        return None
    return _choose(engine, user, id_, at, step) or behind


def _choose(engine: Engine, user: str, id_: str, at: At, step: SplitStep) -> str | None:
    """The step to which a split leads; None for the one below."""
    fits = engine.facts[user].fits
    names = [path_filter(id_, at.version, at.step, index) for index in range(len(step.paths))]
    return next((path.then for path, name in zip(step.paths, names, strict=True) if name in fits), step.otherwise)


def _is_so(engine: Engine, user: str, step: WaitUntilStep) -> bool:
    """Whether what is waited for is the case already; an event has to come."""
    facts = engine.facts[user]
    if step.until.enters is not None:
        return step.until.enters in facts.segments
    return step.until.leaves is not None and facts.known and step.until.leaves not in facts.segments


def _send(engine: Engine, user: str, row: Row, id_: str, step: SendStep) -> str | None:
    """Ask whether the message of the step the user is at may be sent. The next step, or None if it has to wait."""
    at, journey = row.journeys[id_], _journey(engine, row, id_)
    if engine.plan.activity(id_, engine.now_s) == "paused":
        # Whatever the version: the user stays here, and is called (`held_queue`) when it is put on again.
        _hold(at, "paused", inf)
        return None
    last = row.assigned.get(id_)
    pace_s = _late_pace_s(journey) if at.is_late else PACE_S
    if last is not None and engine.now_s - last.last_s < pace_s:
        _hold(at, "pace", last.last_s + pace_s)
        return None
    verdict = engine.settle(_question(engine, user, row, id_, journey, step), at.step)
    if isinstance(verdict, Wait):
        _hold(at, verdict.reason, verdict.due_s)
        return None
    at.due_s, at.is_late = engine.now_s, False
    return step.then or journey.behind(at.step)


def _late_pace_s(journey: Journey) -> float:
    """Between the last message and one that is late: as long as the journey itself waits at least."""
    waits = [step.wait_s for step in journey.steps.values() if isinstance(step, WaitStep)]
    return max(PACE_S, min([LATE_PACE_S, *waits]))


def _question(engine: Engine, user: str, row: Row, id_: str, journey: Journey, step: SendStep) -> Question:
    at = row.journeys[id_]
    # A message is worth as much as before when the journey goes on after a pause.
    since_s = max(at.since_s, engine.plan.standing(id_).since_s)
    return Question(
        id=id_,
        version=at.version,
        rules=journey,
        user=user,
        occasion=Occasion("step", f"{at.key}/{at.step}/{at.visits}", at.since_s),
        deadline_s=since_s + step.at_most_s,
        message=step.send,
        offer=step.offer,
        row=row,
        facts=engine.facts[user],
        now_s=engine.now_s,
        why=at.why,
    )


def _hold(at: At, why: str, due_s: float) -> None:
    at.why, at.due_s = why, due_s


def _is_over(engine: Engine, row: Row, id_: str) -> bool:
    """Whether the journey as a whole has come to its end, and the user has left it for that."""
    if engine.plan.activity(id_, engine.now_s) not in ("archived", "over"):
        return False
    _leave(engine, row, id_, "gone")
    return True


def _leave(engine: Engine, row: Row, id_: str, why: str) -> None:
    leave(row, engine.books, id_)
    engine.books.change(id_).count(why)


def _journey(engine: Engine, row: Row, id_: str) -> Journey:
    """The version on which a user is; one that was taken away was pruned before."""
    found = engine.plan.journey(id_, row.journeys[id_].version)
    assert found is not None, "pruned before"
    return found
