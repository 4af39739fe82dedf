"""One partition's two logs, read side by side: never further than its shard has stored, in the order of `merging`.

A round reads transitions, then asks how far the shard is, then reads events up to there. Whatever caused the
transitions is among those, as shards store before they publish. An event behind the last transition has to wait for the
next round: by then all that was published of what the shard had stored is in the log, if its last transition is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

import msgspec

from streams.campaigns.inputs import Input
from streams.campaigns.merging import merge
from streams.runtime.campaigns.listening import Learned, Listener, LogRecord

PAGE: Final = 1_000
"""Records of each log in one round."""


class Log(Protocol):
    """A partition of a log. Raises BrokerUnavailable, and BrokerError for one that is damaged."""

    @property
    def begin(self) -> int:
        """The offset of the oldest record that is kept."""

    @property
    def end(self) -> int:
        """The offset behind the last one."""

    def read(self, offset: int, max_records: int) -> Sequence[LogRecord]:
        """Records from an offset on that is kept, at least one if there is any."""


class OwnLog(Log, Protocol):
    """One that was opened for a reader alone, which closes it."""

    def close(self) -> None: ...


class ShardAt(NamedTuple):
    """How far the shard is."""

    offset: int
    """All events before it are stored."""
    pending: str | None
    """Id of the last transition of that commit, if it is not known to be published."""


class Past(msgspec.Struct, frozen=True):
    """A part of the log of events that is read again: latest times of events that nobody had asked for then."""

    events: tuple[str, ...]
    begin: int
    """The oldest record that was kept when it began."""
    next: int
    """The next record to read."""
    end: int
    """What comes from here on was learned when it came."""
    since_s: float = -inf
    """Since when the events will be known: log time of the oldest record, where the log had lost its beginning."""


class Place(msgspec.Struct, frozen=True):
    """Where a partition stands in its logs; stored with each commit."""

    events: int = 0
    transitions: int = 0
    cause: str | None = None
    """See `merging.merge`."""
    last: str | None = None
    """Id of the last transition that was taken."""
    log: int = 0
    """How often the log of events was found to be another one."""
    read_s: float = -inf
    """Log time of the last event that was taken."""
    since_s: dict[str, float] = {}
    """Event that is asked for -> since when its latest time is known (minus infinity: always; infinity: not yet)."""
    missed: int = 0
    """Records that the logs did not keep long enough."""
    past: Past | None = None
    """What is being read again (`past.PastReader`),"""
    unread: tuple[str, ...] = ()
    """and events whose past is read behind that."""

    @property
    def reading(self) -> frozenset[str]:
        """Events of whose past nothing can be said yet."""
        return frozenset(self.unread if self.past is None else (*self.unread, *self.past.events))

    @property
    def left(self) -> int:
        """About how many records are to be read again."""
        under_way = 0 if self.past is None else self.past.end - max(self.past.next, self.past.begin)
        return under_way + (self.events if self.unread else 0)

    def to_bytes(self) -> bytes:
        """As stored."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Place:
        """As `to_bytes` gave it; the beginning of both logs for None."""
        return cls() if data is None else msgspec.msgpack.decode(data, type=cls)


class Round(NamedTuple):
    """What a round has found."""

    inputs: list[Input]
    learned: list[Learned]
    place: Place
    """Behind all of it."""
    as_of_s: float
    """What the shard has stored holds all that the log of events held up to this time."""
    read_s: float
    """All that had happened by this time stands before `place`."""
    is_idle: bool
    """There is nothing more; else something may wait for the next round."""


