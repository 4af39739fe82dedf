"""Routes of records that could not be used: look into them, and put them back on the log."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from streams.adapters.redis_redriven import Redriven
from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies, described
from streams.api.document import problems
from streams.api.keys import Caller, Role
from streams.api.redriving import Letter, Letters
from streams.api.views import time_text
from streams.core.events import DeadReason
from streams.runtime.hints import hint_in_log

MOST: Final = 100
_RECORD_CHARACTERS: Final = 65_536

Outcome = Literal["sending", "unfinished", "in_log", "waiting", "worked", "refused"]
Reason = Annotated[DeadReason | None, Query(description="Only those that were refused for this.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="So many at most.")]


class RedrivenView(BaseModel):
    """What became of one that was put back on the log."""

    at: str | None
    key_id: str = Field(description="Whose key asked for it.")
    message_id: str = Field(description="Under which shards know it, should it come twice.")
    partition: int = Field(description="Of the log of events.")
    outcome: Outcome = Field(
        description="`sending`; `unfinished`: whoever did it has ended, ask for the same again; `in_log` where it is "
        "not known what came of it; `waiting` for the worker; `worked`: used, or known already by its message id; "
        "`refused` again."
    )
    why: str | None = Field(description="Why it was refused again.")


class DeadLetterView(BaseModel):
    """One record that could not be used."""

    id: str = Field(examples=["0-137-2"])
    reason: str = Field(examples=["missing_user"])
    detail: str = Field(description="What exactly was wrong.")
    hint: str = Field(description="What to do about it.")
    shard: int
    source: str = Field(description="Where it came from, in words.")
    position: int = Field(description="Where it stands there.")
    record: str | None = Field(description="Its bytes as text; null where they are no UTF-8,")
    record_base64: str | None = Field(description="which are here then.")
    truncated: bool = Field(description="Whether it was longer; the first 16 KiB are kept.")
    can_be_redriven: bool = Field(description="Whether it can be put back as it is. Corrected it always can.")
    redriven: RedrivenView | None


class DeadLetterPage(BaseModel):
    """Some of them, newest first in each shard."""

    items: list[DeadLetterView]
    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class Correction(BaseModel):
    """What is put back on the log in place of the record."""

    model_config = ConfigDict(extra="forbid")
    record: str | None = Field(
        default=None,
        max_length=_RECORD_CHARACTERS,
        description="An event of the Segment spec, as JSON in a text; null: the record as it was.",
        examples=['{"type":"track","userId":"ann","event":"Order Completed","timestamp":"2026-05-28T20:26:40Z"}'],
    )


def add_dead_letters(app: FastAPI, letters: Letters, authenticator: Authenticator, bodies: Bodies) -> None:
    """Add the routes."""
    wanted = bodies.of(Correction)
    given = access(authenticator, Role.ADMIN)
    given["openapi_extra"] |= described(Correction)

    @app.get(
        "/v1/dead-letters",
        tags=["system"],
        operation_id="listDeadLetters",
        summary="Records that could not be used",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def all_letters(reason: Reason = None, cursor: Cursor = None, limit: Limit = 50) -> DeadLetterPage:
        found, next_cursor = letters.page(None if reason is None else reason.value, cursor, limit)
        return DeadLetterPage(items=views(letters, found), next_cursor=next_cursor)

    @app.get(
        "/v1/dead-letters/{letter_id}",
        tags=["system"],
        operation_id="getDeadLetter",
        summary="One of them, and what came of putting it back",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_letter(letter_id: str) -> DeadLetterView:
        return views(letters, [letters.find(letter_id)])[0]

    @app.post(
        "/v1/dead-letters/{letter_id}/redrive",
        tags=["system"],
        operation_id="redriveDeadLetter",
        summary="Put one back on the log, once, as it was or corrected",
        responses=problems(400, 404, 408, 409, 413, 415, 422),
        **given,
    )
    async def redrive(request: Request, letter_id: str, correction: Correction = wanted) -> RedrivenView:
        caller: Caller = request.state.caller
        mark = await letters.redrive(letter_id, correction.record, caller.key_id)
        (outcome,) = await run_in_threadpool(letters.outcomes, [mark])
        return _redriven(mark, outcome)


def views(letters: Letters, found: list[Letter]) -> list[DeadLetterView]:
    """As they are answered. Raises StoreError."""
    marks = letters.marks(found)
    outcomes = iter(letters.outcomes([mark for mark in marks if mark is not None]))
    redriven = [None if mark is None else _redriven(mark, next(outcomes)) for mark in marks]
    return [_view(letters, letter, view) for letter, view in zip(found, redriven, strict=True)]


def _view(letters: Letters, letter: Letter, redriven: RedrivenView | None) -> DeadLetterView:
    said = letter.said
    return DeadLetterView(
        id=letter.id,
        reason=said.reason,
        detail=said.detail,
        hint=hint_in_log(DeadReason(said.reason)),
        shard=letter.shard,
        source=said.source,
        position=said.position,
        record=said.raw,
        record_base64=said.raw_base64,
        truncated=said.truncated,
        can_be_redriven=redriven is None and letters.bytes_of(letter) is not None,
        redriven=redriven,
    )


def _redriven(mark: Redriven, outcome: tuple[str, str | None]) -> RedrivenView:
    return RedrivenView.model_validate(
        {
            "at": time_text(mark.at_s),
            "key_id": mark.key_id,
            "message_id": mark.message_id,
            "partition": mark.partition,
            "outcome": outcome[0],
            "why": outcome[1],
        }
    )
