"""A process of its own reads a log from its beginning, so that scoring goes on meanwhile: both ends of it.

The process (`read_history`) writes how far it is into the file `progress` of a folder; `ReadingProcess` starts it,
looks there, and ends it when what it reads is not wanted any more.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

from config.catalog import Catalog
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.owned_process import OwnedProcess
from streams.runtime.history import Gone, HistoryRun
from streams.runtime.records import Record

TELL_S: Final = 0.5
CLOSE_RECORDS: Final = 2_000
"""So few records may be left to the live shards, which read them while they take over."""
ROUNDS: Final = 20
"""So often it reads what has come meanwhile."""
NICENESS: Final = 10
STOP_S: Final = 5.0
_PROGRESS: Final = "progress"


class Progress(msgspec.Struct):
    """How far it is, in records."""

    done: int
    of: int


class PastLog(Protocol):
    """The partitions of the events. All methods raise BrokerError."""

    def begins(self) -> list[int]:
        """Of each partition: the oldest offset that is kept."""

    def ends(self) -> list[int]:
        """Of each partition: what it has at the moment ends before this offset."""

    def read(self, partition: int, offset: int, most: int) -> Sequence[Record]:
        """The next records, at most so many; none where there are none before the end that was told last."""


# --- in the process ---------------------------------------------------------------------------------------------------


def read_history(
    catalog: Catalog, log: PastLog, source: Callable[[int], str], *, folder: Path, codec: ModelCodec | None, gone: Gone
) -> HistoryRun:
    """All of the log under `catalog`, up to where little is left. `source`: as shards call their partitions. `gone`: of
    whom nothing may be learned.

    What it reads is at least what the log has when it begins. Raises BrokerError.
    """
    os.nice(NICENESS)
    begins = log.begins()
    run = HistoryRun(catalog, shards=len(begins), source=source, codec=codec, gone=gone)
    run.begin_at(begins)
    teller = _Teller(folder / _PROGRESS, sum(begins))
    for _ in range(ROUNDS):
        ends = log.ends()
        run.run(log.read, ends, partial(teller.tell, sum(ends)))
        if sum(log.ends()) - sum(run.offsets) <= CLOSE_RECORDS:
            break
    return run


class _Teller:
    """Writes the progress down now and then."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path, self._begin, self._told_s = path, begin, 0.0

    def tell(self, end: int, done: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            write_whole(self._path, msgspec.msgpack.encode(Progress(done - self._begin, end - self._begin)))


def signing_key(settings: Settings) -> bytes | None:
    """What signs models that are not numbers."""
    return None if settings.signing_key is None else settings.signing_key.get_secret_value().encode()


def codec_of(key: bytes | None) -> ModelCodec | None:
    """That signs with this key; None without one."""
    if key is None:
        return None
    from models.rivermodels import SignedPickle  # with river, which takes two seconds to import

    return SignedPickle(key)


def write_whole(path: Path, data: bytes) -> None:
    """Whole, or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


# --- who started it ---------------------------------------------------------------------------------------------------


class ReadingProcess:
    """A process that runs `module` with `task` as its input; it ends with this one. `folder` is the one of its task."""

    def __init__(self, module: str, task: bytes, *, folder: Path, log: Path) -> None:
        self._folder = folder
        self._process = OwnedProcess("past", [sys.executable, "-m", module], log=log)
        self._process.start(folder=Path(__file__).resolve().parents[2], text=task)

    def wait(self, look_s: float, is_wanted: Callable[[], bool], tell: Callable[[Progress], None]) -> int | None:
        """Its exit status; None where it was ended because it was not wanted. `tell` is called at every look."""
        while not self._process.ended.wait(look_s):
            if not is_wanted():
                self._process.stop(STOP_S)
                return None
            tell(self.progress())
        return self._process.status

    def progress(self) -> Progress:
        """As far as it has told."""
        path = self._folder / _PROGRESS
        return msgspec.msgpack.decode(path.read_bytes(), type=Progress) if path.exists() else Progress(0, 0)

    def last_words(self) -> str:
        """Why it has ended, for messages."""
        return f"status {self._process.status}{self._process.last_words()}"
