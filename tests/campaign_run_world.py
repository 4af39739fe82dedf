"""A partition of campaigns in memory: two logs, a shard that does what tests tell it, and a receiver of messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from config.campaigns import Campaign
from config.loader import loads
from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.campaigns.effects import Alert, Note, Out, Purge, Send, Trip
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan
from streams.campaigns.ports import Claim, Commit, Seen
from streams.campaigns.profiles import Profile, unpack_profile
from streams.campaigns.state import Book, Row, unpack_book, unpack_row
from streams.commit import Patience
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.partition_run import CampaignRun, Defined, Ports
from streams.runtime.campaigns.two_logs import ShardAt, TwoLogs
from streams.runtime.records import Record
from tests.campaign_world import campaign, plan_of

CATALOG = loads("""
version: 1
name: shop
predictions:
  p: {name: Orders, goal: {did: Order}, window: 7d}
segments:
  s: {name: Entered, filter: {event: Enter, count: {min: 1}}}
""")
NOW_S = 1_790_000_000.0
SEGMENT = "s"
ALL = Shard(0, 1)
"""One shard has all users."""


def text_of(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def track(user: str, event: str, at_s: float, message: str, **properties: Any) -> bytes:
    """An event of a producer."""
    said = {"type": "track", "userId": user, "event": event, "timestamp": text_of(at_s), "messageId": message}
    return msgspec.json.encode(said | {"properties": properties})


def identify(user: str, at_s: float, **traits: Any) -> bytes:
    """Traits of a user."""
    said = {"type": "identify", "userId": user, "timestamp": text_of(at_s), "traits": traits}
    return msgspec.json.encode(said)


def delete(user: str, at_s: float) -> bytes:
    """The user goes."""
    return msgspec.json.encode({"type": "delete", "userId": user, "timestamp": text_of(at_s)})


class ListLog:
    """A partition of a log."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.begin = 0

    @property
    def end(self) -> int:
        return len(self.records)

    def append(self, value: bytes, log_time_s: float = NOW_S) -> None:
        self.records.append(Record(len(self.records), log_time_s, value))

    def read(self, offset: int, max_records: int) -> Sequence[Record]:
        assert self.begin <= offset <= self.end, "it was asked where to begin"
        return self.records[offset : offset + max_records]

    def close(self) -> None:
        """Whoever opened it once more has read enough."""


class FakeShard:
    """Whoever does `Enter` is in the segment until `Leave`; stores and publishes when it is told to."""

    def __init__(self, events: ListLog, transitions: ListLog) -> None:
        self._events = events
        self._transitions = transitions
        self.stored = 0
        self._pending: list[tuple[str, bytes]] = []
        self._sequences: dict[str, int] = {}
        self.lives: dict[str, float] = {}
        """User -> up to when events are of an earlier life."""
        self.gone: dict[str, float] = {}

    def store(self, count: int = 1_000_000) -> None:
        """So many events, once what was stored before is published."""
        self.publish()
        for record in self._events.records[self.stored : self.stored + count]:
            said = msgspec.json.decode(record.value)
            user, at_s = said["userId"], datetime.fromisoformat(said["timestamp"]).timestamp()
            self.stored = record.offset + 1
            if said["type"] == "delete":
                self._end(user, at_s)
            elif at_s > self.gone.get(user, 0.0):
                self.lives.setdefault(user, self.gone.get(user, 0.0))
                self._cross(user, said, at_s)

    def _cross(self, user: str, said: Mapping[str, Any], at_s: float) -> None:
        sequence, event = self._sequences.get(user, 0), said.get("event")
        if (event, sequence % 2) in (("Enter", 0), ("Leave", 1)):
            self._sequences[user] = sequence + 1
            self._say(user, sequence + 1, at_s, said["messageId"], "live")

    def _end(self, user: str, at_s: float) -> None:
        if self._sequences.get(user, 0) % 2:
            self._say(user, self._sequences[user] + 1, at_s, "", "deleted")
        self._sequences.pop(user, None)
        self.lives.pop(user, None)
        self.gone[user] = at_s

    def _say(self, user: str, sequence: int, at_s: float, cause: str, origin: str) -> None:
        is_in = sequence % 2 == 1
        data = {"segment_id": SEGMENT, "in_segment": is_in, "origin": origin, "caused_by_goal": False}
        kind = f"tideline.segment.{'entered' if is_in else 'exited'}.v1"
        id_ = f"{user}:{sequence}:{at_s}"
        said = {"id": id_, "type": kind, "subject": user, "time": text_of(at_s), "sequence": f"{sequence:010}"}
        self._pending.append((id_, msgspec.json.encode(said | {"causationid": cause or None, "data": data})))

    def publish(self, count: int = 1_000_000) -> None:
        """So many transitions of what is stored."""
        for _, data in self._pending[:count]:
            self._transitions.append(data)
        del self._pending[:count]

    def at(self) -> ShardAt:
        return ShardAt(self.stored, self._pending[-1][0] if self._pending else None)

    # --- `FactsReader` ------------------------------------------------------------------------------------------------

    def use(self, plan: Plan) -> None:
        """Everything is known."""

    def facts(self, users: Sequence[str], as_of_s: float) -> dict[str, Facts]:
        segments = {user: frozenset([SEGMENT] if self._sequences.get(user, 0) % 2 else []) for user in users}
        return {user: Facts(as_of_s, user in self.lives, segments[user]) for user in users}

    def lives_s(self, users: Sequence[str]) -> dict[str, float]:
        return {user: self.lives[user] for user in users if user in self.lives}

    def members(self, segment: str, cursor: str, limit: int) -> tuple[list[str], str]:
        assert segment == SEGMENT
        users = sorted(user for user, sequence in self._sequences.items() if sequence % 2 and user > cursor)
        page = users[: min(limit, 2)]
        return page, page[-1] if len(page) < len(users) else ""


