"""What several files of tests look at: a shop's events after the whole path, and a service that is read by its API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.service_world import ServiceWorld, service
from tests.integration.shop_world import Shop, run_shop
from tests.unit.api_world import ApiWorld


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return run_shop(tmp_path_factory.mktemp("shop"))


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
