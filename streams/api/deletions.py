"""Deleting a user, and the proof of it afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Final, NamedTuple
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, Field

from config.errors import BrokerError, BrokerUnavailable, NotStored
from streams.api.auth import Authenticator, access
from streams.api.definer import Definer
from streams.api.definition_requests import IdempotencyKey
from streams.api.document import problems
from streams.api.keys import Caller, Role
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.stored import NothingYet
from streams.core.decode import DELETE_TYPE
from streams.core.fields import user_id as checked_user_id
from streams.core.ledger import Deleted
from streams.core.refusal import Refused

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DeletionAsked(BaseModel):
    """The log has the deletion: it will be done, in its place among the user's events."""

    user_id: str
    message_id: str
    """Of the record; the same for a request that is sent again within a day with its Idempotency-Key."""
    asked_at: str
    """The time of the record. Events of the user up to it are refused once it is done."""
    status_url: str
    """Where it can be read that this request is done: 404 until then."""


class DeletionView(BaseModel):
    """A user was deleted. It is known by a keyed hash of the id, and by nothing else."""

    user_id: str
    deleted_at: str
    """The time of the latest deletion."""
    refused_until: str
    """Events of the user up to this time are refused, wherever they come from."""
    lives: int = Field(ge=0)
    """How often something was there to be deleted; at least, where the ledger had to forget users at its bound."""
    is_back: bool
    """Later events have made a new user of this id."""


AskedAt = Annotated[
    datetime | None,
    Query(description="`asked_at` of a request: the answer is 404 until that one is done, not only an earlier one."),
]


def add_deletions(app: FastAPI, services: Services, definer: Definer, authenticator: Authenticator) -> None:
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
        caller: Caller = request.state.caller
        return await delete_user(services, definer, user_id, caller.key_id, idempotency_key)

    @app.get(
        "/v1/deletions/{user_id:path}",
        tags=["users"],
        operation_id="getDeletion",
        summary="Whether and when a user was deleted",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_deletion(user_id: str, asked_at: AskedAt = None) -> DeletionView:
        user = _checked(user_id)
        with services.stored.reader() as reader:
            data = reader.deletion(user, services.ledger_key)
            is_back = reader.row(user) is not None
        if data is None:
            raise NotStored(f"no deletion of {user[:100]!r} is known; one that was just asked for takes a moment")
        deleted = Deleted.of(data)
        if asked_at is not None and _ms_of(deleted.at_s) < _asked_ms(asked_at):
            words = f"an earlier deletion of {user[:100]!r} is done, and not yet the one that was asked for then"
            raise NotStored(words)
        return DeletionView(
            user_id=user,
            deleted_at=_text_of(_ms_of(deleted.at_s)),
            refused_until=_text_of(_ms_of(deleted.until_s)),
            lives=deleted.lives,
            is_back=is_back,
        )


async def delete_user(
    services: Services, definer: Definer, user_id: str, key_id: str, idempotency_key: str | None = None
) -> DeletionAsked:
    """Put a deletion into the log, for somebody with that key. Raises `Problem`, StoreError, BrokerUnavailable."""
    user = _checked(user_id)
    asked = await definer.run(lambda: _ask(services, user, key_id, idempotency_key))
    try:
        await services.log.append([(user, _record(user, asked))])
    except BrokerError as error:
        if isinstance(error, BrokerUnavailable):
            raise
        raise Problem(Kind.LOG_REFUSES, "the log of events does not take this; its operator has to act") from error
    asked_at = _text_of(asked.at_ms)
    status_url = f"/v1/deletions/{quote(user, safe='')}?asked_at={asked_at}"
    return DeletionAsked(user_id=user, message_id=asked.message_id, asked_at=asked_at, status_url=status_url)


def is_being_deleted(services: Services, user_id: str) -> bool:
    """Whether a deletion was asked for within the last day that is not done yet. Raises `Problem`, StoreError."""
    user = _checked(user_id)
    asked_ms = services.deletion_requests.last_asked(_digest(user, secret=services.ledger_key))
    done_ms = _done_ms(services, user)
    return asked_ms is not None and (done_ms is None or done_ms < asked_ms)


class _Asked(NamedTuple):
    message_id: str
    at_ms: int
    """Time of the record, in milliseconds since 1970."""


def _ask(services: Services, user: str, key_id: str, idempotency_key: str | None) -> _Asked:
    """The record's id and time.

    The shard takes a deletion that is not later than one it has done for the same. So it is later than all that were
    done or asked for, also where the clock of the API that did was ahead of ours. And a request that is sent again has
    the time of the first one, under which it is done. Raises `Problem` where our own clock is far ahead.
    """
    secret, now_ms, done_ms = services.ledger_key, int(services.wall() * 1_000), _done_ms(services, user)
    request = None if idempotency_key is None else _digest(key_id, idempotency_key, user, secret=secret)
    earliest_ms = 0 if done_ms is None else done_ms + 1
    at_ms = services.deletion_requests.asked_at(_digest(user, secret=secret), request, now_ms, earliest_ms)
    if at_ms is None:
        words = "the clock of this API is more than a minute ahead of the store's; its operator has to set it"
        raise Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "60"})
    if request is None:
        return _Asked(services.new_id(), at_ms)
    return _Asked(f"tl-{_digest(request, str(at_ms), secret=secret)}", at_ms)


def _done_ms(services: Services, user: str) -> int | None:
    """The time of the user's latest deletion; None where none is known, or nothing is stored yet."""
    try:
        with services.stored.reader() as reader:
            data = reader.deletion(user, services.ledger_key)
    except NothingYet:
        return None
    return None if data is None else _ms_of(Deleted.of(data).at_s)


def _checked(user: str) -> str:
    try:
        return checked_user_id(user)
    except Refused as refused:
        raise Problem(Kind.INVALID_PARAMETERS, refused.detail) from refused


def _digest(*parts: str, secret: bytes) -> str:
    """A name that nobody else can make from the parts."""
    digest = blake2b(digest_size=16, key=secret)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def _record(user: str, asked: _Asked) -> bytes:
    return msgspec.json.encode(
        {"type": DELETE_TYPE, "userId": user, "messageId": asked.message_id, "timestamp": _text_of(asked.at_ms)}
    )


def _text_of(at_ms: int) -> str:
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms_of(time_s: float) -> int:
    """Whole milliseconds, rounded down; what a float of a whole one has lost does not count."""
    return round(time_s * 1_000_000) // 1_000


def _asked_ms(asked_at: datetime) -> int:
    aware = asked_at if asked_at.tzinfo is not None else asked_at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)
