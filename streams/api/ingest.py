"""Events in, in the shape of Segment's HTTP API. An answer of 200 means: the log has them, and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from config.errors import BrokerError, BrokerUnavailable
from streams.api import ingest_document as document
from streams.api.auth import Authenticator, access
from streams.api.definer import Definer
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.limits import InFlight, check_media, read_body
from streams.api.metrics import ApiMetrics
from streams.api.problems import Kind, Problem
from streams.api.record_bound import RecordBound
from streams.api.segment_calls import IGNORED, Arrival, Room, Taken, TooMuch, take_batch, take_call
from streams.api.services import ApiOptions, Services
from streams.core.events import DeadReason
from streams.core.refusal import Refused
from streams.runtime.traces import Span, Traces
from streams.trace_context import TRACEPARENT, sampled

_MAX_PROBLEMS: Final = 20
_SERVER_ERROR: Final = 500
_NO_BODY: Final = (DeadReason.UNREADABLE_JSON, DeadReason.NOT_AN_OBJECT, DeadReason.BAD_ENCODING, DeadReason.TOO_DEEP)
_SCHEMAS: Final = {"track": document.TRACK, "identify": document.IDENTIFY}

_SPREAD: Final = 16
"""What is said of a whole batch may become so many times the largest batch, written into each of its records."""

Take = Callable[[bytes, Arrival, Callable[[int], None]], Taken]
"""The last is told of bytes that are made beyond those of the body, and may refuse."""


def add_ingest(
    app: FastAPI,
    services: Services,
    definer: Definer,
    authenticator: Authenticator,
    metrics: ApiMetrics,
    in_flight: InFlight,
) -> None:
    """Add the routes that take events."""
    intake = _Intake(services, definer, metrics, in_flight)

    def add(path: str, name: str, summary: str, schema: dict[str, Any], limit_bytes: int, take: Take) -> None:
        async def endpoint(request: Request) -> Response:
            return await intake.take(request, limit_bytes, take)

        given = access(authenticator, Role.INGEST, basic=True)
        given["openapi_extra"] |= document.body(schema)
        app.add_api_route(
            path,
            endpoint,
            tags=["ingest"],
            methods=["POST"],
            operation_id=name,
            summary=summary,
            response_model=document.Accepted,
            responses=problems(400, 408, 413, 415),
            **given,
        )

    limits = services.options
    for kind, schema in _SCHEMAS.items():
        add(f"/v1/{kind}", kind, f"One {kind} call", schema, limits.event_bytes, _single(kind))
    add("/v1/batch", "batch", "Many calls", document.BATCH, limits.batch_bytes, _batch(limits))
    add("/v1/import", "import", "The same as /v1/batch", document.BATCH, limits.batch_bytes, _batch(limits))
    for kind in IGNORED:
        words = f"Taken and ignored, so that SDKs work: a {kind} call"
        add(f"/v1/{kind}", kind, words, document.OTHER, limits.event_bytes, _ignored(kind))


def _single(kind: str) -> Take:
    def take(body: bytes, arrival: Arrival, _take_bytes: Callable[[int], None]) -> Taken:
        return take_call(body, kind, arrival)

    return take


def _batch(options: ApiOptions) -> Take:
    most_bytes = min(_SPREAD * options.batch_bytes, options.in_flight_bytes // 2)

    def take(body: bytes, arrival: Arrival, take_bytes: Callable[[int], None]) -> Taken:
        return take_batch(body, arrival, Room(most_bytes, take_bytes))

    return take


def _ignored(kind: str) -> Take:
    def take(body: bytes, _arrival: Arrival, _take_bytes: Callable[[int], None]) -> Taken:
        try:
            msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(Kind.INVALID_BODY, "expected a JSON object") from error
        return Taken(ignored={kind: 1})

    return take


class _Intake:
    """What all of these routes do with a request."""

    def __init__(self, services: Services, definer: Definer, metrics: ApiMetrics, in_flight: InFlight) -> None:
        self._services = services
        self._bound = RecordBound(
            lambda: definer.run(lambda: definer.view().file.limits.property_bytes), services.clock
        )
        self._events = metrics.events
        self._in_flight = in_flight

    async def take(self, request: Request, limit_bytes: int, take: Take) -> Response:
        """Read, understand, append; answer when the log has it."""
        traces = self._services.traces
        if traces is None:
            return await self._take(request, limit_bytes, take, None)
        span = _begin(traces, request)
        if span is None:
            return await self._take(request, limit_bytes, take, None)
        try:
            answer = await self._take(request, limit_bytes, take, span.context)
        except BaseException as error:
            # As OpenTelemetry has it, a mistake of the caller's is no error of the server.
            is_callers = isinstance(error, Problem) and error.kind.status < _SERVER_ERROR
            span.end(None if is_callers else type(error).__name__, {"error.type": type(error).__name__})
            raise
        span.end(attributes={"http.response.status_code": answer.status_code})
        return answer

    async def _take(self, request: Request, limit_bytes: int, take: Take, trace: str | None) -> Response:
        check_media(request)
        with self._in_flight.request() as take_bytes:
            try:
                async with asyncio.timeout(self._services.options.body_timeout_s):
                    body = await read_body(request, limit_bytes, take_bytes)
            except TimeoutError as error:
                raise Problem(Kind.TIMEOUT, "the body took too long to arrive") from error
            in_event = None if self._services.log.has_headers else trace
            arrival = Arrival(self._services.wall(), self._services.new_id, await self._bound.bytes(), in_event)
            taken = self._understood(body, take, arrival, take_bytes)
            await self._append(taken, trace)
        self._count(taken)
        return Response(msgspec.json.encode(_answer(taken)), media_type="application/json")

    def _understood(self, body: bytes, take: Take, arrival: Arrival, take_bytes: Callable[[int], None]) -> Taken:
        try:
            return take(body, arrival, take_bytes)
        except TooMuch as error:
            raise Problem(Kind.TOO_LARGE, str(error)) from error
        except Refused as refused:
            self._events.labels("refused").inc()
            kind = Kind.INVALID_BODY if refused.reason in _NO_BODY else Kind.INVALID_EVENT
            raise Problem(kind, refused.detail, reason=refused.reason.value) from refused

    async def _append(self, taken: Taken, trace: str | None) -> None:
        if not taken.records:
            return
        try:
            await self._services.log.append(taken.records, trace=trace)
        except BrokerError as error:
            self._events.labels("refused").inc(len(taken.records))
            if isinstance(error, BrokerUnavailable):
                raise
            raise Problem(Kind.LOG_REFUSES, "the log of events does not take this; its operator has to act") from error

    def _count(self, taken: Taken) -> None:
        self._events.labels("accepted").inc(len(taken.records) - len(taken.unusable))
        self._events.labels("unusable").inc(len(taken.unusable))
        self._events.labels("ignored").inc(sum(taken.ignored.values()))


def _begin(traces: Traces, request: Request) -> Span | None:
    """None where the request is not to be traced: as it says itself, up to a bound, or else by the share."""
    given, path = request.headers.get(TRACEPARENT), request.scope["route"].path
    parent = sampled(given)
    if given is not None and (parent is None or not traces.take(1)):
        return None
    attributes = {"http.request.method": request.method, "http.route": path}
    return traces.begin(f"{request.method} {path}", parent=parent, kind="server", attributes=attributes)


def _answer(taken: Taken) -> dict[str, Any]:
    shown = taken.unusable[:_MAX_PROBLEMS]
    return {
        "success": True,
        "accepted": len(taken.records),
        "ignored": taken.ignored,
        "unusable": len(taken.unusable),
        "problems": [{"index": u.index, "reason": u.reason, "detail": u.detail} for u in shown],
        "messageIds": [{"index": index, "messageId": made} for index, made in taken.made_ids],
    }
