"""A table of filters for running services, and what each of them comes to by brute force over the whole log."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from config.definitions import read_segment
from config.loader import loads
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.message_hash import id_hash, place_hash
from streams.core.partition import shard_of
from tests.integration.worker_evidence import Logged
from tests.integration.worker_world import CATALOG, Sent
from tests.reference.conditions import plain
from tests.reference.filters import brute_filter

VIEW, ADD, ORDER = "Product Viewed", "Product Added", "Order Completed"
LIKELY: Final = "views_1d.high"
"""Of the catalog file; what is layered on it is judged with it."""

FILTERS: Final[dict[str, dict[str, Any]]] = {
    "once": {"event": ORDER, "count": {"min": 1}},
    "few": {"event": ADD, "count": {"min": 1, "max": 3}},
    "never": {"event": ORDER, "count": {"max": 0}},
    "hours": {"event": VIEW, "count": {"min": 2}, "within": "12h"},
    "two_days": {"event": VIEW, "count": {"min": 3}, "within": "48h"},
    "week": {"event": VIEW, "count": {"min": 4}, "within": "7d"},
    "quiet_week": {"event": VIEW, "count": {"max": 0}, "within": "7d"},
    "long": {"event": VIEW, "count": {"min": 10, "max": 40}, "within": "30d"},
    "lately": {"event": VIEW, "since": {"max": "36h"}},
    "gone": {"event": VIEW, "since": {"min": "60h"}},
    "between": {"event": ORDER, "since": {"min": "1d", "max": "6d"}},
    "paying": {"trait": "plan", "in": ["plus", "business"]},
    "free": {"trait": "plan", "equals": "free"},
    "no_plan": {"not": {"trait": "plan", "in": ["free", "plus", "business"]}},
    "not_lately": {"not": {"event": VIEW, "since": {"max": "48h"}}},
    "layers": {
        "all": [
            {"event": VIEW, "count": {"min": 1}, "within": "7d"},
            {"any": [{"event": ADD, "count": {"min": 2}}, {"trait": "plan", "equals": "business"}]},
            {"not": {"event": ORDER, "since": {"max": "72h"}}},
        ]
    },
    "on_others": {"all": [{"segment": "week"}, {"not": {"segment": "paying"}}]},
    "likely_and_paying": {"all": [{"segment": LIKELY}, {"trait": "plan", "in": ["plus", "business"]}]},
}
EDITS: Final[dict[str, dict[str, Any]]] = {
    "once": {"event": ORDER, "count": {"min": 2}},
    "hours": {"event": VIEW, "count": {"min": 1}, "within": "36h"},
    "week": {"event": VIEW, "count": {"min": 2}, "within": "5d"},
    "gone": {"event": VIEW, "since": {"min": "36h", "max": "240h"}},
    "free": {"not": {"trait": "plan", "equals": "free"}},
    "layers": {"any": [{"event": ADD, "since": {"max": "24h"}}, {"event": VIEW, "count": {"min": 3}, "within": "24h"}]},
}
"""What some of them become while the service runs."""

AHEAD_S: Final = 900.0
"""A test is over before so much time has passed in a shard."""


def parsed(filters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """With durations as seconds, as the brute force takes them."""
    return {id_: plain(read_segment(id_, definition(id_, filter_)).filter) for id_, filter_ in filters.items()}


def definition(id_: str, filter_: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Of a segment, as the API takes it."""
    return {"name": f"Filter {id_}", "filter": filter_, **more}