class Receiver:
    """Takes each message once, by its number and its id, as channels do; notes go back into the log of events."""

    def __init__(self, events: ListLog | None = None) -> None:
        self.sends: list[Send] = []
        self.purged: list[str] = []
        self.notes: dict[str, Note] = {}
        self.alerts: dict[str, Alert] = {}
        self.trips: list[Trip] = []
        self.given = 0
        """How often something was given, repetitions among them."""
        self._events = events
        self._numbers: dict[str, int] = {}

    def publish(self, outs: Sequence[Out]) -> None:
        for each in outs:
            self._take(each)

    def _take(self, each: Out) -> None:
        self.given += 1
        if isinstance(each, Send | Purge):
            if each.number <= self._numbers.get(each.generation, 0):
                return
            self._numbers[each.generation] = each.number
        if isinstance(each, Send):
            if each.id not in {other.id for other in self.sends}:
                self.sends.append(each)
        elif isinstance(each, Purge):
            self.purged.append(each.user)
        elif isinstance(each, Note):
            if self._events is not None and each.message_id not in self.notes:
                self._events.append(track(each.user, each.event, each.at_s, each.message_id, **each.properties))
            self.notes[each.message_id] = each
        elif isinstance(each, Alert):
            self.alerts[each.id] = each
        else:
            self.trips.append(each)


@dataclass
class World:
    """All of it; `run` is one process."""

    plan: Plan = field(default_factory=lambda: plan_of({"c": campaign()}))
    store: MemoryCampaigns = field(default_factory=MemoryCampaigns)
    now_s: float = NOW_S
    told: Seen | None = None

    def __post_init__(self) -> None:
        self.events, self.transitions = ListLog(), ListLog()
        self.shard = FakeShard(self.events, self.transitions)
        self.receiver = Receiver(self.events)
        self.defined = Defined(self.plan, CATALOG)
        self.run = self.start()

    @classmethod
    def of(cls, **campaigns: Campaign) -> World:
        return cls(plan_of(campaigns))

    def define(self, plan: Plan) -> None:
        """Something else is defined from now on."""
        self.defined = Defined(plan, CATALOG)

    def start(self, shard: Shard = ALL, **ports: Any) -> CampaignRun:
        """A fresh process, which has not taken the partition yet."""
        logs = TwoLogs(self.events, self.transitions, self.shard.at)
        given: dict[str, Any] = {
            "store": self.store,
            "logs": logs,
            "facts": self.shard,
            "outlet": self.receiver,
            "patience": Patience(lambda _: None, attempts=3),
            "defined": lambda: self.defined,
            "past": lambda: self.events,
            "tell": self._tell,
        }
        self.run = CampaignRun(Ports(**given | ports), shard)
        return self.run

    def steps(self, count: int) -> None:
        """So many, whatever there is to do."""
        for _ in range(count):
            self.run.step(self.now_s)

    def _tell(self, seen: Seen) -> None:
        self.told = seen

    def settle(self, rounds: int = 200) -> None:
        """The shard has stored and published all, and campaigns have nothing more to do."""
        if not self.run.is_loaded:
            self.run.assign(self.told)
        for _ in range(rounds):
            self.shard.store()
            self.shard.publish()
            if not self.run.step(self.now_s) and not self.run.is_behind:
                return
        raise AssertionError("campaigns do not come to rest")

    # --- what is stored ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> dict[str, Row]:
        return {user: unpack_row(data) for user, (data, _) in self.store.copy(0).rows.items()}

    @property
    def profiles(self) -> dict[str, Profile]:
        return {user: unpack_profile(data) for user, data in self.store.copy(0).profiles.items()}

    def book(self, id_: str = "c") -> Book:
        return unpack_book(self.store.copy(0).books[id_])


class Crash(Exception):
    """The process is gone."""


class FailingStore(MemoryCampaigns):
    """Fails before or behind a call, as `fault` says: (name of the call, whether it is carried out), or None."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[str, bool], Exception | None] = lambda _call, _is_done: None

    def commit(self, claim: Claim, commit: Commit) -> None:
        self._may_fail("commit", False)
        super().commit(claim, commit)
        self._may_fail("commit", True)

    def trim(self, claim: Claim, number: int) -> None:
        self._may_fail("trim", False)
        super().trim(claim, number)
        self._may_fail("trim", True)

    def rows(self, claim: Claim, users: Any) -> Mapping[str, bytes]:
        self._may_fail("rows", False)
        return super().rows(claim, users)

    def _may_fail(self, call: str, is_done: bool) -> None:
        error = self.fault(call, is_done)
        if error is not None:
            raise error
