"""What a channel is given, and what it says of each attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from streams.campaigns.effects import Send
from streams.runtime.deliveries.sender import Outcome
from streams.trace_context import TRACEPARENT


class Parcel(msgspec.Struct, frozen=True):
    """One message for one channel."""

    id: str
    """The same at every attempt, and for ever."""
    user: str
    campaign: str
    version: int
    step: str | None
    texts: Mapping[str, str]
    """Part -> text."""
    offer: Mapping[str, float | str] | None
    """value and unit."""
    at_s: float
    """When it was decided."""
    address: str | None = None
    """Of channels that need one."""
    traceparent: str | None = None
    """Of which trace it is a part (`streams.trace_context`)."""
    attempt_traceparent: str | None = None
    """Of the span of this attempt. For headers alone: what is told of a message is the same at every attempt."""

    @classmethod
    def of(cls, send: Send, channel: str) -> Parcel:
        """What a message is for one of its channels. Raises KeyError for another."""
        given = send.offer
        offer: dict[str, float | str] | None = None
        if given is not None:
            offer = {"value": given.value, "unit": given.unit}
        return cls(
            send.id,
            send.user,
            send.campaign,
            send.version,
            send.step,
            send.texts[channel],
            offer,
            send.at_s,
            send.addresses.get(channel),
            send.traceparent,
        )


class Channel(Protocol):
    """A way by which messages leave. For one event loop."""

    at_once: int
    """Most parcels of one call; no two of them are of one user."""
    knows_ids: bool
    """Whether the other side drops what it has by its id. If not, an attempt whose end is not known may not be made
    again: `Outcome.is_unknown`."""

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """Try once; what came of each parcel, in their order. Whatever goes wrong is in what is returned."""

    async def close(self) -> None:
        """Let go of connections."""


def told_of(parcel: Parcel) -> dict[str, Any]:
    """A parcel as receivers are told of it."""
    return {
        "user_id": parcel.user,
        "campaign_id": parcel.campaign,
        "campaign_version": parcel.version,
        "step": parcel.step,
        "offer": parcel.offer,
        "texts": parcel.texts,
    }


def cloud_event(parcel: Parcel) -> bytes:
    """A parcel as a CloudEvent of type `tideline.message.v1`, structured JSON."""
    trace = {} if parcel.traceparent is None else {TRACEPARENT: parcel.traceparent}
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": parcel.id,
            "source": "tideline",
            "type": "tideline.message.v1",
            "subject": parcel.user,
            "time": stamp(parcel.at_s),
            "datacontenttype": "application/json",
            **trace,
            "data": told_of(parcel),
        }
    )


def stamp(at_s: float) -> str:
    """ISO 8601 with milliseconds, UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
