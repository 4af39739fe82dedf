"""Event properties that are kept per user for message templates, until an event clears them (catalog: `remember`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from config.catalog import Remember
from streams.core.events import Event

LatestOf = Callable[[str, str], float]


class _Kept(msgspec.Struct, frozen=True):
    """The properties of one event, and its time."""

    time_s: float
    properties: dict[str, Any]


class Remembered:
    """What is remembered, by user and event name.

    What counts is the time of the events, not their order of arrival: an older event never replaces or clears what a
    newer one said, and what comes late from before the second of a clearing event is not kept.
    `latest_of(user, event name)` gives the whole second of the user's latest accepted event of that name (0: none).
    What one event leaves is at most `limit_bytes` of JSON; a larger one leaves nothing and counts in `too_large`.
    """

    def __init__(self, rules: Mapping[str, Remember], limit_bytes: int, latest_of: LatestOf) -> None:
        self._rules = rules
        self._limit_bytes = limit_bytes
        self._latest_of = latest_of
        self._clears: dict[str, list[str]] = {}
        for source, rule in rules.items():
            for name in rule.cleared_by:
                self._clears.setdefault(name, []).append(source)
        self._kept: dict[str, dict[str, _Kept]] = {}
        self._changed: dict[str, None] = {}
        self.too_large = 0

    def take(self, event: Event, time_s: float) -> None:
        """Remember or clear what an accepted event of `time_s` (on the shard's clock) says."""
        if event.name is None:
            return
        for source in self._clears.get(event.name, ()):
            self._forget(event.user, source, time_s)
        rule = self._rules.get(event.name)
        if rule is not None and event.properties:
            found = {k: event.properties[k] for k in rule.properties if k in event.properties}
            if found:
                self._keep(event.user, event.name, _Kept(time_s, found))

    def _forget(self, user: str, source: str, time_s: float) -> None:
        kept = self._kept.get(user, {})
        if source in kept and kept[source].time_s <= time_s:
            del kept[source]
            self._changed[user] = None

    def _keep(self, user: str, source: str, new: _Kept) -> None:
        if len(msgspec.json.encode(new.properties)) > self._limit_bytes:
            self.too_large += 1
            self._forget(user, source, new.time_s)  # what was said before is out of date
            return
        old = self._kept.get(user, {}).get(source)
        if old is not None and old.time_s > new.time_s:
            return
        if any(self._latest_of(user, name) > new.time_s for name in self._rules[source].cleared_by):
            return
        self._kept.setdefault(user, {})[source] = new
        self._changed[user] = None

    def forget_user(self, user: str) -> None:
        """The user was deleted."""
        if self._kept.pop(user, None) is not None:
            self._changed[user] = None

    def adopt(self, other: Remembered) -> None:
        """Take over what `other`, of another catalog, has kept and still is to be kept."""
        self.too_large = other.too_large
        for user, kept in other._kept.items():
            mine = {source: self._still(source, one) for source, one in kept.items() if source in self._rules}
            self._kept[user] = {source: one for source, one in mine.items() if one.properties}
            self._changed[user] = None

    def _still(self, source: str, kept: _Kept) -> _Kept:
        wanted = self._rules[source].properties
        return _Kept(kept.time_s, {name: value for name, value in kept.properties.items() if name in wanted})

    def of(self, user: str) -> dict[str, dict[str, Any]]:
        """Event name to the properties remembered of it."""
        return {source: kept.properties for source, kept in self._kept.get(user, {}).items()}

    def drain(self) -> list[tuple[str, bytes | None]]:
        """What changed since the last call, as stored; None where nothing is left."""
        changed = [(user, self._stored(user)) for user in self._changed]
        for user, data in changed:
            if data is None:
                self._kept.pop(user, None)
        self._changed = {}
        return changed

    def _stored(self, user: str) -> bytes | None:
        kept = self._kept.get(user)
        return msgspec.json.encode(kept) if kept else None

    def load(self, user: str, data: bytes) -> None:
        """Take back what `drain` gave."""
        self._kept[user] = msgspec.json.decode(data, type=dict[str, _Kept])
