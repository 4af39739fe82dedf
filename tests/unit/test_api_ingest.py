"""Events over HTTP: what is answered, what is in the log then, and everything that can be wrong with a request."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from config.errors import BrokerError, BrokerUnavailable, StoreUnavailable
from config.loader import loads
from streams.adapters.memory_log import MemoryLog
from streams.api.problems import URN
from streams.api.record_bound import LOOK_S, RecordBound
from streams.api.services import ApiOptions
from tests.unit.api_world import ApiWorld

CATALOG = """
version: 1
name: Shop
predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}
limits: {property_bytes: 1024}
"""
TRACK = {"userId": "ann", "event": "Order Completed", "messageId": "m-1"}


@pytest.fixture
def world() -> ApiWorld:
    return ApiWorld()


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and type of an error, which has the form of all errors."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    assert body["type"].startswith(URN)
    return answer.status_code, body["type"].removeprefix(URN)


def test_a_track_call_is_in_the_log_when_it_is_answered(world: ApiWorld) -> None:
    answer = world.post("/v1/track", TRACK)
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "accepted": 1,
        "ignored": {},
        "unusable": 0,
        "problems": [],
        "messageIds": [],
    }
    (event,) = world.events()
    assert event | TRACK == event
    assert world.log.records[0][0] == "ann"


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import"])
def test_of_a_batch_the_good_ones_are_not_lost_for_the_bad_ones(world: ApiWorld, path: str) -> None:
    bad = {"type": "track", "event": "X"}
    items = [{"type": "track", **TRACK}, bad, {"type": "page"}, {"type": "identify", "userId": "bob"}]
    answer = world.post(path, {"batch": items})
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["unusable"], body["ignored"]) == (200, 3, 1, {"page": 1})
    assert [(found["index"], found["reason"]) for found in body["problems"]] == [(1, "missing_user")]
    assert body["messageIds"] == [{"index": 3, "messageId": "made-1"}]
    assert [event["type"] for event in world.events()] == ["track", "track", "identify"]


def test_items_that_workers_find_too_large_are_named_by_what_their_catalog_allows(world: ApiWorld) -> None:
    large = {"type": "track", **TRACK, "properties": {"text": "x" * 1_000}}
    batch = {"batch": [{"type": "track", **TRACK}, large]}
    assert world.post("/v1/batch", batch).json()["problems"] == [], "the store is away, which stops no event"
    world.definitions.tell_file(loads(CATALOG))
    world.now_s += LOOK_S
    answer = world.post("/v1/batch", batch).json()
    assert (answer["accepted"], answer["unusable"]) == (2, 1)
    assert [(each["index"], each["reason"]) for each in answer["problems"]] == [(1, "too_large")]
    assert "at most 1,024 are scored" in answer["problems"][0]["detail"]


def test_a_bound_is_looked_up_in_the_background_once_it_is_known() -> None:
    async def run() -> None:
        now_s, allowed, may_find, asked = 0.0, 100, asyncio.Event(), 0

        async def find() -> int:
            nonlocal asked
            asked += 1
            await may_find.wait()
            if allowed < 0:
                raise StoreUnavailable("away")
            return allowed

        bound = RecordBound(find, lambda: now_s)
        first = [asyncio.create_task(bound.bytes()) for _ in range(2)]
        await asyncio.sleep(0)
        may_find.set()
        assert (await asyncio.gather(*first), asked) == ([100, 100], 1), "all wait for the same answer"
        allowed, now_s = 200, now_s + LOOK_S
        assert await bound.bytes() == 100, "nobody waits for the new one"
        assert bound.looking is not None
        await bound.looking
        assert await bound.bytes() == 200
        allowed, now_s = -1, now_s + LOOK_S
        await bound.bytes()
        assert bound.looking is not None
        await bound.looking
        assert await bound.bytes() == 200, "what was known stays"
        assert asked == 3

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias"])
def test_calls_that_are_not_used_are_answered_for_the_sake_of_sdks(world: ApiWorld, kind: str) -> None:
    answer = world.post(f"/v1/{kind}", {"userId": "ann"})
    assert (answer.status_code, answer.json()["accepted"], answer.json()["ignored"]) == (200, 0, {kind: 1})
    assert world.log.records == []
    assert problem(world.post(f"/v1/{kind}", [])) == (400, "invalid-body")


@pytest.mark.parametrize("scheme", ["bearer", "Bearer", "basic", "Basic"])
def test_a_key_comes_as_a_token_or_as_the_user_name_of_segments_sdks(world: ApiWorld, scheme: str) -> None:
    key = world.new_key(next(role for role in world.made if role == "ingest"))
    sent = key if scheme.lower() == "bearer" else base64.b64encode(f"{key}:".encode()).decode()
    answer = world.ask("POST", "/v1/track", json=TRACK, headers={"Authorization": f"{scheme} {sent}"})
    assert answer.status_code == 200


def test_bodies_may_be_packed(world: ApiWorld) -> None:
    body = gzip.compress(json.dumps(TRACK).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json; charset=utf-8"}
    assert world.post("/v1/track", content=body, headers=headers).status_code == 200
    assert world.events()[0]["userId"] == "ann"


JSON = {"Content-Type": "application/json"}
GZIP = JSON | {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"", JSON, (400, "invalid-body")),
        (b"{", JSON, (400, "invalid-body")),
        (b"[]", JSON, (400, "invalid-body")),
        (b'{"userId": "\xff"}', JSON, (400, "invalid-body")),
        (b'{"userId": "ann"}', JSON, (400, "invalid-event")),
        (b'{"userId": "ann", "event": "X", "context": []}', JSON, (400, "invalid-event")),
        (b"userId=ann", {"Content-Type": "application/x-www-form-urlencoded"}, (415, "unsupported-media")),
        (b"{}", JSON | {"Content-Encoding": "br"}, (415, "unsupported-media")),
        (b"{}", GZIP, (400, "invalid-body")),
        (gzip.compress(b"{}" * 100)[:-9], GZIP, (400, "invalid-body")),
        (gzip.compress(b"{}") + b"more", GZIP, (400, "invalid-body")),
        (zlib.compress(b"{}"), GZIP, (400, "invalid-body")),
        (b"x" * 32_769, JSON, (413, "too-large")),
        (gzip.compress(b" " * 32_769), GZIP, (413, "too-large")),
        (gzip.compress(b" " * 500_000_000, 9), GZIP, (413, "too-large")),
    ],
    ids=range(15),
)
def test_what_cannot_be_read_is_refused(
    world: ApiWorld, content: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert problem(world.post("/v1/track", content=content, headers=headers)) == expected
    assert world.log.records == []


def test_an_event_that_cannot_be_used_is_told_with_the_reason_of_the_dead_letters(world: ApiWorld) -> None:
    answer = world.post("/v1/track", {"event": "X"})
    assert (answer.json()["reason"], "userId" in answer.json()["detail"]) == ("missing_user", True)


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * size


def test_a_body_without_a_length_has_the_same_bound() -> None:
    world = ApiWorld(ApiOptions(batch_bytes=1_000, event_bytes=1_000))
    assert problem(world.post("/v1/batch", content=chunks(11, 100), headers=JSON)) == (413, "too-large")
    assert problem(world.post("/v1/batch", content=b" " * 1_001, headers=JSON)) == (413, "too-large")
    assert problem(world.post("/v1/batch", content=chunks(10, 100), headers=JSON)) == (400, "invalid-body")


def test_what_a_batch_becomes_has_a_bound_and_is_in_hand_like_a_body() -> None:
    item = {"type": "track", **TRACK}
    world = ApiWorld(ApiOptions(in_flight_bytes=1_000_000))
    shared = {"context": {"text": "x" * 2_000}}
    assert world.post("/v1/batch", {"batch": [item] * 200, **shared}).status_code == 200
    assert problem(world.post("/v1/batch", {"batch": [item] * 400, **shared})) == (413, "too-large")
    assert problem(world.post("/v1/batch", {"batch": [1] * 2_501})) == (413, "too-large")
    assert len(world.log.records) == 200
    small = ApiWorld(ApiOptions(in_flight_bytes=100_000))
    body = {
        "batch": [{"type": "track", **TRACK, "properties": {"text": "x" * 600}}] * 100,
        "context": {"text": "x" * 100},
    }
    assert problem(small.post("/v1/batch", body)) == (503, "overloaded")
    assert small.log.records == []


def test_who_has_no_key_learns_nothing_of_sizes(world: ApiWorld) -> None:
    assert problem(world.ask("POST", "/v1/batch", content=b" " * 600_000, headers=JSON)) == (401, "unauthorized")


# --- durability ------------------------------------------------------------------------------------------------------


def test_a_log_that_is_away_is_told_and_to_come_again(world: ApiWorld) -> None:
    world.log.failure = BrokerUnavailable("Kafka at secret-host:9092 does not answer")
    answer = world.post("/v1/track", TRACK)
    assert problem(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret-host" not in answer.text


def test_a_log_that_never_takes_it_is_an_error_of_ours(world: ApiWorld) -> None:
    world.log.failure = BrokerError("Kafka at secret-host:9092 does not allow it")
    answer = world.post("/v1/track", TRACK)
    assert problem(answer) == (500, "log-refuses")
    assert "secret-host" not in answer.text


class SlowLog(MemoryLog):
    """Takes events when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.came = asyncio.Event()

    async def append(self, records: Sequence[tuple[str, bytes]], *, trace: str | None = None) -> dict[int, int]:  # noqa: ARG002
        self.came.set()
        await self.go.wait()
        return await super().append(records)


