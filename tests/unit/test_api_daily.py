"""What predictions expected a week ago: which line is compared with, and what is told where there is none."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from streams.adapters.redis_daily import Day
from streams.api import daily
from streams.api.daily import AGAIN_S, Daily, compared
from streams.api.problems import Kind, Problem
from streams.api.stored import NothingYet

NOW_S = 1_780_000_000.0
DAY_S = 86_400.0


def line(days_ago: float, question: str = "q") -> Day:
    return Day(f"d{days_ago}", NOW_S - days_ago * DAY_S, question, 10.0, 100, (60, 30, 10))


def test_the_nearest_line_of_a_week_ago_is_taken() -> None:
    lines = [line(9.0), line(7.4), line(6.6), line(0.1)]
    assert compared(lines, NOW_S).week_ago == line(7.4)
    assert compared([line(6.51)], NOW_S).week_ago == line(6.51)


def test_a_line_of_another_day_is_not_taken_for_a_week_ago() -> None:
    found = compared([line(8.0), line(6.4), line(2.0)], NOW_S)
    assert found.week_ago is None
    # Half a day before the oldest that is to come is a week old.
    assert found.from_s is not None
    assert abs(found.from_s - (NOW_S + 0.1 * DAY_S)) < 1.0


def test_where_nothing_is_kept_nothing_is_promised() -> None:
    assert compared([], NOW_S) == (None, None)


# --- the keeper ------------------------------------------------------------------------------------------------------


class World:
    """One live prediction that never has a line, since nobody has a likelihood of it."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.passes = 0
        self.failure: Exception | None = None
        store: Any = SimpleNamespace(missing=lambda ids, _: ids)
        stored: Any = SimpleNamespace(reader=nullcontext, shard_states=lambda _: [])
        standings = SimpleNamespace(ids=["rare"], status=lambda _: "live")
        reads: Any = SimpleNamespace(standings=lambda _: standings)
        everyone: Any = SimpleNamespace(wall=lambda: self.now_s, tables=self.tables)
        self.daily = Daily(store, stored, reads, everyone)

    def tables(self, _: object) -> Any:
        self.passes += 1
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(tables={})


@pytest.mark.parametrize("failure", [None, Problem(Kind.TAKES_TOO_LONG, "too many users")])
def test_a_pass_that_gave_no_line_is_not_made_again_at_every_look(failure: Problem | None) -> None:
    world = World()
    world.failure = failure

    def look() -> None:
        with suppress(Problem):
            assert world.daily.keep() == 0

    for _ in range(6):
        look()
        world.now_s += AGAIN_S / 6
    assert world.passes == 1
    look()
    assert world.passes == 2


@pytest.mark.parametrize(
    ("failure", "level"),
    [
        (Problem(Kind.TAKES_TOO_LONG, "too many users"), logging.WARNING),
        (NothingYet(), logging.INFO),
        (ZeroDivisionError("a bug"), logging.ERROR),
    ],
)
def test_what_keeps_it_from_writing_is_told_when_it_happens(
    failure: Exception, level: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "LOOK_S", 1e6)
    caplog.set_level(logging.INFO, "streams.api.daily")
    world = World()
    world.failure = failure

    async def run() -> list[logging.LogRecord]:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        handler = logging.Handler()
        monkeypatch.setattr(handler, "emit", lambda _: loop.call_soon_threadsafe(told.set))
        logging.getLogger("streams.api.daily").addHandler(handler)
        task = world.daily.start()
        try:
            await asyncio.wait_for(told.wait(), 60)
        finally:
            logging.getLogger("streams.api.daily").removeHandler(handler)
            task.cancel()
            await asyncio.wait([task])
        return list(caplog.records)

    (record,) = asyncio.run(run())
    assert record.levelno == level
    assert (record.exc_info is not None) == (level == logging.ERROR)
