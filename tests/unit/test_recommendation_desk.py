"""Who asks for recommendations: signed, not twice at a time, bounded, and not where nobody answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from config.errors import StoreError, StoreUnavailable
from streams.campaigns.question import Answer, Asked
from streams.runtime.campaigns import recommending
from streams.runtime.campaigns.recommending import (
    DEPTH,
    Endpoint,
    PartitionRecommender,
    RecommendationDesk,
    read_answer,
)
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.deliveries.signing import signed_headers, write_secret

NOW_S = 1_790_000_000.0
SECRET = write_secret(b"a secret of the tests, 32 bytes!")
FINE, BROKEN = Outcome(True, "answered 200", 200), Outcome(False, "answered 500", 500)
WITHIN_S = 30.0


class Receiver:
    """See `Asking`; what it answers is set by the test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.outcome = FINE
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.at_once = self.most_at_once = 0

    async def ask(self, url: str, headers: dict[str, str], body: bytes, most_bytes: int) -> tuple[Outcome, bytes]:
        assert most_bytes == recommending.ANSWER_BYTES
        self.requests.append((url, headers, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_answer.wait()
        self.at_once -= 1
        return self.outcome, b'[{"name": "Shoes"}]' if self.outcome.is_delivered else b""


class World:
    def __init__(self) -> None:
        self.receiver = Receiver()
        self.now_s = NOW_S
        self.endpoint: Endpoint | StoreError | None = Endpoint("https://shop.example/recs", [SECRET])
        self.desk = RecommendationDesk(
            self.receiver,
            self._endpoint,
            limits=Limits(at_once=2, trip_after=3, first_open_s=10.0),
            wall=lambda: self.now_s,
        )
        self.partition: PartitionRecommender = self.desk.of_partition()

    def _endpoint(self, _source: str) -> Endpoint | None:
        if isinstance(self.endpoint, StoreError):
            raise self.endpoint
        return self.endpoint

    def ask(self, *numbers: int) -> None:
        self.partition.ask([asked(number) for number in numbers])

    async def answers(self, count: int) -> list[Answer]:
        """So many, however long that takes."""
        found: list[tuple[Asked, Answer]] = []
        async with asyncio.timeout(WITHIN_S):
            while len(found) < count:
                found += self.partition.take(100)
                await asyncio.sleep(0.001)
        return [answer for _, answer in found]


def asked(number: int) -> Asked:
    return Asked(f"id-{number}", "recs", f"user{number}", "c", {"score": 12})


def run(story: Callable[[World], Awaitable[None]]) -> None:
    async def go() -> None:
        world = World()
        try:
            await story(world)
        finally:
            await world.desk.close()

    asyncio.run(go())


def test_it_is_asked_under_the_id_of_the_question_and_signed() -> None:
    async def story(world: World) -> None:
        world.ask(1)
        assert await world.answers(1) == [Answer([{"name": "Shoes"}])]
        ((url, headers, body),) = world.receiver.requests
        assert url == "https://shop.example/recs"
        assert json.loads(body) == {
            "type": "tideline.recommendations.v1", "id": "id-1", "user_id": "user1", "score": 12,
        }  # fmt: skip
        assert headers.items() >= signed_headers([SECRET], "id-1", NOW_S, body).items()
        assert headers["Accept-Encoding"] == "identity"

    run(story)


def test_what_is_under_way_is_not_asked_for_again_and_all_of_it_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommending, "WAITING", 4)

    async def story(world: World) -> None:
        world.receiver.may_answer.clear()
        world.ask(*range(9))
        world.ask(*range(9))
        async with asyncio.timeout(WITHIN_S):
            while world.receiver.at_once < 2:  # noqa: ASYNC110  it is begun from a thread
                await asyncio.sleep(0.001)
        world.receiver.may_answer.set()
        assert len(await world.answers(4)) == 4
        assert (len(world.receiver.requests), world.receiver.most_at_once) == (4, 2)
        world.ask(0, 8)
        await world.answers(2)
        assert len(world.receiver.requests) == 6

    run(story)


def test_where_nobody_answers_it_is_not_asked_for_a_while() -> None:
    async def story(world: World) -> None:
        world.receiver.outcome = BROKEN
        for number in range(5):
            world.ask(number)
            assert await world.answers(1) == [Answer(None)]
        assert len(world.receiver.requests) == 3, "the circuit is open"
        world.receiver.outcome = FINE
        world.now_s += 60.0
        world.ask(6, 7)
        found = await world.answers(2)
        assert Answer([{"name": "Shoes"}]) in found
        world.ask(8)
        assert await world.answers(1) == [Answer([{"name": "Shoes"}])]

    run(story)


def test_without_an_address_and_a_secret_there_is_no_answer_which_is_no_failure_of_anybody() -> None:
    """`send_without` goes without, and `wait` asks again; the circuit stays closed."""

    async def story(world: World) -> None:
        world.endpoint = None
        for number in range(5):  # more than what opens the circuit
            world.ask(number)
            assert await world.answers(1) == [Answer(None)]
        assert world.receiver.requests == []
        world.endpoint = Endpoint("https://shop.example/recs", [SECRET])
        world.ask(1)
        assert await world.answers(1) == [Answer([{"name": "Shoes"}])]

    run(story)


def test_while_the_store_does_not_say_whom_to_ask_the_message_comes_again() -> None:
    async def story(world: World) -> None:
        world.endpoint = StoreUnavailable("away")
        async with asyncio.timeout(WITHIN_S):
            for number in range(5):  # more than what opens the circuit
                world.ask(number)
                while world.partition.under_way():  # noqa: ASYNC110  it is asked from a thread
                    await asyncio.sleep(0.001)
        assert (world.partition.take(10), world.receiver.requests) == ([], [])
        world.endpoint = Endpoint("https://shop.example/recs", [SECRET])
        world.ask(1)
        assert await world.answers(1) == [Answer([{"name": "Shoes"}])]

    run(story)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('[{"name": "Shoes"}]', [{"name": "Shoes"}]),
        ('{"items": []}', {"items": []}),
        ("[]", []),
        ('"Shoes"', None),
        ("1", None),
        ("null", None),
        ("", None),
        ("<html>", None),
        ("[1", None),
    ],
)
def test_an_answer_is_a_list_or_an_object(body: str, found: Any) -> None:
    assert read_answer(body.encode()) == Answer(found)


def test_an_answer_is_not_deeper_than_allowed() -> None:
    assert read_answer(nested(DEPTH).encode()).found is not None
    assert read_answer(nested(DEPTH + 1).encode()) == Answer(None)
    assert read_answer(nested(10_000).encode()) == Answer(None)
    assert read_answer(b"\xff") == Answer(None)
