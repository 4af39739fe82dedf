"""The catalog that a service works under: that of its file, with what was defined while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Final, Protocol

from config.catalog import Catalog
from config.definitions import NO_DEFINITIONS, Definitions, with_definitions
from config.errors import CatalogError, StoreIncompatible, StoreUnavailable
from streams.adapters.campaign_definitions import redis_campaign_definitions
from streams.adapters.redis_definitions import RedisDefinitions
from streams.runtime.campaigns.catalog_file import take_or_tell

_LOG: Final = logging.getLogger(__name__)
POLL_S: Final = 0.2
"""A definition is in force within a second of its being answered; a look costs the store one GET."""


class Kept(Protocol):
    """Where definitions are kept. Both raise StoreUnavailable when it does not answer."""

    def revision(self) -> int:
        """Grows with every change."""

    def read(self) -> Definitions: ...


class Wanted(Protocol):
    """Says under which catalog shards and learners have to go on."""

    @property
    def catalog(self) -> Catalog:
        """As far as is known now; the same object until it changes."""

    def refresh(self) -> Catalog:
        """The same, after a look. Raises StoreUnavailable."""


class FixedCatalog:
    """A catalog that never changes."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def refresh(self) -> Catalog:
        """The same."""
        return self.catalog


class LiveCatalog:
    """`file` with what `kept` holds beside it. Any thread may ask; `kept` is asked by one at a time.

    Raises CatalogError when the two do not fit together at the start, StoreIncompatible for definitions of another
    version, StoreUnavailable when there is no answer. What does not fit later is told in the log, and what was in force
    before stays.
    """

    def __init__(self, file: Catalog, kept: Kept) -> None:
        self._file = file
        self._kept = kept
        self._lock = threading.Lock()
        self._revision = NO_DEFINITIONS.revision
        self.catalog = file
        self._look(is_first=True)

    def refresh(self) -> Catalog:
        """See `Wanted`."""
        self._look()
        return self.catalog

    def _look(self, *, is_first: bool = False) -> None:
        with self._lock:
            revision = self._kept.revision()
            if revision == self._revision:
                return
            try:
                definitions = self._kept.read()
                self.catalog, revision = with_definitions(self._file, definitions), definitions.revision
            except (CatalogError, StoreIncompatible) as error:
                if is_first:
                    raise
                _LOG.error("revision %d of the definitions is not in force: %s", revision, error)
            else:
                _LOG.info("revision %d of the definitions", revision)
            self._revision = revision


class DefinitionsFollower:
    """A `LiveCatalog` that is looked at again and again, by a thread of its own; any thread may ask it."""

    def __init__(self, live: LiveCatalog) -> None:
        self._live = live
        self._use: Callable[[Catalog], None] = lambda _: None
        self._used = live.catalog
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="definitions")

    @property
    def catalog(self) -> Catalog:
        """See `Wanted`."""
        return self._live.catalog

    def refresh(self) -> Catalog:
        """See `Wanted`."""
        return self._live.refresh()

    def start(self, use: Callable[[Catalog], None]) -> Future[None]:
        """Follow, and tell `use` of every change; the future ends with `stop`, or with what it has failed by."""
        self._use = use
        return self._thread.submit(self._follow)

    def _follow(self) -> None:
        is_away = False
        while not self._stopping.wait(POLL_S):
            try:
                catalog = self._live.refresh()
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    _LOG.warning("definitions are not looked at for now: %s", error)
                is_away = True
                continue
            if catalog is not self._used:
                self._use(catalog)
                self._used = catalog

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended."""
        self.stop()
        self._thread.shutdown()


@contextmanager
def follow_definitions(url: str, prefix: str, file: Catalog) -> Iterator[DefinitionsFollower]:
    """The definitions in the store at `url` beside those of a catalog file, which is told there for who makes more.

    So are the campaigns of the file; what is wrong with them is told in the log, and stops nobody who scores.

    Raises CatalogError where the two do not fit together, StoreError.
    """
    with (
        closing(RedisDefinitions(url, prefix=prefix)) as kept,
        closing(redis_campaign_definitions(url, prefix=prefix)) as campaigns,
        closing(DefinitionsFollower(LiveCatalog(file, kept))) as follower,
    ):
        kept.tell_file(file)
        take_or_tell(campaigns, file)
        yield follower
