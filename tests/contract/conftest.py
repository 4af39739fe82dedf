"""The worlds in which every contract test of a store runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.adapters.valkey_server import EmbeddedValkey
from tests.contract.worlds import MemoryWorld, RedisWorld, World


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One real server for all tests that only use keys of their own."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    server: EmbeddedValkey = request.getfixturevalue("valkey")
    return RedisWorld(server.url)


@pytest.fixture
def redis_world(valkey: EmbeddedValkey) -> RedisWorld:
    return RedisWorld(valkey.url)
