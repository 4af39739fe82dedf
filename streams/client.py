"""A small client of the API (docs/api.md), with Python's own library and nothing else; the file may be copied.

    client = Client("http://127.0.0.1:8080", "tl_admin_...")
    client.track("ann", "Order Completed", {"revenue": 12.5})
    for member in client.members("orders_7d.high"):
        print(member["user_id"])
    for event in client.stream(segment=["orders_7d.high"]):
        print(event.id, event.data)

Answers are JSON as `/openapi.json` describes it. A client is for one thread.

* ``ApiError``: the API has refused; it holds the problem
* ``ConnectionError``: nobody answers, also after `attempts`
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

OPERATIONS: Final[dict[str, tuple[str, str]]] = {
    "track": ("POST", "/v1/track"),
    "identify": ("POST", "/v1/identify"),
    "batch": ("POST", "/v1/batch"),
    "listPredictions": ("GET", "/v1/predictions"),
    "getPrediction": ("GET", "/v1/predictions/{prediction_id}"),
    "getUser": ("GET", "/v1/users/{user_id}"),
    "listSegments": ("GET", "/v1/segments"),
    "getSegment": ("GET", "/v1/segments/{segment_id}"),
    "listMembers": ("GET", "/v1/segments/{segment_id}/members"),
    "exportMembers": ("GET", "/v1/segments/{segment_id}/export"),
    "stream": ("GET", "/v1/stream"),
    "listWebhooks": ("GET", "/v1/webhooks"),
    "getWebhook": ("GET", "/v1/webhooks/{webhook_id}"),
    "createWebhook": ("POST", "/v1/webhooks"),
    "archiveWebhook": ("DELETE", "/v1/webhooks/{webhook_id}"),
    "renewSecret": ("POST", "/v1/webhooks/{webhook_id}/secret"),
    "testWebhook": ("POST", "/v1/webhooks/{webhook_id}/test"),
    "listDeliveries": ("GET", "/v1/webhooks/{webhook_id}/deliveries"),
    "listAudiences": ("GET", "/v1/audiences"),
    "getAudience": ("GET", "/v1/audiences/{audience_id}"),
    "createAudience": ("POST", "/v1/audiences"),
    "archiveAudience": ("DELETE", "/v1/audiences/{audience_id}"),
    "compareAudience": ("POST", "/v1/audiences/{audience_id}/compare"),
    "redrive": ("POST", "/v1/webhooks/{webhook_id}/redrive"),
}
"""What this client can ask, by the names that the document gives; a test compares the two."""

_RETRIED: Final = (408, 429, 500, 502, 503, 504)
_LONGEST_PAUSE_S: Final = 30.0
_STREAM_SILENT_S: Final = 60.0
"""Heartbeats come every 15 seconds."""


class ApiError(Exception):
    """The API has refused. `problem` is its answer (RFC 9457), as far as it was one."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {problem.get('detail') or problem.get('title') or 'no reason was given'}")
        self.status = status
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """The end of its type: `not-found`."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class StreamEvent(NamedTuple):
    """One event of the stream."""

    id: str
    """To go on behind it."""
    name: str
    """`transition`, `missed`, `dropped` or `closing`."""
    data: Any


class Client:
    """Asks one service with one key. Events are sent up to `attempts` times, under one message id: they count once."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected an address such as https://tideline.example.org, not {url!r}")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._open = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": "tideline-client"}
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Cut the connection; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:  # noqa: PYI034  Self would need typing_extensions where this file is copied to
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- events ------------------------------------------------------------------------------------------------------

    def track(
        self, user_id: str, event: str, properties: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """One thing that a user did. `more`: `timestamp`, `messageId`, `context`, as in Segment's spec."""
        return self._send("track", {"userId": user_id, "event": event, "properties": dict(properties or {})} | more)

    def identify(self, user_id: str, traits: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """What is known of a user."""
        return self._send("identify", {"userId": user_id, "traits": dict(traits or {})} | more)

    def batch(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Many calls at once, each with its `type`."""
        found: dict[str, Any] = self._again("batch", {"batch": [_complete(call) for call in calls]})
        return found

    def _send(self, operation: str, call: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._again(operation, _complete(call))
        return found

    def _again(self, operation: str, body: Any) -> Any:
        """Until it is taken; only what the service may take later is repeated."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self.call(operation, body=body)
            except ApiError as error:
                if error.status not in _RETRIED or error.kind == "log-refuses" or attempt == self._attempts:
                    raise
                pause_s = error.retry_after_s
            except ConnectionError:
                if attempt == self._attempts:
                    raise
                pause_s = None
            self._sleep(min(_LONGEST_PAUSE_S, 0.2 * 2.0**attempt if pause_s is None else pause_s))
        raise AssertionError("the last attempt returns or raises")

    # --- what is stored ----------------------------------------------------------------------------------------------

    def predictions(self) -> list[dict[str, Any]]:
        """All predictions."""
        return list(self.call("listPredictions")["items"])

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """One of them."""
        return dict(self.call("getPrediction", {"prediction_id": prediction_id}))

    def user(self, user_id: str) -> dict[str, Any]:
        """Scores, segments and everything else that is stored of a user."""
        return dict(self.call("getUser", {"user_id": user_id}))

    def segments(self) -> list[dict[str, Any]]:
        """All segments, with their sizes."""
        return list(self.call("listSegments")["items"])

    def segment(self, segment_id: str) -> dict[str, Any]:
        """One of them."""
        return dict(self.call("getSegment", {"segment_id": segment_id}))

    def members(self, segment_id: str, *, limit: int = 500) -> Iterator[dict[str, Any]]:
        """All members, `limit` or so at a time; one that comes in two pages is given twice."""
        cursor: str | None = None
        while True:
            query = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
            page = self.call("listMembers", {"segment_id": segment_id}, query)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def export(self, segment_id: str) -> Iterator[dict[str, Any]]:
        """All members in one answer, however many there are."""
        for line in self._lines("exportMembers", {"segment_id": segment_id}, {"format": "ndjson"}, {}):
            if line.strip():
                yield json.loads(line)

    # --- transitions -------------------------------------------------------------------------------------------------

    def stream(self, *, last_id: str | None = None, reconnect: bool = True, **wanted: Any) -> Iterator[StreamEvent]:
        """Transitions as they happen, for ever. `wanted`: `segment`, `prediction`, `user`, `direction`, `origin`, and
        `from_`, which is `now` or `start`.

        Goes on behind the last one by itself where the connection ends, unless `reconnect` is False.
        """
        query = {name.rstrip("_"): value for name, value in wanted.items() if value is not None}
        failures = 0
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            try:
                for event in _events(self._lines("stream", {}, query, headers, timeout_s=_STREAM_SILENT_S)):
                    failures, last_id = 0, event.id or last_id
                    if event.name:
                        yield event
                failures = 0
            except ApiError as error:
                if error.status not in _RETRIED or not reconnect:
                    raise
                failures += 1
            except (ConnectionError, http.client.HTTPException, TimeoutError):
                if not reconnect:
                    raise
                failures += 1
            if not reconnect:
                return
            self._sleep(min(_LONGEST_PAUSE_S, 0.5 * 2.0**failures))

    def webhooks(self) -> list[dict[str, Any]]:
        """All webhooks; `call` makes and changes them."""
        return list(self.call("listWebhooks")["items"])

    # --- how it is asked ---------------------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """One operation of `OPERATIONS`, once. Raises ApiError, ConnectionError."""
        method, target = _target(self._path, operation, path or {}, query or {})
        data, headers = None, dict(self._headers)
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        try:
            if self._connection is None:
                self._connection = self._open(self._host, self._port, timeout=self._timeout_s)
            self._connection.request(method, target, data, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(f"{self._host} does not answer: {error!r}") from error
        if answer.status >= 400:
            raise _refusal(answer, text)
        return json.loads(text)

    def _lines(
        self,
        operation: str,
        path: Mapping[str, str],
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float | None = None,
    ) -> Iterator[bytes]:
        """The lines of a long answer, on a connection of its own."""
        method, target = _target(self._path, operation, path, query)
        connection = self._open(self._host, self._port, timeout=timeout_s or self._timeout_s)
        try:
            try:
                connection.request(method, target, headers=self._headers | dict(headers))
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise ConnectionError(f"{self._host} does not answer: {error!r}") from error
            if answer.status >= 400:
                raise _refusal(answer, answer.read())
            while line := answer.readline():
                yield line
        finally:
            connection.close()


def _target(base: str, operation: str, path: Mapping[str, str], query: Mapping[str, Any]) -> tuple[str, str]:
    method, template = OPERATIONS[operation]
    filled = template.format(**{name: quote(value, safe="") for name, value in path.items()})
    return method, base + filled + (f"?{urlencode(query, doseq=True)}" if query else "")


def _complete(call: Mapping[str, Any]) -> dict[str, Any]:
    """With a message id, so that it counts once however often it is sent, and the time of now if it has none."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"messageId": str(uuid.uuid4()), "timestamp": now} | dict(call)


def _refusal(answer: http.client.HTTPResponse, text: bytes) -> ApiError:
    try:
        problem = json.loads(text)
    except ValueError:
        problem = {}
    after = answer.headers.get("Retry-After", "")
    return ApiError(
        answer.status, problem if isinstance(problem, dict) else {}, float(after) if after.isdigit() else None
    )


def _events(lines: Iterable[bytes]) -> Iterator[StreamEvent]:
    """Server-sent events; one without a name only moves the place."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name:
            fields[name] = value
        elif not line.strip() and fields:
            yield StreamEvent(
                fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]) if "data" in fields else None
            )
            fields = {}
