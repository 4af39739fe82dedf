"""What a worker's port answers, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from config.loader import loads
from config.settings import load_settings
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.runtime.definitions import DefinitionsFollower, LiveCatalog
from streams.runtime.kafka.worker import Worker
from streams.runtime.place import Place
from streams.runtime.worker_stores import WorkerJob

CATALOG = loads("""
version: 1
name: views
predictions: {orders: {name: Orders, goal: {did: Order}, window: 1h}}
""")


def test_a_worker_answers_three_paths(tmp_path: Path) -> None:
    job = WorkerJob(load_settings(), CATALOG, Place(tmp_path))

    async def paths() -> set[str]:
        wanted = DefinitionsFollower(LiveCatalog(CATALOG, MemoryDefinitions()))
        app = Worker(job, "redis://127.0.0.1:1/0", b"k" * 32, wanted)._make_app()
        return {route.resource.canonical for route in (await app.web.wsgi()).router.routes()}

    assert asyncio.run(paths()) == {"/healthz", "/readyz", "/metrics"}
