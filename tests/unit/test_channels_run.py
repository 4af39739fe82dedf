"""A channel at work: what is stored before what, second looks, several in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from streams.campaigns.effects import TEST, Note, Purge, Send
from streams.campaigns.question import Wait, Withhold
from streams.runtime.channels.desk import Step, Taken
from streams.runtime.channels.parcel import Parcel
from streams.runtime.channels.run import ChannelRun, Tools
from streams.runtime.deliveries.pace import Delivery, Limits
from streams.runtime.deliveries.sender import Outcome
from tests.unit.test_channels_desk import FINE, LOST, NOW_S, send

LIMITS = Limits()
"""As the service has them."""
SPOILED = Outcome(False, "answered 400", 400)


@dataclass
class MemoryDesk:
    """Keeps what is stored, and when, beside what the other side was asked."""

    story: list[str]
    taken: Taken = field(default_factory=Taken)
    waiting: dict[str, Delivery] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    asked_for: dict[str, Delivery] = field(default_factory=dict)
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self, _channel: str) -> tuple[Taken, list[Delivery]]:
        waiting = sorted(self.waiting.values(), key=lambda delivery: delivery.number)
        return deepcopy(self.taken), deepcopy(waiting)

    async def known(self, _channel: str, ids: Collection[str]) -> set[str]:
        return self.ids & set(ids)

    async def asked(self, _channel: str) -> dict[str, Delivery]:
        return deepcopy(self.asked_for)

    async def step(self, _channel: str, taken: Taken, step: Step) -> None:
        for name in step.asked:
            self.asked_for.pop(name, None)
        self.taken = deepcopy(taken)
        for delivery in step.drop:
            self.waiting.pop(delivery.id, None)
        self.waiting |= {delivery.id: deepcopy(delivery) for delivery in step.put}
        self.ids |= set(step.ids)
        if step.drop and not self.waiting:
            self.empty.set()
        self.unknown += [delivery.id for delivery in step.unknown]
        self.dead += [delivery.id for delivery in step.dead]
        self.story.append("stored" + "".join(f" {each.id}:{'marked' if each.is_marked else ''}" for each in step.put))


@dataclass
class Other:
    """The other side."""

    story: list[str]
    outcome: Outcome = FINE
    at_once: int = 50
    knows_ids: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    spoiling: str | None = None
    """Whatever is sent together with this message is refused."""
    meanwhile: Callable[[Other, Sequence[Parcel]], Awaitable[None]] | None = None
    """Before it answers."""
    flying: int = 0
    """Calls."""
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        self.story.append("asked " + " ".join(parcel.id for parcel in parcels))
        self.arrived.set()
        self.flying += 1
        if self.meanwhile is not None:
            await self.meanwhile(self, parcels)
        self.flying -= 1
        is_spoiled = self.spoiling in {parcel.id for parcel in parcels}
        return [SPOILED if is_spoiled else self.outcome] * len(parcels)

    async def close(self) -> None: ...


@dataclass
class Shop:
    """One run, its store, the other side, and what was told."""

    verdicts: dict[str, Withhold | Wait] = field(default_factory=dict)
    now_s: float = NOW_S
    limits: Limits = LIMITS
    story: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = MemoryDesk(self.story)
        self.other = Other(self.story)

    def run(self) -> ChannelRun:
        tools = Tools(self.desk, self._recheck, self._tell, lambda: self.now_s, Random(1), self.limits)
        self.latest = ChannelRun("it", self.other, tools)
        return self.latest

    async def _recheck(self, sends: Sequence[Send], channel: str) -> list[Withhold | Wait | None]:
        self.story.append("looked again at " + " ".join(each.id for each in sends))
        assert channel == "it"
        return [self.verdicts.get(each.id) for each in sends]

    async def _tell(self, notes: Sequence[Note]) -> None:
        self.story.append("told")
        self.notes += notes


def worked(shop: Shop, found: Sequence[Send | Purge], until: Callable[[Shop], Awaitable[Any]] | None = None) -> Shop:
    """Take these in, and work until the other side was asked (or `until`)."""

    async def go() -> None:
        shop.other.arrived = asyncio.Event()
        run = shop.run()
        await run.open()
        await run.take(found)
        work = asyncio.create_task(run.run())
        async with asyncio.timeout(10.0):
            await (shop.other.arrived.wait() if until is None else until(shop))
            run.stop()
            await work

    asyncio.run(go())
    return shop


def test_a_mark_is_stored_before_the_attempt_and_gone_behind_it() -> None:
    shop = worked(Shop(), [send(1)])
    assert shop.story == ["stored", "stored id-1:", "stored id-1:marked", "asked id-1", "stored"]
    assert (shop.desk.waiting, shop.desk.taken.counts) == ({}, {"arrived": 1})


def test_many_go_in_one_call_and_two_of_one_user_in_two() -> None:
    several = [send(number, f"user-{number}") for number in range(1, 61)]
    shop = worked(Shop(), [*several, send(61, "user-1")], until=all_gone)
    assert [len(line.split()) - 1 for line in shop.story if line.startswith("asked")] == [50, 10, 1]


def test_no_more_calls_are_on_their_way_than_may_be_and_others_go_when_one_has_ended() -> None:
    shop, most = Shop(limits=Limits(at_once=2)), [0]

    async def in_turn(other: Other, parcels: Sequence[Parcel]) -> None:
        most[0] = max(most[0], other.flying)
        if other.flying == 2 or len(parcels) < 50:
            other.go.set()
        await other.go.wait()

    shop.other.meanwhile = in_turn
    worked(shop, [send(number, f"user-{number}") for number in range(1, 231)], until=all_gone)
    assert sorted(len(line.split()) - 1 for line in shop.story if line.startswith("asked")) == [30, 50, 50, 50, 50]
    assert most == [2]


def test_one_that_the_other_side_refuses_spoils_nobody_else() -> None:
    shop = Shop(limits=Limits(attempts=1))
    shop.other.spoiling = "id-7"
    worked(shop, [send(number, f"user-{number}") for number in range(1, 21)], until=all_gone)
    assert [len(line.split()) - 1 for line in shop.story if line.startswith("asked")] == [20, *[1] * 20]
    assert (shop.desk.dead, shop.desk.taken.counts) == (["id-7"], {"arrived": 19, "failed": 1, "dead": 1})


def test_how_long_arrivals_took_is_measured_since_their_event_and_since_they_were_decided() -> None:
    shop = Shop(now_s=NOW_S + 4.0, limits=Limits(attempts=1))
    shop.other.spoiling = "id-9"
    of_event, of_schedule = send(1, event_s=NOW_S - 26.0), send(2, "bob")
    worked(shop, [of_event, of_schedule, send(3, "eve", id=f"{TEST}3")], until=all_gone)
    since = shop.latest.latency.since
    assert [(sum(since[start].counts), since[start].total) for start in ("event", "decided")] == [(1, 30.0), (2, 8.0)]
    worked(shop, [send(9, "kim")], until=all_gone)
    assert sum(shop.latest.latency.since["decided"].counts) == 0, "it has not arrived"


def test_what_has_expired_is_told_before_it_is_stored_that_there_is_nothing_more_to_tell() -> None:
    shop = Shop(now_s=NOW_S + 3_600.0)
    shop.verdicts = {"id-2": Withhold("goal")}
    worked(shop, [send(1), send(2, "bo", expires_s=1e12)], until=all_gone)
    assert shop.story[2:] == ["looked again at id-2", "told", "stored"]
    told = [(note.event, note.user, note.properties["why"]) for note in shop.notes]
    assert told == [("Tideline Message Dropped", "ann", "stale"), ("Tideline Message Dropped", "bo", "goal")]


async def all_gone(shop: Shop) -> None:
    await shop.desk.empty.wait()


def test_an_attempt_whose_end_is_not_known_is_left_to_a_person() -> None:
    shop = Shop()
    shop.other.outcome = LOST
    worked(shop, [send(1)])
    assert (shop.desk.unknown, shop.desk.waiting) == (["id-1"], {})


def test_after_a_stop_in_the_middle_of_an_attempt_it_is_not_made_again() -> None:
    shop = Shop()
    worked(shop, [send(1)])
    marked = Delivery("id-9", "bo", b"", 9, NOW_S, is_marked=True)
    shop.desk.waiting["id-9"] = marked
    worked(shop, [send(2)])
    assert shop.desk.unknown == ["id-9"]
    assert "id-9" not in " ".join(line for line in shop.story if line.startswith("asked"))


def test_late_messages_are_looked_at_again_and_what_is_dropped_is_told_first() -> None:
    shop = Shop(now_s=NOW_S + 120.0)
    shop.verdicts = {"id-1": Withhold("goal"), "id-2": Wait("behind", NOW_S + 180.0)}
    worked(shop, [send(1), send(2, "bo"), send(3, "cy")])
    assert shop.story[2:] == [
        "looked again at id-1 id-2 id-3",
        "told",
        "stored id-2: id-3:marked",
        "asked id-3",
        "stored",
    ]
    assert [(note.event, note.properties["why"]) for note in shop.notes] == [("Tideline Message Dropped", "goal")]
    assert list(shop.desk.waiting) == ["id-2"]


def test_what_is_held_back_is_not_the_trial_of_a_half_open_circuit_again_and_again() -> None:
    shop = Shop(now_s=NOW_S + 61.0, verdicts={"id-1": Wait("paused", NOW_S + 121.0)})

    async def go() -> None:
        run = shop.run()
        await run.open()
        run.desk.pace.breaker.open_until_s = NOW_S
        await run.take([send(1), send(2, "bo", campaign="d")])
        work = asyncio.create_task(run.run())
        async with asyncio.timeout(10.0):
            await shop.other.arrived.wait()
            run.stop()
            await work

    asyncio.run(go())
    looked_at = [line for line in shop.story if line.startswith("looked")]
    assert looked_at == ["looked again at id-1", "looked again at id-2"]
    assert list(shop.desk.waiting) == ["id-1"]


def test_a_message_that_is_said_again_after_it_arrived_is_not_sent_again() -> None:
    shop = worked(Shop(), [send(1)])
    shop.story.clear()
    worked(shop, [send(1, generation="h"), send(2, "bo", generation="h")])
    assert [line for line in shop.story if line.startswith("asked")] == ["asked id-2"]
