"""A shop's events through the whole path, once for all tests that only look at the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kafka_world import KafkaWorld, start_world
from tests.integration.shop_world import Shop, run_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return run_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def kafka_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaWorld]:
    world = start_world(tmp_path_factory.mktemp("kafka"))
    yield world
    if world.server is not None:
        world.server.stop()
