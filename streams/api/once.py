"""Requests that may be sent again under a name of the caller's, and are done once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from fastapi import Request
from pydantic import BaseModel

from streams.api.keys import Caller

REPLAYED = {"Idempotency-Replayed": "true"}


class Once(NamedTuple):
    """Which request it is. Both are hashes."""

    name: str
    """Of the caller's key and of what the caller calls the request."""
    content: str
    """Of what is asked: the same name for something else is a mistake."""


def once_of(request: Request, idempotency_key: str | None, body: BaseModel | None = None) -> Once | None:
    """None for a request without an idempotency key."""
    if idempotency_key is None:
        return None
    caller: Caller = request.state.caller
    content = f"{request.method} {request.url.path} {'' if body is None else body.model_dump_json()}"
    return Once(_digest(f"{caller.key_id}\0{idempotency_key}"), _digest(content))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
