"""A running service with campaigns, and somebody who receives their webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from config.settings import Settings, load_settings
from streams.adapters.embedded_log import EventWriter
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_deliveries import Secrets
from streams.adapters.valkey_server import EmbeddedValkey
from streams.campaigns.effects import DROPPED, SENT, WITHHELD
from streams.runtime.deliveries.signing import signed_headers, write_secret
from tests.conftest import SLOWNESS
from tests.integration.worker_world import WorkerProcess, await_until
from tests.post_server import PostServer

SECRET: Final = write_secret(b"a secret of the tests, 32 bytes!")
WITHIN_S: Final = 60.0 * SLOWNESS
SENDS_WITHIN_S: Final = 90.0 * SLOWNESS
CATALOG: Final = """
version: 1
name: Campaigns
predictions:
  orders_2d: {name: Orders within two days, goal: {did: Order}, window: 2d}
segments:
  entered: {name: Entered, filter: {event: Enter, count: {min: 1}}}
messaging:
  holdout: 0
  channels:
    hook: {kind: webhook}
    lines: {kind: log}
campaigns:
  welcome:
    name: Welcome
    segment: entered
    conversion: {event: Order}
    channels: [hook, lines]
    control: 0
    breaker: null
    reentry: once
    message: {parts: {body: "Hello"}}
"""


class HookReceiver(PostServer):
    """Takes webhooks on this machine, in threads of its own; `status` and `answer` say what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status: Callable[[int], int] = lambda _number: 200
        """From the number of the request (from 1) to the status of the answer."""
        self.answer = b""
        """What is answered beside that."""
        self._changed = threading.Condition()

    def posted(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        return self.take({name.lower(): value for name, value in headers.items()}, body), self.answer

    def take(self, headers: dict[str, str], body: bytes) -> int:
        with self._changed:
            self.taken.append((headers, body))
            self._changed.notify_all()
            return self.status(len(self.taken))

    @property
    def url(self) -> str:
        return f"{self.address}/hook"

    def users(self) -> list[str]:
        """Of everything that came, in order."""
        with self._changed:
            return [json.loads(body)["data"]["user_id"] for _, body in self.taken]

    def ids(self) -> dict[str, set[str]]:
        """User -> ids under which something came for them."""
        found: dict[str, set[str]] = {}
        with self._changed:
            for headers, body in self.taken:
                found.setdefault(json.loads(body)["data"]["user_id"], set()).add(headers["webhook-id"])
        return found

    def wait(self, holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Until this holds, which is looked at with everything that comes."""
        deadline_s = time.monotonic() + within_s
        with self._changed:
            while not holds():
                left_s = deadline_s - time.monotonic()
                assert left_s > 0, f"it does not come; {len(self.taken)} came"
                self._changed.wait(min(left_s, 1.0))


def without_campaigns(catalog: str) -> str:
    """What shards need of it."""
    return catalog.partition("messaging:")[0]


def is_signed(headers: dict[str, str], body: bytes, secret: str = SECRET) -> bool:
    """Whether the signature is one of the secret, over id, time and body."""
    wanted = signed_headers([secret], headers["webhook-id"], float(headers["webhook-timestamp"]), body)
    return wanted["webhook-signature"] == headers["webhook-signature"]


def set_hook(store_url: str, url: str, prefix: str = "tl") -> None:
    """Let the channel `hook` deliver there."""
    with closing(RedisChannels(store_url, prefix=prefix)) as channels:
        settings = json.dumps({"kind": "webhook", "url": url}).encode()
        channels.put("hook", settings, Secrets(SECRET))


def event(user: str, name: str, *, at_s: float | None = None, **properties: Any) -> bytes:
    """An event that happens now, or did then (seconds since 1970 UTC)."""
    at = datetime.fromtimestamp(time.time() if at_s is None else at_s, UTC).isoformat()
    said = {"type": "track", "userId": user, "event": name, "timestamp": at, "messageId": f"{name} {user}"}
    return json.dumps(said | {"properties": properties}).encode()


def notes(data_dir: Path) -> list[tuple[str, str]]:
    """User and event of the notes of campaigns in the log of events, each message id once."""
    folder, found = LogFolder.find(data_dir), {}
    for number in range(folder.shards):
        with closing(PartitionReader(folder.partition("events", number))) as reader:
            for entry in reader.read(reader.begin, 1_000_000, max_bytes=1 << 30):
                said = json.loads(entry.value)
                if said["event"] in (SENT, WITHHELD, DROPPED):
                    found[said["messageId"]] = said["userId"], said["event"]
    return sorted(found.values())


@contextmanager
def served(
    folder: Path, text: str = CATALOG, *, shards: int = 2, store: str = "store"
) -> Iterator[tuple[Settings, WorkerProcess]]:
    """A store of that name, an embedded log, and a worker on it that works."""
    catalog = folder / "catalog.yaml"
    catalog.write_text(text)
    LogFolder.make(folder / LOG_FOLDER, shards)
    with EmbeddedValkey(folder / store) as server:
        settings = load_settings(
            shards=shards, redis_url=server.url, webhooks_private=True, data_dir=folder, deletion_key="k" * 32
        )
        worker = WorkerProcess(settings, catalog, folder, "worker", "--embedded", data_dir=folder)
        try:
            await_until(worker.is_working, "the worker works", seconds=120.0, watched=[worker])
            yield settings, worker
        finally:
            worker.kill()


class CampaignsProcess(WorkerProcess):
    """One `tideline campaigns`. What a process that was killed had of the channels is free again soon."""

    def __init__(self, settings: Settings, folder: Path, name: str, *, data_dir: Path | None = None) -> None:
        program = "tests.integration.short_lease"
        super().__init__(settings, folder / "none", folder, name, data_dir=data_dir, program=program)

    def command(self, catalog: Path, *options: object) -> list[object]:  # noqa: ARG002  it needs none
        """See `WorkerProcess`."""
        return ["campaigns", "--port", self.port, *options]

    def close(self) -> None:
        """Gone, if it is not yet."""
        self.kill()


def kafka_notes(settings: Settings) -> set[str]:
    """Users of whom the log of events says that they were sent to. No two ids are for one of them."""
    kafka, found = kafka_python(), dict[str, set[str]]()
    consumer = kafka.KafkaConsumer(**kafka_python_arguments(settings), group_id=None)
    try:
        topic = settings.topic("events")
        places = [kafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    said = json.loads(record.value)
                    if said["event"] == SENT:
                        found.setdefault(said["userId"], set()).add(said["messageId"])
    finally:
        consumer.close()
    assert all(len(ids) == 1 for ids in found.values())
    return set(found)


def enter(data_dir: Path, users: list[str]) -> None:
    """They come into the segment, by events in the log."""
    with closing(EventWriter(LogFolder.find(data_dir))) as writer:
        writer.append([(user, event(user, "Enter")) for user in users])
