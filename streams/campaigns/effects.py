"""What comes out of the engine: messages, what is told to the event stream, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from streams.campaigns.chance import digest
from streams.campaigns.inputs import Facts
from streams.campaigns.state import Given, Occasion, Row

SENT = "Tideline Message Sent"
WITHHELD = "Tideline Message Withheld"


class Send(msgspec.Struct, frozen=True):
    """A message of one user, for the outbox; a channel takes it in once by its number, and delivers it under its id."""

    id: str
    """A hash of campaign, user and occasion: the same however often it is decided."""
    number: int
    """Of this partition's messages, without a gap."""
    user: str
    campaign: str
    step: str | None
    """Of a journey."""
    channels: tuple[str, ...]
    texts: Mapping[str, str]
    offer: Given | None
    at_s: float
    """When it was decided."""
    expires_s: float
    """A delivery that has not arrived by then is given up: it would be about a stale occasion."""


class Note(msgspec.Struct, frozen=True):
    """An event for the event stream: what was sent, or withheld for the sake of a comparison."""

    message_id: str
    """By which the shard drops repetitions."""
    user: str
    event: str
    at_s: float
    properties: Mapping[str, Any]


class Alert(msgspec.Struct, frozen=True):
    """For people."""

    campaign: str
    kind: str
    """breaker, message."""
    words: str


Rows: TypeAlias = Mapping[str, Row]
FactsOf: TypeAlias = Mapping[str, Facts | None]


@dataclass(slots=True)
class Effects:
    """Of a batch. Rows that were changed are named; a row that is empty can be deleted."""

    changed: dict[str, None] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    """Users whose row is to be deleted."""
    sends: list[Send] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


def send_id(campaign: str, user: str, occasion: Occasion) -> str:
    """See `Send`."""
    return digest("send", campaign, user, occasion.key)
