"""A process that works partitions of campaigns on real logs and a real store, for tests that kill it.

    python -m tests.contract.campaign_child URL PREFIX DATA_DIR

What is put out stands in a file of each partition, a line each, durable before it counts as published. Notes go back
into the log of events.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from config.errors import Stopped
from streams.adapters.embedded_log import EventWriter
from streams.adapters.log_folder import LogFolder, read_told, write_told
from streams.adapters.log_reader import PartitionReader
from streams.campaigns.effects import Note, Out, Purge, Send
from streams.campaigns.ports import Seen
from streams.commit import Patience
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.opened import Around, OpenedPartition, Where
from streams.runtime.campaigns.partition_run import CampaignRun, Defined, NobodyAsked
from streams.runtime.campaigns.work import CampaignWork
from tests.campaign_run_world import CATALOG, text_of
from tests.campaign_world import campaign, plan_of

KEY = b"a secret of the tests"


class FileOutlet:
    """Lines in a file."""

    def __init__(self, path: Path, events: EventWriter) -> None:
        self._file = path.open("ab", buffering=0)
        self._events = events

    def publish(self, outs: Sequence[Out]) -> None:
        """In order. A stop may come behind each of them."""
        for each in outs:
            if isinstance(each, Note):
                self._events.append([(each.user, event_of(each))])
            line = msgspec.json.encode({"kind": type(each).__name__, **fields_of(each)})
            self._file.write(line + b"\n")
            os.fsync(self._file.fileno())


def fields_of(each: Out) -> dict[str, Any]:
    if isinstance(each, Send | Purge):
        named = {"generation": each.generation, "number": each.number, "user": each.user}
        return named | ({"id": each.id} if isinstance(each, Send) else {})
    return {"id": each.message_id} if isinstance(each, Note) else {}


def event_of(note: Note) -> bytes:
    said = {"type": "track", "userId": note.user, "event": note.event, "messageId": note.message_id}
    return msgspec.json.encode(said | {"timestamp": text_of(note.at_s), "properties": note.properties})


def lines_path(data_dir: Path, partition: int) -> Path:
    return data_dir / "campaigns" / str(partition) / "lines"


class Partition:
    """Its logs, and all that its run works on."""

    def __init__(self, url: str, prefix: str, data_dir: Path, number: int, leaving: threading.Event) -> None:
        folder = LogFolder.find(data_dir)
        place = lines_path(data_dir, number).parent
        place.mkdir(parents=True, exist_ok=True)
        self._readers = [PartitionReader(folder.partition(topic, number)) for topic in ("events", "segment-events")]
        self._writer = EventWriter(folder)
        defined = Defined(plan_of({"c": campaign()}), CATALOG)
        self._opened = OpenedPartition(
            Where(url, prefix, KEY),
            Shard(number, folder.shards),
            self._readers[0],
            self._readers[1],
            Around(
                FileOutlet(lines_path(data_dir, number), self._writer),
                Patience(partial(_rest, leaving)),
                lambda: defined,
                lambda seen: write_told(place, f"{seen.generation} {seen.number}"),
                NobodyAsked(),
            ),
            lambda: PartitionReader(folder.partition("events", number)),
        )

    @property
    def run(self) -> CampaignRun:
        return self._opened.run

    def tell_read(self) -> None:
        self._opened.tell_read()

    def close(self) -> None:
        self._opened.close()
        self._writer.close()
        for reader in self._readers:
            reader.close()


def _rest(leaving: threading.Event, seconds: float) -> None:
    if leaving.wait(seconds):
        raise Stopped("a server did not answer when the process had to stop")


def seen_by(data_dir: Path, number: int) -> Seen | None:
    generation, _, last = read_told(lines_path(data_dir, number).parent).partition(" ")
    return Seen(generation, int(last)) if last else None


def main() -> None:
    url, prefix, data_dir = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    works = [
        CampaignWork(
            f"campaigns {number}",
            partial(Partition, url, prefix, data_dir, number, leaving),
            seen=partial(seen_by, data_dir, number),
        )
        for number in range(LogFolder.find(data_dir).shards)
    ]
    futures = [work.start() for work in works]
    while not leaving.wait(0.1):
        for future in futures:
            if future.done():
                future.result()
    for work in works:
        work.close()
    for future in futures:
        future.result()


if __name__ == "__main__":
    main()
