"""Where a store is: in a server that was named, or in the embedded one of a data directory; opening and erasing it."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.errors import StoreError, StoreUnavailable
from config.store_address import hide_password
from streams.adapters.file_lock import ProcessLock
from streams.adapters.redis_erase import erase_store
from streams.adapters.redis_reader import RedisReader, holds_store
from streams.adapters.redis_store import WaitFor
from streams.adapters.valkey_server import EmbeddedValkey, running_server
from streams.commit import Patience, patiently

TRANSITIONS_FILE = "transitions.ndjson"
REPORT_FILE = "report.html"
# What the embedded server puts into a data directory. Nothing else in it is ever removed.
_SERVER_FILES = ("valkey.log", "valkey.log.1", "valkey.address", "valkey.pid", "valkey.sock")
_SERVER_DATA = "appendonlydir"
_OWNER_LOCK = "tideline.lock"

PATIENCE = Patience(time.sleep)
"""While a run is under way: long enough for a server that restarts."""
FIRST_PATIENCE = Patience(time.sleep, attempts=10)
"""At the start, where a wrong address is likelier than a restart: five seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """`url` is the address of a server; None stands for the embedded one in `data_dir`."""

    data_dir: Path
    url: str | None = field(default=None, repr=False)  # it may hold a password
    prefix: str = "tl"
    wait_for: WaitFor | None = None
    """Copies that every commit waits for."""
    deletion_secret: str | None = field(default=None, repr=False)
    """Of the settings; None: it is made and kept where the store is (`streams.runtime.ledger_key`)."""

    @property
    def patience(self) -> Patience:
        """How long to wait for the first answer; an embedded server may have much to load."""
        return PATIENCE if self.url is None else FIRST_PATIENCE

    @property
    def name(self) -> str:
        """For messages: the directory, or the address without its password."""
        return str(self.data_dir) if self.url is None else hide_password(self.url)


def open_to_others(folder: Path) -> bool:
    """Whether other users of the machine may do anything with what is in an existing directory."""
    return folder.is_dir() and bool(stat.S_IMODE(folder.stat().st_mode) & 0o077)


def is_empty(place: Place) -> bool:
    """Whether nothing can be stored in the data directory yet; False for a server, which would have to be asked."""
    return place.url is None and not (place.data_dir / _SERVER_DATA).exists()


def make_folder(place: Place, file: Path) -> None:
    """Make the data directory if a file that a run writes goes there; no other folder is ever made for one."""
    if is_inside(place, file):
        place.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)


def is_inside(place: Place, file: Path) -> bool:
    """Whether a file goes right into the data directory, which a run makes if it is not there yet."""
    return file.parent.resolve() == place.data_dir.resolve()


@contextmanager
def open_place(place: Place, *, port: int | None = None) -> Iterator[str]:
    """The address of the place's server, for writing; the embedded one runs for as long as this is open.

    `port`: where the embedded server listens on 127.0.0.1 beside its socket. Raises StoreError when the directory is
    in use or the server does not start.
    """
    if place.url is not None:
        yield place.url
        return
    with EmbeddedValkey(place.data_dir, port=port) as server:
        yield server.url


@contextmanager
def join_place(place: Place) -> Iterator[str]:
    """The address of the place's server for whoever owns no shard, whether or not there is a store yet.

    An embedded server that another process runs is used; else it runs for as long as this is open. Raises StoreError
    when it does not start.
    """
    if place.url is not None:
        yield place.url
        return
    address = _answering_server(place.data_dir)
    if address is not None:
        yield address
        return
    with EmbeddedValkey(place.data_dir) as server:
        yield server.url


@contextmanager
def read_place(place: Place) -> Iterator[RedisReader]:
    """A reader of what is stored; an embedded server that does not run is started for as long as this is open.

    Raises StoreError where nothing is stored yet, and what the server and the reader raise.
    """
    if place.url is not None:
        with _reader(place.url, place) as reader:
            yield reader
        return
    address = _answering_server(place.data_dir)
    if address is not None:
        with _reader(address, place) as reader:
            yield reader
        return
    if not (place.data_dir / _SERVER_DATA).is_dir():
        raise StoreError(nothing_stored(place))
    with EmbeddedValkey(place.data_dir) as server, _reader(server.url, place) as reader:
        yield reader


def _answering_server(folder: Path) -> str | None:
    """The address of the server that runs there; None if there is none, also when one ends while it is asked.

    Raises StoreUnavailable for one that runs on and does not answer.
    """
    for attempt in range(1, PATIENCE.attempts + 1):
        address = running_server(folder) if folder.is_dir() else None
        if address is None:
            return None
        try:
            holds_store(address)
            return address
        except StoreUnavailable:
            if attempt == PATIENCE.attempts:
                raise
        PATIENCE.pause(attempt)
    return None


@contextmanager
def _reader(url: str, place: Place) -> Iterator[RedisReader]:
    if not patiently(place.patience, lambda: holds_store(url, prefix=place.prefix)):
        raise StoreError(nothing_stored(place))
    reader = RedisReader(url, prefix=place.prefix)
    try:
        yield reader
    finally:
        reader.close()


def nothing_stored(place: Place) -> str:
    """What to say where there is no store, with the way to one."""
    demo = place.data_dir / "demo"
    if place.url is None and (demo / _SERVER_DATA).is_dir():
        return f"{place.name} holds nothing yet, but there is the demo's store: add --data-dir {demo}"
    below = "" if place.url is None else f" below the key prefix {place.prefix!r}"
    return (
        f"{place.name} holds nothing{below} yet. Fill it with `tideline replay FILE --catalog CATALOG`, or try "
        "`tideline demo` first. If you have done so elsewhere, say where: --data-dir DIR or --store URL."
    )


def erase_place(place: Place) -> None:
    """Remove what Tideline has stored there, and nothing else; files beside the store stay.

    Raises StoreError for a directory that is in use, or is not one of Tideline's.
    """
    if place.url is not None:
        url = place.url
        patiently(place.patience, lambda: erase_store(url, prefix=place.prefix))
        return
    if not place.data_dir.exists():
        return
    if not (place.data_dir / _OWNER_LOCK).exists():
        _refuse_foreign(place.data_dir)
        return
    lock = ProcessLock(place.data_dir / _OWNER_LOCK)
    if not lock.acquire():
        raise StoreError(
            f"{place.data_dir} is in use by process {lock.holder()}, so nothing is deleted. "
            "Wait until it has ended, or choose another directory with --data-dir."
        )
    try:
        _await_end_of_server(place.data_dir)
        _remove_data(place.data_dir)
    finally:
        lock.release()


def _refuse_foreign(folder: Path) -> None:
    """Raises StoreError unless there is nothing that --fresh could be about."""
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a directory, so it cannot be the data directory")
    if (folder / _SERVER_DATA).exists():
        raise StoreError(
            f"{folder} holds the data of a server that Tideline did not start, so --fresh deletes nothing there. "
            "Choose another directory with --data-dir."
        )


def _await_end_of_server(folder: Path) -> None:
    """The server of an owner that was killed takes a moment to end."""
    for attempt in range(1, PATIENCE.attempts):
        if running_server(folder) is None:
            return
        PATIENCE.pause(attempt)
    raise StoreError(f"a server still runs in {folder}, so nothing is deleted; end it first")


def _remove_data(folder: Path) -> None:
    data = folder / _SERVER_DATA
    if data.is_symlink():
        raise StoreError(f"{data} is a link to elsewhere, so --fresh does not delete it")
    if data.is_dir():
        shutil.rmtree(data)
    for name in _SERVER_FILES:
        (folder / name).unlink(missing_ok=True)
