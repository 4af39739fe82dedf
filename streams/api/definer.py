"""What is defined, and changes of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from starlette.responses import Response

from config.catalog import Catalog
from streams.adapters.definition_store import DefinitionStore
from streams.api.changing import Ask, Attempt, Told, change
from streams.api.definitions_view import DefinitionsView, Edit
from streams.api.stored import StoreReads

_THREADS: Final = 2
_KEPT_S: Final = 60.0
"""So long a view is used again where its revision is still that of the store. A store that was restored counts its
revisions anew, and may come to the same number with other definitions.
"""
_T = TypeVar("_T")


class Work(NamedTuple):
    """What a change consists of, and how it is told once it is made."""

    edits: list[Edit]
    tell: Callable[[DefinitionsView], Told]


class _Source(NamedTuple):
    """The catalog that a view begins with; the same object as long as the store has the same."""

    catalog: Catalog
    is_file: bool
    """Whether it is the catalog file itself; otherwise what was made beside it is in it, too."""


class _Looked(NamedTuple):
    """A view, and what it was made from."""

    view: DefinitionsView
    source: Catalog
    made_s: float


class Definer:
    """Reads and changes definitions. May be used by several threads."""

    def __init__(
        self, store: DefinitionStore, stored: StoreReads, wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`wall`: seconds since 1970 UTC; `clock`: seconds that never go back."""
        self.store = store
        self._stored = stored
        self._wall = wall
        self._clock = clock
        self.then: Callable[[str], object] = lambda _: None
        """Called behind every change with the key of who made it, also where it is asked again; done twice it is done
        once."""
        self._looking = threading.Lock()
        self._looked: _Looked | None = None
        # Not asyncio's own threads: those authenticate, and a store that hangs must not keep events out.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="definer")

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, in a thread for definitions."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def view(self) -> DefinitionsView:
        """What is defined now. Raises StoreError, and `Problem` where no worker has told its catalog yet.

        All definitions are decoded and checked where they have changed; otherwise this is two small questions.
        """
        source, revision = self._source(), self.store.revision()
        looked = self._looked
        if looked is not None and self._is_still(looked, source, revision):
            return looked.view
        with self._looking:  # whoever waits finds what the first one has made
            looked = self._looked
            if looked is None or not self._is_still(looked, source, revision):
                made_s = self._clock()
                looked = self._looked = _Looked(_view(source, self.store), source.catalog, made_s)
            return looked.view

    def _is_still(self, looked: _Looked, source: _Source, revision: int) -> bool:
        return (
            looked.source is source.catalog
            and looked.view.kept.revision == revision
            and self._clock() - looked.made_s < _KEPT_S
        )

    def change(self, ask: Ask, work: Callable[[DefinitionsView], Work]) -> Response:
        """Make a change that `work` finds for what is there; it is asked again where somebody else was first.

        Raises `Problem` and StoreError; after StoreUnavailable the change may have been made or not.
        """

        def attempt() -> Attempt:
            view = _view(self._source(), self.store)  # what is written rests on it: never one of a moment ago
            edits, tell = work(view)
            after, steps = view.changed(edits, ask.key_id, self._wall()) if edits else (view, [])
            revision = view.kept.revision
            return Attempt(tell(after), bool(steps), lambda answer: self.store.write(revision, steps, answer))

        answer = change(ask, self.store.answered, attempt)
        self.then(ask.key_id)
        return answer

    def _source(self) -> _Source:
        """Where the catalog file is known from. Raises as `view` does."""
        told = self.store.file()
        if told is not None:
            return _Source(told, is_file=True)
        # A store of workers that have not told their file: what shards run on, without what was made beside it.
        with self._stored.reader() as reader:
            return _Source(self._stored.a_state(reader).catalog, is_file=False)


def _view(source: _Source, store: DefinitionStore) -> DefinitionsView:
    """Decoded and put together anew. Raises StoreError."""
    kept, catalog = store.kept(), source.catalog
    if source.is_file:
        return DefinitionsView.of(catalog, kept)
    ours = {(entry.kind, entry.id) for entry in kept.entries}
    predictions = {id_: p for id_, p in catalog.predictions.items() if ("prediction", id_) not in ours}
    segments = {id_: s for id_, s in catalog.segments.items() if ("segment", id_) not in ours}
    return DefinitionsView.of(catalog.model_copy(update={"predictions": predictions, "segments": segments}), kept)
