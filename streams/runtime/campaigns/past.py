"""The past of events that were not asked for when they came: the log of events is read again for them alone.

A campaign that is made today may name an opt-out that nobody named before. From the moment at which it is in force what
comes is learned as it comes; what came before is read again, page by page, beside the live end of the log and into the
same commits. Latest times are kept, so it does not matter that both are read side by side. Until all is read the events
are `unread`, and nothing is decided that rests on them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

import msgspec

from config.errors import BrokerError
from streams.campaigns.profiles import Known
from streams.runtime.campaigns.listening import Learned, Listener
from streams.runtime.campaigns.two_logs import OwnLog, Past, Place

_LOG: Final = logging.getLogger(__name__)
PAGE: Final = 1_000
"""Records in one commit."""


def known_of(place: Place, asked: frozenset[str]) -> Known:
    """What a partition that stands here knows of these events; those that it was not asked for yet are unread."""
    missing = asked - place.since_s.keys()
    since_s = {event: place.since_s.get(event, inf) for event in asked}
    return Known(since_s, asked & place.reading | missing)


class Reading(NamedTuple):
    """What partitions together do not know of some events."""

    events: tuple[str, ...]
    """Their past is being read again; until then nothing is decided that rests on them."""
    left: int
    """About how many records of the log are still to be read for them, and for others before them,"""
    records: int
    """and of how many."""
    since_s: Mapping[str, float]
    """Event -> since when it is known, where the log has lost what was before."""


def reading_of(places: Sequence[Place], asked: frozenset[str]) -> Reading:
    """Of these events, over all partitions."""
    known = [known_of(place, asked) for place in places]
    since_s: dict[str, float] = {}
    for each in known:
        for event in each.since_s.keys() - each.unread:
            since_s[event] = max(each.since_s[event], since_s.get(event, -inf))
    reading = [place for place, each in zip(places, known, strict=True) if each.unread]
    return Reading(
        events=tuple(sorted(frozenset().union(*(each.unread for each in known)))),
        left=sum(place.left for place in reading),
        records=sum(max(place.left, place.events) for place in reading),
        since_s={event: at_s for event, at_s in sorted(since_s.items()) if at_s > -inf},
    )


class PastReader:
    """See the module. For one thread. `open_log` gives a reader of its own, as the live one would lose its place."""

    def __init__(self, open_log: Callable[[], OwnLog]) -> None:
        self._open = open_log
        self._log: OwnLog | None = None

    def read(self, place: Place, listener: Listener) -> tuple[list[Learned], Place] | None:
        """The next page, and the place behind it; None if nothing is left. Raises BrokerError, BrokerUnavailable."""
        if place.past is None and not place.unread:
            self.close()
            return None
        if self._log is None:
            self._log = self._open()
        begin = self._log.begin
        past = place.past
        if past is None:
            past, place = Past(place.unread, begin, 0, place.events), msgspec.structs.replace(place, unread=())
        is_cut = begin > past.next
        next_ = max(past.next, begin)
        found = self._log.read(next_, PAGE) if next_ < past.end else ()
        page = [record for record in found if record.offset < past.end]
        if is_cut:
            past = msgspec.structs.replace(past, since_s=page[0].log_time_s if page else place.read_s)
        # Where only gaps are left before the end, the page is empty.
        past = msgspec.structs.replace(past, next=page[-1].offset + 1 if page else past.end)
        said = (listener.latest(record, past.events) for record in page)
        return [each for each in said if each is not None], _behind(place, past)

    def close(self) -> None:
        """Give the reader back; the next read opens another one.

        One that cannot be closed is given up: nothing of it is used any more, and who closes it after a failure is to
        hear of that failure.
        """
        log, self._log = self._log, None
        try:
            if log is not None:
                log.close()
        except BrokerError as error:
            _LOG.warning("the reader of the past could not be closed: %s", error)


def _behind(place: Place, past: Past) -> Place:
    if past.next < past.end:
        return msgspec.structs.replace(place, past=past)
    since_s = place.since_s | dict.fromkeys(past.events, past.since_s)
    return msgspec.structs.replace(place, past=None, since_s=since_s)
