"""A partition of campaigns in its thread: it goes on after what went wrong, and stops at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from config.errors import BrokerError, Fenced, Stopped, StoreIncompatible, StoreUnavailable
from streams.campaigns.ports import Seen
from streams.runtime.campaigns import work
from streams.runtime.campaigns.work import CampaignWork
from tests.conftest import SLOWNESS


@dataclass
class Run:
    """Does what the test says, step by step."""

    script: list[Exception | bool]
    is_behind: bool = False
    assigned: list[Seen | None] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def assign(self, seen: Seen | None) -> None:
        self.assigned.append(seen)

    def step(self, now_s: float) -> bool:
        assert now_s == 5.0
        if not self.script:
            self.done.set()
            return False
        each = self.script.pop(0)
        if isinstance(each, Exception):
            raise each
        return each


@dataclass
class Opened:
    run: Any
    closed: int = 0
    told: int = 0

    def tell_read(self) -> None:
        self.told += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "AGAIN_S", 0.0)


def worked(run: Run, **given: Any) -> tuple[CampaignWork, Opened, Callable[[], None]]:
    opened = Opened(run)
    found = CampaignWork("campaigns 0", lambda: opened, seen=lambda: Seen("g", 3), wall=lambda: 5.0, **given)
    future = found.start()
    return found, opened, lambda: future.result(10.0 * SLOWNESS)


@pytest.mark.parametrize("error", [Fenced("x"), StoreUnavailable("x"), BrokerError("x")])
def test_after_what_may_pass_it_takes_the_partition_again(error: Exception) -> None:
    run = Run([True, error, True])
    found, opened, result = worked(run)
    assert run.done.wait(10.0 * SLOWNESS)
    found.close()
    result()
    assert (run.assigned, opened.closed, found.is_ready) == ([Seen("g", 3)] * 2, 1, False)


def test_what_will_not_pass_ends_it() -> None:
    found, opened, result = worked(Run([StoreIncompatible("another store")]))
    with pytest.raises(StoreIncompatible):
        result()
    found.close()
    assert opened.closed == 1


def test_who_has_to_stop_while_a_server_is_away_stops() -> None:
    found, opened, result = worked(Run([Stopped("away")]))
    result()
    found.close()
    assert opened.closed == 1


def test_it_is_ready_when_nothing_is_left_and_waits_then() -> None:
    waited = threading.Event()

    def wait(_: Any, seconds: float, stopping: threading.Event) -> None:
        assert seconds == work.IDLE_S
        waited.set()
        stopping.wait(20.0 * SLOWNESS)

    run = Run([True, False])
    found, _, result = worked(run, wait=wait)
    assert waited.wait(10.0 * SLOWNESS)
    assert found.is_ready
    began_s = time.monotonic()
    found.close()
    result()
    assert time.monotonic() - began_s < 5.0 * SLOWNESS


def test_it_is_ready_at_the_end_of_the_logs_however_much_there_is_beside_them() -> None:
    """A past that is read again gives every step something to do, for hours."""
    was_ready: list[bool] = []

    class Reading(Run):
        def step(self, now_s: float) -> bool:
            was_ready.append(found.is_ready)
            self.is_behind = len(self.script) > 2
            return super().step(now_s)

    run = Reading([True, True, True, True])
    found = CampaignWork("campaigns 0", lambda: Opened(run), seen=lambda: None, wall=lambda: 5.0)
    future = found.start()
    assert run.done.wait(10.0 * SLOWNESS)
    found.close()
    future.result(10.0 * SLOWNESS)
    assert was_ready[:5] == [False, False, False, True, True]


def test_what_is_on_its_way_is_waited_for_shortly() -> None:
    run = Run([], is_behind=True)
    found, _, result = worked(run, wait=lambda *_: pytest.fail("there is more to come"))
    assert run.done.wait(10.0 * SLOWNESS)
    found.close()
    result()
    assert not found.is_ready
