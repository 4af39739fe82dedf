"""Changes of definitions: read, check, write in one step; again where somebody else was first."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from starlette.responses import Response

from config.catalog import Catalog
from streams.adapters.definition_store import Answer, AnsweredBefore, DefinitionsChanged, DefinitionStore, Kept
from streams.api.definitions_view import DefinitionsView, Edit
from streams.api.problems import Kind, Problem
from streams.api.stored import StoreReads

_ATTEMPTS: Final = 20
_THREADS: Final = 2
_T = TypeVar("_T")


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


class Work(NamedTuple):
    """What a change consists of, and how it is told once it is made."""

    edits: list[Edit]
    tell: Callable[[DefinitionsView], Told]


class Definer:
    """Reads and changes definitions. May be used by several threads."""

    def __init__(self, store: DefinitionStore, stored: StoreReads, wall: Callable[[], float]) -> None:
        self.store = store
        self._stored = stored
        self._wall = wall
        # Not asyncio's own threads: those authenticate, and a store that hangs must not keep events out.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="definer")

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, in a thread for definitions."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def view(self) -> DefinitionsView:
        """What is defined now. Raises StoreError, and `Problem` where no worker has told its catalog yet."""
        kept = self.store.kept()
        return DefinitionsView.of(self._file(kept), kept)

    def change(self, ask: Ask, work: Callable[[DefinitionsView], Work]) -> Response:
        """Make a change that `work` finds for what is there; it is asked again where somebody else was first.

        Raises `Problem` and StoreError; after StoreUnavailable the change may have been made or not.
        """
        asked = None if ask.idempotency_key is None else _digest(ask.key_id, ask.idempotency_key)
        content = _digest(ask.content.hex())
        for _ in range(_ATTEMPTS):
            before = None if asked is None else self.store.answered(asked)
            if before is not None:
                return _again(before, content)
            view = self.view()
            edits, tell = work(view)
            after, steps = view.changed(edits, ask.key_id, self._wall()) if edits else (view, [])
            told = tell(after)
            answer = None if asked is None else Answer(asked, content, told.status, dict(told.headers), told.body)
            if not steps and answer is None:
                return response(told)  # nothing is to be done, now or when it is asked again
            try:
                self.store.write(view.kept.revision, steps, answer)
            except DefinitionsChanged:
                continue
            except AnsweredBefore as error:
                return _again(error.answer, content)
            return response(told)
        words = "others change definitions all the time; try again"
        raise Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "1"})

    def _file(self, kept: Kept) -> Catalog:
        told = self.store.file()
        if told is not None:
            return told
        # A store of workers that have not told their file: what shards run on, without what was made beside it.
        with self._stored.reader() as reader:
            catalog = self._stored.a_state(reader).catalog
        ours = {(entry.kind, entry.id) for entry in kept.entries}
        predictions = {id_: p for id_, p in catalog.predictions.items() if ("prediction", id_) not in ours}
        segments = {id_: s for id_, s in catalog.segments.items() if ("segment", id_) not in ours}
        return catalog.model_copy(update={"predictions": predictions, "segments": segments})


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
