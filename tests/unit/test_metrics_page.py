"""The table of metrics in docs/operations.md says exactly what worker, API and deliveries export."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._warmup import ShortWarmup
from streams.api.keys import Role
from streams.ports import Message
from streams.runtime.deliveries.serve import _registry
from streams.runtime.deliveries.service import DeliveryService
from streams.runtime.latest_models import LatestModels
from streams.runtime.worker_health import registry
from tests.conftest import ROOT
from tests.unit.api_world import ApiWorld
from tests.unit.test_live_runs import CATALOG, World, run_all, traffic

UNITS = ("seconds", "bytes")
ROW = re.compile(r"^\| `(\w+)` \|(.*?)\|(.*?)\|(.*?)\|(.*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Exported:
    """How a metric is exported; `labels` without those of histograms."""

    kind: str
    labels: frozenset[str]


@dataclass
class Worked:
    run: object
    lag: int = 0
    is_ready: bool = True


@dataclass
class Working:
    """What `worker_health` sees of a service."""

    partitions: Mapping[int, Worked]
    is_settled: bool = True

    def known_runs(self) -> Mapping[int, object]:
        return {number: worked.run for number, worked in self.partitions.items()}


@dataclass
class Telling(World):
    """With the models as they are in their topic."""

    told: list[tuple[str, bytes]] = field(default_factory=list)

    def send(self, messages: Sequence[Message]) -> None:
        super().send(messages)
        self.told += [(key, data) for topic, key, data in messages if topic == "models"]


def metrics_of(text: str) -> dict[str, Exported]:
    """By the name that queries use; a family without a sample fails, as nobody has seen its labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue  # when a counter of prometheus-client began
        assert family.samples, family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = Exported(family.type, frozenset(labels))
    return found


def text_of(found: CollectorRegistry) -> str:
    return generate_latest(found).decode()


@pytest.fixture(scope="module")
def world() -> Telling:
    """Shards and a learner that have worked, with everything that is counted."""
    with patch("models.learner.Warmup", ShortWarmup):
        world = Telling()
        run_all(world, traffic(600), 50)
        world.step(0, [b"no json"])
    return world


def worker_text(world: Telling, *, lag: int = 0) -> str:
    models = LatestModels(CATALOG)
    models.take("models", [(n, key.encode(), data) for n, (key, data) in enumerate(world.told)])
    scoring = Working({n: Worked(run, lag) for n, run in enumerate(world.shards)})
    return text_of(registry(scoring, Working({0: Worked(world.learner)}), models))


def api_text() -> str:
    world = ApiWorld()
    world.post("/v1/track", {})
    return world.ask("GET", "/metrics", headers=world.headers(Role.READ)).text


def deliver_text() -> str:
    nothing = cast("Any", None)
    return text_of(_registry(DeliveryService(nothing, nothing, nothing, members=nothing)))


def described(part: str) -> dict[str, Exported]:
    """The table of one part, and the one of every process."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    found = {}
    for heading in (part, "Every process"):
        (section,) = re.findall(rf"^### {heading}$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        for name, kind, labels, unit, words in ROW.findall(section):
            assert words.strip(), name
            assert all((one == unit.strip()) == (f"_{one}" in name) for one in UNITS), name
            found[name] = Exported(kind.strip(), frozenset(re.findall(r"`(\w+)`", labels)))
    return found


def test_the_table_of_the_worker_is_what_it_exports(world: Telling) -> None:
    assert described("Worker") == metrics_of(worker_text(world))


def test_the_table_of_the_api_is_what_it_exports() -> None:
    assert described("API") == metrics_of(api_text())


def test_the_table_of_deliveries_is_what_they_export() -> None:
    assert described("Deliveries") == metrics_of(deliver_text())


def test_what_shards_have_counted_is_shown(world: Telling) -> None:
    text = worker_text(world)
    for number, run in enumerate(world.shards):
        counted = run.shard.counters()
        assert f'tideline_events_total{{partition="{number}",result="accepted"}} {float(counted["events"])}' in text
        assert f'tideline_pending_examples{{partition="{number}"}} {float(counted["pending_examples"])}' in text
        assert counted["pending_examples"] > 0
    assert 'tideline_dead_letters_total{partition="0",reason="unreadable_json"} 1.0' in text


def test_the_newest_model_of_every_prediction_is_shown(world: Telling) -> None:
    (newest,) = world.models.values()
    text = worker_text(world)
    assert f'tideline_model_version{{prediction="orders"}} {float(newest.predictions[0].version)}' in text
    assert f'tideline_model_examples{{prediction="orders"}} {float(newest.predictions[0].learned)}' in text
    assert newest.predictions[0].learned > 0


def test_seconds_of_lag_count_from_the_last_commit_and_are_none_at_the_end(
    world: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_s = world.shards[1].position.log_time_s
    assert taken_s > 0
    monkeypatch.setattr("time.time", lambda: taken_s + 90.0)
    assert 'tideline_lag_seconds{partition="1"} 90.0' in worker_text(world, lag=1)
    assert 'tideline_lag_seconds{partition="1"} 0.0' in worker_text(world)


def test_a_shard_that_is_dropped_meanwhile_is_left_out(world: Telling) -> None:
    with patch.object(world.shards[2], "_shard", None):
        text = worker_text(world)
    assert 'tideline_users{partition="2"}' not in text
    assert 'tideline_commits_total{partition="2"}' in text
