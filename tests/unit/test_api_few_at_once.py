"""What may be done by a few at once: the others wait, are told to come again, and hold nobody else up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

import httpx
import pytest
from fastapi import FastAPI

from config.errors import BrokerUnavailable
from streams.adapters.redis_reader import RedisReader
from streams.api import everyone as module
from streams.api.app import Parts
from streams.api.asking import KEY_ID
from streams.api.few_at_once import FewTasks, FewThreads
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.stored import StoreReads
from streams.ports import TransitionFeed
from tests.unit.api_world import ApiWorld
from tests.unit.test_api_definitions import EmptyStore

LONG_S = 60.0


def busy() -> Problem:
    return Problem(Kind.OVERLOADED, "come again")


class NoReader(StoreReads):
    """A store whose readers are not used."""

    @contextmanager
    def reader(self) -> Iterator[RedisReader]:
        yield None  # type: ignore[misc]


def test_threads_take_turns_and_the_others_are_told_at_once() -> None:
    few, at_work, may_end = FewThreads(2, 1, busy), threading.Semaphore(0), threading.Event()

    def work(wait_s: float) -> str:
        try:
            with few.turn(wait_s):
                at_work.release()
                assert may_end.wait(LONG_S)
                return "done"
        except Problem:
            return "told"

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(work, LONG_S) for _ in range(2)]
        assert all(at_work.acquire(timeout=LONG_S) for _ in running)
        assert work(0.01) == "told"  # it waited
        waiting = threads.submit(work, LONG_S)
        while not few.waiting:
            threading.Event().wait(0.001)
        assert work(LONG_S) == "told"  # it did not
        may_end.set()
        assert [each.result(LONG_S) for each in (*running, waiting)] == ["done"] * 3
    assert work(0.0) == "done"


def test_tasks_take_turns_and_the_others_are_told_at_once() -> None:
    async def run() -> None:
        few, may_end = FewTasks(2, 1, busy), asyncio.Event()

        async def work(wait_s: float) -> str:
            try:
                async with few.turn(wait_s):
                    await may_end.wait()
                    return "done"
            except Problem:
                return "told"

        running = [asyncio.create_task(work(LONG_S)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await work(0.01) == "told"
        waiting = asyncio.create_task(work(LONG_S))
        await asyncio.sleep(0)
        assert await work(LONG_S) == "told"

        waiting.cancel()  # whoever goes away gives the place back
        await asyncio.gather(waiting, return_exceptions=True)
        waiting = asyncio.create_task(work(LONG_S))
        await asyncio.sleep(0)
        may_end.set()
        assert await asyncio.gather(*running, waiting) == ["done"] * 3
        assert await work(0.0) == "done"

    asyncio.run(run())


@contextmanager
def asked_by(key_id: str) -> Iterator[None]:
    token = KEY_ID.set(key_id)
    try:
        yield
    finally:
        KEY_ID.reset(token)


def test_one_key_has_half_of_the_turns_and_of_the_places_to_wait_for_one() -> None:
    few, at_work, may_end = FewThreads(2, 2, busy), threading.Semaphore(0), threading.Event()

    def work(key_id: str, wait_s: float = LONG_S) -> str:
        try:
            with asked_by(key_id), few.turn(wait_s):
                at_work.release()
                assert may_end.wait(LONG_S)
                return "done"
        except Problem:
            return "told"

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(work, "greedy")]
        assert at_work.acquire(timeout=LONG_S)
        running.append(threads.submit(work, "greedy"))  # it waits, though a turn is free
        while not few.waiting:
            threading.Event().wait(0.001)
        assert work("greedy") == "told", "it has no place to wait any more"
        running.append(threads.submit(work, "other"))
        assert at_work.acquire(timeout=LONG_S), "another key has its turn at once"
        assert work("third", 0.01) == "told", "now all have"
        may_end.set()
        assert [each.result(LONG_S) for each in running] == ["done"] * 3


def test_tasks_of_one_key_leave_turns_to_others() -> None:
    async def run() -> None:
        few, may_end = FewTasks(2, 2, busy), asyncio.Event()

        async def work(key_id: str, wait_s: float = LONG_S) -> str:
            try:
                with asked_by(key_id):
                    async with few.turn(wait_s):
                        await may_end.wait()
                        return "done"
            except Problem:
                return "told"

        greedy = [asyncio.create_task(work("greedy")) for _ in range(2)]
        await asyncio.sleep(0)
        assert await work("greedy") == "told"
        other = asyncio.create_task(work("other"))
        await asyncio.sleep(0)
        assert await work("third", 0.01) == "told", "all turns are taken"
        third = asyncio.create_task(work("third"))
        await asyncio.sleep(0)
        other.cancel()  # its turn is that of the third one, as the first who waits has all of its own
        await asyncio.gather(other, return_exceptions=True)
        assert (few._turns.taken, few._waiting.taken) == (2, 1)
        may_end.set()
        assert await asyncio.gather(*greedy, third) == ["done"] * 3
        assert (few._turns.taken, few._waiting.taken) == (0, 0)

    asyncio.run(run())


def test_a_turn_that_is_given_to_who_goes_away_is_not_lost() -> None:
    async def run() -> None:
        few = FewTasks(1, 2, busy)

        async def work() -> None:
            async with few.turn(LONG_S):
                pass

        async with few.turn(LONG_S):
            second, third = (asyncio.create_task(work()) for _ in range(2))
            await asyncio.sleep(0)
        second.cancel()  # it has the turn, and has not run since
        await asyncio.gather(second, third, return_exceptions=True)
        assert (second.cancelled(), third.cancelled()) == (True, False)
        assert (few._turns.taken, few._waiting.taken) == (0, 0)

    asyncio.run(run())


class Stuck:
    """A service whose questions about all users do not end before they may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_end = threading.Event()
        self.started = threading.Semaphore(0)
        self.parts: list[Parts] = []
        self.world = ApiWorld(reads=NoReader, extensions=(self.parts.append,))
        monkeypatch.setattr("streams.api.user_search.users_like", self._stuck)

    def _stuck(self, *_: object) -> tuple[list[str], bool]:
        self.started.release()
        assert self.may_end.wait(LONG_S)
        return [], True

    @property
    def app(self) -> FastAPI:
        return self.world.app


