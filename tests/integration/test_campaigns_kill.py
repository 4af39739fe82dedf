"""kill -9 of campaigns at random moments, while users cross the line and the receiver fails now and then."""

from __future__ import annotations

import random
import threading
from functools import partial
from pathlib import Path

import pytest

from streams.campaigns.effects import SENT
from tests.integration.campaigns_world import (
    SENDS_WITHIN_S,
    CampaignsProcess,
    HookReceiver,
    enter,
    notes,
    served,
    set_hook,
)
from tests.integration.worker_world import await_until

KILLS = 6
USERS = 60
"""Between two kills."""


def stands_by(process: CampaignsProcess) -> bool:
    """Whether it has said so."""
    return "campaigns of the log in" in process.words()


def has_taken(receiver: HookReceiver, least: int) -> bool:
    return len(receiver.taken) >= least


class Crowd(threading.Thread):
    """Users who come in, a few at a time, until all have come."""

    def __init__(self, data_dir: Path, users: list[str], pause_s: float) -> None:
        super().__init__(daemon=True)
        self._data_dir, self._users, self._pause_s = data_dir, users, pause_s
        self._pausing = threading.Event()

    def run(self) -> None:
        for first in range(0, len(self._users), 5):
            enter(self._data_dir, self._users[first : first + 5])
            self._pausing.wait(self._pause_s)


@pytest.mark.timeout(300)
def test_whatever_is_killed_nobody_is_left_out_and_nobody_gets_two(tmp_path: Path) -> None:
    chance = random.Random(7)
    users: list[str] = []
    with HookReceiver() as receiver, served(tmp_path) as (settings, _):
        assert settings.redis_url is not None
        set_hook(settings.redis_url, receiver.url)
        receiver.status = lambda number: 500 if number % 9 == 0 else 200
        for kill in range(KILLS):
            process = CampaignsProcess(settings, tmp_path, f"campaigns {kill}", data_dir=tmp_path)
            try:
                more = [f"user {kill}.{n}" for n in range(USERS)]
                users += more
                crowd = Crowd(tmp_path, more, pause_s=0.01)
                crowd.start()
                least = len(receiver.taken) + chance.randrange(1, USERS)
                receiver.wait(partial(has_taken, receiver, least), SENDS_WITHIN_S)
            finally:
                process.kill()
            crowd.join()
        receiver.status = lambda _number: 200
        process = CampaignsProcess(settings, tmp_path, "campaigns", data_dir=tmp_path)
        try:
            receiver.wait(lambda: set(receiver.users()) == set(users), SENDS_WITHIN_S)
            wanted = sorted((user, SENT) for user in users)
            await_until(lambda: notes(tmp_path) == wanted, "every message is told", seconds=60.0, watched=[process])
            process.stop()
        finally:
            process.kill()
    assert {user: len(ids) for user, ids in receiver.ids().items()} == dict.fromkeys(users, 1)


@pytest.mark.timeout(180)
def test_a_second_process_stands_by_and_takes_over(tmp_path: Path) -> None:
    with HookReceiver() as receiver, served(tmp_path) as (settings, _):
        assert settings.redis_url is not None
        set_hook(settings.redis_url, receiver.url)
        one = CampaignsProcess(settings, tmp_path, "one", data_dir=tmp_path)
        two = CampaignsProcess(settings, tmp_path, "two", data_dir=tmp_path)
        try:
            both = [one, two]
            # One is slower than the other, and only what it says tells that it has looked, and stands by.
            await_until(lambda: any(map(stands_by, both)), "one of them stands by", seconds=60.0, watched=both)
            first, second = sorted(both, key=stands_by)
            await_until(lambda: bool(first.health().get("ready")), "the other is ready", seconds=60.0, watched=both)
            assert not second.health().get("ready")
            enter(tmp_path, ["ann"])
            receiver.wait(lambda: set(receiver.users()) == {"ann"})
            first.kill()
            enter(tmp_path, ["bo"])
            receiver.wait(lambda: set(receiver.users()) == {"ann", "bo"})
            assert {user: len(ids) for user, ids in receiver.ids().items()} == {"ann": 1, "bo": 1}
            second.stop()
        finally:
            one.kill()
            two.kill()