@dataclass(frozen=True, slots=True)
class Histories:
    """What every user did, as the partitions of a log say it: each message once, in the order of arrival.

    A user who was deleted has no history, until something later than that comes.
    """

    of: Mapping[str, Sequence[Event]]

    @classmethod
    def read(cls, log: Sequence[Sequence[Logged]]) -> Histories:
        """From all records of the topic of events."""
        decoder, found, seen = SegmentDecoder(loads(CATALOG)), dict[str, list[Event]](), set[tuple[int, int]]()
        gone_until_s: dict[str, float] = {}
        for shard, records in enumerate(log):
            for record in records:
                place = place_hash(id_hash(f"events-{shard}"), record.offset)
                event = decoder.decode(record.value, record.offset, record.time_s, place)
                if not isinstance(event, Event) or (shard, event.message_hash) in seen:
                    continue
                assert event.time_s <= record.time_s, "none is of the future"
                if event.time_s <= gone_until_s.get(event.user, -math.inf):
                    continue  # refused before all else
                seen.add((shard, event.message_hash))
                if event.deletes:
                    own = [one.time_s for one in found.pop(event.user, ())]
                    gone_until_s[event.user] = max([event.time_s, *own])
                else:
                    found.setdefault(event.user, []).append(event)
        return cls(found)

    def members(
        self, filters: Mapping[str, Mapping[str, Any]], at_s: float, likely: Iterable[str]
    ) -> dict[str, set[str]]:
        """By segment: for whom its filter holds at a time; `likely` are in `LIKELY`."""
        found = {LIKELY: set(likely)}
        for id_, filter_ in filters.items():
            found[id_] = {user for user in self.of if self._holds(filter_, user, at_s, found)}
        return {id_: found[id_] for id_ in filters}

    def _holds(self, filter_: Mapping[str, Any], user: str, at_s: float, known: Mapping[str, set[str]]) -> bool:
        if "all" in filter_:
            return all(self._holds(inner, user, at_s, known) for inner in filter_["all"])
        if "any" in filter_:
            return any(self._holds(inner, user, at_s, known) for inner in filter_["any"])
        if "not" in filter_:
            return not self._holds(filter_["not"], user, at_s, known)
        if "segment" in filter_:
            return user in known[filter_["segment"]]
        return brute_filter(dict(filter_), list(self.of[user]), at_s)

    def calm_moment(self, all_filters: Sequence[Mapping[str, Mapping[str, Any]]], after_s: float) -> float:
        """The first five minutes past an hour behind `after_s` at which nothing changes by itself for `AHEAD_S`."""
        for hour in itertools.count(int(after_s // 3_600) + 1):
            at_s = hour * 3_600.0 + 300.0
            if all(self.members(f, at_s, ()) == self.members(f, at_s + AHEAD_S, ()) for f in all_filters):
                return at_s
        raise AssertionError("endless")


def ticks(shards: int, at_s: float) -> list[Sent]:
    """An event in every partition, by which its clock comes to this time; of users who do nothing else."""
    found: list[Sent] = []
    for shard in range(shards):
        user = next(name for n in itertools.count() if shard_of(name := f"clock-{n}", shards) == shard)
        body = {
            "type": "track",
            "userId": user,
            "event": "Tick",
            "messageId": f"tick-{shard}-{at_s:.0f}",
            "timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(),
        }
        found.append((user, msgspec.json.encode(body)))
    return found


def deletions(users: Iterable[str], at_s: float) -> list[Sent]:
    """Each of them is deleted at this time."""
    when = datetime.fromtimestamp(at_s, UTC).isoformat()
    bodies = {
        user: {"type": "delete", "userId": user, "messageId": f"gone-{user}", "timestamp": when} for user in users
    }
    return [(user, msgspec.json.encode(body)) for user, body in bodies.items()]


def behind(records: Sequence[Sent], at_s: float) -> list[Sent]:
    """Without those of before: time has gone on to there already."""
    return [(user, value) for user, value in records if not _is_before(value, at_s)]


def _is_before(value: bytes, at_s: float) -> bool:
    try:
        time_s = datetime.fromisoformat(msgspec.json.decode(value)["timestamp"]).timestamp()
    except (msgspec.DecodeError, TypeError, KeyError, ValueError):
        return False  # a record that nobody can use
    return time_s <= at_s
