"""What is stored: a row of each user, and the state of a partition. Both are msgpack, and written with every commit."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import msgspec

HOUR_S: Final = 3_600.0
LATE_S: Final = 3_600.0
"""For so long after a window has closed, events from within it may still come."""
HOURS_KEPT: Final = 168


class Occasion(msgspec.Struct, frozen=True, array_like=True):
    """Why a message would be sent."""

    kind: str
    """enter, exit, event, schedule, step."""
    key: str
    """The same whenever the same thing is said again; part of the message's id."""
    at_s: float
    """Event time (of a schedule and a step: when it was due)."""
    caused_by_goal: bool = False
    properties: dict[str, Any] = {}
    """Of the event, for the message."""


class Waiting(msgspec.Struct, array_like=True):
    """A message that was held back until a better time."""

    occasion: Occasion
    due_s: float


class Given(msgspec.Struct, frozen=True, array_like=True):
    """An offer to one user."""

    value: float
    unit: str
    rung: int
    """Its place on the ladder of this moment, whatever an earlier offer allows."""
    cost: float
    """If it is used."""

    def used(self, revenue: float) -> float:
        """What it cost with an order of that revenue."""
        return self.value / 100.0 * revenue if self.unit == "percent" and revenue > 0.0 else self.cost


class Told(msgspec.Struct, array_like=True):
    """What a user got, or would have got, of one campaign or journey. Wall clock, but for `trigger_s`."""

    key: str
    """Of the last occasion."""
    trigger_s: float
    """Event time of the last occasion."""
    last_s: float
    """When the last message was sent or withheld for the sake of a comparison."""
    first_s: float
    """When the first one was: from here on the user is compared."""
    arm: str
    """treated, control, holdout: drawn at the first, and kept."""
    rung: int
    """Of the offer at the first; -1: there was none."""
    sends: int = 0
    offered_s: float = -inf
    offer: Given | None = None
    """The last one."""
    converted: int = 0
    revenue: float = 0.0
    cost: float = 0.0
    """Of the offer, which the first conversion uses."""
    is_open: bool = True
    """Whether the window after the first is open."""


class At(msgspec.Struct, array_like=True):
    """Where a user is in a journey."""

    version: int
    step: str
    key: str
    """Of the occasion that led into it."""
    trigger_s: float
    """Event time of that occasion."""
    since_s: float
    """When the step began."""
    due_s: float
    """When the step ends by itself; infinity: never."""
    visits: int = 0
    """Steps so far: the same step may come again."""


class Row(msgspec.Struct, array_like=True):
    """All that campaigns know of a user."""

    crossings: dict[str, tuple[int, float]] = {}
    """Segment -> sequence and time of the last crossing."""
    sends_s: list[float] = []
    """Times of the messages within the longest cap, oldest first."""
    told: dict[str, Told] = {}
    waiting: dict[str, Waiting] = {}
    journeys: dict[str, At] = {}
    entered_s: dict[str, float] = {}
    """Journey -> event time of the crossing that led into it last."""
    scheduled: dict[str, float] = {}
    """Scheduled campaign -> the last of its times at which the user was looked at."""
    closes_s: dict[str, float] = {}
    """Campaign or journey -> when the window after the first message is over for good."""

    def next_s(self) -> float:
        """When something is due; infinity if that is never."""
        return min(
            min((each.due_s for each in self.waiting.values()), default=inf),
            min((each.due_s for each in self.journeys.values()), default=inf),
            min(self.closes_s.values(), default=inf),
        )


class Tally(msgspec.Struct, array_like=True):
    """Sums over users whose window has closed."""

    users: int = 0
    converted: int = 0
    revenue: float = 0.0
    revenue_squares: float = 0.0
    net: float = 0.0
    """Revenue less the offers that were used."""
    net_squares: float = 0.0

    def add(self, converted: int, revenue: float, cost: float) -> None:
        """One more user."""
        net = revenue - cost
        self.users += 1
        self.converted += converted > 0
        self.revenue += revenue
        self.revenue_squares += revenue * revenue
        self.net += net
        self.net_squares += net * net

    def __add__(self, other: Tally) -> Tally:
        ours, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Tally(*(a + b for a, b in zip(ours, theirs, strict=True)))


class Spent(msgspec.Struct, array_like=True):
    """What a partition has used of something that all share."""

    amount: int
    until_s: float
    """From then on it counts no more; infinity: it always counts."""


class State(msgspec.Struct):
    """What a partition knows beside its users."""

    number: int = 0
    """Of the next message: grows by one with each, so whoever takes them in ignores repetitions."""
    generation: str = ""
    watched: int = -1
    """The last number of `Watched` of that generation."""
    spent: dict[str, Spent] = {}
    tripped: set[str] = set()
    """Campaigns and journeys that the breaker has paused, until a person lets them go on: they are taken out here."""
    alerted: dict[str, int] = {}
    """Campaign or journey -> hour since 1970 in which people were last told of a message that fails."""
    counts: dict[str, dict[str, int]] = {}
    """Campaign or journey -> what became of it (sent, or a reason) -> how often."""
    steps: dict[str, dict[str, int]] = {}
    """Journey -> step -> how many have come to it."""
    hours: dict[str, dict[int, int]] = {}
    """Campaign or journey -> hour since 1970 -> messages, of the last week."""
    tallies: dict[str, dict[str, Tally]] = {}
    """Campaign or journey -> ARM:RUNG -> sums."""
    scheduled: dict[str, float] = {}
    """Scheduled campaign -> the last of its times that is done or over."""

    def count(self, id_: str, what: str) -> None:
        """One more."""
        counts = self.counts.setdefault(id_, {})
        counts[what] = counts.get(what, 0) + 1

    def count_hour(self, id_: str, now_s: float) -> None:
        """One more message in this hour."""
        hour = int(now_s // HOUR_S)
        hours = self.hours.setdefault(id_, {})
        if hour not in hours:
            for old in [each for each in hours if each <= hour - HOURS_KEPT]:
                del hours[old]
        hours[hour] = hours.get(hour, 0) + 1


_ROW: Final = msgspec.msgpack.Decoder(Row)
_STATE: Final = msgspec.msgpack.Decoder(State)


def pack(value: Row | State) -> bytes:
    """As it is stored."""
    return msgspec.msgpack.encode(value)


def unpack_row(data: bytes) -> Row:
    """What `pack` gave."""
    return _ROW.decode(data)


def unpack_state(data: bytes) -> State:
    """What `pack` gave."""
    return _STATE.decode(data)
