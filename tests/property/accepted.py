"""What a shard makes of its inputs before anything else: which events it accepts, and at what time they count.

Written from docs/core.md (Input, steps 0 to 2) and nothing else, for tests that judge the core by its whole log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from config.catalog import Catalog
from streams.core.events import BadEvent, Event
from tests.reference.reference_shard import Advance, Input


@dataclass(slots=True)
class Accepted:
    """The accepted events in the order of arrival, with the times at which they count, and what became of the others.

    `outcomes` has one word per input: accepted, duplicate, no_room, bad or advance.
    """

    events: list[Event] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    moved_back: int = 0
    clock_s: float | None = None

    def of(self, user: str) -> list[Event]:
        """The accepted events of a user."""
        return [event for event in self.events if event.user == user]

    def users(self) -> list[str]:
        """Users in the order of their first accepted events."""
        return list(dict.fromkeys(event.user for event in self.events))


def accept(catalog: Catalog, items: Sequence[Input]) -> Accepted:
    """Sort the inputs into those that count and those that do not."""
    found = Accepted()
    for item in items:
        found.outcomes.append(_take(catalog, item, found))
    return found


def _take(catalog: Catalog, item: Input, found: Accepted) -> str:
    if isinstance(item, BadEvent):
        return "bad"
    if isinstance(item, Advance):
        if found.clock_s is not None:
            found.clock_s = max(found.clock_s, item.time_s)
        return "advance"
    users = found.users()
    if item.user not in users and len(users) >= catalog.limits.users:
        return "no_room"
    bound = catalog.limits.dedupe_ids
    if bound and item.message_hash in [event.message_hash for event in found.events[-bound:]]:
        return "duplicate"
    time_s = item.time_s
    if time_s > item.log_time_s + catalog.time.max_ahead_s:
        time_s = item.log_time_s
        found.moved_back += 1
    found.clock_s = time_s if found.clock_s is None else max(found.clock_s, time_s)
    found.events.append(msgspec.structs.replace(item, time_s=time_s))
    return "accepted"
