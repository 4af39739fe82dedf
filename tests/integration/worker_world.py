"""Workers as processes of their own, with a real broker and a real store, that tests stop, kill and look into."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks._ports import free_port
from config.settings import PREFIX, Settings
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS, check_topics
from streams.core.partition import shard_of
from tests.conftest import ROOT, SLOWNESS
from tests.contract.worlds import plain_client

START_MS = 1_704_067_200_000

CATALOG = """
version: 1
name: Workers under fire
input: {format: segment}
features:
  events: [Product Viewed, Product Added, Order Completed]
  traits: {plan: {values: [free, plus, business]}}
history: [Product Viewed]
predictions:
  views_1d: {name: Looks again within a day, goal: {did: Product Viewed}, window: 24h}
  orders_2d: {name: Orders within two days, goal: {did: Order Completed}, window: 48h}
  gone_1d: {name: Does not look for a day, kind: churn, goal: {did_not: Product Viewed}, window: 24h}
segments:
  buyers: {name: Has bought, filter: {event: Order Completed, count: {min: 1}}}
  busy: {name: Looked twice within a day, filter: {event: Product Viewed, count: {min: 2}, within: 24h}}
  away: {name: Has not looked for two days, filter: {event: Product Viewed, since: {min: 48h}}}
"""

Sent = tuple[str, bytes]
"""(user, record): the user is the key."""

STOP_S = 30.0
"""Whoever has not ended so long after SIGTERM is killed in production."""
_POLL_S = 0.05
_LAST_LINES = 40


def await_until(
    holds: Callable[[], bool],
    what: str,
    *,
    seconds: float,
    watched: Sequence[WorkerProcess] = (),
    every_s: float = _POLL_S,
) -> None:
    """Wait until `holds()`. Fails with the last words of the `watched` workers, at once when one of them has ended.

    `seconds`: more than it takes on a machine that is busy; a slow one gets more of them.
    """
    seconds *= SLOWNESS
    deadline_s = time.monotonic() + seconds
    while not holds():
        ended = [worker for worker in watched if worker.process.poll() is not None]
        if ended or time.monotonic() > deadline_s:
            why = "a worker has ended" if ended else f"not within {seconds:g} s"
            raise AssertionError("\n".join([f"{what}: {why}", *(worker.last_words() for worker in ended or watched)]))
        time.sleep(every_s)


class WorkerProcess:
    """One `tideline worker`, in a process group of its own. All it says goes to `log`."""

    def __init__(
        self,
        settings: Settings,
        catalog: Path,
        folder: Path,
        name: str,
        *options: str,
        data_dir: Path | None = None,
        program: str = "streams",
    ) -> None:
        """`data_dir` is one of its own if it is left out. `program`: the module that is run."""
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        where = data_dir or folder / name
        command = [sys.executable, "-m", program, *self.command(catalog, "--data-dir", where, *options)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def command(self, catalog: Path, *options: object) -> list[object]:
        """The words behind `tideline`."""
        return ["worker", "-c", catalog, "--port", self.port, *options]

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a web view; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5.0 * SLOWNESS) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def health(self) -> dict[str, Any]:
        """What /readyz says; empty where nobody answers."""
        body = self.get("/readyz")[1]
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}

    def is_working(self) -> bool:
        """Whether it has partitions, and all of them are loaded."""
        health = self.health()
        return bool(health.get("assigned")) and not health["loading"]

    def send(self, number: signal.Signals) -> None:
        """A signal to the whole group."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; it has to end with code 0, and within what Kubernetes gives. Returns the seconds that it took."""
        began_s = time.monotonic()
        self.send(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        assert code == 0, f"exit code {code}\n{self.last_words()}"
        return time.monotonic() - began_s

    def words(self) -> str:
        """All it has said."""
        return self.log.read_text(errors="replace")

    def last_words(self) -> str:
        """The end of that, for messages."""
        return "\n".join([f"--- {self.log}", *self.words().splitlines()[-_LAST_LINES:]])


def environment(settings: Settings) -> dict[str, str]:
    """That of a process with these settings and no others."""
    found = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    for name, field_info in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is not None and value != field_info.default:
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            found[PREFIX + name.upper()] = text
    return found


@dataclass
class WorkerWorld:
    """Topics, a store and the workers on them. `close` ends all workers."""

    settings: Settings
    folder: Path
    program: str = "streams"
    """The module that workers run."""
    catalog: Path = field(init=False)
    workers: dict[str, WorkerProcess] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.catalog = self.folder / "catalog.yaml"
        self.catalog.write_text(CATALOG)
        self.store: Any = connect(str(self.settings.redis_url))

    def make_topics(self) -> None:
        """All that a worker needs."""
        assert {topic.state for topic in check_topics(self.settings, create=True)} == {"created"}

    def start(self, name: str) -> WorkerProcess:
        """A worker, which takes its time to get ready."""
        self.workers[name] = worker = WorkerProcess(
            self.settings, self.catalog, self.folder, name, program=self.program
        )
        return worker

    def start_working(self, name: str) -> WorkerProcess:
        """A worker that has partitions."""
        worker = self.start(name)
        await_until(worker.is_working, f"{name} works", seconds=180.0, watched=[worker])
        return worker

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
        self.store.close()

    # --- how far it is -----------------------------------------------------------------------------------------------

    def offsets(self, prefix: str = "tl", shards: int | None = None, *, client: Any = None) -> list[int]:
        """Where every shard of the store stands in its partition; asked by `client` in another thread."""
        reading = (client or self.store).pipeline(transaction=False)
        for shard in range(shards or self.settings.shards):
            reading.hget(f"{prefix}:{{{shard}}}:meta", "position")
        return [0 if data is None else msgspec.msgpack.decode(data)[0] for data in reading.execute()]

    def generations(self, client: Any) -> list[str]:
        """That of every shard; empty before the first claim."""
        reading = client.pipeline(transaction=False)
        for shard in range(self.settings.shards):
            reading.hget(f"tl:{{{shard}}}:meta", "generation")
        return [(data or b"").decode() for data in reading.execute()]

    def done(self) -> int:
        """Records that are stored as worked; 0 while the store does not answer."""
        try:
            return sum(self.offsets())
        except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError):
            return 0

    def await_end(self, *, seconds: float) -> None:
        """Until every event is worked and every chunk of examples learned."""
        watched = [worker for worker in self.workers.values() if worker.process.poll() is None]

        def is_over() -> bool:
            if self.offsets() != self.ends("events"):
                return False
            return self.offsets("tl:learn", EXAMPLES_PARTITIONS) == self.ends("examples")

        await_until(is_over, "all is worked and learned", seconds=seconds, watched=watched)

    def ends(self, kind: Any) -> list[int]:
        """Where every partition of a topic ends."""
        kafka = kafka_python()
        topic = self.settings.topic(kind)
        consumer = kafka.KafkaConsumer(**kafka_python_arguments(self.settings), group_id=None)
        try:
            places = [kafka.TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic))]
            found = consumer.end_offsets(places)
            return [found[place] for place in places]
        finally:
            consumer.close()


