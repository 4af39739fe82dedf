"""Today's crossings of each segment, from the end of the log of transitions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from config.errors import NoLog
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.api import today
from streams.api.app import Parts
from streams.api.today import Today, TodayCounts
from tests.unit.api_world import NOW_S, ApiWorld

HOUR_S = 3_600.0


def crossing(number: int, segment: str, *, entered: bool, at_s: float, origin: str = "live") -> bytes:
    data: dict[str, Any] = {"segment_id": segment, "prediction_id": None, "in_segment": entered, "origin": origin}
    return msgspec.json.encode(
        {
            "id": str(number),
            "type": f"tideline.segment.{'entered' if entered else 'exited'}.v1",
            "subject": f"u{number}",
            "time": datetime.fromtimestamp(at_s, UTC).isoformat(),
            "sequence": f"{number:010}",
            "data": data,
        }
    )


class World:
    """An app whose log of transitions holds what a test puts in, and the counts over it."""

    def __init__(self) -> None:
        parts: list[Parts] = []
        self.log = MemoryTransitionLog(2)
        self.api = ApiWorld(transitions=self.log, extensions=(parts.append,))
        self.today = Today(parts[0].services)

    def add(self, partition: int, *records: bytes) -> None:
        for record in records:
            self.log.put(partition, record)

    def counts(self) -> TodayCounts:
        return asyncio.run(self.today.counts())


def test_only_crossings_of_the_day_are_counted() -> None:
    world = World()
    world.add(
        0,
        crossing(1, "a", entered=True, at_s=NOW_S - 48 * HOUR_S),
        crossing(2, "a", entered=True, at_s=NOW_S - HOUR_S),
        b"something else",
        crossing(2, "a", entered=False, at_s=NOW_S),
    )
    world.add(1, crossing(3, "a", entered=True, at_s=NOW_S), crossing(3, "b", entered=True, at_s=NOW_S))
    found = world.counts()
    assert (found.entered, found.exited) == ({"a": 2, "b": 1}, {"a": 1})
    assert (found.is_known, found.is_complete) == (True, True)


def test_who_a_changed_definition_moves_is_not_counted() -> None:
    world = World()
    world.add(0, crossing(1, "a", entered=True, at_s=NOW_S, origin="backfill"))
    world.add(0, crossing(2, "a", entered=False, at_s=NOW_S, origin="definition_change"))
    world.add(0, crossing(3, "a", entered=False, at_s=NOW_S, origin="decay"))
    found = world.counts()
    assert (found.entered, found.exited) == ({}, {"a": 1})


def test_counts_are_kept_for_a_moment() -> None:
    world = World()
    world.add(0, crossing(1, "a", entered=True, at_s=NOW_S))
    assert world.counts().entered["a"] == 1
    world.add(0, crossing(2, "a", entered=True, at_s=NOW_S))
    assert world.counts().entered["a"] == 1
    world.api.now_s += 10.0
    assert world.counts().entered["a"] == 2


def test_a_log_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(today, "LOOKED_AT", 2)
    world = World()
    world.add(0, *(crossing(n, "a", entered=True, at_s=NOW_S) for n in range(3)))
    found = world.counts()
    assert (found.entered["a"], found.is_complete) == (2, False)


def test_a_log_that_is_cut_before_the_day_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(today, "LOOKED_AT", 2)
    world = World()
    world.add(0, *(crossing(n, "a", entered=True, at_s=NOW_S - 48 * HOUR_S) for n in range(3)))
    world.add(0, crossing(9, "a", entered=True, at_s=NOW_S))
    found = world.counts()
    assert (found.entered["a"], found.is_complete) == (1, True)


def test_where_there_is_no_log_nothing_is_known() -> None:
    world = World()
    world.log.failure = NoLog("nothing has made it")
    assert not world.counts().is_known