def test_questions_about_all_users_do_not_hold_others_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trivial read had no thread until they were given up, five seconds later."""
    stuck = Stuck(monkeypatch)
    headers = stuck.world.headers(Role.READ)
    keys = several_keys(stuck.world)
    monkeypatch.setattr(module, "_WAIT_S", LONG_S)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(stuck.app), base_url="http://api") as client:
            scans = [asyncio.create_task(client.get("/v1/users?id=a", headers=next(keys))) for _ in range(45)]
            try:
                for _ in range(2):
                    assert await asyncio.to_thread(stuck.started.acquire, timeout=LONG_S)
                async with asyncio.timeout(4.0):
                    quick = await client.get("/v1/definitions/history", headers=headers)
                assert quick.status_code == 200
                assert not stuck.may_end.is_set()
            finally:
                stuck.may_end.set()
            answers = [answer.status_code for answer in await asyncio.gather(*scans)]
        assert answers.count(503) == 45 - 2 - module._WAITING
        assert answers.count(200) == 2 + module._WAITING

    asyncio.run(run())


def several_keys(world: ApiWorld) -> Iterator[dict[str, str]]:
    """Headers of callers who take turns."""
    return cycle([{"Authorization": f"Bearer {world.new_key(Role.READ)}"} for _ in range(3)])


def test_one_key_leaves_a_pass_over_all_users_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(monkeypatch)
    greedy, other = (next(several_keys(stuck.world)) for _ in range(2))
    monkeypatch.setattr(module, "_WAIT_S", LONG_S)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(stuck.app), base_url="http://api") as client:
            asked = [asyncio.create_task(client.get("/v1/users?id=a", headers=greedy)) for _ in range(9)]
            try:
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                assert {each.result().status_code for each in done} == {503}
                assert all("retry-after" in each.result().headers for each in done)
                assert await asyncio.to_thread(stuck.started.acquire, timeout=LONG_S)
                of_other = asyncio.create_task(client.get("/v1/users?id=a", headers=other))
                assert await asyncio.to_thread(stuck.started.acquire, timeout=LONG_S)
            finally:
                stuck.may_end.set()
            assert (await of_other).status_code == 200
            answers = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert answers.count(200) == 1 + module._WAITING // 2

    asyncio.run(run())


def test_pages_in_process_have_the_same_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console asks the same objects, in the same threads."""
    stuck = Stuck(monkeypatch)
    everyone = stuck.parts[0].everyone
    monkeypatch.setattr(module, "_WAIT_S", LONG_S)
    may_end, told = threading.Event(), threading.Semaphore(0)

    def page() -> bool:
        try:
            with everyone.turn():
                assert may_end.wait(LONG_S)
                return True
        except Problem:
            told.release()
            return False

    with ThreadPoolExecutor(10) as threads:
        pages = [threads.submit(page) for _ in range(10)]
        assert all(told.acquire(timeout=LONG_S) for _ in range(10 - 2 - module._WAITING))
        may_end.set()
        assert sum(each.result(LONG_S) for each in pages) == 2 + module._WAITING


def test_few_read_the_log_of_transitions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ApiWorld(reads=EmptyStore)  # in which nobody was deleted
    keys = several_keys(world)

    async def run() -> None:
        may_go, opened = asyncio.Event(), asyncio.Semaphore(0)

        async def stuck() -> TransitionFeed:
            opened.release()
            await may_go.wait()
            raise BrokerUnavailable("away")

        monkeypatch.setattr(world.transitions, "open", stuck)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://api") as client:
            asked = [asyncio.create_task(client.get("/v1/transitions?user=ann", headers=next(keys))) for _ in range(30)]
            for _ in range(2):
                await opened.acquire()
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 30 - 2 - 16:
                more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            assert all(each.result().json()["type"].endswith("overloaded") for each in done)
            assert opened.locked()  # nobody else has opened it
            may_go.set()
            rest = await asyncio.gather(*waiting)
            assert {each.json()["type"].rpartition(":")[2] for each in rest} == {"unavailable"}

    asyncio.run(run())
