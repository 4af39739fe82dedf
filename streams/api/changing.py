"""Changes that are looked at, checked and written in one step; again where somebody else was first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from starlette.responses import Response

from streams.adapters.documents import Answer, AnsweredBefore, DefinitionsChanged
from streams.api.problems import Kind, Problem

_ATTEMPTS: Final = 20


class Ask(NamedTuple):
    """Who asks for a change, and under which name, if the question may be asked again."""

    key_id: str
    idempotency_key: str | None
    content: bytes
    """Everything that makes the question: route and body."""


class Told(NamedTuple):
    """What is answered."""

    status: int
    body: str
    """JSON."""
    headers: Mapping[str, str]


class Attempt(NamedTuple):
    """A change of what was there when it was looked at."""

    told: Told
    is_change: bool
    """Whether anything is to be changed; otherwise only an answer is kept, if there is one."""
    write: Callable[[Answer | None], None]
    """Does it. Raises DefinitionsChanged where another change was first, and AnsweredBefore."""


def change(ask: Ask, answered: Callable[[str], Answer | None], attempt: Callable[[], Attempt]) -> Response:
    """Make what `attempt` finds; it is asked again where somebody else was first.

    `answered`: what was told to a question within the last day. Raises `Problem` and StoreError; after StoreUnavailable
    the change may have been made or not.
    """
    asked = None if ask.idempotency_key is None else _digest(ask.key_id, ask.idempotency_key)
    content = _digest(ask.content.hex())
    for _ in range(_ATTEMPTS):
        before = None if asked is None else answered(asked)
        if before is not None:
            return _again(before, content)
        told, is_change, write = attempt()
        answer = None if asked is None else Answer(asked, content, told.status, dict(told.headers), told.body)
        if answer is None and not is_change:
            return response(told)  # nothing is to be done, now or when it is asked again
        try:
            write(answer)
        except DefinitionsChanged:
            continue
        except AnsweredBefore as error:
            return _again(error.answer, content)
        return response(told)
    words = "others change definitions all the time; try again"
    raise Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "1"})


def response(told: Told) -> Response:
    """What is told, as an HTTP answer."""
    return Response(told.body, told.status, dict(told.headers), "application/json")


def _again(answer: Answer, content: str) -> Response:
    if answer.content != content:
        words = "this Idempotency-Key came with another request within the last day; take a new one"
        raise Problem(Kind.KEY_REUSED, words)
    headers = {**answer.headers, "Idempotency-Replayed": "true"}
    return Response(answer.body, answer.status, headers, "application/json")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
