"""What a partition of campaigns makes of records of the two logs: inputs of the engine, and what profiles learn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from math import inf
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from config.catalog import Catalog
from streams.campaigns.inputs import Crossing, Deleted, Watched
from streams.campaigns.merging import FromEvents, FromTransitions
from streams.campaigns.plan import Plan
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.partition import shard_of
from streams.runtime.campaigns.traced import Contexts
from streams.trace_context import sampled


class LogRecord(Protocol):
    """One record of a partition of a log."""

    @property
    def offset(self) -> int: ...

    @property
    def log_time_s(self) -> float:
        """When the log took it, seconds since 1970 UTC."""

    @property
    def value(self) -> bytes: ...

    @property
    def trace(self) -> str | None:
        """Of which trace an event is a part (`streams.trace_context`)."""


class Shard(NamedTuple):
    """Whose records are read."""

    number: int
    shards: int


class Learned(NamedTuple):
    """What a record says of a user beside what campaigns listen to."""

    user: str
    traits: Mapping[str, Any] | None
    event: str | None
    """One of which the latest time is asked for."""
    at_s: float
    is_gone: bool
    """The user was deleted."""


class _Said(msgspec.Struct):
    """What is read of a record beyond what the shard's decoder reads."""

    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


class _TransitionData(msgspec.Struct):
    segment_id: str
    in_segment: bool
    origin: str
    caused_by_goal: bool


class _Transition(msgspec.Struct):
    id: str
    type: str
    subject: str
    time: datetime
    sequence: str
    data: _TransitionData
    causationid: str | None = None
    traceparent: str | None = None


_SAID: Final = msgspec.json.Decoder(_Said)
_TRANSITION: Final = msgspec.json.Decoder(_Transition)
_KIND: Final = "tideline.segment."


class Listener:
    """For one plan and catalog. `generation` names the log of events: another one begins to count from 0 again."""

    def __init__(
        self, plan: Plan, catalog: Catalog, shard: Shard, generation: str, contexts: Contexts | None = None
    ) -> None:
        """`contexts`: where to put those of what is traced; None where traces are off."""
        self._contexts = contexts
        self._shard = shard
        self._generation = generation
        self._events = plan.events()
        self._latest = plan.latest()
        self._segments = plan.segments
        self._decoder = SegmentDecoder(catalog)
        self._max_ahead_s = catalog.time.max_ahead_s

    def event(self, record: LogRecord) -> tuple[FromEvents, Learned | None]:
        """Of a record that the shard has stored. What it refused, and what nobody listens to, only has its place."""
        found = self._taken(record)
        if found is None:
            return FromEvents(record.offset, -inf, f"refused:{record.offset}", None), None
        at_s = self._time_of(found)
        place = FromEvents(record.offset, at_s, found.cause_id, None, record.log_time_s)
        if found.deletes:
            return place._replace(says=Deleted(found.user)), Learned(found.user, None, None, at_s, is_gone=True)
        watched, is_asked_for = self._events.get(found.name or ""), found.name in self._latest
        if watched is None and not is_asked_for and b'"traits"' not in record.value:
            return place, None
        said = _said(record.value)
        if watched is not None and found.name is not None:
            known = said.properties or {}
            properties = {name: known[name] for name in watched if name in known}
            says = self._watched(found, at_s, properties)
            place = place._replace(says=says)
            if self._contexts is not None:
                self._contexts.note(says, record.trace)
        learned = Learned(found.user, said.traits, found.name if is_asked_for else None, at_s, is_gone=False)
        return place, learned if is_asked_for or said.traits else None

    def latest(self, record: LogRecord, events: Collection[str]) -> Learned | None:
        """What a record that is read again says of these events alone.

        Deletions are passed over: what came before one is of an earlier life, which is known to whoever learns.
        """
        found = self._taken(record)
        if found is None or found.deletes or found.name is None or found.name not in events:
            return None
        return Learned(found.user, None, found.name, self._time_of(found), is_gone=False)

    def transition(self, record: LogRecord) -> tuple[FromTransitions, str | None]:
        """Of a record, with its id: None for what others have written to the topic.

        Of deletions the log of events tells, also of users who are in no segment.
        """
        try:
            found = _TRANSITION.decode(record.value)
            sequence = int(found.sequence)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return FromTransitions(record.offset, -inf, None, None), None
        if not found.type.startswith(_KIND):
            return FromTransitions(record.offset, -inf, None, None), None
        at_s, data = found.time.timestamp(), found.data
        says = None
        if data.segment_id in self._segments and data.origin != "deleted" and self._is_ours(found.subject):
            goal = data.caused_by_goal
            says = Crossing(found.subject, data.segment_id, data.in_segment, sequence, at_s, data.origin, goal)
            if self._contexts is not None:
                self._contexts.note(says, sampled(found.traceparent))
        return FromTransitions(record.offset, at_s, found.causationid, says), found.id

    def _watched(self, event: Event, at_s: float, properties: Mapping[str, Any]) -> Watched:
        return Watched(
            user=event.user,
            event=event.name or "",
            at_s=at_s,
            shard=self._shard.number,
            generation=self._generation,
            number=event.position,
            message_id=event.cause_id,
            properties=properties,
            log_time_s=event.log_time_s,
        )

    def _taken(self, record: LogRecord) -> Event | None:
        """An event as the shard has taken it; None for what it has refused."""
        found = self._decoder.decode(record.value, record.offset, record.log_time_s, 0)
        return found if isinstance(found, Event) and self._is_ours(found.user) else None

    def _time_of(self, event: Event) -> float:
        """One that is dated ahead is moved back, as there."""
        return event.log_time_s if event.time_s > event.log_time_s + self._max_ahead_s else event.time_s

    def _is_ours(self, user: str) -> bool:
        return self._shard.shards == 1 or shard_of(user, self._shard.shards) == self._shard.number


def _said(value: bytes) -> _Said:
    """The shard reads properties and traits one by one; what it takes may have something odd beside them."""
    try:
        return _SAID.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return _Said()
