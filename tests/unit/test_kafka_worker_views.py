"""What a worker's port answers, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from config.errors import BrokerUnavailable
from config.loader import loads
from config.settings import load_settings
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.runtime.definitions import DefinitionsFollower, LiveCatalog
from streams.runtime.kafka.worker import Worker, run_worker
from streams.runtime.place import Place
from streams.runtime.worker_stores import WorkerJob

CATALOG = loads("""
version: 1
name: views
predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h}}
""")


class NoSteps:
    """Nothing takes a while."""

    def step(self, words: str) -> AbstractContextManager[None]:
        pytest.fail(f"nothing is to be done: {words}")


def test_a_worker_answers_three_paths(tmp_path: Path) -> None:
    job = WorkerJob(load_settings(), CATALOG, Place(tmp_path))

    async def paths() -> set[str]:
        wanted = DefinitionsFollower(LiveCatalog(CATALOG, MemoryDefinitions()))
        app = Worker(job, "redis://127.0.0.1:1/0", b"k" * 32, wanted)._make_app()
        return {route.resource.canonical for route in (await app.web.wsgi()).router.routes()}

    assert asyncio.run(paths()) == {"/healthz", "/readyz", "/metrics"}


def test_a_worker_that_finds_no_kafka_leaves_nothing_behind(tmp_path: Path) -> None:
    """A key that a failed try had made would be used, without a word, by a later worker of the directory."""
    job = WorkerJob(load_settings(kafka_bootstrap_servers="127.0.0.1:1"), CATALOG, Place(tmp_path / "data"))
    with pytest.raises(BrokerUnavailable, match=r"No Kafka answers at 127\.0\.0\.1:1"):
        run_worker(job, NoSteps(), pytest.fail)
    assert not (tmp_path / "data").exists()
