"""The stream of transitions: what it gives, how it goes on, and what becomes of who does not take it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BrokerUnavailable
from streams.adapters.memory_feed import MemoryFeed, MemoryTransitionLog
from streams.api.app import Parts
from streams.api.keys import Role, id_of
from streams.api.problems import Problem
from streams.api.sizes import Days
from streams.api.stream import open_stream
from streams.api.stream_places import place_id, positions_of, where_to_go_on
from streams.api.stream_response import CHECK_S, OpenStreams
from streams.api.user_search import latest_of
from streams.core.partition import shard_of
from streams.ports import Kept
from streams.runtime.crossings_tail import Tail
from streams.runtime.wanted_crossings import WantedCrossings
from tests.unit.api_world import NOW_S, ApiWorld
from tests.unit.crossing_examples import FOREIGN, crossing

PATIENCE_S = 10.0


@dataclass
class Listener:
    """A client at the other end of ASGI, which takes what comes while `takes` is set."""

    status: int = 0
    body: bytes = b""
    is_over: bool = False
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.takes.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.is_over = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._more.set()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The data of all events of a name so far."""
        blocks = [block.splitlines() for block in self.body.decode().split("\n\n")]
        return [
            json.loads(line.removeprefix("data: "))
            for lines in blocks
            if f"event: {name}" in lines
            for line in lines
            if line.startswith("data: ")
        ]

    @property
    def last_id(self) -> str:
        return [line for line in self.body.decode().splitlines() if line.startswith("id: ")][-1].removeprefix("id: ")

    async def until(self, holds: Callable[[Listener], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self):
                self._more.clear()
                await self._more.wait()


def world(log: MemoryTransitionLog, **streams: Any) -> ApiWorld:
    return ApiWorld(transitions=log, streams=OpenStreams(**streams))


async def listen(
    api: ApiWorld, query: str = "", *, last_id: str | None = None, role: Role = Role.READ
) -> tuple[Listener, asyncio.Task[None]]:
    """Connect."""
    listener = Listener()
    headers = [(b"authorization", f"Bearer {api.made[role]}".encode())]
    headers += [] if last_id is None else [(b"last-event-id", last_id.encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/stream",
        "raw_path": b"/v1/stream",
        "query_string": query.encode(),
        "headers": headers,
        "server": ("api", 80),
        "client": ("127.0.0.1", 1),
    }
    task: asyncio.Task[None] = asyncio.ensure_future(_run(api.app(scope, listener.receive, listener.send)))
    await listener.until(lambda found: found.status > 0 and (found.is_over or b"id: " in found.body))
    return listener, task


async def _run(app: Awaitable[None]) -> None:
    await app


async def leave(listener: Listener, task: asyncio.Task[None]) -> None:
    listener.gone.set()
    async with asyncio.timeout(PATIENCE_S):
        await task


async def latest_of_filter(log: MemoryTransitionLog, wanted: WantedCrossings, latest: int, until: int) -> list[int]:
    """What a stream begins with that is opened as the console opens it, up to that last one."""
    parts: list[Parts] = []
    api = ApiWorld(transitions=log, extensions=(parts.append,))
    key_id, listener = id_of(api.made[Role.READ]) or "", Listener()
    answer = await open_stream(parts[0].services, parts[0].authenticator, key_id, wanted, latest=latest)
    task = asyncio.ensure_future(_run(answer({"type": "http"}, listener.receive, listener.send)))
    await listener.until(lambda found: until in ids(found))
    await leave(listener, task)
    return ids(listener)


def ids(listener: Listener) -> list[int]:
    return [int(event["id"], 16) for event in listener.events("transition")]


def run(doing: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        await doing()

    asyncio.run(guarded())


def test_transitions_come_as_they_happen_byte_for_byte() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog(2)
        log.put(0, crossing(1))
        api = world(log)
        listener, task = await listen(api)
        log.put(1, crossing(2, "zoë"))
        await listener.until(lambda found: ids(found) == [2])
        assert b"data: " + crossing(2, "zoë") + b"\n\n" in listener.body
        assert (api.streams.count, log.open_feeds) == (1, 1)
        await leave(listener, task)
        assert (api.streams.count, log.open_feeds) == (0, 0)

    run(doing)


def test_from_the_start_and_on_from_an_id() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog(2)
        for number in range(6):
            log.put(number % 2, crossing(number))
        api = world(log)
        first, task = await listen(api, "from=start")
        await first.until(lambda found: len(ids(found)) == 6)
        await leave(first, task)
        # Whatever id of an event one has last: together it is everything, once.
        for block in [b for b in first.body.decode().split("\n\n") if "event: transition" in b]:
            seen = first.body.decode().split("\n\n")
            before = [b for b in seen[: seen.index(block) + 1] if "event: transition" in b]
            last_id = block.splitlines()[0].removeprefix("id: ")
            had = [int(json.loads(b.splitlines()[2].removeprefix("data: "))["id"], 16) for b in before]
            again, task = await listen(api, last_id=last_id)
            await again.until(lambda found, had=had: len(ids(found)) == 6 - len(had))  # type: ignore[misc]
            assert sorted(had + ids(again)) == list(range(6))
            await leave(again, task)

    run(doing)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("segment=orders_7d.high", [0, 1, 4]),
        ("segment=orders_7d.high&segment=other", [0, 1, 2, 4]),
        ("prediction=orders_7d", [0, 1, 3, 4]),
        ("user=zo%C3%AB", [1]),
        ("direction=exited", [3]),
        ("direction=entered&user=ann", [0, 2, 4]),
        ("origin=decay&origin=model", [3, 4]),
        ("", [0, 1, 2, 3, 4]),
    ],
)
def test_only_what_is_asked_for(query: str, wanted: list[int]) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        log.put(0, crossing(0))
        log.put(0, crossing(1, "zoë"))
        log.put(0, crossing(2, segment="other", prediction_id=None))
        log.put(0, crossing(3, segment="orders_7d.low", in_segment=False, origin="decay"))
        log.put(0, crossing(4, origin="model"))
        api = world(log, heartbeat_s=0.01)
        listener, task = await listen(api, f"from=start&{query}")
        await listener.until(lambda found: found.last_id == place_id([5]))
        assert ids(listener) == wanted
        await leave(listener, task)

    run(doing)


def test_the_latest_that_a_filter_wants_are_looked_for_further_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog(2)
        for number in range(10):
            log.put(0, crossing(number, "ann", segment="rare"))
        for number in range(10, 200):
            log.put(number % 2, crossing(number))
        log.put(1, crossing(200, "zoë", segment="rare"))
        rare = WantedCrossings(segments=frozenset(["rare"]))
        assert sorted(await latest_of_filter(log, rare, 3, 200)) == [7, 8, 9, 200]
        often = WantedCrossings(direction="entered")
        assert sorted(await latest_of_filter(log, often, 2, 200)) == [196, 198, 199, 200]
        of_zoe = WantedCrossings(user="zoë")
        zoe = shard_of("zoë", 2)
        log.put(zoe, crossing(201, "zoë"))
        found = await latest_of_filter(log, of_zoe, 5, 201)
        assert found == ([200, 201] if zoe == 1 else [201]), "only the partition of the user is looked through"
        monkeypatch.setattr("streams.api.stream.LOOKED_BACK", 64)
        assert await latest_of_filter(log, rare, 3, 200) == [200], "and no further than to the bound"

    run(doing)


def test_a_heartbeat_moves_the_place_though_nothing_was_for_this_reader() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        api = world(log, heartbeat_s=0.02, clock=asyncio.get_running_loop().time)
        listener, task = await listen(api, "user=nobody")
        log.put(0, crossing(1))
        await listener.until(lambda found: found.last_id == place_id([1]) and b": \n" in found.body)
        assert ids(listener) == []
        await leave(listener, task)

    run(doing)


def test_what_retention_has_taken_is_told_and_the_rest_comes() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog(2)
        for number in range(5):
            log.put(0, crossing(number))
        log.forget(0, 3)
        listener, task = await listen(world(log), last_id=place_id([1, 0]))
        await listener.until(lambda found: ids(found) == [3, 4])
        (told,) = listener.events("missed")
        assert (told["reason"], told["partitions"]) == (
            "retention",
            [{"partition": 0, "from": 1, "to": 3, "count": 2}],
        )
        # A reader that falls behind while it listens is told the same.
        listener.takes.clear()
        for number in range(5, 300):
            log.put(0, crossing(number))
        log.forget(0, 299)
        listener.takes.set()
        await listener.until(lambda found: 299 in ids(found))
        told = listener.events("missed")[-1]
        last = [number for number in ids(listener) if number < 299][-1]
        assert told["partitions"] == [{"partition": 0, "from": last + 1, "to": 299, "count": 298 - last}]
        await leave(listener, task)

    run(doing)


@pytest.mark.parametrize("positions", [[9], [0, 0, 0]])
def test_a_place_in_another_log_is_told(positions: list[int]) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        log.put(0, crossing(1))
        listener, task = await listen(world(log), last_id=place_id(positions))
        await listener.until(lambda found: ids(found) == [1])
        assert [event["reason"] for event in listener.events("missed")] == ["other-log"]
        await leave(listener, task)

    run(doing)


def test_who_takes_nothing_for_too_long_is_dropped_and_told() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        api = world(log, patience_s=0.2, clock=asyncio.get_running_loop().time)
        listener, task = await listen(api)
        listener.takes.clear()
        for number in range(1_000):
            log.put(0, crossing(number))
        await asyncio.sleep(0.25)  # the time that is measured is real
        listener.takes.set()
        await listener.until(lambda found: found.is_over)
        async with asyncio.timeout(PATIENCE_S):
            await task
        assert [event["reason"] for event in listener.events("dropped")] == ["slow"]
        assert api.streams.dropped == 1
        had = ids(listener)
        assert len(had) < 1_000, "what it has not taken is in no memory"
        again, task = await listen(api, last_id=listener.last_id)
        await again.until(lambda found: len(had) + len(ids(found)) == 1_000)
        assert had + ids(again) == list(range(1_000))
        await leave(again, task)

    run(doing)


def test_who_never_comes_back_is_let_go() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        api = world(log, patience_s=0.05, clock=asyncio.get_running_loop().time)
        listener, task = await listen(api)
        listener.takes.clear()
        log.put(0, crossing(1))
        async with asyncio.timeout(PATIENCE_S):
            await task
        assert (api.streams.count, api.streams.dropped, log.open_feeds) == (0, 1, 0)

    run(doing)


def test_a_service_that_stops_says_so_and_takes_no_more() -> None:
    async def doing() -> None:
        api = world(MemoryTransitionLog())
        listener, task = await listen(api)
        api.streams.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task
        assert listener.is_over
        assert "the service stops" in listener.events("closing")[0]["detail"]
        refused, task = await listen(api)
        assert refused.status == 503
        await task

    run(doing)


def test_a_log_that_goes_away_ends_the_stream_with_a_word() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        listener, task = await listen(world(log, heartbeat_s=0.01))
        log.failure = BrokerUnavailable("kafka://inside:9092 does not answer")
        async with asyncio.timeout(PATIENCE_S):
            await task
        assert listener.is_over
        assert b"inside" not in listener.body
        assert "cannot be read" in listener.events("closing")[0]["detail"]

    run(doing)


def test_a_stream_ends_when_its_key_is_revoked() -> None:
    async def doing() -> None:
        now_s = 0.0
        log = MemoryTransitionLog()
        api = world(log, heartbeat_s=0.01, clock=lambda: now_s)
        listener, task = await listen(api)
        api.keys.revoked[id_of(api.made[Role.READ]) or ""] = NOW_S
        api.now_s = now_s = CHECK_S
        async with asyncio.timeout(PATIENCE_S):
            await task
        assert [event["detail"] for event in listener.events("closing")] == ["the key was revoked"]

    run(doing)


def test_streams_are_bounded() -> None:
    async def doing() -> None:
        api = world(MemoryTransitionLog(), limit=1)
        first, task = await listen(api)
        second, refused = await listen(api)
        assert (second.status, json.loads(second.body)["type"]) == (503, "urn:tideline:problem:overloaded")
        await refused
        await leave(first, task)
        third, task = await listen(api)
        assert third.status == 200
        await leave(third, task)

    run(doing)


def test_questions_to_the_log_step_over_them_too() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        for data in (*FOREIGN, crossing(1)):
            log.put(0, data)
        feed = await log.open()
        found = await latest_of(feed, "ann", 10)
        assert found is not None
        assert found.items == [json.loads(crossing(1))]
        days = Days()
        async for page in Tail.of(await feed.kept(), 100).pages(feed, PATIENCE_S):
            days.take(page, "orders_7d.high")
        assert days.entered == {date(2024, 6, 3): 1}

    run(doing)


def test_of_an_earlier_life_nothing_is_found() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        sequences = ("0000000001", "0000000002", "10000000001", "20000000001", "1st", "9" * 5_000, "20000000002")
        for number, sequence in enumerate(sequences):
            log.put(0, crossing(number).replace(b'"0000000001"', f'"{sequence}"'.encode()))
        feed = await log.open()
        for life, wanted in ((0, [6, 3, 2, 1, 0]), (1, [6, 3, 2]), (2, [6, 3]), (3, [])):
            found = await latest_of(feed, "ann", 10, life)
            assert found is not None
            assert [int(item["id"], 16) for item in found.items] == wanted

    run(doing)


def test_records_that_are_no_transitions_are_stepped_over() -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        for data in (*FOREIGN, crossing(1)):
            log.put(0, data)
        api = world(log)
        listener, task = await listen(api, "from=start")
        await listener.until(lambda found: ids(found) == [1])
        assert api.streams.foreign == len(FOREIGN)
        assert positions_of(listener.last_id) == [len(FOREIGN) + 1]
        await leave(listener, task)

    run(doing)


def test_one_key_leaves_places_to_others() -> None:
    async def doing() -> None:
        api = world(MemoryTransitionLog(), limit=8)
        taken = [await listen(api) for _ in range(2)]
        refused, task = await listen(api)
        assert (refused.status, json.loads(refused.body)["type"]) == (503, "urn:tideline:problem:overloaded")
        await task
        other, task = await listen(api, role=Role.ADMIN)
        assert other.status == 200
        for each in (*taken, (other, task)):
            await leave(*each)
        again, task = await listen(api)
        assert again.status == 200
        await leave(again, task)

    run(doing)


def test_a_place_is_free_again_when_the_feed_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: MemoryFeed) -> None:
        raise BrokerUnavailable("it does not answer")

    monkeypatch.setattr(MemoryFeed, "close", fails)

    async def doing() -> None:
        api = world(MemoryTransitionLog(), limit=1)
        for _ in range(2):
            listener, task = await listen(api)
            assert listener.status == 200
            with suppress(RuntimeError):  # as the answer had begun
                await leave(listener, task)
        assert api.streams.count == 0

    run(doing)


