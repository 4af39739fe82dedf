"""Users by their id or its beginning, and a user's latest transitions."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from config.errors import NoLog
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.few_at_once import LOG_WAIT_S
from streams.api.gone import lives_ended
from streams.api.keys import Role
from streams.api.services import Services
from streams.api.stored import NothingYet, StoreReads
from streams.core.partition import shard_of
from streams.core.state import LIFE_STEP
from streams.ports import Crossing, TransitionFeed
from streams.runtime.crossings_tail import Tail
from streams.runtime.found_users import users_like
from streams.runtime.wanted_crossings import CrossingHead, head_of

LOOKED_AT: Final = 20_000
"""So many of the latest transitions of the user's partition are looked through."""
_STORED: Final = 5_000
"""The same in the store."""
LOOK_S: Final = 5.0
_MOST_DIGITS: Final = 20
"""Of a sequence: more than any life's has."""

Prefix = Annotated[
    str, Query(alias="id", min_length=1, max_length=500, description="An id, or how it begins.", examples=["ann"])
]
User = Annotated[str, Query(min_length=1, max_length=500, description="Whose.", examples=["ann"])]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many.")]


class FoundUser(BaseModel):
    """One user."""

    user_id: str


class FoundUsers(BaseModel):
    """Who was found: the very id first, the others in no order."""

    items: list[FoundUser]
    complete: bool = Field(description="false: there may be more whose ids begin so.")


class TransitionList(BaseModel):
    """A user's latest transitions, the latest first, as they were published (docs/events.md)."""

    items: list[dict[str, Any]]
    looked_at: int = Field(description="Transitions that were looked through: the latest of the user's partition.")
    complete: bool = Field(description="Whether these are surely all that are kept of the user.")


def add_user_search(app: FastAPI, services: Services, everyone: Everyone, authenticator: Authenticator) -> None:
    """Add the routes."""

    @app.get(
        "/v1/users",
        tags=["users"],
        operation_id="findUsers",
        summary="Users by their id or its beginning",
        responses=problems(422),
        **access(authenticator, Role.READ),
    )
    def find(prefix: Prefix, limit: Limit = 20) -> FoundUsers:
        return find_users(services, everyone, prefix, limit)

    @app.get(
        "/v1/transitions",
        tags=["users"],
        operation_id="listTransitions",
        summary="A user's latest transitions",
        responses=problems(410, 422),
        **access(authenticator, Role.READ),
    )
    async def transitions(user: User, limit: Limit = 20) -> TransitionList:
        return await list_transitions(services, user, limit)


def find_users(services: Services, everyone: Everyone, prefix: str, limit: int) -> FoundUsers:
    """Users whose ids begin so. Raises `Problem`, StoreError."""
    with services.stored.reader() as reader, everyone.turn() as check:
        found, is_complete = users_like(reader, prefix, limit, check)
    return FoundUsers(items=[FoundUser(user_id=user) for user in found], complete=is_complete)


async def list_transitions(services: Services, user: str, limit: int) -> TransitionList:
    """The latest of one user.

    Raises StoreError, BrokerError, and `Problem` where many ask such things and for one who was deleted: the log has
    the transitions until it forgets them, but nobody is to look at them. So it is with those of before a deletion, of
    one who has come back.
    """
    life = await run_in_threadpool(_life, services, user)
    async with services.log_passes.turn(LOG_WAIT_S):
        return await _transitions(services, user, life, limit)


def _life(services: Services, user: str) -> int:
    """The earliest life that may be looked at. Raises as `lives_ended`."""
    try:
        with services.stored.reader() as reader:
            return lives_ended(reader, user, services.ledger_key)
    except NothingYet:
        return 0  # no shard has stored anything, so none has deleted anybody


async def _transitions(services: Services, user: str, life: int, limit: int) -> TransitionList:
    try:
        feed = await services.transitions.open()
    except NoLog:
        return await run_in_threadpool(_stored, services.stored, user, life, limit)
    try:
        found = await latest_of(feed, user, limit, life)
    finally:
        await feed.close()
    if found is not None:
        return found
    return await run_in_threadpool(_stored, services.stored, user, life, limit)


def _stored(stored: StoreReads, user: str, life: int, limit: int) -> TransitionList:
    """From the store, where a replay leaves its latest ones."""
    with stored.reader() as reader:
        entries = reader.shard_transitions(shard_of(user, reader.info.shards), _STORED)
    found = [entry.data for entry in entries if _is_of(entry.data, user, life)]
    shown = [msgspec.json.decode(data) for data in found[:limit]]
    return TransitionList(items=shown, looked_at=len(entries), complete=False)


async def latest_of(feed: TransitionFeed, user: str, limit: int, life: int = 0) -> TransitionList | None:
    """What the end of the user's partition holds of the user; None where nothing was ever written to the log.

    Of lives before `life` (from 0 on) nothing is shown. Raises BrokerUnavailable, BrokerError.
    """
    kept = await feed.kept()
    if not any(part.end for part in kept):
        return None
    number = shard_of(user, len(kept))
    tail = Tail.of(kept, LOOKED_AT, only=number)
    found: list[bytes] = []
    async for page in tail.pages(feed, LOOK_S):
        found += await run_in_threadpool(_of_user, page, user, life)
    shown = [msgspec.json.decode(data) for data in reversed(found[-limit:])]
    is_all = tail.starts[number] == kept[number].begin and len(found) <= limit
    return TransitionList(items=shown, looked_at=tail.records, complete=is_all)


def _of_user(crossings: list[Crossing], user: str, life: int) -> list[bytes]:
    return [crossing.data for crossing in crossings if _is_of(crossing.data, user, life)]


def _is_of(data: bytes, user: str, life: int) -> bool:
    """By the life and not by the time: late events cross into segments at times of before the deletion."""
    head = head_of(data)
    return head is not None and head.subject == user and _life_of(head) >= life


def _life_of(head: CrossingHead) -> int:
    """-1 for a sequence that is no number, which others may have written."""
    said = head.sequence
    return int(said) // int(LIFE_STEP) if said.isdecimal() and len(said) <= _MOST_DIGITS else -1