class TwoLogs:
    """See the module. For one thread."""

    def __init__(self, events: Log, transitions: Log, at: Callable[[], ShardAt]) -> None:
        self._events = events
        self._transitions = transitions
        self._at = at
        self._earlier: ShardAt | None = None
        """Of the round before,"""
        self._earlier_s = -inf
        """and up to when the shard had stored all events then."""

    def begin(self, place: Place, *, is_first: bool = False) -> Place:
        """Where to read on: behind what is not kept any more, or at the beginning of logs that were made anew.

        `is_first`: nothing was read before, so nothing was missed.
        """
        events, transitions = self._events, self._transitions
        is_other = place.events > events.end or place.transitions > transitions.end
        if is_other:
            place = msgspec.structs.replace(place, events=0, transitions=0, cause=None, last=None, log=place.log + 1)
        missed = max(0, events.begin - place.events) + max(0, transitions.begin - place.transitions)
        self._earlier = None
        if not missed and not is_other:
            return place
        known_s = self._oldest_s() if events.begin > place.events or is_other else None
        place = msgspec.structs.replace(
            place,
            events=max(place.events, events.begin),
            transitions=max(place.transitions, transitions.begin),
            missed=place.missed + (0 if is_first else missed),
        )
        if known_s is None:
            return place
        # All that is kept lies ahead: nothing is left to be read again, and nothing is known of before.
        since_s = dict.fromkeys(place.since_s, known_s)
        return msgspec.structs.replace(place, read_s=known_s, since_s=since_s, past=None, unread=())

    def ask_for(self, place: Place, events: Collection[str]) -> Place:
        """The place when the latest times of these events are asked for: the past of new ones is to be read again."""
        new = [event for event in sorted(events) if event not in place.since_s]
        has_past = bool(new) and place.events > self._events.begin
        new_s = inf if has_past else place.read_s
        past = place.past
        if past is not None:
            still = tuple(event for event in past.events if event in events)
            past = msgspec.structs.replace(past, events=still) if still else None
        waiting = [event for event in place.unread if event in events]
        return msgspec.structs.replace(
            place,
            since_s={event: place.since_s.get(event, new_s) for event in sorted(events)},
            past=past,
            unread=(*waiting, *(new if has_past else ())),
        )

    def as_of_s(self, place: Place, now_s: float) -> float:
        """As of `Round`, without reading on."""
        events_end = self._events.end
        at = self._at()
        unread = self._events.read(place.events, 1) if at.offset < events_end and events_end > place.events else ()
        return _as_of_s(place, unread, events_end, at, now_s)

    def _oldest_s(self) -> float:
        """Log time of the oldest event; before that nothing is known."""
        oldest = self._events.read(self._events.begin, 1)
        return oldest[0].log_time_s if oldest else -inf

    def read(self, place: Place, listener: Listener, now_s: float) -> Round:
        """The next ones. `now_s`: the wall clock before anything is looked at."""
        ended = self._transitions.end
        records = self._transitions.read(place.transitions, PAGE) if ended > place.transitions else ()
        transitions = [listener.transition(record) for record in records]
        known = {id_ for _, id_ in transitions} | {place.last}
        is_all = (records[-1].offset + 1 if records else place.transitions) >= ended
        earlier = self._earlier
        is_sure = earlier is not None and is_all and (earlier.pending is None or earlier.pending in known)
        sure = earlier.offset if earlier is not None and is_sure else 0
        events_end = self._events.end
        at = self._at()
        stored = min(at.offset, events_end)
        unread = self._events.read(place.events, PAGE) if events_end > place.events else ()
        page = [record for record in unread if record.offset < stored]
        reaches = (page[-1].offset + 1 if page else place.events) >= stored
        events = [listener.event(record) for record in page]
        found = merge(
            [transition for transition, _ in transitions],
            [event for event, _ in events],
            sure=sure,
            reaches=reaches,
            cause=place.cause,
        )
        new = place
        if found.events:
            last = page[found.events - 1]
            new = msgspec.structs.replace(new, events=last.offset + 1, read_s=max(place.read_s, last.log_time_s))
        if found.transitions:
            id_ = transitions[found.transitions - 1][1] or place.last
            behind = records[found.transitions - 1].offset + 1
            new = msgspec.structs.replace(new, transitions=behind, last=id_, cause=found.cause)
        took_all = (
            is_sure and found.transitions == len(records) and earlier is not None and new.events >= earlier.offset
        )
        read_s = max(new.read_s, self._earlier_s if took_all else -inf)
        self._earlier, self._earlier_s = at, now_s if at.offset >= events_end else -inf
        return Round(
            inputs=found.inputs,
            learned=[each for _, each in events[: found.events] if each is not None],
            place=new,
            as_of_s=_as_of_s(place, unread[len(page) :] or unread[-1:], events_end, at, now_s),
            read_s=read_s,
            is_idle=not found.events and not found.transitions and new.events >= stored,
        )


def _as_of_s(place: Place, unread: Sequence[LogRecord], events_end: int, at: ShardAt, now_s: float) -> float:
    """Up to when the shard has stored what the log held.

    `unread`: the first record that it has not stored, or one before that. `events_end` was looked at before `at`.
    """
    if at.offset >= events_end:
        return now_s
    if at.offset < place.events or not unread:
        return -inf  # its store was set back, or is being made anew
    return unread[0].log_time_s
