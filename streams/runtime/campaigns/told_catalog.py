"""The catalog of a service that knows the store alone: as its workers have told it, with what is defined since."""

from __future__ import annotations

from config.catalog import Catalog
from streams.adapters.redis_definitions import RedisDefinitions
from streams.runtime.definitions import LiveCatalog


class ToldCatalog:
    """See `definitions.Wanted`. A worker that begins with another file is followed.

    Raises as `LiveCatalog`; ValueError before any worker has told a file (`is_told`).
    """

    def __init__(self, kept: RedisDefinitions) -> None:
        self._kept = kept
        file = kept.file()
        if file is None:
            raise ValueError("no worker has told its catalog yet")
        self._file, self._live = file, LiveCatalog(file, kept)

    @property
    def catalog(self) -> Catalog:
        """As far as is known now; the same object until it changes."""
        return self._live.catalog

    def refresh(self) -> Catalog:
        """The same, after a look. Raises StoreUnavailable, StoreIncompatible."""
        file = self._kept.file()
        if file is None or file is self._file:
            return self._live.refresh()
        self._live = LiveCatalog(file, self._kept)
        self._file = file
        return self._live.catalog
