"""Users are deleted on a real Kafka: by all workers, through kills, in a new store, and out of what is learned late."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.ledger import Deleted, ledger_name
from streams.core.partition import shard_of
from streams.runtime.deletion_log import deletion_key, mark_of
from streams.runtime.ledger_key import ledger_key
from streams.runtime.place import Place
from streams.runtime.stored import read_state
from streams.simulate.run import Plan
from tests.integration.definitions_world import define, is_complete, told_once
from tests.integration.filters_world import deletions
from tests.integration.kafka_world import KafkaWorld
from tests.integration.simulate_world import simulated
from tests.integration.worker_evidence import read_topic
from tests.integration.worker_world import (
    START_MS,
    Producer,
    Sent,
    WorkerProcess,
    WorkerWorld,
    await_until,
    emptied_world,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
SHARDS = 4
START_S = START_MS / 1_000
DAY_S = 86_400.0
DAYS = 14
RARE = "Order Completed"
"""What only users have done who are deleted later."""


@pytest.fixture
def world(kafka_world: KafkaWorld, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[WorkerWorld]:
    with emptied_world(kafka_world.settings(shards=SHARDS, redis_url=valkey.url), tmp_path) as world:
        world.make_topics()
        yield world


@pytest.fixture(scope="module")
def traffic() -> list[Sent]:
    return simulated(Plan(users=150, days=DAYS, start_ms=START_MS, seed=29, arrive_days=4))


def produce(world: WorkerWorld, records: Sequence[Sent]) -> None:
    producer = Producer(world.settings, records)
    producer.start()
    producer.finish(seconds=120)


def start_two(world: WorkerWorld) -> list[WorkerProcess]:
    workers = [world.start(f"worker-{n}") for n in range(2)]

    def share() -> bool:
        return all(worker.is_working() and len(worker.health()["assigned"]) == SHARDS // 2 for worker in workers)

    await_until(share, "both workers have partitions", seconds=240.0, watched=workers)
    return workers


def event(user: str, name: str, at_s: float, number: str) -> Sent:
    body = {"type": "track", "userId": user, "event": name, "messageId": number}
    body["timestamp"] = datetime.fromtimestamp(at_s, UTC).isoformat()
    return user, msgspec.json.encode(body)


def buyers(records: Sequence[Sent]) -> list[str]:
    """Who has done what is rare here."""
    return sorted({user for user, value in records if RARE.encode() in value})


def key_of(world: WorkerWorld) -> bytes:
    secret = world.settings.deletion_key
    assert secret is not None
    return ledger_key(Place(world.folder, deletion_secret=secret.get_secret_value()))


def lives_of(log: Sequence[Sequence[Any]], key: bytes, users: Sequence[str]) -> dict[str, int]:
    """By the topic of deletions."""
    mark = mark_of(key)
    by_key = {
        deletion_key(shard_of(user, SHARDS), mark, ledger_name(key, user), 0.0).rpartition(":")[0]: user
        for user in users
    }
    found = {
        by_key[record.key.decode().rpartition(":")[0]]: Deleted.of(record.value).lives
        for records in log
        for record in records
        if record.value  # else it takes back what another one has taken the place of
    }
    assert b"user" not in b"".join(record.key + record.value for records in log for record in records)
    return found


def assert_no_trace(world: WorkerWorld, users: Sequence[str], prefix: str = "tl") -> None:
    with closing(RedisReader(str(world.settings.redis_url), prefix=prefix)) as reader:
        assert {user: reader.traces(user) for user in users} == {user: [] for user in users}


def test_deleted_users_leave_nothing_behind_and_no_new_store_brings_them_back(
    world: WorkerWorld, traffic: list[Sent]
) -> None:
    gone = buyers(traffic)[:12]
    assert len(gone) == 12
    back, cut = gone[:3], len(traffic) // 2
    produce(world, traffic[:cut])
    workers = start_two(world)
    world.await_end(seconds=240)
    produce(world, [*traffic[cut:], *deletions(gone, START_S + (DAYS + 1) * DAY_S)])
    workers[0].kill()  # somewhere in the middle; what it had goes over
    world.await_end(seconds=240)
    key = key_of(world)
    once = dict.fromkeys(gone, 1)
    await_until(
        lambda: lives_of(read_topic(world.settings, "deletions"), key, gone) == once,
        "deletions are told",
        seconds=60.0,
        watched=[workers[1]],
    )
    assert_no_trace(world, gone)
    await_folded(world)
    ends = folded(world)
    assert not [user for users in ends.values() for user in users if user in gone]
    late = [event(user, RARE, START_S + DAY_S, f"late-{user}") for user in gone]
    new = [event(user, RARE, START_S + (DAYS + 2) * DAY_S, f"new-{user}") for user in back]
    produce(world, [*late, *new])
    world.await_end(seconds=240)
    assert members(world, "buyers") & set(gone) == set(back)
    assert_no_trace(world, gone[3:])
    workers[1].stop()
    forget_events(world, late)
    anew(world, gone, back, late)


def folded(world: WorkerWorld) -> dict[str, set[str]]:
    """Who is in what, by all that was told; of the deleted the last word is `deleted`."""
    found: dict[str, set[str]] = {}
    for told in told_once(read_topic(world.settings, "segment-events")):
        users = found.setdefault(told["segment_id"], set())
        assert (told["user_id"] in users) != told["in_segment"], told
        (users.add if told["in_segment"] else users.discard)(told["user_id"])
    return found


def await_folded(world: WorkerWorld) -> None:
    """Until what was told comes to who is in the store; a commit is stored before it is told."""

    def is_told() -> bool:
        found = folded(world)
        return all(found.get(segment, set()) == members(world, segment) for segment in ("buyers", "busy", "away"))

    await_until(
        is_told,
        "all is told",
        seconds=60.0,
        watched=[each for each in world.workers.values() if each.process.poll() is None],
    )


def members(world: WorkerWorld, segment: str, prefix: str = "tl") -> set[str]:
    keys = [f"{prefix}:{{{shard}}}:members:{segment}" for shard in range(SHARDS)]
    return {user.decode() for key in keys for user in world.store.smembers(key)}


def forget_events(world: WorkerWorld, late: Sequence[Sent]) -> None:
    """Retention takes everything before the last records, and with it the deletions."""
    ends = dict(enumerate(world.ends("events")))
    kafka, topic = kafka_python(), world.settings.topic("events")
    with KafkaWorld(world.settings.kafka_bootstrap_servers).admin(world.settings) as admin:
        admin.delete_records({kafka.TopicPartition(topic, n): end for n, end in ends.items()})
    assert late


def anew(world: WorkerWorld, gone: list[str], back: list[str], late: Sequence[Sent]) -> None:
    """Another store, for which the log of events has only what somebody imports again."""
    others = world.settings.model_copy(update={"key_prefix": "anew", "kafka_group": f"{world.settings.kafka_group}2"})
    first = [event("somebody", RARE, START_S + (DAYS + 3) * DAY_S, "one")]
    produce(world, [*late, *first])
    for name, key, code, words in [
        ("keyless", None, 2, "TIDELINE_DELETION_KEY is not set"),
        ("other", "another key of as many characters", 4, "was written under another TIDELINE_DELETION_KEY"),
    ]:
        secret = None if key is None else SecretStr(key)
        worker = WorkerProcess(
            others.model_copy(update={"deletion_key": secret, "key_prefix": name}), world.catalog, world.folder, name
        )
        world.workers[name] = worker
        assert worker.process.wait(240) == code, worker.words()
        assert words in " ".join(worker.words().split())
    worker = WorkerProcess(others, world.catalog, world.folder, "anew")
    world.workers["anew"] = worker
    await_until(lambda: members(world, "buyers", "anew") == {"somebody"}, "worked", seconds=180.0, watched=[worker])
    await_until(lambda: world.offsets("anew") == world.ends("events"), "all is worked", seconds=60.0, watched=[worker])
    assert members(world, "buyers", "anew") == {"somebody"}, back
    assert_no_trace(world, gone, "anew")
    worker.stop()
    again = WorkerProcess(
        others.model_copy(update={"deletion_key": SecretStr("x" * 40)}), world.catalog, world.folder, "again"
    )
    world.workers["again"] = again
    assert again.process.wait(240) == 4, again.words()
    assert "set the first one" in " ".join(again.words().split())


def test_what_is_defined_after_a_deletion_learns_nothing_from_who_was_deleted(
    world: WorkerWorld, traffic: list[Sent]
) -> None:
    everybody = buyers(traffic)
    start_two(world)
    produce(world, [*traffic, *deletions(everybody, START_S + (DAYS + 1) * DAY_S)])
    world.await_end(seconds=240)
    define(world, "prediction", "rare_1d", {"name": "Orders within a day", "goal": {"did": RARE}, "window": "24h"})
    workers = list(world.workers.values())
    await_until(lambda: all(is_complete(world, "rare_1d")), "it has joined", seconds=240.0, watched=workers)
    world.await_end(seconds=240)
    with closing(RedisReader(str(world.settings.redis_url))) as store:
        found = {one.spec.id: one for one in read_state(store).learner.predictions}
    assert found["orders_2d"].goals > 0, "what was learned before stays"
    assert found["rare_1d"].learned > 500
    assert found["rare_1d"].goals == 0
    assert_no_trace(world, everybody[:5])
    for worker in workers:
        worker.stop()


def test_deletions_go_on_through_kills(world: WorkerWorld, traffic: list[Sent]) -> None:
    """Each user is deleted in the middle of what happens to others, while workers are killed."""
    users = buyers(traffic)[:20]
    pieces = [traffic[n * len(traffic) // 5 : (n + 1) * len(traffic) // 5] for n in range(5)]
    start_two(world)
    for n, piece in enumerate(pieces):
        latest = max(msgspec.json.decode(value)["timestamp"] for _, value in piece)
        at_s = datetime.fromisoformat(latest).timestamp()
        produce(world, [*piece, *renamed(deletions(users[4 * n : 4 * n + 4], at_s), n)])
        worker = world.workers[f"worker-{n % 2}"]
        worker.send(signal.SIGKILL)
        worker.process.wait()
        world.start(f"worker-{n % 2}")
    world.await_end(seconds=400)
    with closing(RedisReader(str(world.settings.redis_url))) as reader:
        for user in users:
            assert reader.deletion(user, key_of(world)) is not None
    assert_no_trace(world, [user for user in users if not reader_has(world, user)])
    await_folded(world)


def renamed(records: Sequence[Sent], number: int) -> list[Sent]:
    """With message ids of their own."""
    return [(user, value.replace(b'"gone-', b'"gone%d-' % number)) for user, value in records]


def reader_has(world: WorkerWorld, user: str) -> bool:
    """Whether the user has come back."""
    return bool(world.store.hexists(f"tl:{{{shard_of(user, SHARDS)}}}:rows", user))
