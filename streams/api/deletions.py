"""Deleting a user, and the proof of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from config.errors import BrokerError, BrokerUnavailable, NotStored
from streams.api.auth import Authenticator, access
from streams.api.definition_requests import IdempotencyKey
from streams.api.document import problems
from streams.api.keys import Caller, Role
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.views import time_text
from streams.core.decode import DELETE_TYPE
from streams.core.fields import user_id as checked_user_id
from streams.core.ledger import Deleted
from streams.core.refusal import Refused


class DeletionAsked(BaseModel):
    """The log has the deletion: it will be done, in its place among the user's events."""

    user_id: str
    message_id: str
    """Of the record; the same for a request that is sent again with its Idempotency-Key."""
    status_url: str
    """Where it can be read that it is done."""


class DeletionView(BaseModel):
    """A user was deleted. It is known by a keyed hash of the id, and by nothing else."""

    user_id: str
    deleted_at: str
    """The time of the latest deletion."""
    refused_until: str
    """Events of the user up to this time are refused, wherever they come from."""
    lives: int = Field(ge=0)
    """How often something was there to be deleted."""
    is_back: bool
    """Later events have made a new user of this id."""


def add_deletions(app: FastAPI, services: Services, authenticator: Authenticator) -> None:
    """Add the routes of deletions."""

    @app.delete(
        "/v1/users/{user_id:path}",
        tags=["users"],
        operation_id="deleteUser",
        summary="Delete a user",
        status_code=202,
        responses=problems(422),
        **access(authenticator, Role.WRITE),
    )
    async def delete(request: Request, user_id: str, idempotency_key: IdempotencyKey = None) -> DeletionAsked:
        user = _checked(user_id)
        caller: Caller = request.state.caller
        message_id = _message_id(caller.key_id, idempotency_key, user, services.new_id)
        record = _record(user, message_id, services.wall())
        try:
            await services.log.append([(user, record)])
        except BrokerError as error:
            if isinstance(error, BrokerUnavailable):
                raise
            raise Problem(Kind.LOG_REFUSES, "the log of events does not take this; its operator has to act") from error
        status_url = f"/v1/deletions/{quote(user, safe='')}"
        return DeletionAsked(user_id=user, message_id=message_id, status_url=status_url)

    @app.get(
        "/v1/deletions/{user_id:path}",
        tags=["users"],
        operation_id="getDeletion",
        summary="Whether and when a user was deleted",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_deletion(user_id: str) -> DeletionView:
        user = _checked(user_id)
        with services.stored.reader() as reader:
            data = reader.deletion(user, services.ledger_key)
            is_back = reader.row(user) is not None
        if data is None:
            raise NotStored(f"no deletion of {user[:100]!r} is known; one that was just asked for takes a moment")
        deleted = Deleted.of(data)
        return DeletionView(
            user_id=user,
            deleted_at=_time(deleted.at_s),
            refused_until=_time(deleted.until_s),
            lives=deleted.lives,
            is_back=is_back,
        )


def _checked(user: str) -> str:
    try:
        return checked_user_id(user)
    except Refused as refused:
        raise Problem(Kind.INVALID_PARAMETERS, refused.detail) from refused


def _message_id(key_id: str, idempotency_key: str | None, user: str, new_id: Callable[[], str]) -> str:
    """The shard knows a message by its id and takes it once: that is all that a request sent again needs."""
    if idempotency_key is None:
        return new_id()
    parts = (key_id, idempotency_key, user)
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return f"tl-{digest.hexdigest()}"


def _record(user: str, message_id: str, now_s: float) -> bytes:
    now = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": DELETE_TYPE, "userId": user, "messageId": message_id, "timestamp": now})


def _time(time_s: float) -> str:
    text = time_text(time_s)
    assert text is not None, "a deletion has a time"
    return text
