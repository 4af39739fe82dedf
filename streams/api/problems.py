"""Errors as problem details (RFC 9457): one form for whatever goes wrong, and nothing of the inside in it.

`docs/api.md` explains every kind; a test compares the two.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from config.errors import (
    BrokerError,
    BrokerUnavailable,
    CatalogMoved,
    NotStored,
    StoreFull,
    StoreUnavailable,
    TidelineError,
)

_LOG: Final = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
URN: Final = "urn:tideline:problem:"
_RETRY_AFTER_S: Final = 5
_MAX_ERRORS: Final = 20
"""Of one request that are told."""
_MAX_WHERE: Final = 200
_MAX_WORDS: Final = 500
"""Characters of the place and of the words of one: both may quote the body, and be as long as it."""


class Kind(Enum):
    """What can go wrong: the end of its `type`, the status, the title."""

    INVALID_BODY = ("invalid-body", 400, "The body cannot be read")
    INVALID_EVENT = ("invalid-event", 400, "The event cannot be used")
    INVALID_CURSOR = ("invalid-cursor", 404, "There is no such page")
    BAD_REQUEST = ("bad-request", 400, "The request cannot be read")
    UNAUTHORIZED = ("unauthorized", 401, "A key is needed")
    FORBIDDEN = ("forbidden", 403, "The key may not do this")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    CANNOT_REDRIVE = ("cannot-redrive", 409, "It cannot be put back on the log")
    CANNOT_ESTIMATE = ("cannot-estimate", 409, "This cannot be told from what is kept")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method cannot be used here")
    TIMEOUT = ("timeout", 408, "The body took too long to arrive")
    EXISTS = ("already-exists", 409, "There is one with this id")
    ARCHIVED = ("archived", 409, "It is archived for good")
    READ_ONLY = ("read-only", 409, "It is defined in the catalog file")
    NOT_TARGETABLE = ("not-targetable", 409, "Nothing may be targeted by this prediction")
    HAS_DEPENDENTS = ("has-dependents", 409, "Others rest on it")
    NOT_OVER = ("not-over", 409, "It is not over yet")
    GONE = ("gone", 410, "It was deleted")
    PRECONDITION_FAILED = ("precondition-failed", 412, "It has changed since it was read")
    TOO_MANY = ("too-many", 409, "There are as many as there may be")
    TOO_LARGE = ("too-large", 413, "The body is too large")
    UNSUPPORTED_MEDIA = ("unsupported-media", 415, "The body is of another kind")
    INVALID_PARAMETERS = ("invalid-parameters", 422, "A parameter cannot be used")
    INVALID_DEFINITION = ("invalid-definition", 422, "The definition is not right")
    KEY_REUSED = ("idempotency-key-reused", 422, "The idempotency key was used for another request")
    PRECONDITION_REQUIRED = ("precondition-required", 428, "If-Match is needed")
    RATE_LIMITED = ("rate-limited", 429, "Too many requests with this key")
    INTERNAL = ("internal", 500, "Something is wrong with the service")
    LOG_REFUSES = ("log-refuses", 500, "The log of events does not take this")
    LOG_UNREADABLE = ("log-unreadable", 500, "The log of events cannot be read")
    UNAVAILABLE = ("unavailable", 503, "The service cannot do this at the moment")
    TAKES_TOO_LONG = ("takes-too-long", 503, "This takes too long")
    OVERLOADED = ("overloaded", 503, "The service has too much in hand")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


_BY_STATUS: Final = {
    401: Kind.UNAUTHORIZED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.TOO_LARGE,
    415: Kind.UNSUPPORTED_MEDIA,
}


class Problem(HTTPException):
    """Ends a request with a problem of a kind. `members` are further fields of the answer."""

    def __init__(self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(kind.status, detail, dict(headers) if headers else None)
        self.kind = kind
        self.members = members


def problem_response(
    request_id: str, kind: Kind, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """The answer to a request that failed."""
    body = {
        "type": URN + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": request_id,
        **members,
    }
    return Response(msgspec.json.encode(body), kind.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of an app end as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(TidelineError, _ours)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)


def request_id_of(request: Request) -> str:
    """The id under which the log knows a request."""
    found: str = getattr(request.state, "request_id", "")
    return found


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return problem_response(request_id_of(request), error.kind, error.detail, error.headers, **error.members)
    kind = _BY_STATUS.get(error.status_code, Kind.BAD_REQUEST if error.status_code < 500 else Kind.INTERNAL)
    headers = {"Allow": _allowed(request)} if kind is Kind.METHOD_NOT_ALLOWED else error.headers
    return problem_response(request_id_of(request), kind, _http_words(kind, request), headers)


def _allowed(request: Request) -> str:
    """All methods that a path has: several routes may share it, and the error knows of one of them."""
    path = request.scope["path"]
    routes = [route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(path)]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _http_words(kind: Kind, request: Request) -> str:
    if kind is Kind.NOT_FOUND:
        return "nothing is at this path; /openapi.json lists what there is"
    if kind is Kind.METHOD_NOT_ALLOWED:
        return f"{request.method} cannot be used at this path"
    return kind.title


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    errors = [
        {"where": ".".join(map(str, each["loc"]))[:_MAX_WHERE], "detail": each["msg"][:_MAX_WORDS]}
        for each in found[:_MAX_ERRORS]
    ]  # not the input: it may be a secret in the wrong place
    detail = "; ".join(f"{each['where']}: {each['detail']}" for each in errors)
    if len(found) > len(errors):
        detail += f"; and {len(found) - len(errors):,} more"
    return problem_response(request_id_of(request), Kind.INVALID_PARAMETERS, detail, errors=errors)


async def _ours(request: Request, error: Exception) -> Response:
    """What Tideline raises on purpose, told without addresses and names of the inside; the log has those."""
    request_id = request_id_of(request)
    if isinstance(error, NotStored):
        return problem_response(request_id, Kind.NOT_FOUND, str(error))
    _LOG.warning("request %s: %s", request_id, error, extra={"request_id": request_id})
    retry = {"Retry-After": str(_RETRY_AFTER_S)}
    if isinstance(error, CatalogMoved):
        words = "definitions are changing, and shards take them up; try again in a moment"
        return problem_response(request_id, Kind.UNAVAILABLE, words, {"Retry-After": "1"})
    if isinstance(error, StoreUnavailable | StoreFull):
        return problem_response(request_id, Kind.UNAVAILABLE, "the store does not answer; try again", retry)
    if isinstance(error, BrokerUnavailable):
        return problem_response(request_id, Kind.UNAVAILABLE, "the log of events does not answer; try again", retry)
    if isinstance(error, BrokerError):
        words = "the log of events is damaged, or not as it has to be; what the service writes down says what to do"
        return problem_response(request_id, Kind.LOG_UNREADABLE, words)
    _LOG.error("request %s failed", request_id, exc_info=error, extra={"request_id": request_id})
    return problem_response(request_id, Kind.INTERNAL, "the log of the service has the reason under the request's id")


async def _gone(request: Request, _error: Exception) -> Response:
    """Nobody reads this answer; it is counted like others."""
    return problem_response(request_id_of(request), Kind.BAD_REQUEST, "the connection was closed within the body")


async def _bug(request: Request, error: Exception) -> Response:
    """The server's own log has the traceback, as the exception goes on to it."""
    request_id = request_id_of(request)
    _LOG.error("request %s failed: %s", request_id, type(error).__name__, extra={"request_id": request_id})
    detail = "the log of the service has the reason under the request's id"
    return problem_response(request_id, Kind.INTERNAL, detail, {"X-Request-Id": request_id})