def test_more_than_may_be_in_hand_is_told_to_come_again_and_nothing_is_answered_before_the_log_has_it() -> None:
    log = SlowLog()
    world = ApiWorld(ApiOptions(in_flight_bytes=300), log=log)
    body = json.dumps(TRACK | {"properties": {"text": "x" * 150}}).encode()

    async def run() -> None:
        transport = httpx.ASGITransport(world.app)
        headers = world.headers() | JSON
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            first = asyncio.create_task(client.post("/v1/track", content=body))
            await log.came.wait()
            refused = await client.post("/v1/track", content=body)
            assert problem(refused) == (503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert not first.done()
            log.go.set()
            assert (await first).status_code == 200
            assert (await client.post("/v1/track", content=body)).status_code == 200  # the room was given back

    asyncio.run(run())
    assert len(log.records) == 2


def test_a_body_that_never_ends_does_not_hold_its_room() -> None:
    world = ApiWorld(ApiOptions(body_timeout_s=0.05))

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert problem(world.post("/v1/track", content=endless(), headers=JSON)) == (408, "timeout")


# --- what is counted -------------------------------------------------------------------------------------------------


def test_events_and_requests_are_counted(world: ApiWorld) -> None:
    world.post("/v1/batch", {"batch": [{"type": "track", **TRACK}, {"type": "page"}, 5]})
    world.post("/v1/track", {})
    world.ask("GET", "/no/such/path")
    world.ask("BREW", "/v1/track")
    text = world.ask("GET", "/metrics", headers=world.headers(next(r for r in world.made if r == "read"))).text
    for line in (
        'tideline_api_events_total{result="accepted"} 1.0',
        'tideline_api_events_total{result="ignored"} 1.0',
        'tideline_api_events_total{result="refused"} 1.0',
        'tideline_api_events_total{result="unusable"} 1.0',
        'tideline_api_requests_total{method="POST",route="/v1/batch",status="2xx"} 1.0',
        'tideline_api_requests_total{method="POST",route="/v1/track",status="4xx"} 1.0',
        'tideline_api_requests_total{method="GET",route="none",status="4xx"} 1.0',
        'tideline_api_requests_total{method="other",route="/v1/track",status="4xx"} 1.0',
        'tideline_api_request_seconds_count{route="/v1/batch"} 1.0',
        "tideline_api_in_flight_bytes 0.0",
    ):
        assert line in text.splitlines(), line
