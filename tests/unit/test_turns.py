"""How many threads compute at a time, and that whoever waits for a server lets another one go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event

import pytest

from streams.runtime.turns import Turn

WAIT_S = 10.0
SHORT_S = 0.05


def test_as_many_compute_at_a_time_as_there_are_turns() -> None:
    turn, both = Turn(at_once=2), Barrier(2)

    def compute() -> None:
        with turn.taken():
            both.wait(WAIT_S)  # raises unless the other one computes as well

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(compute) for _ in range(2)]:
            done.result(WAIT_S)


def test_no_more_compute_at_a_time_than_there_are_turns() -> None:
    turn, three = Turn(at_once=2), Barrier(3)

    def compute() -> None:
        with turn.taken():
            three.wait(SHORT_S)

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(compute) for _ in range(3)]:
            with pytest.raises(BrokenBarrierError):
                done.result(WAIT_S)


def test_another_one_computes_while_a_server_is_waited_for() -> None:
    turn, computed = Turn(at_once=1), Event()

    def wait() -> bool:
        with turn.taken(), turn.given_up():
            return computed.wait(WAIT_S)

    def compute() -> None:
        with turn.taken():
            computed.set()

    with ThreadPoolExecutor(2) as threads:
        waited, done = threads.submit(wait), threads.submit(compute)
        done.result(WAIT_S)
        assert waited.result(WAIT_S)


def test_a_turn_is_there_again_after_an_error_in_either_stretch() -> None:
    turn = Turn(at_once=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="server"), turn.taken(), turn.given_up():
            raise ValueError("server")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: turn.taken().__enter__()).result(WAIT_S)


def test_a_thread_that_has_no_turn_gives_none_up() -> None:
    turn = Turn(at_once=1)
    with turn.given_up():
        pass
    with turn.taken(), ThreadPoolExecutor(1) as threads:
        taken = Event()

        def compute() -> None:
            with turn.taken():
                taken.set()

        waiting = threads.submit(compute)
        assert not taken.wait(SHORT_S), "there were two turns"
        with turn.given_up():
            waiting.result(WAIT_S)
