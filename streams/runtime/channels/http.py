"""Channels over HTTP, by the sender of webhooks: signed webhooks, Segment, Braze."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from streams.runtime.channels.parcel import Parcel, cloud_event, stamp, told_of
from streams.runtime.deliveries.sender import Outcome, Sender
from streams.runtime.deliveries.signing import signed_headers
from streams.trace_context import TRACEPARENT

SEGMENT_URL: Final = "https://api.segment.io/v1/track"
BRAZE_AT_ONCE: Final = 50
"""Recipients of one call, as Braze has it."""
_JSON: Final = {"Content-Type": "application/json", "User-Agent": "Tideline"}
_GATEWAY: Final = (502, 504)
"""Answers of somebody in between, who does not know what became of it."""


class WebhookChannel:
    """A CloudEvent for each message, signed as webhooks are."""

    at_once = 1
    knows_ids = True

    def __init__(
        self, sender: Sender, url: str, secrets: Callable[[float], Sequence[str]], wall: Callable[[], float]
    ) -> None:
        """`secrets`: those that are good at a time."""
        self._sender = sender
        self._url = url
        self._secrets = secrets
        self._wall = wall

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`."""
        return list(await asyncio.gather(*(self._post(parcel) for parcel in parcels)))

    async def _post(self, parcel: Parcel) -> Outcome:
        body, now_s = cloud_event(parcel), self._wall()
        headers = signed_headers(self._secrets(now_s), parcel.id, now_s, body)
        headers |= {"Content-Type": "application/cloudevents+json; charset=utf-8", "User-Agent": "Tideline"}
        if (trace := parcel.attempt_traceparent or parcel.traceparent) is not None:
            headers[TRACEPARENT] = trace
        return await self._sender.post(self._url, headers, body)

    async def close(self) -> None:
        """The sender is its owner's to close."""


class SegmentChannel:
    """A track call for each message; Segment drops a `messageId` that it had within about a day."""

    at_once = 1
    knows_ids = True

    def __init__(self, sender: Sender, write_key: str, *, url: str = SEGMENT_URL) -> None:
        self._sender = sender
        self._url = url
        login = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = _JSON | {"Authorization": f"Basic {login}"}

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`."""
        posts = (self._sender.post(self._url, self._headers, _track(parcel)) for parcel in parcels)
        return list(await asyncio.gather(*posts))

    async def close(self) -> None:
        """The sender is its owner's to close."""


def _track(parcel: Parcel) -> bytes:
    told = told_of(parcel)
    del told["user_id"]
    return msgspec.json.encode(
        {
            "type": "track",
            "userId": parcel.user,
            "event": "Tideline Message",
            "messageId": parcel.id,
            "timestamp": stamp(parcel.at_s),
            "properties": told,
        }
    )


class BrazeChannel:
    """One call of `/campaigns/trigger/send` for up to 50 messages, with their texts as trigger properties.

    Braze knows no ids of messages. Of users whom it does not know it sends to none.
    """

    at_once = BRAZE_AT_ONCE
    knows_ids = False

    def __init__(self, sender: Sender, url: str, key: str, campaign: str) -> None:
        """`url`: the REST address of the account; `campaign`: the id of an API-triggered campaign there."""
        self._sender = sender
        self._url = url.rstrip("/") + "/campaigns/trigger/send"
        self._campaign = campaign
        self._headers = _JSON | {"Authorization": f"Bearer {key}"}

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`. All of a call share what came of it. Raises ValueError for more than one call takes."""
        users = {parcel.user for parcel in parcels}
        if not 0 < len(parcels) <= self.at_once or len(users) < len(parcels):
            # Without recipients a call could go to everybody, and of two for one user Braze would send one.
            raise ValueError(f"expected 1 to {self.at_once} messages of as many users, found {len(parcels)}")
        body: dict[str, Any] = {
            "campaign_id": self._campaign,
            "broadcast": False,
            "recipients": [_recipient(parcel) for parcel in parcels],
        }
        found = await self._sender.post(self._url, self._headers, msgspec.json.encode(body))
        if found.status in _GATEWAY:
            found = Outcome(False, found.words, found.status, is_unknown=True)
        return [found] * len(parcels)

    async def close(self) -> None:
        """The sender is its owner's to close."""


def _recipient(parcel: Parcel) -> dict[str, Any]:
    told: dict[str, Any] = {**parcel.texts, "tideline_message_id": parcel.id, "tideline_campaign": parcel.campaign}
    if parcel.offer is not None:
        told |= {"offer_value": parcel.offer["value"], "offer_unit": parcel.offer["unit"]}
    return {"external_user_id": parcel.user, "send_to_existing_only": True, "trigger_properties": told}
