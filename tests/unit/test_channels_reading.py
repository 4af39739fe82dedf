"""How a channel reads the log of messages: where it begins, what it takes, and how much."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from config.errors import BrokerUnavailable, RecordsGone
from streams.campaigns.effects import Purge, Send
from streams.ports import Crossing, Kept
from streams.runtime.campaigns.outlet import trigger_of
from streams.runtime.channels import reading
from streams.runtime.channels.reading import Reader, where_to_begin
from tests.unit.test_channels_desk import send


@pytest.mark.parametrize(
    ("place", "kept", "found"),
    [
        (None, Kept(3, 9), ([3], 0)),  # nothing was ever read
        (5, Kept(3, 9), ([5], 0)),
        (9, Kept(3, 9), ([9], 0)),
        (1, Kept(3, 9), ([3], 2)),  # two are gone
        (12, Kept(0, 2), ([0], 0)),  # the log was made anew
    ],
)
def test_it_begins_where_it_was_or_with_the_oldest(place: int | None, kept: Kept, found: tuple[list[int], int]) -> None:
    assert where_to_begin({} if place is None else {0: place}, [kept]) == found


@dataclass
class Taker:
    id: str = "it"
    places: Mapping[int, int] = field(default_factory=dict)
    room: int = 10
    found: list[Send | Purge] = field(default_factory=list)
    gone: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def await_room(self) -> int:
        return self.room

    async def take(self, found: Sequence[Send | Purge], places: Mapping[int, int]) -> None:
        self.found += found
        self.places = {**self.places, **places}
        if self.found:
            self.enough.set()

    def missed(self, count: int) -> None:
        self.gone += count


@dataclass
class Log:
    """A feed that does what the test says, and the log that opens it."""

    script: list[Exception | list[Crossing]]
    held: Kept = field(default_factory=lambda: Kept(0, 9))
    sought: list[list[int]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    async def open(self) -> Any:
        self.opened += 1
        return self

    async def kept(self) -> list[Kept]:
        return [self.held]

    def seek(self, positions: Sequence[int]) -> None:
        self.sought.append(list(positions))

    async def read(self, max_records: int, timeout_s: float) -> list[Crossing]:
        assert timeout_s == reading.READ_S
        self.asked.append(max_records)
        if not self.script:
            await asyncio.Event().wait()  # nothing comes
        each = self.script.pop(0)
        if isinstance(each, Exception):
            raise each
        return each

    async def close(self) -> None:
        self.closed += 1


def read(log: Log, taker: Taker) -> None:
    """Until something is taken in."""

    async def go() -> None:
        taker.enough = asyncio.Event()
        working = asyncio.create_task(Reader(log, taker).run())
        async with asyncio.timeout(10.0):
            await taker.enough.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    asyncio.run(go())


def record(offset: int, data: bytes) -> Crossing:
    return Crossing(0, offset, data)


def test_it_takes_what_is_for_channels_and_stores_how_far_it_is() -> None:
    log = Log([[record(4, b"{}"), record(5, trigger_of(send(1)).data), record(7, b"no json")]])
    taker = Taker(places={0: 4})
    read(log, taker)
    assert (taker.found, taker.places, log.sought) == ([send(1)], {0: 8}, [[4]])
    assert log.closed == log.opened == 1


def test_it_reads_no_more_than_there_is_room_for() -> None:
    log = Log([[record(0, trigger_of(send(1)).data)]])
    read(log, Taker(room=3))
    assert set(log.asked) == {3}


def test_what_is_gone_is_counted_and_it_goes_on_behind_it() -> None:
    log = Log([RecordsGone("too late"), [record(6, trigger_of(send(1)).data)]], held=Kept(6, 9))
    taker = Taker(places={0: 2})
    read(log, taker)
    assert (taker.gone, taker.found, log.sought) == (4, [send(1)], [[6], [6]])


def test_a_log_that_is_away_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AGAIN_S", 0.0)
    log = Log([BrokerUnavailable("away"), [record(0, trigger_of(send(1)).data)]])
    taker = Taker()
    read(log, taker)
    assert (taker.found, log.opened, log.closed) == ([send(1)], 2, 2)
