"""The worlds in which every contract test of a store runs.

With `TIDELINE_TEST_SERVER` set to an address, the server there is tested in place of the embedded one; the cluster is
always one of our own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from streams.adapters.valkey_server import EmbeddedValkey
from tests.contract.redis_servers import Cluster
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


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of three nodes, for all tests that only use keys of their own."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.url


@pytest.fixture(params=["memory", "server", "cluster"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    with closing(RedisWorld(request.getfixturevalue(f"{request.param}_url"))) as world:
        yield world


@pytest.fixture(params=["server", "cluster"])
def redis_world(request: pytest.FixtureRequest) -> Iterator[RedisWorld]:
    with closing(RedisWorld(request.getfixturevalue(f"{request.param}_url"))) as world:
        yield world
