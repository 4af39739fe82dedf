"""The dashboard "Predictions": how good they are, how users are spread over them, and what crosses."""

from __future__ import annotations

from tests.dashboards.board import Board, Chart, Query

CHOSEN = '{prediction=~"$prediction"}'


def newest(name: str, *more: str) -> str:
    """Of a gauge that every worker has, or only the one that learns."""
    return f"max by ({', '.join(('prediction', *more))}) ({name}{CHOSEN})"


MODELS = (
    Chart(
        "Status",
        "0 warming up, 1 going live, 2 live.",
        [Query(newest("tideline_model_status"), "{{prediction}}")],
        most=2.0,
    ),
    Chart(
        "Age of the newest model",
        "About one an hour is made while events come.",
        [Query(f"min by (prediction) (tideline_model_age_seconds{CHOSEN})", "{{prediction}}")],
        unit="s",
    ),
    Chart(
        "Warm-up",
        "Users with the goal, of as many as are needed before the model may go live; nothing once it has.",
        [
            Query(
                f"{newest('tideline_warmup_users')} / on (prediction) {newest('tideline_warmup_users_needed')}",
                "{{prediction}}",
            )
        ],
        unit="percentunit",
        most=1.0,
    ),
    Chart(
        "Learned examples",
        "By what came of them.",
        [
            Query(newest("tideline_model_goals"), "{{prediction}}: goal"),
            Query(f"{newest('tideline_model_examples')} - {newest('tideline_model_goals')}", "{{prediction}}: none"),
        ],
    ),
    Chart(
        "Shards behind the newest model",
        "For more than an instant: previews that are frozen, or a shard that stands still.",
        [
            Query(
                f"sum by (prediction) ({newest('tideline_model_version')} - on (prediction) group_right () "
                f"{newest('tideline_shard_model_version', 'partition')} > bool 0)",
                "{{prediction}}",
            )
        ],
    ),
    Chart(
        "Age of the models of shards",
        "Of the shard that has the oldest one of each prediction; far above the newest model's, it is stuck.",
        [Query(newest("tideline_shard_model_age_seconds"), "{{prediction}}")],
        unit="s",
    ),
)
QUALITY = (
    Chart(
        "Area under the ROC curve",
        "Prequential, of the last four weeks: .5 is a random order.",
        [Query(newest("tideline_quality_roc_auc"), "{{prediction}}")],
        most=1.0,
    ),
    Chart(
        "Lift quality",
        "From 60 excellent, from 40 good, from 20 fair.",
        [Query(newest("tideline_quality_lift"), "{{prediction}}")],
        most=100.0,
    ),
    Chart(
        "Expected over observed",
        "1 is right; above it more was promised than came.",
        [Query(newest("tideline_quality_expected_over_observed"), "{{prediction}}")],
        most=2.0,
    ),
    Chart(
        "Normalised entropy",
        "Below 1 is better than knowing the mean rate alone.",
        [Query(newest("tideline_quality_normalized_entropy"), "{{prediction}}")],
        most=1.0,
    ),
    Chart(
        "Judged examples",
        "Those with the goal decide how much the figures mean.",
        [
            Query(newest("tideline_quality_examples"), "{{prediction}}"),
            Query(newest("tideline_quality_goals"), "{{prediction}}: goal"),
        ],
    ),
    Chart(
        "Drift",
        "Population stability index of the likelihoods, since the day before and since going live: .25 is much.",
        [Query(newest("tideline_likelihood_drift", "since"), "{{prediction}} since {{since}}")],
    ),
)
USERS = (
    Chart(
        "Population",
        "Users of the audience by category.",
        [Query(f"tideline:population_users:sum{CHOSEN}", "{{prediction}} {{category}}")],
        kind="stacked",
    ),
    Chart(
        "Transitions by segment",
        "Entries and exits a second.",
        [Query("tideline:transitions:rate5m", "{{segment}} {{direction}}")],
        unit="ops",
    ),
    Chart(
        "Transitions by origin",
        "What users did (live), silence (decay), a newer model, an audience, a definition.",
        [Query("sum by (origin) (rate(tideline_transitions_total[$__rate_interval]))", "{{origin}}")],
        unit="ops",
    ),
)

PREDICTIONS = Board(
    uid="tideline-predictions",
    title="Tideline: Predictions",
    words="How good predictions are, how users are spread over them, and what crosses.",
    rows={"Models": MODELS, "Quality": QUALITY, "Users": USERS},
    variables={"prediction": "tideline_model_version"},
)
