"""What a prediction waits for, in words: labels, goals, the heuristic, the first windows after it went live."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from config.loader import loads
from models.learner import Learner, prediction_specs
from streams.core.definitions import compile_definitions
from streams.core.state import allocate_population
from streams.core.vocabulary import Vocabulary
from streams.runtime.about import InputFile, Run
from streams.runtime.progress import progress_words, warmup_words
from streams.runtime.replay import Totals
from streams.runtime.report.html import page
from streams.runtime.stored import StoredState
from streams.runtime.summary import PredictionSummary, Summary, summarize
from streams.runtime.transition_log import History

DAY_S = 86_400.0
START_S = datetime(2024, 1, 1, 6, 30, tzinfo=UTC).timestamp()
CATALOG = """
version: 1
name: Waiting
predictions:
  churn_90d: {name: No order for 90 days, kind: churn, goal: {did_not: Order}, window: 90d}
"""


def state_at(clock_s: float) -> StoredState:
    """A store in which nothing was learned yet."""
    catalog = loads(CATALOG)
    vocabulary = Vocabulary(catalog)
    names = vocabulary.feature_names()
    return StoredState(
        catalog=catalog,
        definitions=compile_definitions(catalog, vocabulary),
        vocabulary=vocabulary,
        learner=Learner(prediction_specs(catalog), names),
        snapshot=None,
        population=allocate_population(1),
        user_days=np.zeros(1),
        counters={"events": 5, "looks": 7, "crossings": 3},
        clock_s=clock_s,
        looked_s=clock_s,
        served_epochs=(None,),
        frozen_s=(None,),
        totals=Totals(position=5),
        run=Run((InputFile("d", 5, 1, "x", 1, clock_s, START_S, clock_s),)),
        users=4,
        members={},
    )


def waiting(clock_s: float = START_S + 20 * DAY_S) -> Summary:
    return summarize(state_at(clock_s))


def prediction() -> PredictionSummary:
    return waiting().predictions[0]


def test_before_the_first_labels_their_date_is_told() -> None:
    found = prediction()
    assert found.warmup is not None
    # 2024-01-01 06:30 and 90 days is 2024-03-31 06:30; the labels are handed out at the next whole hour.
    assert found.warmup.first_labels_s == datetime(2024, 3, 31, 7, tzinfo=UTC).timestamp()
    assert warmup_words(found.warmup) == (
        "0 different users have reached the goal (100 are needed); first labels on 2024-03-31"
    )
    words = progress_words(found, START_S + 20 * DAY_S)
    assert words is not None
    assert "first labels on 2024-03-31, when the first windows (90 days) have closed (71 days after the latest" in words
    assert (found.live_since_s, found.first_judged_s) == (None, None)


def test_labels_without_a_goal_are_told() -> None:
    found = prediction()
    assert found.warmup is not None
    words = progress_words(replace(found, warmup=replace(found.warmup, labels=1_234)), START_S + 100 * DAY_S)
    assert words is not None
    assert "labels since 2024-03-31: 1,234, none of them with the goal. Until" in words


def test_a_comparison_that_was_made_is_told() -> None:
    found = prediction()
    assert found.warmup is not None
    warmup = replace(found.warmup, users_with_goal=120, labels=900, model_auc=0.71, heuristic_auc=0.7)
    words = progress_words(replace(found, warmup=warmup), None)
    assert words is not None
    assert words.startswith("warming up: 120 different users have reached the goal (100 are needed), and it does not")
    assert "does not beat the heuristic yet (ROC AUC 0.710 and 0.700). Until" in words
    assert "first labels" not in words


def test_a_prediction_that_went_live_says_when_it_is_judged_first() -> None:
    state = state_at(START_S + 120 * DAY_S)
    learner = state.learner.predictions[0]
    learner.served_from_s = datetime(2024, 4, 20, 12, tzinfo=UTC).timestamp()
    learner.warmup.reason = "beats"
    summary = summarize(state)
    found = summary.predictions[0]
    assert found.warmup is None
    assert found.first_judged_s == datetime(2024, 7, 19, 13, tzinfo=UTC).timestamp()
    words = progress_words(found, summary.clock_s)
    assert words is not None
    assert words.startswith("live since 2024-04-20; what it says is first judged on 2024-07-19, when")


def test_counters_go_by_the_words_of_the_glossary() -> None:
    assert waiting().counters == {"events": 5, "looks": 7, "category_changes": 3}


def test_the_report_shows_what_is_known_before_anything_is_judged() -> None:
    found = page(waiting(), History(0, {}, {}), [])
    for words in (
        "first labels on 2024-03-31",
        "Lift, calibration and quality are missing, because nothing that was said can be judged yet",
        "<h4>Categories</h4>",
        "High risk",
        "<h4>Crossings per 1,000 users and day</h4><p>None: users cross into categories once the prediction is live",
        "Users by score",
    ):
        assert words in found, words
    assert "Can the likelihood be taken" not in found
