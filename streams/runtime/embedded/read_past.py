"""Reads an embedded log from its beginning, in a process of its own: `python -m streams.runtime.embedded.read_past`.

What to read comes as its input, what it found goes into files of a folder. It is started by `past.py` and ends with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from config.catalog import Catalog
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.runtime.history import Gone
from streams.runtime.past_reading import codec_of, read_history, write_whole
from streams.runtime.records import Record


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
    ledger_key: bytes
    deleted: list[list[tuple[str, bytes]]]
    """Per shard what its ledger knows of deleted users."""


class EmbeddedPastLog:
    """A `PastLog` in files."""

    def __init__(self, log: LogFolder) -> None:
        self._readers = [PartitionReader(log.partition("events", n)) for n in range(log.shards)]

    def begins(self) -> list[int]:
        """See `PastLog`."""
        return [reader.begin for reader in self._readers]

    def ends(self) -> list[int]:
        """See `PastLog`."""
        return [reader.end for reader in self._readers]

    def read(self, partition: int, offset: int, most: int) -> Sequence[Record]:
        """See `PastLog`."""
        return read(self._readers[partition], offset, most)


def main() -> None:
    """Read, and write `shard-N`, `learner` and, at last, `offsets`."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    folder, log = Path(task.folder), EmbeddedPastLog(LogFolder(Path(task.log), task.shards))
    catalog = Catalog.model_validate_json(task.catalog)
    gone, codec = Gone(task.ledger_key, task.deleted), codec_of(task.key)
    run = read_history(catalog, log, lambda n: f"events-{n}", folder=folder, codec=codec, gone=gone)
    write_whole(folder / "learner", msgspec.msgpack.encode(run.learned()))
    for n in range(task.shards):
        write_whole(folder / f"shard-{n}", msgspec.msgpack.encode(run.shard_state(n)))
    write_whole(folder / "offsets", msgspec.msgpack.encode(run.offsets))


def read(reader: PartitionReader, offset: int, most: int) -> list[Record]:
    """The next records of a partition."""
    return [Record(entry.offset, entry.log_time_s, entry.value) for entry in reader.read(offset, most)]


if __name__ == "__main__":
    main()
