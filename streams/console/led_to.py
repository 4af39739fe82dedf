"""What crossings led to, in words: what was sent by which channel, withheld and why, or waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import JSONResponse, Response

from config.offers import LadderOffer
from streams.api.app import Parts
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaigns_view import CampaignsView
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.campaigns.aftermath import LedTo, led_to
from streams.campaigns.inputs import Crossing
from streams.campaigns.state import Given
from streams.console.pages import TEXTS
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.core.partition import shard_of

MOST: Final = 50
"""Crossings in one question: the rows of so many users are read."""


class LedWords(NamedTuple):
    """What one campaign or journey made of a crossing."""

    id: str
    name: str
    words: str
    is_final: bool


class _Asked(msgspec.Struct):
    """A crossing, as the stream has told it."""

    user: str
    segment: str
    sequence: str
    time: datetime
    is_entry: bool
    origin: str


_ASKED: Final = msgspec.json.Decoder(list[_Asked])


class LedToPages:
    """What the script of the live page asks, and what the page of a user shows."""

    def __init__(self, parts: Parts, campaigns: CampaignDefiner) -> None:
        self._services = parts.services
        self._campaigns = campaigns

    def routes(self) -> list[PageRoute]:
        """What there is to be asked."""
        return [PageRoute("/live/led-to", "POST", Role.READ, self.ask)]

    def ask(self, visit: Visit) -> Response:
        """Of each crossing of the form, in its order. Raises `Problem`, StoreError."""
        try:
            asked = _ASKED.decode(visit.form.get("crossings", ""))
            crossings = [_crossing(each) for each in asked]
        except (msgspec.DecodeError, ValueError) as error:
            raise Problem(Kind.INVALID_BODY, "crossings are asked about as the stream tells them") from error
        if len(crossings) > MOST:
            raise Problem(Kind.TOO_LARGE, f"at most {MOST} crossings at once")
        found = self.of(visit, crossings)
        return JSONResponse({"found": [[each._asdict() for each in one] for one in found]})

    def of(self, visit: Visit, crossings: Sequence[Crossing]) -> list[list[LedWords]]:
        """Of each, what campaigns and journeys made of it; those that had nothing to do with it are left out.

        Raises StoreError, and `Problem` where nothing is stored yet.
        """
        view, now_s = self._campaigns.view(), self._campaigns.now_s()
        if not view.kept.campaigns:
            return [[] for _ in crossings]
        with self._services.stored.reader() as reader:
            shards = reader.info.shards
        return [self._of_one(visit, view, each, shards, now_s) for each in crossings]

    def _of_one(
        self, visit: Visit, view: CampaignsView, crossing: Crossing, shards: int, now_s: float
    ) -> list[LedWords]:
        if crossing.segment not in view.plan.on_segment:
            return []
        row = self._services.campaign_books.known_of(shard_of(crossing.user, shards), crossing.user).row
        return [words_of(visit, view, each) for each in led_to(row, view.plan, crossing, now_s)]


def words_of(visit: Visit, view: CampaignsView, led: LedTo) -> LedWords:
    """In the language of the visitor."""
    t, f = TEXTS[visit.language], visit.format
    words = t.led[led.what]
    if led.what == "withheld":
        words = words.format(reason=t.withheld_reasons[led.why or "unknown"])
    elif led.what == "waits":
        words = words.format(reason=t.led_waits[led.why or "behind"])
    elif led.what == "sent":
        words = words.format(channels=f" {t.led_or} ".join(led.channels))
        if led.offer is not None:
            words += f" · {t.offer} {_value(visit, led.offer)}"
            if isinstance(getattr(view.current(led.campaign), "offer", None), LadderOffer):
                words += f" ({t.led_rung.format(n=f.number(led.offer.rung + 1))})"
    return LedWords(led.campaign, view.current(led.campaign).name, words, led.is_final)


def _value(visit: Visit, offer: Given) -> str:
    """`10%`, `7.5%`, `20`: an amount has no currency here."""
    digits = 0 if offer.value == int(offer.value) else 2
    f = visit.format
    return f.percent(offer.value / 100.0, digits) if offer.unit == "percent" else f.number(offer.value, digits)


def crossing_of(event: dict[str, Any]) -> Crossing:
    """A transition as it was published. Raises ValueError, KeyError for one that others have written."""
    data = event["data"]
    asked = _Asked(
        user=str(event["subject"]),
        segment=str(data["segment_id"]),
        sequence=str(event["sequence"]),
        time=datetime.fromisoformat(str(event["time"])),
        is_entry=bool(data["in_segment"]),
        origin=str(data["origin"]),
    )
    return _crossing(asked)


def _crossing(asked: _Asked) -> Crossing:
    """Raises ValueError."""
    if asked.time.tzinfo is None:
        raise ValueError("the time of a crossing has a zone")
    at_s = asked.time.timestamp()
    return Crossing(asked.user, asked.segment, asked.is_entry, int(asked.sequence), at_s, asked.origin)
