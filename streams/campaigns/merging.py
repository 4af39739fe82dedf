"""Two logs as one: what shards have published of users, put back between the events by which it happened.

A service of campaigns reads the log of events itself, beside that of transitions, and never further than the shard has
stored. Each log is in order; between them only this is known:

- a transition that names its cause stands behind that event, and before the next one;
- one that time alone has caused stands before the first event that is not earlier by the clock;
- transitions stand in the order in which they were published.

So events are passed up to the cause of each transition in turn. Behind the last transition that has been read, an event
may be passed only if no more of what was published by then can come (`sure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from streams.campaigns.inputs import Crossing, Deleted, Input, Watched


class FromEvents(NamedTuple):
    """An event of the log that the shard has stored."""

    offset: int
    time_s: float
    """As the shard took it: one that is dated ahead is moved back."""
    id: str
    """By which transitions name it as their cause."""
    says: Watched | Deleted | None
    """None: nobody listens to it; its place matters all the same."""
    log_time_s: float | None = None
    """When the log took it; None: it is not known."""


class FromTransitions(NamedTuple):
    """A transition of the log."""

    offset: int
    at_s: float
    cause: str | None
    """The event; None: time, or a change of definitions."""
    says: Crossing | None
    """None: nobody listens to it."""


class Merged(NamedTuple):
    """What comes next, in order; of each log how many records have been taken."""

    inputs: list[Input]
    transitions: int
    events: int
    cause: str | None
    """Of the last transition that was taken and has one."""


def merge(
    transitions: Sequence[FromTransitions],
    events: Sequence[FromEvents],
    *,
    sure: int,
    reaches: bool,
    cause: str | None = None,
) -> Merged:
    """Take as much of both as is known to be in order.

    `events`: those that come next. `reaches`: among them or before them are the causes of all `transitions`.
    `sure`: of events before this offset, all transitions were taken before or are given. `cause`: as the last call
    gave it: more transitions of that event may come, although it has been passed.
    """
    merger = _Merger(events)
    bounds = _bounds(transitions, merger.places, len(events))
    taken = 0
    for transition, bound in zip(transitions, bounds, strict=True):
        until = merger.place_of(transition, bound)
        if until is None:
            is_more_of_it = transition.cause is not None and transition.cause == cause
            if not reaches and not is_more_of_it:
                # Its cause, or its time, lies behind all of them; so do those of the transitions behind it.
                merger.pass_to(len(events))
                break
            until = merger.at if transition.cause is not None else bound
        merger.pass_to(until)
        merger.add(transition)
        cause = transition.cause or cause
        taken += 1
    else:
        merger.pass_while_before(sure)
    return Merged(merger.inputs(), taken, merger.at, cause)


def _bounds(transitions: Sequence[FromTransitions], places: dict[str, int], end: int) -> list[int]:
    """Per transition: the event that none before it may pass, as a later one is caused by it."""
    found, bound = [], end
    for transition in reversed(transitions):
        found.append(bound)
        if transition.cause is not None:
            bound = min(bound, places.get(transition.cause, bound))
    found.reverse()
    return found


class _Merger:
    """Events that are passed, and what was said on the way."""

    def __init__(self, events: Sequence[FromEvents]) -> None:
        self._events = events
        self.at = 0
        """Events that have been passed."""
        self.places: dict[str, int] = {}
        for place, event in enumerate(events):
            self.places.setdefault(event.id, place)  # a repetition has caused nothing
        self._said: list[tuple[str, Input]] = []
        """(moment, input)"""

    def place_of(self, transition: FromTransitions, bound: int) -> int | None:
        """How many events stand before the transition; None if that cannot be seen from these."""
        if transition.cause is not None:
            place = self.places.get(transition.cause)
            return None if place is None else place + 1
        later = (n for n in range(self.at, bound) if self._events[n].time_s >= transition.at_s)
        return next(later, bound if bound < len(self._events) else None)

    def pass_to(self, end: int) -> None:
        """All events before that place."""
        while self.at < end:
            event = self._events[self.at]
            if event.says is not None:
                self._said.append((f"event {event.id}", event.says))
            self.at += 1

    def pass_while_before(self, offset: int) -> None:
        """All events before that offset."""
        end = self.at
        while end < len(self._events) and self._events[end].offset < offset:
            end += 1
        self.pass_to(end)

    def add(self, transition: FromTransitions) -> None:
        """It comes next."""
        says = transition.says
        if says is not None:
            place = None if transition.cause is None else self.places.get(transition.cause)
            if place is not None:
                says = msgspec.structs.replace(says, log_time_s=self._events[place].log_time_s)
            moment = f"time {transition.at_s!r}" if transition.cause is None else f"event {transition.cause}"
            self._said.append((moment, says))

    def inputs(self) -> list[Input]:
        """In order; all but the last of a moment say that there is more."""
        found = [each for _, each in self._said]
        for n, ((moment, each), (next_moment, next_)) in enumerate(pairwise(self._said)):
            is_more = moment == next_moment and each.user == next_.user
            if is_more and isinstance(each, Watched | Crossing):
                found[n] = msgspec.structs.replace(each, more=True)
        return found
