"""The programs of other frameworks as processes, and the check that they say what the plain job says.

Quix Streams and Bytewax are in an environment of their own (`make peers`), because Quix Streams wants older packages
than Tideline has. Whoever has not made it gets `PeerMissing`, which says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import redis

from benchmarks._awaiting import Watched, await_events
from benchmarks._live_traffic import Place, live_catalog
from benchmarks._peer_job import Outcome, expected
from benchmarks._peer_program import Counter, Given
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.owned_process import OwnedProcess

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-peers"
_ASK_VERSION = """
import importlib.metadata, sys
try:
    print(importlib.metadata.version(sys.argv[1]))
except importlib.metadata.PackageNotFoundError:
    pass
"""
_STUCK_S = 120.0
_STOP_S = 60.0


class PeerMissing(Exception):
    """The packages of a framework are not installed."""


class PeerFailed(Exception):
    """A program has ended, or says something else than the plain job."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A program: its key in the figures, what it is called, its module, and the package that it is written with."""

    key: str
    name: str
    module: str
    package: str
    is_apart: bool
    """In the environment of `make peers`."""
    keeps_state: bool = True
    must_be_told_order: bool = False
    """See `Given.in_order`."""

    def python(self) -> Path:
        """The interpreter that has its packages. Raises PeerMissing."""
        if not self.is_apart:
            return Path(sys.executable)
        python = ENVIRONMENT / "bin" / "python"
        if not python.exists():
            raise PeerMissing(f"{self.name}: {ENVIRONMENT.name} is not there; `make peers` makes it")
        if _version(python, self.package) is None:
            words = f"{ENVIRONMENT.name} has no {self.package}; maybe there is none for its Python"
            raise PeerMissing(f"{self.name}: {words}")
        return python

    def version(self) -> str:
        """Of its package. Raises PeerMissing."""
        found = _version(self.python(), self.package)
        assert found is not None, "python() has asked"
        return found


PEERS = (
    Peer("faust", "plain Faust, one event at a time", "benchmarks._peer_faust", "faust-streaming", is_apart=False),
    Peer("quix_streams", "Quix Streams", "benchmarks._peer_quix", "quixstreams", is_apart=True),
    Peer(
        "quix_streams_in_memory",
        "Quix Streams, users in a dictionary",
        "benchmarks._peer_quix",
        "quixstreams",
        is_apart=True,
        keeps_state=False,
    ),
    Peer("bytewax", "Bytewax", "benchmarks._peer_bytewax", "bytewax", is_apart=True, must_be_told_order=True),
)


@cache
def _version(python: Path, package: str) -> str | None:
    done = subprocess.run([python, "-I", "-c", _ASK_VERSION, package], capture_output=True, text=True, check=True)
    return done.stdout.strip() or None


# --- a running program ---------------------------------------------------------------------------------------------


class Running:
    """A program that has been started."""

    def __init__(self, peer: Peer, process: OwnedProcess, counter: Counter, pid: int) -> None:
        self.peer = peer
        self._process = process
        self._counter = counter
        self.pid = pid

    def done(self) -> int:
        """Events that are scored and stored."""
        return self._counter.read()

    def check(self) -> None:
        """Raises PeerFailed if it has ended."""
        if self._process.ended.is_set():
            words = f"(status {self._process.status}){self._process.last_words()}"
            raise PeerFailed(f"{self.peer.name} has ended {words}")

    def watched(self) -> Watched:
        """To wait for its events."""
        return Watched(self.peer.name, self.done, self.check)

    def await_end(self, *, seconds: float) -> None:
        """Wait for a program that ends by itself. Raises PeerFailed."""
        if not self._process.ended.wait(seconds):
            raise PeerFailed(f"{self.peer.name} does not end")
        if self._process.status:
            self.check()


@dataclass(frozen=True, slots=True)
class Job:
    """What a program is to work on. `store`: the address of a server on a unix socket."""

    events: Place
    crossings: Place
    store: str