@contextmanager
def emptied_world(settings: Settings, folder: Path) -> Iterator[WorkerWorld]:
    """One on a store that others have used before, with nothing in it."""
    world = WorkerWorld(settings, folder)
    world.store.flushall()
    try:
        yield world
    finally:
        world.close()


def with_strays(records: Sequence[Sent], shards: int, *, every: int) -> list[Sent]:
    """Each of so many records once more with another key, by which it comes into a partition that is not its user's."""
    found: list[Sent] = []
    for number, (user, value) in enumerate(records):
        found.append((user, value))
        if number % every == 0:
            others = (f"stray-{n}" for n in itertools.count())
            found.append((next(other for other in others if shard_of(other, shards) != shard_of(user, shards)), value))
    return found


def connect(url: str) -> Any:
    """A plain client of the store that repeats nothing; of a cluster, redis-py's, which follows keys."""
    if url.startswith("redis+cluster://"):
        return plain_client(url)
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10.0)


class Producer(threading.Thread):
    """Sends records in order, at most `rate` a second, while the test goes on. `finish` waits for the rest."""

    def __init__(self, settings: Settings, records: Sequence[Sent], *, rate: float | None = None) -> None:
        super().__init__(name="producer", daemon=True)
        self.sent = 0
        self._settings = settings
        self._records = records
        self._rate = rate
        self._failure: BaseException | None = None
        self._closing = threading.Event()

    def run(self) -> None:
        try:
            self._send_all()
        except BaseException as error:
            self._failure = error
            raise

    def _send_all(self) -> None:
        producer = kafka_python().KafkaProducer(
            **kafka_python_arguments(self._settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=10,
            delivery_timeout_ms=180_000,
        )
        topic, began_s = self._settings.topic("events"), time.monotonic()
        futures = []
        for number, (user, value) in enumerate(self._records):
            if self._rate is not None and not number % 20:
                self._closing.wait(max(0.0, began_s + number / self._rate - time.monotonic()))
                if self._closing.is_set():
                    break
            futures.append(producer.send(topic, key=user.encode(), value=value))
            self.sent = number + 1
        producer.flush()
        for future in futures:
            future.get(timeout=180)
        producer.close()

    def finish(self, *, seconds: float) -> None:
        """Until everything is acknowledged. Raises what went wrong."""
        self.join(seconds * SLOWNESS)
        assert not self.is_alive(), f"after {seconds:g} s {self.sent} of {len(self._records)} are sent"
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Give up."""
        self._closing.set()
        self.join(200.0)
