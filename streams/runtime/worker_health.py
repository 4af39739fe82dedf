"""How a worker is: for `/readyz`, and for Prometheus, read from its runs at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.core.shard import Shard
from streams.runtime.batch_metrics import batch_metrics
from streams.runtime.lag_age import Behind, LagAges
from streams.runtime.latest_models import LatestModels
from streams.runtime.learner_run import LearnerRun
from streams.runtime.prediction_metrics import (
    LoadedShard,
    learning_metrics,
    model_metrics,
    quality_metrics,
    shard_metrics,
)
from streams.runtime.process_metrics import add_process
from streams.runtime.shard_run import ShardRun
from streams.runtime.store_watch import Watched, store_metrics


class Worked(Protocol):
    """A partition in the hands of this process."""

    @property
    def run(self) -> object | None:
        """Its `ShardRun` or `LearnerRun`; None until its store has answered."""

    @property
    def lag(self) -> int:
        """Records that are still to be worked."""

    @property
    def is_ready(self) -> bool:
        """Its state is loaded."""


class Working(Protocol):
    """A service that works partitions."""

    @property
    def partitions(self) -> Mapping[int, Worked]:
        """Those in the hands of this process."""

    @property
    def is_settled(self) -> bool:
        """Whether what is assigned, possibly nothing, is what it works and has loaded."""

    def known_runs(self) -> Mapping[int, object]:
        """The runs of the partitions that it has or has had."""


def health(scoring: Working, models: LatestModels, *, ready_lag: int) -> dict[str, Any]:
    """How the worker is, as `/readyz` tells it."""
    partitions = dict(scoring.partitions)
    lag = sum(p.lag for p in partitions.values())
    return {
        "ready": scoring.is_settled and lag <= ready_lag,
        "assigned": sorted(partitions),
        "loading": sorted(n for n, p in partitions.items() if not p.is_ready),
        "lag": lag,
        "models": dict(sorted(models.versions().items())),
    }


def registry(
    scoring: Working, learning: Working, models: LatestModels, store: Watched, *, shards: int
) -> CollectorRegistry:
    """What `/metrics` shows; `shards`: of all workers together."""
    found = CollectorRegistry()
    found.register(_WorkerCollector(scoring, learning, models, store, shards))
    add_process(found)
    return found


_BY_PARTITION = ("partition",)
# name -> (help, attribute of `streams.runtime.shard_run.Counts`)
_COUNTERS = {
    "tideline_records": ("Records read of a partition by this process.", "records"),
    "tideline_commits": ("Commits of a shard.", "commits"),
    "tideline_chunks": ("Chunks of labelled examples that were sent to learners.", "chunks"),
    "tideline_shard_loads": ("How often the state of a shard was loaded from the store.", "loads"),
    "tideline_deletions": ("Users who were deleted, whether or not anything was stored of them.", "deletions"),
    "tideline_deletions_unreadable": ("Records of the log of deletions that were passed over.", "deletions_unreadable"),
    "tideline_store_set_backs": ("How often the store was found to have gone back in time.", "set_back"),
}
# name -> (help, key of `streams.core.shard.Shard.counters`)
_COUNTED = {
    "tideline_late_events": ("Events that were older than the latest one of their user.", "late_events"),
    "tideline_moved_back_events": ("Events from the future, which were moved back to their log time.", "moved_back"),
    "tideline_late_goals": ("Goal events after whose time a label was given without them.", "late_goals"),
    "tideline_looks": ("Looks at silent users.", "looks"),
    "tideline_category_changes": ("Users who changed from one category of a live prediction to another.", "crossings"),
    "tideline_dropped_examples": ("Pending examples that were dropped for their bound.", "dropped_examples"),
    "tideline_deletions_skipped": ("Deletions that are no later than one that was done.", "deletions_skipped"),
}
_HELD = {
    "tideline_users": ("Users of a shard.", "users"),
    "tideline_pending_examples": ("Examples that wait for their label.", "pending_examples"),
}


class _WorkerCollector(Collector):
    """Counters and gauges of the partitions that this process has; one series per partition and metric."""

    def __init__(self, scoring: Working, learning: Working, models: LatestModels, store: Watched, shards: int) -> None:
        self._scoring = scoring
        self._learning = learning
        self._models = models
        self._store = store
        self._shards = shards
        self._lag_ages = LagAges()
        self._clock_s = time.time

    def collect(self) -> Iterator[Metric]:
        """See prometheus-client."""
        runs = {n: run for n, run in self._scoring.known_runs().items() if isinstance(run, ShardRun)}
        for name, (words, attribute) in _COUNTERS.items():
            family = CounterMetricFamily(name, words, labels=_BY_PARTITION)
            for number, run in sorted(runs.items()):
                family.add_metric([str(number)], getattr(run.counts, attribute))
            yield family
        letters = CounterMetricFamily(
            "tideline_dead_letters", "Records that could not be used.", labels=("partition", "reason")
        )
        for number, run in sorted(runs.items()):
            for reason, refused_records in sorted(run.counts.refused_by.copy().items()):  # its own thread may add to it
                letters.add_metric([str(number), reason], refused_records)
        yield letters
        held = {n: one.run for n, one in self._scoring.partitions.items() if isinstance(one.run, ShardRun)}
        yield from batch_metrics((run.meter for run in runs.values()), {n: run.meter for n, run in held.items()})
        loaded = {n: LoadedShard(shard, run.catalog) for n, run in held.items() if (shard := _loaded(run)) is not None}
        yield from shard_metrics({n: one.shard for n, one in loaded.items()})
        yield from learning_metrics(loaded, self._models, self._clock_s())
        yield GaugeMetricFamily(
            "tideline_shards", "Shards of the service: partitions of the events.", value=float(self._shards)
        )
        yield from self._places()
        yield from self._counted()
        behind = GaugeMetricFamily(
            "tideline_learner_lag_chunks", "Chunks that are still to be learned.", labels=_BY_PARTITION
        )
        for number, partition in sorted(self._learning.partitions.items()):
            behind.add_metric([str(number)], partition.lag)
        yield behind
        refused = CounterMetricFamily(
            "tideline_chunks_refused", "Records of the examples that could not be learned.", labels=_BY_PARTITION
        )
        replaced = CounterMetricFamily(
            "tideline_chunks_of_other_stores", "Chunks that a store of before has made, left out.", labels=_BY_PARTITION
        )
        for number, learner in sorted(self._learning.known_runs().items()):
            if isinstance(learner, LearnerRun):
                refused.add_metric([str(number)], learner.refused_chunks)
                replaced.add_metric([str(number)], learner.replaced_chunks)
        yield refused
        yield replaced
        yield from quality_metrics(
            {
                prediction: judged
                for partition in self._learning.partitions.values()
                if isinstance(partition.run, LearnerRun)
                for prediction, judged in partition.run.judged.items()
            }
        )
        yield from self._learned()
        yield from store_metrics(self._store.latest())

    def _places(self) -> Iterator[Metric]:
        """How far the partitions are, that are worked now."""
        lag = GaugeMetricFamily("tideline_lag_records", "Records that are still to be read.", labels=_BY_PARTITION)
        age = GaugeMetricFamily(
            "tideline_lag_seconds", "How long the oldest record waits that is not worked.", labels=_BY_PARTITION
        )
        partitions, now_s = dict(self._scoring.partitions), self._clock_s()
        self._lag_ages.keep(partitions)
        for number, partition in sorted(partitions.items()):
            found = _behind(partition)
            lag.add_metric([str(number)], found.records)
            if (age_s := self._lag_ages.age_s(number, found, now_s)) is not None:
                age.add_metric([str(number)], age_s)
        yield lag
        yield age

    def _counted(self) -> Iterator[Metric]:
        """What the shards that are loaded have counted since their store was made."""
        loaded = {
            str(number): shard.counters()
            for number, partition in sorted(self._scoring.partitions.items())
            if isinstance(partition.run, ShardRun) and (shard := _loaded(partition.run)) is not None
        }
        events = CounterMetricFamily("tideline_events", "Events that were looked at.", labels=("partition", "result"))
        for number, counted in loaded.items():
            events.add_metric([number, "accepted"], counted["events"])
            events.add_metric([number, "duplicate"], counted["duplicates"])
        yield events
        for name, (words, key) in _COUNTED.items():
            counter = CounterMetricFamily(name, words, labels=_BY_PARTITION)
            for number, counted in loaded.items():
                counter.add_metric([number], counted[key])
            yield counter
        for name, (words, key) in _HELD.items():
            gauge = GaugeMetricFamily(name, words, labels=_BY_PARTITION)
            for number, counted in loaded.items():
                gauge.add_metric([number], counted[key])
            yield gauge

    def _learned(self) -> Iterator[Metric]:
        """The newest model of every prediction, as this process knows it."""
        refused = CounterMetricFamily("tideline_models_refused", "Models in the log that could not be used.")
        refused.add_metric([], self._models.refused)
        yield refused
        yield from model_metrics(self._models, self._clock_s())


def _behind(partition: Worked) -> Behind:
    """How far it is now; its own thread may go on between two looks."""
    run, records = partition.run, partition.lag
    if not isinstance(run, ShardRun):
        return Behind(records, None, 0.0)
    return Behind(records, run.oldest_in_hand_s, run.position.log_time_s)


def _loaded(run: ShardRun) -> Shard | None:
    """None where nothing is loaded; its own thread may drop it at any time, also while it is looked at here."""
    try:
        return run.shard
    except RuntimeError:
        return None