@contextmanager
def running(peer: Peer, job: Job, folder: Path, *, in_order: bool = False) -> Iterator[Running]:
    """Start a program; its files and its log are in `folder`. It is ended with the context.

    `in_order`: see `Given`. Raises PeerMissing.
    """
    python = peer.python()
    folder.mkdir(parents=True)
    counter = Counter.create(folder / "done")
    given = Given(
        bootstrap=job.events.bootstrap,
        topic=job.events.topic,
        partitions=job.events.partitions,
        crossings=job.crossings.topic,
        store=job.store.removeprefix("unix://"),
        counter=str(folder / "done"),
        folder=str(folder / "state"),
        group=f"peer-{peer.key}-{job.events.topic}",
        keeps_state=peer.keeps_state,
        in_order=in_order,
    )
    process = OwnedProcess(peer.key, [str(python), "-m", peer.module], log=folder / "log")
    process.start(folder=ROOT, text=msgspec.json.encode(given) + b"\n")
    try:
        yield Running(peer, process, counter, process.pid)
    finally:
        process.stop(_STOP_S)


def create_topics(settings: Settings, places: Sequence[Place]) -> None:
    """Topics that are not there."""
    with kafka_python().KafkaAdminClient(**kafka_python_arguments(settings)) as admin:
        admin.create_topics(
            {
                place.topic: {"num_partitions": place.partitions, "replication_factor": -1, "configs": {}}
                for place in places
            }
        )


# --- the same scores -----------------------------------------------------------------------------------------------


def check_same(peer: Peer, job: Job, records: Sequence[bytes], folder: Path, settings: Settings) -> int:
    """Let a program work the records of a topic of one partition, and compare what it has stored and sent.

    The store must hold nothing before. Returns how many crossings were compared. Raises PeerFailed where it is
    something else than what the plain job says, PeerMissing.
    """
    assert job.events.partitions == 1, "elsewhere nobody knows the order"
    with running(peer, job, folder, in_order=peer.must_be_told_order) as program:
        await_events(program.watched(), len(records), seconds=_STUCK_S, say=lambda _: None)
        if peer.must_be_told_order:
            program.await_end(seconds=_STUCK_S)
    wanted = expected(live_catalog(), records)
    found = Outcome(_stored(job.store), _sent(job.crossings, settings))
    _compare(peer, wanted, found)
    return sum(len(values) for values in found.crossings.values())


def _compare(peer: Peer, wanted: Outcome, found: Outcome) -> None:
    if found.scores.keys() != wanted.scores.keys():
        raise PeerFailed(f"{peer.name} has stored {len(found.scores)} users, and not {len(wanted.scores)}")
    differing = [user for user, scores in wanted.scores.items() if found.scores[user] != scores]
    if differing:
        user = differing[0]
        words = f"{found.scores[user]!r}, and not {wanted.scores[user]!r}"
        raise PeerFailed(f"{peer.name} says something else of {len(differing)} users; of {user} {words}")
    if found.crossings != wanted.crossings:
        ours, theirs = (sum(map(len, each.crossings.values())) for each in (wanted, found))
        raise PeerFailed(f"{peer.name} has sent other crossings: {theirs}, where the plain job has {ours}")


def _stored(store: str) -> dict[str, bytes]:
    with redis.Redis.from_url(store) as client:
        keys: list[Any] = client.keys("scores:*")
        values: list[Any] = client.mget(keys)
    return {key.decode().removeprefix("scores:"): value for key, value in zip(keys, values, strict=True)}


def _sent(place: Place, settings: Settings) -> dict[str, list[bytes]]:
    """All crossings of a topic, per user in their order."""
    kafka = kafka_python()
    consumer = kafka.KafkaConsumer(**kafka_python_arguments(settings), group_id=None)
    try:
        partitions = [kafka.TopicPartition(place.topic, n) for n in range(place.partitions)]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        return _by_user(_until_end(consumer, consumer.end_offsets(partitions)))
    finally:
        consumer.close()


def _until_end(consumer: Any, ends: dict[Any, int]) -> Iterator[Any]:
    deadline_s = time.monotonic() + _STOP_S
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        if time.monotonic() > deadline_s:
            raise PeerFailed("the topic of crossings cannot be read to its end")
        for records in consumer.poll(timeout_ms=500).values():
            yield from records


def _by_user(records: Iterable[Any]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for record in records:
        found.setdefault(record.key.decode(), []).append(record.value)
    return found
