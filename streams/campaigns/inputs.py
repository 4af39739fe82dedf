"""What comes in: crossings, watched events, what is due, members at a scheduled time; and what is read of a user.

All times are seconds since 1970 UTC. `at_s` is event time; the wall clock comes beside the inputs.
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


class Watched(msgspec.Struct, frozen=True):
    """An event that a campaign or journey waits for, published by the user's shard into the same topic."""

    user: str
    event: str
    at_s: float
    number: int
    """Grows with every record of the shard and generation; a repetition has the same."""
    generation: str
    message_id: str
    properties: Mapping[str, Any] = {}
    """Those that conditions, conversions and messages name."""


class Deleted(msgspec.Struct, frozen=True):
    """A user was deleted."""

    user: str


class Due(msgspec.Struct, frozen=True):
    """The wall clock has reached the time that the user's row names (`Row.next_s`)."""

    user: str


class Member(msgspec.Struct, frozen=True):
    """A member of a scheduled campaign's segment, at one of its times. May come twice."""

    user: str
    campaign: str
    at_s: float
    """The scheduled time."""


Input: TypeAlias = Crossing | Watched | Deleted | Due | Member


class Said(msgspec.Struct, frozen=True):
    """What a prediction says of a user."""

    score: float | None = None
    likelihood: float | None = None
    category: str | None = None
    reasons: tuple[str, ...] = ()
    """In words, the strongest first."""


class Facts(msgspec.Struct, frozen=True):
    """What the store says of a user at the moment of the decision; None in its place: the user does not exist."""

    segments: frozenset[str] = frozenset()
    """Which the user is in."""
    fits: frozenset[str] = frozenset()
    """Names of the filters (`Plan.filters`) that hold."""
    said: Mapping[str, Said] = {}
    """By prediction; only those in whose audience the user is."""
    traits: Mapping[str, Any] = {}
    latest_s: Mapping[str, float] = {}
    """Event name -> time of the user's latest one."""
    remembered: Mapping[str, Mapping[str, Any]] = {}
    """Event name -> properties, as the catalog's `remember` says."""
