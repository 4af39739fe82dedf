"""Campaigns on a real Kafka: two processes share the partitions, and one goes on where the other was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from streams.adapters.kafka_topics import require_topics
from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.campaigns_world import (
    CATALOG,
    SENDS_WITHIN_S,
    CampaignsProcess,
    HookReceiver,
    event,
    kafka_notes,
    set_hook,
)
from tests.integration.kafka_world import KafkaWorld
from tests.integration.worker_world import Producer, WorkerProcess, await_until

SHARDS = 4
USERS = 120


@contextmanager
def served(kafka_world: KafkaWorld, folder: Path) -> Iterator[tuple[Settings, WorkerProcess]]:
    """A store, topics and a worker."""
    catalog = folder / "catalog.yaml"
    catalog.write_text(CATALOG)
    with EmbeddedValkey(folder / "store") as server:
        settings = kafka_world.settings(
            shards=SHARDS, redis_url=server.url, api_log="kafka", webhooks_private=True, data_dir=folder / "none"
        )
        require_topics(settings, create=True)
        worker = WorkerProcess(settings, catalog, folder, "worker")
        try:
            await_until(worker.is_working, "the worker works", seconds=120.0, watched=[worker])
            yield settings, worker
        finally:
            worker.kill()


def enter(settings: Settings, users: list[str]) -> None:
    """They come into the segment."""
    producer = Producer(settings, [(user, event(user, "Enter")) for user in users])
    producer.start()
    producer.finish(seconds=60.0)


def shared_out(*processes: CampaignsProcess) -> bool:
    """Whether each has partitions of its own, and all are worked."""
    found: list[dict[str, Any]] = [process.health() for process in processes]
    assigned = [number for health in found for number in health.get("assigned", ())]
    return all(health.get("ready") and health["assigned"] for health in found) and sorted(assigned) == [*range(SHARDS)]


@pytest.mark.timeout(300)
def test_one_of_two_is_killed_and_everybody_gets_their_message_once(kafka_world: KafkaWorld, tmp_path: Path) -> None:
    first, second, third = ([f"user {batch}.{n}" for n in range(USERS // 3)] for batch in range(3))
    with (
        HookReceiver() as receiver,
        served(kafka_world, tmp_path) as (settings, _),
        closing(CampaignsProcess(settings, tmp_path, "one")) as one,
    ):
        assert settings.redis_url is not None
        set_hook(settings.redis_url, receiver.url)
        await_until(lambda: shared_out(one), "it has all partitions", seconds=60.0, watched=[one])
        enter(settings, first)
        receiver.wait(lambda: set(receiver.users()) == set(first), SENDS_WITHIN_S)
        with closing(CampaignsProcess(settings, tmp_path, "two")) as two:
            await_until(lambda: shared_out(one, two), "they share", seconds=60.0, watched=[one, two])
            enter(settings, second)
            one.kill()  # it owns channels and half of the partitions, and is in the middle of it
            enter(settings, third)
            everybody = {*first, *second, *third}
            receiver.wait(lambda: set(receiver.users()) == everybody, SENDS_WITHIN_S)
            await_until(lambda: shared_out(two), "the other has all", seconds=60.0, watched=[two])
            assert all(len(ids) == 1 for ids in receiver.ids().values()), "a repeat has the same id"
            await_until(
                lambda: kafka_notes(settings) == everybody, "every message is told", seconds=60.0, watched=[two]
            )
            two.stop()
    assert "fenced" not in two.words().lower()
