"""The client asks what the API answers: every operation of it is in the document, with its parameters."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streams.client import OPERATIONS, ApiError, Client, StreamEvent
from tests.unit.api_world import ApiWorld

KEY = "tl_read_x_y"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return ApiWorld().app.openapi()


def described(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_in_the_document(document: dict[str, Any], name: str) -> None:
    method, path, operation = described(document)[name]
    assert OPERATIONS[name] == (method, path)
    in_path = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))


class Api(BaseHTTPRequestHandler):
    """Answers as it is told, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, str, dict[str, str], Any]]

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        self.asked.append((self.command, self.path, dict(self.headers), body))
        status, headers, text = self.answers.pop(0)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(text))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  the server's names

    def log_message(self, *_: object) -> None:
        """Nothing into the output of tests."""


@contextmanager
def api(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[Client, type[Api], list[float]]]:
    handler = type("Told", (Api,), {"answers": list(answers), "asked": []})
    server, pauses = ThreadingHTTPServer(("127.0.0.1", 0), handler), list[float]()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", KEY, timeout_s=5.0, sleep=pauses.append) as client:
            yield client, handler, pauses
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def good(body: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(body).encode()


def query_names(document: dict[str, Any], name: str) -> set[str]:
    _, _, operation = described(document)[name]
    return {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}


def test_what_it_asks_is_what_the_document_takes(document: dict[str, Any]) -> None:
    page = {"items": [{"user_id": "ann"}], "next_cursor": "more"}
    last = {"items": [{"user_id": "zoë"}], "next_cursor": None}
    with api(good(page), good(last), (200, {}, b'{"user_id": "ann"}\n')) as (client, told, _):
        assert [member["user_id"] for member in client.members("orders/7d", limit=7)] == ["ann", "zoë"]
        assert list(client.export("x")) == [{"user_id": "ann"}]
    paths = [path for _, path, _, _ in told.asked]
    assert paths == [
        "/v1/segments/orders%2F7d/members?limit=7",
        "/v1/segments/orders%2F7d/members?limit=7&cursor=more",
        "/v1/segments/x/export?format=ndjson",
    ]
    assert {"limit", "cursor"} <= query_names(document, "listMembers")
    assert "format" in query_names(document, "exportMembers")
    words = inspect.getdoc(Client.stream) or ""
    assert all(f"`{name}`" in words or f"`{name}_`" in words for name in query_names(document, "stream"))
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, _, headers, _ in told.asked)


def test_an_event_is_sent_until_it_is_taken_under_one_id() -> None:
    busy = (503, {"Retry-After": "3"}, b'{"type": "urn:tideline:problem:overloaded", "detail": "come again"}')
    with api(busy, (500, {}, b"oops"), good({"accepted": 1})) as (client, told, pauses):
        assert client.track("ann", "Order Completed", {"revenue": 12.5})["accepted"] == 1
    bodies = [body for _, _, _, body in told.asked]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["messageId"]
    assert (bodies[0]["userId"], bodies[0]["properties"]) == ("ann", {"revenue": 12.5})
    assert pauses == [3.0, 0.8]


def test_events_of_the_client_are_calls_that_the_api_takes() -> None:
    world = ApiWorld()

    class Direct(Client):
        def call(self, operation: str, path: Any = None, query: Any = None, body: Any = None) -> Any:  # noqa: ARG002
            answer = world.post(OPERATIONS[operation][1], body)
            assert answer.status_code == 200, answer.text
            return answer.json()

    client = Direct("http://api", KEY)
    client.track("ann", "Order Completed", {"revenue": 12.5}, messageId="m1")
    client.identify("ann", {"plan": "gold"})
    assert client.batch([{"type": "track", "userId": "zoë", "event": "Viewed"}])["unusable"] == 0
    events = world.events()
    assert [event["type"] for event in events] == ["track", "identify", "track"]
    assert events[0]["messageId"] == "m1"
    assert events[1]["traits"] == {"plan": "gold"}


def test_a_refusal_is_not_repeated_and_tells() -> None:
    refusal = {"type": "urn:tideline:problem:invalid-event", "title": "t", "detail": "no user", "request_id": "r"}
    refused = pytest.raises(ApiError, match="400: no user")
    with api((400, {}, json.dumps(refusal).encode())) as (client, told, _), refused as raised:
        client.track("", "x")
    assert (raised.value.kind, raised.value.status, len(told.asked)) == ("invalid-event", 400, 1)


def test_nobody_there_is_told_after_all_attempts() -> None:
    pauses: list[float] = []
    client = Client("http://127.0.0.1:1", KEY, attempts=3, sleep=pauses.append)
    with pytest.raises(ConnectionError):
        client.track("ann", "x")
    assert pauses == [0.4, 0.8]


def test_the_stream_goes_on_by_itself() -> None:
    first = b'retry: 2000\nid: A\n\nid: B\nevent: transition\ndata: {"id": "1"}\n\n: \nid: C\n\n'
    then = b'id: C\n\nid: D\nevent: missed\ndata: {"reason": "retention"}\n\n'
    with api((200, {}, first), (503, {}, b"{}"), (200, {}, then)) as (client, told, _):
        stream = client.stream(segment=["a", "b"], direction="entered", from_="start")
        assert next(stream) == StreamEvent("B", "transition", {"id": "1"})
        assert next(stream) == StreamEvent("D", "missed", {"reason": "retention"})
    assert told.asked[0][1] == "/v1/stream?segment=a&segment=b&direction=entered&from=start"
    assert [headers.get("Last-Event-ID") for _, _, headers, _ in told.asked] == [None, "C", "C"]


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://"])
def test_an_address_is_needed(url: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        Client(url, KEY)
