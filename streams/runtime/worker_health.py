"""How a worker is: for `/readyz`, and for Prometheus, read from its runs at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.runtime.latest_models import LatestModels
from streams.runtime.learner_run import LearnerRun
from streams.runtime.shard_run import ShardRun


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


def registry(scoring: Working, learning: Working, models: LatestModels) -> CollectorRegistry:
    """What `/metrics` shows."""
    found = CollectorRegistry()
    found.register(_WorkerCollector(scoring, learning, models))
    return found


_BY_PARTITION = ("partition",)
# name -> (help, attribute of `streams.runtime.shard_run.Counts`)
_COUNTERS = {
    "tideline_records": ("Records read of a partition by this process.", "records"),
    "tideline_commits": ("Commits of a shard.", "commits"),
    "tideline_transitions": ("Transitions that were published.", "transitions"),
    "tideline_chunks": ("Chunks of labelled examples that were sent to learners.", "chunks"),
    "tideline_shard_loads": ("How often the state of a shard was loaded from the store.", "loads"),
    "tideline_deletions": ("Users who were deleted, whether or not anything was stored of them.", "deletions"),
    "tideline_deletions_unreadable": ("Records of the log of deletions that were passed over.", "deletions_unreadable"),
    "tideline_store_set_backs": ("How often the store was found to have gone back in time.", "set_back"),
}


class _WorkerCollector(Collector):
    """Counters and gauges of the partitions that this process has; one series per partition and metric."""

    def __init__(self, scoring: Working, learning: Working, models: LatestModels) -> None:
        self._scoring = scoring
        self._learning = learning
        self._models = models

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
        lag = GaugeMetricFamily("tideline_lag_records", "Records that are still to be read.", labels=_BY_PARTITION)
        users = GaugeMetricFamily("tideline_users", "Users of a shard.", labels=_BY_PARTITION)
        skipped = CounterMetricFamily(
            "tideline_deletions_skipped", "Deletions that are no later than one that was done.", labels=_BY_PARTITION
        )
        for number, partition in sorted(self._scoring.partitions.items()):
            lag.add_metric([str(number)], partition.lag)
            shard = partition.run
            if isinstance(shard, ShardRun) and (counts := _counts(shard)) is not None:
                users.add_metric([str(number)], counts[0])
                skipped.add_metric([str(number)], counts[1])
        yield lag
        yield users
        yield skipped
        behind = GaugeMetricFamily(
            "tideline_learner_lag_chunks", "Chunks that are still to be learned.", labels=_BY_PARTITION
        )
        for number, partition in sorted(self._learning.partitions.items()):
            behind.add_metric([str(number)], partition.lag)
        yield behind
        chunks = CounterMetricFamily(
            "tideline_chunks_refused", "Records of the examples that could not be learned.", labels=_BY_PARTITION
        )
        for number, learner in sorted(self._learning.known_runs().items()):
            if isinstance(learner, LearnerRun):
                chunks.add_metric([str(number)], learner.refused_chunks)
        yield chunks
        refused = CounterMetricFamily("tideline_models_refused", "Models in the log that could not be used.")
        refused.add_metric([], self._models.refused)
        yield refused


def _counts(shard: ShardRun) -> tuple[int, int] | None:
    """Users, and deletions that were skipped since the store was made.

    None where nothing is loaded; its own thread may drop it at any time, also while it is looked at here.
    """
    try:
        return shard.users, shard.deletions_skipped
    except RuntimeError:
        return None
