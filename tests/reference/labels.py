"""Labels over a whole log, from nothing but the definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from streams.core.events import Event
from tests.reference.conditions import goal_reached, plain


def brute_labels(
    events: Iterable[object],
    examples: Iterable[Mapping[str, Any]],
    goal: BaseModel | dict[str, Any],
    window_s: float,
) -> list[int]:
    """The label of each example (`user`, `time_s`): the goal over the user's events in (t, t + window].

    `events` is the whole log; bad events and advances in it are skipped, and of several events with one message hash
    the first counts. Times are taken as they stand, so a log in which the clock moved events back, or one with events
    that came after the hand-out of the labels they change, has other labels in a shard.
    """
    per_user: dict[str, list[Event]] = {}
    seen: set[int] = set()
    for event in events:
        if not isinstance(event, Event) or event.message_hash in seen:
            continue
        seen.add(event.message_hash)
        per_user.setdefault(event.user, []).append(event)
    labels = []
    for example in examples:
        start_s = example["time_s"]
        inside = [e for e in per_user.get(example["user"], []) if start_s < e.time_s <= start_s + window_s]
        labels.append(int(goal_reached(plain(goal), inside)))
    return labels