@pytest.mark.parametrize("bad", ["x", "AQ=", "AYA", "Ag", "é", "A" * 20_000])
def test_an_id_that_was_never_given_is_refused(bad: str) -> None:
    async def doing() -> None:
        api = world(MemoryTransitionLog())
        listener, task = await listen(api, last_id=bad)
        assert listener.status == 422
        await task
        assert api.streams.count == 0

    run(doing)


def test_a_log_that_is_away_or_not_there_is_told() -> None:
    api = ApiWorld()
    answer = api.ask("GET", "/v1/stream", headers=api.headers(Role.READ))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "inside" not in answer.text
    assert api.streams.count == 0


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=1_024))
def test_an_id_stands_for_its_positions(positions: list[int]) -> None:
    assert positions_of(place_id(positions)) == positions


@given(st.text(max_size=40) | st.binary(max_size=20).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_a_text_is_the_id_of_its_positions_or_is_refused(text: str) -> None:
    try:
        positions = positions_of(text)
    except Problem:
        return
    assert place_id(positions) == text


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5))
def test_nothing_is_left_out_without_a_word(parts: list[tuple[int, int, int]]) -> None:
    kept = [Kept(min(a, b), max(a, b)) for a, b, _ in parts]
    asked = [place for _, _, place in parts]
    found = where_to_go_on(asked, kept)
    assert all(part.begin <= place <= part.end for place, part in zip(found.positions, kept, strict=True))
    if not found.is_other_log:
        told = {gap.partition: range(gap.asked, gap.given) for gap in found.gaps}
        for number, (place, went_on) in enumerate(zip(asked, found.positions, strict=True)):
            assert told.get(number, range(0)) == range(place, went_on) or place == went_on
        assert all(gap.asked < gap.given for gap in found.gaps)
    else:
        assert found.positions == [part.begin for part in kept]
