"""The client asks what the API answers: every operation of it is in the document, with its parameters."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streams.client import OPERATIONS, Answer, ApiError, Client, NotAnApi, StreamEvent
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


# What a client has no use for: health, and what is taken from Segment's SDKs and ignored.
LEFT_OUT = {"healthz", "readyz", "metrics", "import", "page", "screen", "group", "alias"}


def test_every_operation_of_the_document_can_be_asked(document: dict[str, Any]) -> None:
    assert set(described(document)) - LEFT_OUT == set(OPERATIONS)


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

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  the server's names

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


Told = tuple[int, dict[str, str], bytes]


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
        def ask(self, operation: str, *_: Any, body: Any = None, **__: Any) -> Answer:
            answer = world.post(OPERATIONS[operation][1], body)
            assert answer.status_code == 200, answer.text
            return Answer(200, "", answer.text)

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


def test_a_change_is_asked_until_it_is_answered_under_one_key_and_a_put_once() -> None:
    busy: Told = (503, {}, b'{"type": "urn:tideline:problem:unavailable", "detail": "come again"}')
    made = (201, {"ETag": '"3"'}, b'{"id": "likely"}')
    with api(busy, made, busy) as (client, told, pauses):
        assert client.create("segment", {"id": "likely"}) == ({"id": "likely"}, '"3"')
        with pytest.raises(ApiError, match="503: come again"):
            client.edit("segment", "likely", {"name": "Likely"}, '"3"')
    first, second, put = told.asked
    assert first[2]["Idempotency-Key"] == second[2]["Idempotency-Key"]
    assert (put[0], put[1], put[2]["If-Match"]) == ("PUT", "/v1/segments/likely", '"3"')
    assert "Idempotency-Key" not in put[2]
    assert pauses == [0.4]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal_and_is_not_followed(status: int) -> None:
    with api((status, {"Location": "http://127.0.0.1:1/"}, b"")) as (client, told, _):
        with pytest.raises(ApiError, match=f"{status}: it leads to http://127.0.0.1:1/, and the key is not sent"):
            client.predictions()
        assert len(told.asked) == 1
    with api((status, {"Location": "http://127.0.0.1:1/"}, b"")) as (client, told, _), pytest.raises(ApiError):
        next(client.export("x"))


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [(200, b"<html>", "what is no JSON"), (200, b"\xff", "what is no text"), (404, b"[]", "404: it answered 404 and")],
)
def test_another_program_is_told_as_no_api(status: int, text: bytes, words: str) -> None:
    with api((status, {}, text)) as (client, _, _), pytest.raises(NotAnApi, match=words):
        client.predictions()


def test_a_connection_that_was_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service closes it after 5 seconds, and what is asked at that moment would get no answer."""
    with api(good({"items": []}), good({"items": []}), good({"items": []})) as (client, told, _):
        opened: list[HTTPConnection] = []

        def connect(*arguments: Any, **options: Any) -> HTTPConnection:
            opened.append(HTTPConnection(*arguments, **options))
            return opened[-1]

        monkeypatch.setattr(client, "_open", connect)
        now_s = [100.0]
        monkeypatch.setattr("streams.client.time.monotonic", lambda: now_s[0])
        client.predictions()
        now_s[0] += 1.0
        client.predictions()
        assert len(opened) == 1
        now_s[0] += 4.9
        client.predictions()
        assert len(opened) == 2
        assert len(told.asked) == 3


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
