"""The table of metrics in docs/operations.md says exactly what worker, API, deliveries and campaigns export."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._warmup import ShortWarmup
from models.quality import Quality
from models.snapshot import Snapshot
from streams.adapters.redis_server import ServerCondition
from streams.api.keys import Role
from streams.core.definitions import CATEGORIES
from streams.ports import Message
from streams.runtime.campaigns.health import registry as campaigns_registry
from streams.runtime.channels.local import LogChannel
from streams.runtime.channels.run import ChannelRun
from streams.runtime.channels.run import Tools as ChannelTools
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.serve import _registry
from streams.runtime.deliveries.service import DeliveryService
from streams.runtime.judged_figures import JudgedFigures, WarmingUp
from streams.runtime.latest_models import LatestModels
from streams.runtime.records import Record
from streams.runtime.store_watch import Promise, StoreFacts
from streams.runtime.worker_health import registry
from tests.campaign_run_world import World as CampaignWorld
from tests.campaign_run_world import track
from tests.conftest import ROOT
from tests.unit.api_world import ApiWorld
from tests.unit.test_live_runs import CATALOG, World, run_all, traffic

UNITS = ("seconds", "bytes")
EVENTS = 1_800
"""Enough for the prediction to go live."""
MADE_S = 1_704_067_200.0
"""When the log took the models."""
RARE = JudgedFigures(Quality().select().figures(), {}, WarmingUp(7, 100))
"""Of a prediction that warms up."""
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


class Seen:
    """A store that was looked at."""

    def latest(self) -> StoreFacts:
        server = ServerCondition(
            used_bytes=10, max_bytes=0, machine_bytes=100, policy="noeviction", unwritten=("a dump",), clock_s=0.0
        )
        return StoreFacts(Promise.MOST, {"redis://a:6379": server})


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
        run_all(world, traffic(EVENTS), 50)
        world.step(0, [b"no json"])
    return world


def worker_text(world: Telling, *, lag: int = 0, every_s: float = 0.0) -> str:
    """`every_s`: between two models, as the log took them."""
    models = LatestModels(CATALOG)
    models.take("models", [(n, key.encode(), data, MADE_S + every_s * n) for n, (key, data) in enumerate(world.told)])
    scoring = Working({n: Worked(run, lag) for n, run in enumerate(world.shards)})
    judged = {**world.learner.judged, "rare": RARE}
    with patch.object(world.learner, "judged", judged):
        return text_of(registry(scoring, Working({0: Worked(world.learner)}), models, Seen(), shards=len(world.shards)))


def api_text() -> str:
    world = ApiWorld()
    world.post("/v1/track", {})
    return world.ask("GET", "/metrics", headers=world.headers(Role.READ)).text


def deliver_text() -> str:
    nothing = cast("Any", None)
    return text_of(_registry(DeliveryService(nothing, nothing, nothing, members=nothing)))


def campaigns_text() -> str:
    """One partition that has sent something, and a channel that has taken something in."""
    nothing = cast("Any", None)
    partition = CampaignWorld()
    partition.events.append(track("ann", "Enter", partition.now_s, "m"))
    partition.settle()
    tools = ChannelTools(nothing, nothing, nothing, lambda: 0.0, Random(1), Limits())
    channel = ChannelRun("it", LogChannel(), tools)
    channel.desk.taken.count("arrived")
    channels = SimpleNamespace(runs={"it": channel}, unread={"it": 0}, lacking={}, is_owner=True, answered_s=0.0)
    works = {0: SimpleNamespace(run=partition.run, is_ready=True)}
    return text_of(campaigns_registry(SimpleNamespace(works=works, channels=channels, troubles=0)))


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


def test_the_table_of_campaigns_is_what_they_export() -> None:
    text = campaigns_text()
    assert described("Campaigns") == metrics_of(text)
    assert 'tideline_campaign_decisions_total{result="sent"} 1.0' in text
    assert 'tideline_campaign_deliveries_total{channel="it",result="arrived"} 1.0' in text


def test_what_shards_have_counted_is_shown(world: Telling) -> None:
    text = worker_text(world)
    for number, run in enumerate(world.shards):
        counted = run.shard.counters()
        assert f'tideline_events_total{{partition="{number}",result="accepted"}} {float(counted["events"])}' in text
        assert f'tideline_pending_examples{{partition="{number}"}} {float(counted["pending_examples"])}' in text
        assert counted["pending_examples"] > 0
    assert 'tideline_dead_letters_total{partition="0",reason="unreadable_json"} 1.0' in text


def samples_of(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Of the series with this name: the values of its labels, in the order of their names, with its value."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_transitions_are_counted_as_they_were_published(world: Telling) -> None:
    published = Counter(
        ("entered" if data["in_segment"] else "exited", data["origin"], data["segment_id"])
        for sink in world.sinks
        for data in (json.loads(transition)["data"] for transition in sink.published)
    )
    assert len(published) > 3
    assert samples_of(worker_text(world), "tideline_transitions_total") == published


def test_the_population_is_that_of_all_shards(world: Telling) -> None:
    columns = world.shards[0].shard.definitions.layout.columns
    places = [run.shard.users.rows.b[: run.users, columns.b_category] for run in world.shards]
    counted = Counter(CATEGORIES[place] for place in np.concatenate(places).tolist() if place < len(CATEGORIES))
    found = samples_of(worker_text(world), "tideline_population_users")
    assert {category: users for (category, _), users in found.items()} == {c: counted[c] for c in CATEGORIES}
    assert sum(counted.values()) > 30


def test_each_batch_commit_and_answer_is_measured(world: Telling) -> None:
    text = worker_text(world)
    (batches,) = samples_of(text, "tideline_batch_records_count").values()
    assert batches >= EVENTS / 50
    (records,) = samples_of(text, "tideline_batch_records_sum").values()
    assert records == sum(run.counts.records for run in world.shards) > EVENTS
    (commits,) = samples_of(text, "tideline_commit_seconds_count").values()
    assert commits == sum(run.counts.commits for run in world.shards) >= batches
    answered = samples_of(text, "tideline_transition_latency_seconds_count")
    assert answered[("first",)] == answered[("last",)] > 0
    assert set(samples_of(text, "tideline_outbox_entries").values()) == {0.0}


def test_the_oldest_pending_example_has_waited_for_less_than_its_label_takes(world: Telling) -> None:
    text = worker_text(world)
    longest_s = CATALOG.predictions["orders"].window_s + CATALOG.time.lateness_s + 3_600.0
    found = samples_of(text, "tideline_pending_examples_age_seconds")
    assert len(found) == len(world.shards)
    assert all(0.0 < age_s <= longest_s for age_s in found.values())


def test_the_age_of_a_model_counts_from_when_the_log_took_it(world: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: MADE_S + 75.0)
    assert samples_of(worker_text(world), "tideline_model_age_seconds") == {("orders",): 75.0}


def test_the_newest_model_of_every_prediction_is_shown(world: Telling) -> None:
    (newest,) = world.models.values()
    text = worker_text(world)
    assert f'tideline_model_version{{prediction="orders"}} {float(newest.predictions[0].version)}' in text
    assert f'tideline_model_examples{{prediction="orders"}} {float(newest.predictions[0].learned)}' in text
    assert newest.predictions[0].learned > 0


def test_seconds_of_lag_are_those_of_the_record_in_hand_and_none_at_the_end(
    world: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.shards[1]
    committed = run.position
    assert committed.log_time_s > 0
    monkeypatch.setattr("time.time", lambda: committed.log_time_s + 5_000.0)
    in_hand = [Record(committed.offset + n, committed.log_time_s + 4_000.0 + n, b"") for n in range(-1, 3)]
    with patch.object(run, "_records", in_hand):  # the first of them is in a commit
        assert 'tideline_lag_seconds{partition="1"} 1000.0' in worker_text(world, lag=3)
    assert 'tideline_lag_seconds{partition="1"} 5000.0' in worker_text(world, lag=3)  # not fetched: it may be as old
    assert 'tideline_lag_seconds{partition="1"} 0.0' in worker_text(world)


def test_the_number_of_shards_is_that_of_the_service(world: Telling) -> None:
    assert f"tideline_shards {float(len(world.shards))}" in worker_text(world)


def test_a_warm_up_shows_how_many_users_it_has_of_those_that_it_needs(world: Telling) -> None:
    text = worker_text(world)
    assert samples_of(text, "tideline_warmup_users") == {("rare",): 7.0}
    assert samples_of(text, "tideline_warmup_users_needed") == {("rare",): 100.0}


def learns(world: Telling) -> dict[tuple[str, ...], float]:
    return samples_of(worker_text(world), "tideline_prediction_learns")


def test_what_is_frozen_in_every_shard_or_archived_learns_nothing(world: Telling) -> None:
    assert learns(world) == {("orders",): 1.0}
    frozen = np.array([1_000.0])
    with ExitStack() as frozen_now:
        for run in world.shards:
            assert learns(world) == {("orders",): 1.0}, "another shard still makes examples"
            frozen_now.enter_context(patch.object(run.shard, "frozen_at_s", frozen))
        text = worker_text(world)
        assert samples_of(text, "tideline_prediction_learns") == {("orders",): 0.0}
        assert samples_of(text, "tideline_shard_model_age_seconds") == {}
    archived = CATALOG.model_copy(
        update={"predictions": {"orders": CATALOG.predictions["orders"].model_copy(update={"archived": True})}}
    )
    with ExitStack() as archived_now:
        for run in world.shards:
            archived_now.enter_context(patch.object(run, "catalog", archived))
        assert learns(world) == {("orders",): 0.0}


def test_a_shard_that_stays_at_an_old_model_shows_it(world: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: MADE_S + 75.0)
    ages = samples_of(worker_text(world), "tideline_shard_model_age_seconds")
    assert ages == {(str(n), "orders"): 75.0 for n in range(len(world.shards))}
    _, before = world.told[-2]
    old = Snapshot.from_bytes(before)
    monkeypatch.setattr("time.time", lambda: MADE_S + 75.0 * len(world.told))
    with patch.object(world.shards[1].shard, "snapshot", old):
        text = worker_text(world, every_s=75.0)
    assert samples_of(text, "tideline_model_age_seconds") == {("orders",): 75.0}
    ages = samples_of(text, "tideline_shard_model_age_seconds")
    assert ages == {(str(n), "orders"): 150.0 if n == 1 else 75.0 for n in range(len(world.shards))}


def test_a_shard_that_is_dropped_meanwhile_is_left_out(world: Telling) -> None:
    with patch.object(world.shards[2], "_shard", None):
        text = worker_text(world)
    assert 'tideline_users{partition="2"}' not in text
    assert 'tideline_commits_total{partition="2"}' in text
