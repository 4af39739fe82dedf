"""Commands with a store in a cluster: a run, looking at what it has stored, and beginning anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.redis_servers import Cluster, raw
from tests.integration.small_shop import replay, rows, run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_a_run_into_a_cluster_is_looked_at_and_forgotten(cluster: Cluster, tmp_path: Path) -> None:
    store = ("--store", cluster.url)
    code, out, err = replay(tmp_path, rows(60), *store)
    assert code == 0, err
    assert "appendfsync always" in out + err
    code, out, _ = run("predictions", "--json", *store)
    assert (code, json.loads(out)["users"]) == (0, 10)
    code, out, _ = run("user", "u1", "--json", *store)
    assert (code, json.loads(out)["user"]) == (0, "u1")
    code, out, _ = run("segment", "keen", "--json", *store)
    assert (code, json.loads(out)["members"]) == (0, 10)
    assert run("dead-letters", *store)[0] == 0
    code, _, err = replay(tmp_path, rows(30), *store)
    assert (code, "other files" in err) == (4, True)
    assert replay(tmp_path, rows(30), "--fresh", *store)[0] == 0
    assert sum(raw(node, "DBSIZE") for node in cluster.nodes) > 5
