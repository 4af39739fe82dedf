"""Messages of one campaign or journey that its channels have given up: seen, and sent again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from starlette.responses import Response

from config.errors import NotStored
from streams.api.app import Parts
from streams.api.campaign_channels import Channels
from streams.api.campaign_definer import CampaignDefiner
from streams.api.keys import Role
from streams.api.views import time_text
from streams.console.delivery_words import result_words
from streams.console.language import Language
from streams.console.problem_words import Said
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.runtime.channels.desk import send_of
from streams.runtime.channels.redriving import read_delivery, renewed

_SHOWN: Final = 100


class Failure(NamedTuple):
    """One message that was given up."""

    channel: str
    user: str
    step: str | None
    """Of a journey."""
    attempts: int
    at: str | None
    """When it was decided."""
    result: Said
    """What came of the last attempt."""


class Failures(NamedTuple):
    """Of one campaign: some of them, and how many there are."""

    shown: list[Failure]
    how_many: int


class CampaignFailures:
    """What a campaign's page shows of them, and the form that sends them again."""

    def __init__(self, parts: Parts, campaigns: CampaignDefiner) -> None:
        self._services = parts.services
        self._channels = Channels(parts.services)
        self._campaigns = campaigns

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be sent."""
        yield PageRoute("/campaigns/{id}/redrive", "POST", Role.WRITE, self.redrive)

    def of(self, campaign: str, language: Language) -> Failures:
        """Those of all channels; of an earlier version, too, which may have had others. Raises StoreError."""
        found = [failure for channel in self._with_failures() for failure in self._in(channel, campaign, language)]
        return Failures(found[:_SHOWN], len(found))

    def redrive(self, visit: Visit) -> Response:
        """Send all of them again, under their ids. Raises NotStored, StoreError."""
        id_ = visit.path("id")
        if self._campaigns.view().kept.find(id_) is None:
            raise NotStored(f"no campaign or journey is called {id_[:100]!r}")
        make = renewed(self._services.wall(), campaign=id_)
        for channel in self._with_failures():
            self._services.channels.desks.redrive(channel, "dead", make)
        return visit.go(f"/campaigns/{id_}")

    def _with_failures(self) -> list[str]:
        return [each.id for each in self._channels.all() if each.dead]

    def _in(self, channel: str, campaign: str, language: Language) -> Iterator[Failure]:
        for data in self._services.channels.desks.ended(channel, "dead").values():
            delivery = read_delivery(data)
            send = send_of(delivery)
            if send.campaign == campaign:
                at, words = time_text(send.at_s), result_words(language, delivery.words)
                yield Failure(channel, delivery.user, send.step, delivery.attempts, at, words)
