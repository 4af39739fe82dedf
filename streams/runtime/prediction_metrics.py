"""Models, and who has which category, for Prometheus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from config.catalog import Catalog
from models.labels import NEXT, tail_of
from models.quality import Figures
from streams.core.definitions import CATEGORIES
from streams.core.questions import questions_of
from streams.core.shard import Shard
from streams.runtime.judged_figures import JudgedFigures
from streams.runtime.latest_models import LatestModels, model_key

# name -> (help, attribute of `models.snapshot.PredictionSnapshot`)
_OF_MODELS: Final = {
    "tideline_model_version": ("Of the newest model; grows with each.", "version"),
    "tideline_model_examples": ("Examples that the newest model has learned.", "learned"),
    "tideline_model_goals": ("Those of them whose goal happened.", "goals"),
    "tideline_model_status": ("0 warming up, 1 going live, 2 live.", "status"),
}


# name -> (help, of `models.quality.Figures`); prequential: of what was served, judged when the outcome was known.
_OF_FIGURES: Final[Mapping[str, tuple[str, Callable[[Figures], float | None]]]] = {
    "tideline_quality_examples": ("Judged examples of the last four weeks that have some.", lambda found: found.n),
    "tideline_quality_goals": ("Those of them whose goal happened.", lambda found: found.positives),
    "tideline_quality_roc_auc": ("Area under the ROC curve.", lambda found: found.roc_auc),
    "tideline_quality_normalized_entropy": (
        "Log loss by that of the mean rate; below 1 is better than that.",
        lambda found: found.normalized_entropy,
    ),
    "tideline_quality_expected_over_observed": (
        "Sum of the likelihoods by the number of goals.",
        lambda found: found.expected_over_observed,
    ),
    "tideline_quality_lift": (
        "Lift quality, 0 for a random order to 100 for a perfect one.",
        lambda found: found.lift_quality,
    ),
}


def quality_metrics(known: Mapping[str, JudgedFigures]) -> Iterator[Metric]:
    """Of the predictions that are learned here; figures that have no meaning yet are left out."""
    yield from _warm_ups(known)
    judged = {prediction: one for prediction, one in known.items() if one.figures.n}
    for name, (words, of) in _OF_FIGURES.items():
        gauge = GaugeMetricFamily(name, words, labels=("prediction",))
        for prediction, one in sorted(judged.items()):
            if (value := of(one.figures)) is not None:
                gauge.add_metric([prediction], float(value))
        yield gauge
    drift = GaugeMetricFamily(
        "tideline_likelihood_drift",
        "Population stability index of the likelihoods of the audience.",
        labels=("prediction", "since"),
    )
    for prediction, one in sorted(judged.items()):
        for since, value in sorted(one.drift.items()):
            drift.add_metric([prediction, since], value)
    yield drift


def _warm_ups(known: Mapping[str, JudgedFigures]) -> Iterator[Metric]:
    by_prediction = ("prediction",)
    users = GaugeMetricFamily(
        "tideline_warmup_users", "Users with the goal so far, of a prediction that warms up.", labels=by_prediction
    )
    needed = GaugeMetricFamily(
        "tideline_warmup_users_needed", "How many it needs before its model is compared.", labels=by_prediction
    )
    for prediction, one in sorted(known.items()):
        if one.warming_up is not None:
            users.add_metric([prediction], one.warming_up.users)
            needed.add_metric([prediction], one.warming_up.needed)
    yield users
    yield needed


def model_metrics(models: LatestModels, now_s: float) -> Iterator[Metric]:
    """The newest model of every prediction, as this process knows it. `now_s`: wall clock."""
    newest = {name: one.predictions[0] for name, one in sorted(models.by_prediction().items())}
    for name, (words, attribute) in _OF_MODELS.items():
        gauge = GaugeMetricFamily(name, words, labels=("prediction",))
        for prediction, model in newest.items():
            gauge.add_metric([prediction], float(getattr(model, attribute)))
        yield gauge
    age = GaugeMetricFamily("tideline_model_age_seconds", "Since the newest model was made.", labels=("prediction",))
    for prediction, taken_s in sorted(models.taken_s().items()):
        age.add_metric([prediction], max(0.0, now_s - taken_s))
    yield age


class LoadedShard(NamedTuple):
    """A shard, and the catalog under which it stands."""

    shard: Shard
    catalog: Catalog

    def learns(self) -> dict[str, bool]:
        """Prediction -> whether examples of it are made: not of one that is archived, nor of a frozen preview."""
        predictions, frozen_at_s = self.catalog.predictions, self.shard.frozen_at_s
        return {
            name: math.isnan(frozen_at_s[p]) and not (name in predictions and predictions[name].archived)
            for p, name in enumerate(self.shard.definitions.prediction_ids)
        }


def learning_metrics(shards: Mapping[int, LoadedShard], models: LatestModels, now_s: float) -> Iterator[Metric]:
    """Which predictions are learned of the shards that are loaded, and how old the models are that these score by.

    `now_s`: wall clock.
    """
    learns = GaugeMetricFamily(
        "tideline_prediction_learns", "0 if no shard here makes examples of it.", labels=("prediction",)
    )
    age = GaugeMetricFamily(
        "tideline_shard_model_age_seconds",
        "Since the log took the model that a shard scores by.",
        labels=("partition", "prediction"),
    )
    known: dict[str, bool] = {}
    asked = {id(loaded.catalog): questions_of(loaded.catalog) for loaded in shards.values()}  # mostly one for all
    for number, loaded in sorted(shards.items()):
        questions = asked[id(loaded.catalog)]
        for p, (prediction, is_learned) in enumerate(loaded.learns().items()):
            known[prediction] = known.get(prediction, False) or is_learned
            model = loaded.shard.snapshot.predictions[p]
            if not is_learned or not model.version or prediction not in questions:
                continue
            since_s = models.taken_since_s(model_key(questions[prediction], prediction), model.age)
            if since_s is not None:
                age.add_metric([str(number), prediction], max(0.0, now_s - since_s))
    for prediction, is_learned in sorted(known.items()):
        learns.add_metric([prediction], is_learned)
    yield learns
    yield age


def shard_metrics(shards: Mapping[int, Shard]) -> Iterator[Metric]:
    """Of the shards that are loaded; their own threads may work them meanwhile."""
    version = GaugeMetricFamily(
        "tideline_shard_model_version", "Of the model that a shard scores by.", labels=("partition", "prediction")
    )
    waits = GaugeMetricFamily(
        "tideline_pending_examples_age_seconds",
        "How far the oldest example that waits for its label is behind the clock of its shard.",
        labels=("partition",),
    )
    users: Counter[tuple[str, str]] = Counter()
    for number, shard in sorted(shards.items()):
        categories = shard.population.categories
        for p, prediction in enumerate(shard.definitions.prediction_ids):
            version.add_metric([str(number), prediction], float(shard.snapshot.predictions[p].version))
            for category, word in enumerate(CATEGORIES):
                users[prediction, word] += int(categories[p, category])
        waits.add_metric([str(number)], oldest_pending_s(shard))
    yield version
    yield waits
    population = GaugeMetricFamily(
        "tideline_population_users",
        "Users of a prediction's audience who have a category.",
        labels=("prediction", "category"),
    )
    for key, number in sorted(users.items()):
        population.add_metric(key, number)
    yield population


def oldest_pending_s(shard: Shard) -> float:
    """How long, in the time of events, the oldest pending example has waited; 0 for none."""
    pending, tail = shard.pending, int(tail_of(shard.sealed["pending"]))
    if tail == pending.n[NEXT]:
        return 0.0
    return max(0.0, shard.clock_s - float(pending.time_s[tail % len(pending.time_s)]))
