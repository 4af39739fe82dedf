"""What is stored: a row of each user, a book of each campaign, and the state of a partition; msgpack all of them.

A commit writes the rows and books that a batch has changed, and the state, which is small.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from math import inf
from typing import Any, Final, TypeVar

import msgspec

_Key = TypeVar("_Key", str, int)
HOUR_S: Final = 3_600.0
LATE_S: Final = 3_600.0
"""For so long after a window has closed, events from within it may still come."""
HOURS_KEPT: Final = 168
SEEN_KEPT: Final = 32
"""Watched events of a user that are known when a shard says them again under another generation."""


OF_EVENTS: Final = ("enter", "exit", "event")
"""Kinds of occasions that something which happened to the user has made."""

_HELD: Final = "/paused"


def held_queue(id_: str) -> str:
    """The queue of occasions and steps that wait for a campaign or journey to be put on again."""
    return id_ + _HELD


def campaign_of_queue(name: str) -> str:
    """Whose queue it is, that of the rate or that of a pause: no id has a slash."""
    return name.removesuffix(_HELD)


def is_rate_queue(name: str) -> bool:
    """Whether it is that of a rate."""
    return not name.endswith(_HELD)


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
    told_s: float | None = None
    """See `Crossing`; None: as `at_s`."""


class Waiting(msgspec.Struct, array_like=True):
    """An occasion that was held back until a better time."""

    occasion: Occasion
    due_s: float
    """Infinity: until its turn comes."""
    since_s: float
    """Time of the first occasion that waits here: its place in the queue."""
    why: str
    """moment, behind, quiet, rate, paused, recommendations."""


class Given(msgspec.Struct, frozen=True, array_like=True):
    """An offer to one user."""

    value: float
    unit: str
    rung: int
    """Its place on the ladder of this moment, whatever an earlier offer allows."""
    cost: float
    """If it is used."""
    is_held_down: bool = False
    """Whether an earlier offer kept it from being better."""

    def used(self, revenue: float) -> float:
        """What it cost with an order of that revenue."""
        return self.value / 100.0 * revenue if self.unit == "percent" and revenue > 0.0 else self.cost


class Fixed(msgspec.Struct, frozen=True, array_like=True):
    """An offer that later ones of the same unit may not exceed for a while."""

    value: float
    since_s: float


class Assignment(msgspec.Struct, array_like=True):
    """What a user got, or would have got, of one campaign or journey. Wall clock, but for `trigger_s`."""

    version: int
    """Of the campaign or journey at the first message: by it the user is judged."""
    key: str
    """Of the last occasion."""
    trigger_s: float
    """Event time of the last occasion."""
    last_s: float
    """When the last message was sent or withheld for the sake of a comparison."""
    first_s: float
    """When the first one was: from here on the user is compared."""
    until_s: float
    """End of the window after the first."""
    arm: str
    """treated, control, holdout: drawn at the first, and kept."""
    rung: int
    """Of the offer at the first; -1: there was none."""
    sends: int = 0
    offer: Given | None = None
    """The last one."""
    fixed: dict[str, Fixed] = {}
    """Unit -> the last offer that nothing held down."""
    converted: int = 0
    revenue: float = 0.0
    cost: float = 0.0
    """Of the offer, which the first conversion uses."""
    is_open: bool = True
    """Whether the window after the first is open."""

    def closes_s(self) -> float:
        """When the window is over for good; infinity once it is closed."""
        return self.until_s + LATE_S if self.is_open else inf


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
    """When the step ends by itself; infinity: never, or when its turn comes."""
    visits: int = 0
    """Steps so far: the same step may come again."""
    why: str = ""
    """Why a step is held up: behind, quiet, rate, paused, pace, recommendations; empty: it is not."""
    is_late: bool = False
    """What led to the step had been told long before there was somebody to take the step."""


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """An occasion after which nothing was sent."""

    key: str
    """Of the occasion."""
    why: str


class Row(msgspec.Struct, array_like=True):
    """All that campaigns know of a user."""

    crossings: dict[str, tuple[int, float]] = {}
    """Segment -> sequence and time of the last crossing."""
    seen: list[int] = []
    """Hashes of the last watched events, oldest first."""
    sends_s: list[float] = []
    """Times of messages, oldest first: all within the longest cap, and others (`caps.with_send`)."""
    assigned: dict[str, Assignment] = {}
    waiting: dict[str, Waiting] = {}
    journeys: dict[str, At] = {}
    entered_s: dict[str, float] = {}
    """Journey -> event time of the crossing that led into it last."""
    scheduled: dict[str, float] = {}
    """Scheduled campaign -> the last of its times at which the user was looked at."""
    refused: dict[str, Refused] = {}
    """Of a campaign or journey whose last occasion led to no message, and to no group that is compared: why."""

    def next_s(self) -> float:
        """When something is due; infinity if that is never."""
        return min(
            min((each.due_s for each in self.waiting.values()), default=inf),
            min((each.due_s for each in self.journeys.values()), default=inf),
            min((each.closes_s() for each in self.assigned.values()), default=inf),
        )

    def queued(self) -> dict[str, float]:
        """Queue in which the user stands -> since when: first come, first served.

        That of a rate has the id of the campaign or journey, that of what a pause holds `held_queue`.
        """
        found = {id_: each.since_s for id_, each in self.waiting.items() if each.why == "rate"}
        found |= {held_queue(id_): each.since_s for id_, each in self.waiting.items() if each.why == "paused"}
        found |= {held_queue(id_): at.since_s for id_, at in self.journeys.items() if at.why == "paused"}
        return found | {id_: at.since_s for id_, at in self.journeys.items() if at.why == "rate"}


class Tally(msgspec.Struct, array_like=True):
    """Sums over users whose window has closed."""

    users: int = 0
    converted: int = 0
    revenue: float = 0.0
    """All of it, before any cap."""
    cost: float = 0.0
    """Of the offers that were used."""
    capped: int = 0
    """Users whose revenue had a cap: only they are in the next two."""
    net: float = 0.0
    """Revenue up to the cap, less the offers that were used."""
    net_squares: float = 0.0

    def add(self, converted: int, revenue: float, cost: float, cap: float | None) -> None:
        """One more user."""
        self.users += 1
        self.converted += converted > 0
        self.revenue += revenue
        self.cost += cost
        if cap is not None:
            net = min(revenue, cap) - cost
            self.capped += 1
            self.net += net
            self.net_squares += net * net

    def __add__(self, other: Tally) -> Tally:
        ours, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Tally(*(a + b for a, b in zip(ours, theirs, strict=True)))


class Spent(msgspec.Struct, array_like=True):
    """What a partition has used of something that all share."""

    amount: int
    until_s: float
    """From then on it is not known any more; infinity: it always is."""


class Book(msgspec.Struct):
    """What a partition knows of one campaign or journey."""

    counts: dict[str, int] = {}
    """What became of occasions (sent, or a reason) -> how often."""
    steps: dict[str, int] = {}
    """Of a journey: step -> how many have come to it."""
    at: dict[str, int] = {}
    """Of a journey: step -> users who are at it now, on any version."""
    inside: dict[int, int] = {}
    """Of a journey: version -> users who are in it."""
    open: dict[int, int] = {}
    """Version -> users whose window is open. An older version with nobody in either is needed no more."""
    hours: dict[int, int] = {}
    """Hour since 1970 of the occasion -> messages, of the last week."""
    tallies: dict[str, Tally] = {}
    """ARM:RUNG:VERSION -> sums."""
    spent: dict[str, Spent] = {}
    """Shared resource -> what was used of it."""
    tripped_s: float | None = None
    """When the standing began under which the breaker tripped here; under a later one it may send again."""
    alerted: dict[str, str] = {}
    """Kind of alert -> the last one that was told, so that each is told once."""
    scheduled_s: float = -inf
    """The last of its times that is done."""
    begun_s: float = -inf
    """The last of its times at which members were asked about: it goes on after a pause."""

    def count(self, what: str) -> None:
        """One more."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def count_hour(self, at_s: float) -> None:
        """One more message for an occasion of that time."""
        hour = int(at_s // HOUR_S)
        if hour not in self.hours:
            newest = max(hour, *self.hours) if self.hours else hour
            self.hours = {each: count for each, count in self.hours.items() if each > newest - HOURS_KEPT}
            if hour <= newest - HOURS_KEPT:
                return
        self.hours[hour] = self.hours.get(hour, 0) + 1

    def move(self, users: dict[_Key, int], key: _Key, by: int) -> None:
        """Count users of a version (`inside` or `open`), or at a step (`at`)."""
        users[key] = users.get(key, 0) + by
        if users[key] <= 0:
            del users[key]


class State(msgspec.Struct):
    """What a partition knows beside its users and campaigns."""

    number: int = 0
    """Of the last thing that was put out for channels: grows by one with each, so repetitions are known."""
    read_s: float = -inf
    """All that happened until then has been read: timers run to here."""
    watched: dict[int, tuple[str, int]] = {}
    """Shard -> generation, and the last number of `Watched` in it."""
    generation: str = ""
    """Of the store, under which what is in `Book.spent` was granted."""


def timers_until(state: State, now_s: float, read_s: float) -> float:
    """Up to when timers run: not ahead of what has been read, nor of a clock that was set back."""
    return min(now_s, max(state.read_s, read_s))


class Books:
    """The books of a partition; those that `change` gave are to be stored."""

    def __init__(self, books: dict[str, Book]) -> None:
        self._books = books
        self.changed: dict[str, None] = {}
        self.gone: dict[str, None] = {}

    def keep(self, known: Container[str]) -> None:
        """Leave out those of campaigns that are no more; they are in `gone`, to be deleted."""
        for id_ in [id_ for id_ in self._books if id_ not in known]:
            del self._books[id_]
            self.changed.pop(id_, None)
            self.gone[id_] = None

    def __iter__(self) -> Iterator[tuple[str, Book]]:
        return iter(list(self._books.items()))

    def of(self, id_: str) -> Book:
        """To look into."""
        return self._books.get(id_) or Book()

    def change(self, id_: str) -> Book:
        """To write into."""
        self.changed[id_] = None
        return self._books.setdefault(id_, Book())


_ROW: Final = msgspec.msgpack.Decoder(Row)
_BOOK: Final = msgspec.msgpack.Decoder(Book)
_STATE: Final = msgspec.msgpack.Decoder(State)


def pack(value: Row | Book | State) -> bytes:
    """As it is stored."""
    return msgspec.msgpack.encode(value)


def unpack_row(data: bytes) -> Row:
    """What `pack` gave."""
    return _ROW.decode(data)


def unpack_book(data: bytes) -> Book:
    """What `pack` gave."""
    return _BOOK.decode(data)


def unpack_state(data: bytes) -> State:
    """What `pack` gave."""
    return _STATE.decode(data)
