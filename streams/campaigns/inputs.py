"""What comes in: crossings, watched events, what is due, members at a scheduled time; and what is read of a user.

All times are seconds since 1970 UTC. `at_s` is event time; the wall clock comes beside the inputs. What a shard says of
one *moment* of a user (an event, and the crossings that it leads to) comes in a row; all but the last say `more`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec


class Crossing(msgspec.Struct, frozen=True):
    """A transition of `segment-events`."""

    user: str
    segment: str
    is_entry: bool
    sequence: int
    at_s: float
    origin: str
    caused_by_goal: bool = False
    more: bool = False
    """Whether the next input of this user is of the same moment."""
    log_time_s: float | None = None
    """When the log took the event that has caused it; None: time alone has, or it is not known any more."""

    @property
    def told_s(self) -> float:
        """When it could have been acted upon first: an event may be told long after it happened."""
        return self.at_s if self.log_time_s is None else self.log_time_s


class Watched(msgspec.Struct, frozen=True):
    """An event that a campaign or journey waits for, as the user's shard has taken it."""

    user: str
    event: str
    at_s: float
    shard: int
    generation: str
    """Names the log: another one when it was made anew."""
    number: int
    """The place in the log of that shard and generation; a repetition has the same."""
    message_id: str
    """Of the event: the same whenever it is said again, also at another place."""
    properties: Mapping[str, Any] = {}
    """Those of `Plan.events()`."""
    more: bool = False
    """As of a crossing."""
    log_time_s: float | None = None
    """When the log took it; None: it is not known."""

    @property
    def told_s(self) -> float:
        """As of a crossing."""
        return self.at_s if self.log_time_s is None else self.log_time_s


class Deleted(msgspec.Struct, frozen=True):
    """A user was deleted."""

    user: str


class Due(msgspec.Struct, frozen=True):
    """Time has come to what the user's row names (`Row.next_s`)."""

    user: str


class Turn(msgspec.Struct, frozen=True):
    """The user is among the first of a queue of a campaign or journey (`Row.queued`), or somebody has answered who was
    asked for recommendations.
    """

    user: str
    campaign: str


class Member(msgspec.Struct, frozen=True):
    """A member of a scheduled campaign's segment, at one of its times. May come twice."""

    user: str
    campaign: str
    at_s: float
    """The scheduled time."""


Input: TypeAlias = Crossing | Watched | Deleted | Due | Turn | Member


class Score(msgspec.Struct, frozen=True):
    """What a prediction says of a user."""

    score: float | None = None
    likelihood: float | None = None
    category: str | None = None
    reasons: tuple[str, ...] = ()
    """In words, the strongest first."""


class Facts(msgspec.Struct, frozen=True):
    """What the store says of a user at the moment of the decision."""

    as_of_s: float
    """All that the log of events held up to this time is in it: the log time of the last record that the user's shard
    has stored; of one that has read everything, the time at which it last said so. A user whom the store does not know
    has it, too: in a store that is being rebuilt, it says that nothing is known yet."""
    known: bool = True
    """Whether there is such a user."""
    segments: frozenset[str] = frozenset()
    """Which the user is in."""
    fits: frozenset[str] = frozenset()
    """Names of the filters (`Plan.filters`) that hold."""
    scores: Mapping[str, Score] = {}
    """By prediction; only those in whose audience the user is."""
    traits: Mapping[str, Any] = {}
    latest_s: Mapping[str, float] = {}
    """Event name -> time of the user's latest one."""
    since_s: Mapping[str, float] = {}
    """Event name -> since when its latest time is known; of one that is not here, or since minus infinity, always."""
    unread: frozenset[str] = frozenset()
    """Events of which the past is still being read: of their latest times nothing can be said yet."""
    remembered: Mapping[str, Mapping[str, Any]] = {}
    """Event name -> properties, as the catalog's `remember` says."""
