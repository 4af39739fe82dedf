"""What a worker tells Prometheus, read from its runs at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.runtime.kafka.learning import LearningService
from streams.runtime.kafka.models import ModelsService
from streams.runtime.kafka.scoring import ScoringService
from streams.runtime.learner_run import LearnerRun
from streams.runtime.shard_run import ShardRun

_BY_PARTITION = ("partition",)
# name -> (help, attribute of `streams.runtime.shard_run.Counts`)
_COUNTERS = {
    "tideline_records": ("Records read of a partition by this process.", "records"),
    "tideline_commits": ("Commits of a shard.", "commits"),
    "tideline_transitions": ("Transitions that were published.", "transitions"),
    "tideline_chunks": ("Chunks of labelled examples that were sent to learners.", "chunks"),
    "tideline_shard_loads": ("How often the state of a shard was loaded from the store.", "loads"),
    "tideline_store_set_backs": ("How often the store was found to have gone back in time.", "set_back"),
}


class WorkerCollector(Collector):
    """Counters and gauges of the partitions that this process has; one series per partition and metric."""

    def __init__(self, scoring: ScoringService, learning: LearningService, models: ModelsService) -> None:
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
        for number, partition in sorted(self._scoring.partitions.items()):
            lag.add_metric([str(number)], partition.lag)
            shard = partition.run
            if isinstance(shard, ShardRun) and (count := _users(shard)) is not None:
                users.add_metric([str(number)], count)
        yield lag
        yield users
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


def _users(shard: ShardRun) -> int | None:
    """None where nothing is loaded; its own thread may drop it at any time, also while it is looked at here."""
    try:
        return shard.users
    except RuntimeError:
        return None
