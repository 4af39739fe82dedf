"""Reads an embedded log from its beginning, in a process of its own: `python -m streams.runtime.embedded.read_past`.

What to read comes as its input, what it found goes into files of a folder. It is started by `past.py` and ends with it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from config.catalog import Catalog
from models.snapshot import ModelCodec
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.runtime.history import HistoryRun
from streams.runtime.records import Record

TELL_S: Final = 0.5
CLOSE_RECORDS: Final = 2_000
"""So few records may be left to the live shards, which read them while they take over."""
ROUNDS: Final = 20
"""So often it reads what has come meanwhile."""
NICENESS: Final = 10


class Task(msgspec.Struct):
    """What to read."""

    catalog: bytes
    """As JSON."""
    log: str
    shards: int
    folder: str
    """Where the results go; nobody else may read it."""
    key: bytes | None
    """Signs models that are not numbers."""


class Progress(msgspec.Struct):
    """How far it is, in records."""

    done: int
    of: int


def main() -> None:
    """Read, and write `shard-N`, `learner` and, all the time, `progress`."""
    os.nice(NICENESS)
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    folder, log = Path(task.folder), LogFolder(Path(task.log), task.shards)
    catalog, codec = Catalog.model_validate_json(task.catalog), _codec(task.key)
    readers = [PartitionReader(log.partition("events", n)) for n in range(task.shards)]
    run = HistoryRun(catalog, shards=task.shards, source=lambda n: f"events-{n}", codec=codec)
    run.begin_at([reader.begin for reader in readers])
    teller = _Teller(folder / "progress", sum(run.offsets))
    for _ in range(ROUNDS):
        ends = [reader.end for reader in readers]
        run.run(partial(read, readers), ends, partial(teller.tell, sum(ends)))
        if sum(reader.end for reader in readers) - sum(run.offsets) <= CLOSE_RECORDS:
            break
    _write(folder / "learner", msgspec.msgpack.encode(run.learned()))
    for n in range(task.shards):
        _write(folder / f"shard-{n}", msgspec.msgpack.encode(run.shard_state(n)))
    _write(folder / "offsets", msgspec.msgpack.encode(run.offsets))


def read(readers: Sequence[PartitionReader], partition: int, offset: int, most: int) -> list[Record]:
    """The next records of a partition."""
    entries = readers[partition].read(offset, most)
    return [Record(entry.offset, entry.log_time_s, entry.value) for entry in entries]


class _Teller:
    """Writes the progress down now and then."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path, self._begin, self._told_s = path, begin, 0.0

    def tell(self, end: int, done: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            _write(self._path, msgspec.msgpack.encode(Progress(done - self._begin, end - self._begin)))


def _codec(key: bytes | None) -> ModelCodec | None:
    if key is None:
        return None
    from models.rivermodels import SignedPickle  # with river, which takes two seconds to import

    return SignedPickle(key)


def _write(path: Path, data: bytes) -> None:
    """Whole, or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


if __name__ == "__main__":
    main()
