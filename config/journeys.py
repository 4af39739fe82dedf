"""Journeys: several messages, with waiting and choosing between them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from config.base import SEGMENT_PATTERN, Duration, EventName, Id, Model, Name, Tup, branch, refuse, refuse_rule
from config.campaigns import Message, Rules, Share
from config.conditions import MAX_WHERE, Condition
from config.durations import DAY_S
from config.filters import Filter
from config.offers import Offer

MAX_STEPS: Final = 64
"""Of one journey."""
MAX_PATHS: Final = 16
"""Of one split."""
END = "end"
"""What `then` says to leave the journey."""


class WaitStep(Model):
    """Go on after a time."""

    wait_s: Duration = Field(alias="wait")
    """For so long."""
    then: Id | None = None
    """Id of the next step. Without it the one below; end ends the journey."""

    @field_validator("wait_s")
    @classmethod
    def _some(cls, value: float) -> float:
        if value < 60:
            raise refuse("at least 1m")
        return value


class Happens(Model):
    """What is waited for: one of event, enters, leaves."""

    event: EventName | None = None
    """An event of the user."""
    where: dict[Name, Condition] = Field(default_factory=dict, max_length=MAX_WHERE)
    """Conditions on properties of the event, as in a goal."""
    enters: Annotated[str, Field(pattern=SEGMENT_PATTERN)] | None = None
    """The user enters this segment, or is in it already."""
    leaves: Annotated[str, Field(pattern=SEGMENT_PATTERN)] | None = None
    """The user leaves this segment, or is not in it."""

    @model_validator(mode="after")
    def _one(self) -> Happens:
        if sum(each is not None for each in (self.event, self.enters, self.leaves)) != 1:
            raise refuse_rule("exactly one of event, enters and leaves")
        if self.where and self.event is None:
            raise refuse_rule("where only beside event")
        return self


class WaitUntilStep(Model):
    """Go on when something happens, or after a time."""

    until: Happens = Field(alias="wait_until")
    """What is waited for."""
    at_most_s: Duration = Field(alias="at_most")
    """How long."""
    then: Id | None = None
    """Id of the next step when it has happened. Without it the one below."""
    otherwise: Id | None = None
    """Id of the next step when it has not. Without it that of then."""

    @field_validator("at_most_s")
    @classmethod
    def _some(cls, value: float) -> float:
        if value < 60:
            raise refuse("at least 1m")
        return value


class Path(Model):
    """One path of a split."""

    when: Filter
    """Who takes it."""
    then: Id
    """Id of the next step."""


class SplitStep(Model):
    """The first path whose filter holds: by score, category, segment, traits or events."""

    paths: Tup[Path] = Field(alias="split", min_length=1, max_length=MAX_PATHS)
    """List of {when: FILTER, then: STEP}."""
    otherwise: Id | None = None
    """Id of the next step of all others. Without it the one below."""


class RandomPath(Model):
    """One path of a random split."""

    share: Share
    """Of all users."""
    then: Id
    """Id of the next step."""


class RandomSplitStep(Model):
    """Paths by chance; the same user takes the same path every time."""

    paths: Tup[RandomPath] = Field(alias="random_split", min_length=2, max_length=MAX_PATHS)
    """List of {share: 0.5, then: STEP}; together 1."""

    @field_validator("paths")
    @classmethod
    def _whole(cls, value: tuple[RandomPath, ...]) -> tuple[RandomPath, ...]:
        if abs(sum(path.share for path in value) - 1.0) > 1e-9:
            raise refuse("shares that are 1 together")
        return value


class SendStep(Model):
    """Send a message, by the rules of the journey, and go on."""

    send: Message
    """What is sent."""
    offer: Offer | None = None
    """What it promises."""
    at_most_s: Duration = Field(default=DAY_S, alias="at_most")
    """For so long it may wait for quiet hours and the like; then it is passed over. A pause does not count."""
    then: Id | None = None
    """Id of the next step. Without it the one below."""


_TYPES: dict[str, type[Model]] = {
    "~wait": WaitStep,
    "~wait_until": WaitUntilStep,
    "~split": SplitStep,
    "~random_split": RandomSplitStep,
    "~send": SendStep,
}


def _step_kind(value: Any) -> str | None:
    return branch(value, {tag[1:]: tag for tag in _TYPES}, _TYPES)


Step: TypeAlias = Annotated[
    Annotated[WaitStep, Tag("~wait")]
    | Annotated[WaitUntilStep, Tag("~wait_until")]
    | Annotated[SplitStep, Tag("~split")]
    | Annotated[RandomSplitStep, Tag("~random_split")]
    | Annotated[SendStep, Tag("~send")],
    Discriminator(
        _step_kind,
        custom_error_type="expected",
        custom_error_message="a step: wait, wait_until, split, random_split or send",
    ),
]


class Journey(Rules):
    """Several steps; a user is in it at most once at a time."""

    steps: dict[Id, Step] = Field(min_length=1, max_length=MAX_STEPS)
    """Id: step, in order. A user begins with the first, and leaves behind the last."""
    exit_on: Literal["goal", "leaving", "goal_or_leaving", "nothing"] = "goal_or_leaving"
    """Exit criteria: goal (the event of the conversion), leaving (the segment), goal_or_leaving, or nothing."""

    @model_validator(mode="after")
    def _graph(self) -> Journey:
        if END in self.steps:
            raise refuse_rule(f"another id than {END!r} for a step: `then: {END}` ends the journey")
        for id_ in self.steps:
            for next_ in self.ways_from(id_):
                if next_ != END and next_ not in self.steps:
                    raise refuse_rule(f"steps that exist: {id_!r} leads to {next_!r}")
        reached = self._reached(next(iter(self.steps)), frozenset())
        if lost := [id_ for id_ in self.steps if id_ not in reached]:
            raise refuse_rule(f"steps that can be reached: nothing leads to {lost[0]!r}")
        waits = frozenset(id_ for id_, step in self.steps.items() if isinstance(step, WaitStep | WaitUntilStep))
        for id_ in self.steps:
            if id_ not in waits and any(id_ in self._reached(next_, waits) for next_ in self.ways_from(id_)):
                raise refuse_rule(f"a wait on every way back: {id_!r} leads to itself without one")
        return self

    def behind(self, id_: str) -> str:
        """The step below one; END behind the last."""
        return next((after for before, after in pairwise(self.steps) if before == id_), END)

    def ways_from(self, id_: str) -> list[str]:
        """All steps that may follow one; END among them."""
        return list(dict.fromkeys(name or self.behind(id_) for name in _named(self.steps[id_])))

    def circles(self) -> list[str]:
        """Steps from which nothing is ever sent any more, and the journey never ends: they lead to each other alone."""
        sends = frozenset(id_ for id_, step in self.steps.items() if isinstance(step, SendStep))
        return [id_ for id_ in self.steps if not self._gets_out(id_, sends)]

    def _gets_out(self, id_: str, sends: frozenset[str]) -> bool:
        """Whether a message or the end may come behind a step, itself among them."""
        reached = self._reached(id_, frozenset())
        return not sends.isdisjoint(reached) or any(END in self.ways_from(each) for each in reached)

    def _reached(self, start: str, without: frozenset[str]) -> set[str]:
        """Steps that can be reached from one, itself among them, not going on from those in `without`."""
        found, waiting = set(), [start]
        while waiting:
            id_ = waiting.pop()
            if id_ != END and id_ not in found and id_ not in without:
                found.add(id_)
                waiting += self.ways_from(id_)
        return found


def _named(step: Step) -> Iterator[str | None]:
    """What the step names as next; None for the one below."""
    if isinstance(step, SplitStep | RandomSplitStep):
        yield from (path.then for path in step.paths)
        if isinstance(step, SplitStep):
            yield step.otherwise
        return
    yield step.then
    if isinstance(step, WaitUntilStep):
        yield step.otherwise if step.otherwise is not None else step.then
