"""What comes out of the engine: messages, what is told to the event stream, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec

from config import notes
from streams.campaigns.state import Given, Occasion
from streams.core.chance import digest

TEST = "test-"
"""What ids of messages begin with that somebody sends to see them: they are not counted, told or asked about again."""
SENT, WITHHELD, DROPPED = notes.SENT, notes.WITHHELD, notes.DROPPED


class Place(NamedTuple):
    """Which engine speaks: a partition, under a generation of its store."""

    partition: int
    generation: str


class Send(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """A message of one user; a channel takes it in once by its number, and delivers it under its id."""

    id: str
    """A hash of campaign, user and occasion: the same however often it is decided, and under whatever generation. Who
    takes messages in keeps ids until they expire."""
    partition: int
    generation: str
    number: int
    """Of what this partition and generation put out for channels, without a gap."""
    user: str
    campaign: str
    version: int
    step: str | None
    """Of a journey."""
    kind: str
    """Of the occasion: enter, exit, event, schedule, step."""
    channels: tuple[str, ...]
    texts: Mapping[str, Mapping[str, str]]
    """Channel -> part -> text."""
    addresses: Mapping[str, str]
    """Of channels that need one: where the user is found."""
    offer: Given | None
    at_s: float
    """When it was decided."""
    expires_s: float
    """A delivery that has not arrived by then is given up: it would be about a stale occasion."""
    traceparent: str | None = None
    """Of which trace it is a part (`streams.trace_context`); not told where it is none of any."""
    event_s: float | None = None
    """Time of the event that led to it; not told where a schedule or a step of a journey did."""


class Purge(msgspec.Struct, frozen=True, tag=True):
    """A user was deleted: whatever channels keep of messages with smaller numbers, waiting or failed, goes."""

    partition: int
    generation: str
    number: int
    user: str


class Note(msgspec.Struct, frozen=True, tag=True):
    """An event for the event stream: what was sent, or withheld for the sake of a comparison, or dropped on its way."""

    message_id: str
    """By which the shard drops repetitions."""
    user: str
    event: str
    at_s: float
    properties: Mapping[str, Any]


class Alert(msgspec.Struct, frozen=True, tag=True):
    """For people."""

    id: str
    """The same from every partition, so that it is told once."""
    campaign: str
    kind: str
    """breaker, message, budget."""
    words: str


class Trip(msgspec.Struct, frozen=True, tag=True):
    """Pause a campaign for all partitions, in one atomic step, if its standing still is that which began at `since_s`.

    Whoever publishes the outbox does it; a repetition finds another standing, and does nothing.
    """

    campaign: str
    since_s: float


Out: TypeAlias = Send | Purge | Note | Alert | Trip
"""What the outbox holds."""


@dataclass(slots=True)
class Effects:
    """Of a batch; what the rows and books of these names hold is to be stored."""

    changed: dict[str, None] = field(default_factory=dict)
    """Users whose row has changed."""
    gone: dict[str, None] = field(default_factory=dict)
    """Users whose row is to be deleted."""
    out: list[Out] = field(default_factory=list)
    """In order."""


def send_id(campaign: str, user: str, occasion: Occasion) -> str:
    """See `Send`."""
    return digest("send", campaign, user, occasion.key)


def dropped(send: Send, channel: str, reason: str, now_s: float) -> Note:
    """What is told of a message that was not delivered, because it should not be any more."""
    properties = {
        "campaign": send.campaign,
        "version": send.version,
        "step": send.step,
        "channel": channel,
        "why": reason,
    }
    return Note(digest("note", send.id, "dropped", channel), send.user, DROPPED, now_s, properties)
