"""Channels that lead nowhere far: the topic `campaign-triggers`, and the log of the process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from config.errors import BrokerError
from streams.runtime.channels.parcel import Parcel, cloud_event
from streams.runtime.deliveries.sender import Outcome

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 500

Publish = Callable[[Sequence[tuple[str, bytes]]], Awaitable[None]]
"""Puts records (key, value) into the topic, in order, and returns when they are acknowledged. Raises BrokerError."""


class TopicChannel:
    """A CloudEvent for each message, under the user's key, for programs of one's own."""

    at_once = _AT_ONCE
    knows_ids = True

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`. All of a call share what came of it."""
        try:
            await self._publish([(parcel.user, cloud_event(parcel)) for parcel in parcels])
        except BrokerError as error:
            return [Outcome(False, f"not published: {error}", is_unknown=True)] * len(parcels)
        return [Outcome(True, "published")] * len(parcels)

    async def close(self) -> None:
        """The log is its owner's to close."""


class LogChannel:
    """A line for each message: to see what a campaign does. Texts are not in it; they are about people."""

    at_once = _AT_ONCE
    knows_ids = True

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`."""
        for parcel in parcels:
            _LOG.info("message %s of %s to %s", parcel.id, parcel.campaign, parcel.user)
        return [Outcome(True, "logged")] * len(parcels)

    async def close(self) -> None:
        """Nothing is held."""
