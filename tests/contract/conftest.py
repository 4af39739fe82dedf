"""The worlds in which every contract test of a store or a log runs.

With `TIDELINE_TEST_SERVER` set to an address, the server there is tested in place of the embedded one; the cluster is
always one of our own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.adapters.kafka_topics import require_topics
from streams.adapters.valkey_server import EmbeddedValkey
from tests.contract.log_places import PARTITIONS, LogPlace
from tests.contract.redis_servers import Cluster
from tests.contract.worlds import MemoryWorld, RedisWorld, World
from tests.integration.kafka_world import KafkaWorld


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


@pytest.fixture(params=["memory", "embedded", "kafka"])
def log_place(request: pytest.FixtureRequest, tmp_path: Path) -> LogPlace:
    """Every kind of log, empty."""
    if request.param != "kafka":
        return None if request.param == "memory" else tmp_path / "log"
    world: KafkaWorld = request.getfixturevalue("kafka_world")
    settings = world.settings(shards=PARTITIONS)
    require_topics(settings, create=True)
    return settings
