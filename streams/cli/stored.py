"""What all commands that look at a store begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streams.cli.options import find_place

if TYPE_CHECKING:
    from streams.adapters.redis_reader import RedisReader
    from streams.runtime.stored import StoredState


@contextmanager
def opened(store: str | None, data_dir: Path | None) -> Iterator[tuple[RedisReader, StoredState]]:
    """A reader of the store, and the state of its last commit. Raises SettingsError, StoreError and ModelError."""
    from streams.runtime.place import read_place
    from streams.runtime.stored import read_state

    place, codec = find_place(store, data_dir)
    with read_place(place) as reader:
        yield reader, read_state(reader, codec)
