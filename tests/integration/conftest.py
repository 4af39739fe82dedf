"""What several files of tests look at: a shop's events after the whole path, and a service that is read by its API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.memory_sessions import MemorySessions
from streams.adapters.valkey_server import EmbeddedValkey
from streams.console.app import console
from streams.runtime.place import join_place
from tests.integration.service_world import ServiceWorld, service
from tests.integration.shop_world import Shop, run_shop
from tests.unit.api_world import ApiWorld


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return run_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    """Its store, for those who only look, or give what they make another name."""
    with join_place(shop.job.place) as url:
        yield url


@pytest.fixture
def shop_console(url: str) -> Iterator[ApiWorld]:
    """Its API with the console, nothing made over it yet."""
    world = ApiWorld(store_url=url, transitions=MemoryTransitionLog(1), extensions=(console(MemorySessions()),))
    yield world
    world.stored.close()


@pytest.fixture(scope="module")
def own_shop(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A copy of its store, for tests that change something: the others' must not depend on which came first."""
    data = tmp_path_factory.mktemp("own") / "data"
    shutil.copytree(shop.job.place.data_dir, data, ignore=shutil.ignore_patterns("*.sock", "valkey.address"))
    return replace(shop, job=replace(shop.job, place=replace(shop.job.place, data_dir=data)))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A server of its own for a file of tests."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    """A service whose users have done things; a file whose tests need another world has one of its own."""
    with service(tmp_path_factory.mktemp("service")) as world:
        yield world


@pytest.fixture
def api(world: ServiceWorld) -> Iterator[ApiWorld]:
    """Its API."""
    api = ApiWorld(store_url=world.url)
    yield api
    api.stored.close()
