"""The worlds in which every contract test of a store runs.

With `TIDELINE_TEST_SERVER` set to an address, the server there is tested in place of the embedded one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from streams.adapters.valkey_server import EmbeddedValkey
from tests.contract.worlds import MemoryWorld, RedisWorld, World


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real server for all tests that only use keys of their own."""
    given = os.environ.get("TIDELINE_TEST_SERVER")
    if given:
        yield given
        return
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(params=["memory", "server"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return RedisWorld(request.getfixturevalue("server_url"))


@pytest.fixture
def redis_world(server_url: str) -> RedisWorld:
    return RedisWorld(server_url)
