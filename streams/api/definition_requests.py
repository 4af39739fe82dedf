"""What requests that change definitions have in common: their bodies, their names for themselves, what they expect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Request
from starlette.datastructures import URL

from streams.api.changing import Ask
from streams.api.keys import Caller
from streams.api.limits import check_media, read_body
from streams.api.problems import Kind, Problem
from streams.api.services import ApiOptions

MAX_KEY: Final = 255

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag of what is changed, as it was read; a change by somebody else meanwhile is not lost.",
        max_length=1_000,
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name of yours for this request. Sent again within a day it is answered again, and done once.",
        min_length=1,
        max_length=MAX_KEY,
    ),
]


def _take_all(_count: int) -> None:
    """Definitions are few: their bodies do not count among those of events."""


async def read_json(
    request: Request, options: ApiOptions, take: Callable[[int], None] = _take_all
) -> tuple[bytes, Any]:
    """The body, and what it says; `take` is told of its bytes before they are kept. Raises `Problem`."""
    check_media(request)
    try:
        async with asyncio.timeout(options.body_timeout_s):
            body = await read_body(request, options.batch_bytes, take)
    except TimeoutError as error:
        raise Problem(Kind.TIMEOUT, "the body took too long to arrive") from error
    try:
        return body, msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(Kind.INVALID_BODY, f"the body is no JSON: {error}"[:200]) from error


def ask_of(request: Request, body: bytes, idempotency_key: str | None) -> Ask:
    """Who asks, and what."""
    caller: Caller = request.state.caller
    url: URL = request.url
    content = b"\0".join([request.method.encode(), url.path.encode(), url.query.encode(), body])
    return Ask(caller.key_id, idempotency_key, content)


def check_match(given: str | None, etag: str, *, is_needed: bool) -> None:
    """Raises `Problem` where somebody changes something else than what was read."""
    if given is None:
        if is_needed:
            raise Problem(Kind.PRECONDITION_REQUIRED, "say in If-Match which version is changed: the ETag of a GET")
        return
    if given.strip() != "*" and etag not in [tag.strip() for tag in given.split(",")]:
        words = "it is not as it was when it was read; read it again, and change that"
        raise Problem(Kind.PRECONDITION_FAILED, words, headers={"ETag": etag})
