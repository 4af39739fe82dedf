"""What a run has come to, as one typed value: for tables, for `--json` and for the HTML report alike.

Everything here is computed from what the store holds, so it says the same whoever asks and whenever: after a run,
after an interruption, or months later. All quality is prequential (models/quality.py): it judges what was served.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from config.catalog import (
    Catalog,
    CategoryFilter,
    LikelihoodFilter,
    Prediction,
    ScoreFilter,
    SegmentFilter,
    category_names,
    walk,
)
from config.durations import HOUR_S
from models.examples import KIND_EVENT, KIND_SILENT
from models.jit import F64, I64
from models.learner import PredictionLearner
from models.metrics import Ranking
from models.quality import Bucket, Figures, Quality, Selection
from models.scales import percentile_table
from models.snapshot import BINS, Z_MAX, Z_MIN, Status
from streams.core.definitions import CATEGORIES
from streams.core.state import (
    BY_EVENT,
    BY_GOAL,
    BY_OTHER,
    BY_SILENCE,
    ENTERED,
    JUDGED,
    REACHED,
    UNDONE_DAY,
    UNDONE_WEEK,
)
from streams.runtime.missing import MissingEvent, missing_events
from streams.runtime.stored import StoredState

__all__ = [
    "KINDS",
    "Category",
    "Causes",
    "Entries",
    "Group",
    "Judged",
    "MissingEvent",
    "PredictionSummary",
    "ScoreBucket",
    "SegmentSummary",
    "Summary",
    "Warmup",
    "Week",
    "summarize",
]

BUCKETS: Final = 20
CURVE_POINTS: Final = 100
KINDS: Final = {"events": KIND_EVENT, "silent": KIND_SILENT}
"""The two kinds of moments, which are judged apart: the user has just done something, or is silent."""
COUNTER_NAMES: Final = {"crossings": "category_changes"}
"""What the core's counters are called outside of it. It counts users who change category, and calls that a crossing;
for people a crossing is a transition that went out (docs/glossary.md), and of those one change makes two."""
_STATUS: Final = {Status.WARMING: "warming up", Status.BUILDING: "going live", Status.LIVE: "live"}


@dataclass(frozen=True, slots=True)
class Warmup:
    """How far the warm-up is; counted up to ten times `needed`."""

    users_with_goal: int
    needed: int
    model_auc: float | None
    """Of the latest comparison with the heuristic; None before the first one."""
    heuristic_auc: float | None
    labels: int
    """Outcomes that are known."""
    first_labels_s: float | None
    """When the first outcomes are known, at the earliest: nothing can be counted before. None before any event."""


@dataclass(frozen=True, slots=True)
class Causes:
    """One number for each reason why a user came into a category."""

    goal: float
    """An event that is part of this prediction's own goal."""
    event: float
    """Any other event."""
    silence: float
    model: float
    """A new model, or the prediction's going live."""


@dataclass(frozen=True, slots=True)
class Entries:
    """How users came into one category of a live prediction, from another one.

    All but `entered` and `per_1000_users_and_day` is about goal, other event and silence together: those crossings
    tell something about the user.
    """

    entered: Causes
    per_1000_users_and_day: Causes | None
    """Of 1,000 users in the audience; None as long as the prediction was not live."""
    undone_within_day: float | None
    """Share of the entries that were left again within a day."""
    undone_within_week: float | None
    judged: int
    """Entries whose window has closed."""
    reached_goal: int
    reached_goal_rate: float | None


@dataclass(frozen=True, slots=True)
class Category:
    """One category; rate and mean likelihood are of all judged moments of users who were in it."""

    id: str
    name: str
    low: float
    """Its range of scores is [low, high); a user leaves it only some points outside (hysteresis)."""
    high: float
    users: int
    share: float | None
    """Of the audience now."""
    judged: float
    """Weight of the judged moments."""
    mean_likelihood: float | None
    actual_rate: float | None
    entries: Entries


@dataclass(frozen=True, slots=True)
class Judged:
    """One kind of moments: what was served, the heuristic on the same moments, and curves of what was served."""

    tideline: Figures
    heuristic: Figures
    lift: tuple[tuple[float, float], ...]
    """(share of the audience, best first; share of all goals in it)"""
    calibration: tuple[Group, ...]
    weeks: tuple[Week, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Moments of about the same likelihood."""

    weight: float
    mean_likelihood: float
    actual_rate: float


@dataclass(frozen=True, slots=True)
class Week:
    """The moments of one week (from Monday, UTC)."""

    start_s: float
    n: int
    positives: int
    roc_auc: float | None
    heuristic_roc_auc: float | None
    expected_over_observed: float | None


@dataclass(frozen=True, slots=True)
class ScoreBucket:
    """Five points of score. Users are those of now; the rest is of all judged moments with such a score."""

    low: float
    high: float
    users: int
    judged: float
    mean_likelihood: float | None
    actual_rate: float | None


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """One prediction."""

    id: str
    name: str
    kind: str
    score_name: str
    window_s: float
    scale: str
    access: str
    status: str
    warmup: Warmup | None
    """None once it is over."""
    live_since_s: float | None
    """Since when likelihoods are served (within two hours); None while warming up."""
    first_judged_s: float | None
    """When the outcome of the first one that was served is known; None while warming up."""
    learned: int
    """Examples learned."""
    learned_goals: int
    audience: int
    """Users with a score now."""
    base_rate: float | None
    """How often the goal was reached, over all judged moments."""
    user_days: float
    categories: tuple[Category, ...]
    judged: dict[str, Judged]
    """events and silent"""
    unserved: int
    """Moments with a known outcome from the time of the warm-up, which are not judged."""
    buckets: tuple[ScoreBucket, ...]


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment of the catalog or of a category."""

    id: str
    name: str
    members: int
    hysteresis: float | None
    """Points outside of its range of scores at which a member still stays; None if it has no such range."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run."""

    catalog: str
    rows: int
    """Records read."""
    users: int
    clock_s: float | None
    """Latest event time, seconds since 1970 UTC."""
    first_time_s: float | None
    transitions: int | None
    """So far; None for workers, who only count those of their own time."""
    dead_letters: dict[str, int]
    """Of workers: those that the store still has."""
    counters: dict[str, int]
    """What the core has counted, by the names of COUNTER_NAMES."""
    predictions: tuple[PredictionSummary, ...]
    segments: tuple[SegmentSummary, ...]
    missing_events: tuple[MissingEvent, ...]


def summarize(state: StoredState) -> Summary:
    """The summary of a stored state. Pure."""
    definitions = state.definitions
    return Summary(
        catalog=state.catalog.name,
        rows=state.totals.position,
        users=state.users,
        clock_s=None if math.isnan(state.clock_s) else state.clock_s,
        first_time_s=None if state.run is None else state.run.first_time_s,
        transitions=None if state.run is None else state.totals.transitions,
        dead_letters=dict(sorted(state.totals.dead_letters.items(), key=lambda pair: (-pair[1], pair[0]))),
        counters={COUNTER_NAMES.get(name, name): number for name, number in state.counters.items()},
        predictions=tuple(
            _prediction(state, p, name, prediction)
            for p, (name, prediction) in enumerate(state.catalog.predictions.items())
        ),
        segments=tuple(
            SegmentSummary(name, words, state.members.get(name, 0), score_hysteresis(state.catalog, name))
            for name, words in zip(definitions.segment_ids, definitions.segment_names, strict=True)
        ),
        missing_events=missing_events(state.catalog, state.totals.unseen or (), state.vocabulary.event_names()),
    )


def edges_of(summary: Summary) -> dict[str, tuple[float, ...]]:
    """Of every prediction the lowest scores of its categories."""
    return {
        prediction.id: tuple(category.low for category in prediction.categories) for prediction in summary.predictions
    }


def status_word(prediction: Prediction, status: Status) -> str:
    """`live`, `warming up` and so on; for predictions that may only be looked at, what that means; or `archived`."""
    access = prediction.access
    if prediction.archived:
        return "archived"
    if access == "live":
        return _STATUS[status]
    return f"{access} (scores shown, not targetable)" if status == Status.LIVE else f"{access}, {_STATUS[status]}"


def predictions_of_segment(catalog: Catalog, segment_id: str) -> tuple[str, ...]:
    """The predictions on which a segment rests, also through other segments; it is empty while one is not live."""
    prediction, dot, _ = segment_id.partition(".")
    if dot:
        return (prediction,)
    used: dict[str, None] = {}
    for node in walk(catalog.segments[segment_id].filter):
        if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter):
            used[node.prediction] = None
        elif isinstance(node, SegmentFilter):
            used.update(dict.fromkeys(predictions_of_segment(catalog, node.segment)))
    return tuple(used)


def score_hysteresis(catalog: Catalog, segment_id: str) -> float | None:
    """So many points outside of its range of scores a member stays in a segment; None if it has no such range.

    The largest, for segments with several ranges; not that of segments which it refers to.
    """
    segment = catalog.segments.get(segment_id)
    if segment is None:
        return None
    ranges = [node for node in walk(segment.filter) if isinstance(node, ScoreFilter)]
    return max((catalog.predictions[node.prediction].hysteresis for node in ranges), default=None) or None


def _prediction(state: StoredState, p: int, name: str, prediction: Prediction) -> PredictionSummary:
    learner = state.learner.predictions[p]
    both = learner.quality.select()
    status = Status.WARMING if state.snapshot is None else state.snapshot.predictions[p].status
    return PredictionSummary(
        id=name,
        name=prediction.name,
        kind=prediction.kind,
        score_name=score_name(prediction),
        window_s=prediction.window_s,
        scale=prediction.scale,
        access=prediction.access,
        status=status_word(prediction, status),
        warmup=warmup_of(state, p),
        live_since_s=state.served_from_s(p),
        first_judged_s=first_judged_s(state, p),
        learned=learner.learned,
        learned_goals=learner.goals,
        audience=int(state.population.counts[p].sum()),
        base_rate=_base_rate(both),
        user_days=float(state.user_days[p]),
        categories=tuple(_categories(state, p, prediction, both)),
        judged={kind: _judged(learner.quality, code) for kind, code in KINDS.items()},
        unserved=both.unserved,
        buckets=tuple(_score_buckets(_users_per_bucket(state, p, prediction), both.score_buckets())),
    )


def warmup_of(state: StoredState, p: int) -> Warmup | None:
    """How far prediction number `p` is in its warm-up; None once it is over."""
    learner: PredictionLearner = state.learner.predictions[p]
    if learner.warmup.left:
        return None
    latest = learner.warmup.comparison
    return Warmup(
        users_with_goal=learner.warmup.goal_users,
        needed=learner.warmup.min_goals,
        model_auc=None if latest is None else latest.model_auc,
        heuristic_auc=None if latest is None else latest.heuristic_auc,
        labels=learner.learned,
        first_labels_s=_first_labels_s(state, p),
    )


def score_name(prediction: Prediction) -> str:
    """What people call the score: for churn the higher is the worse."""
    return "Churn Risk Score" if prediction.kind == "churn" else "Score"


def edges(prediction: Prediction) -> tuple[float, float, float, float]:
    """The borders of the categories from 0 to 100."""
    return 0.0, prediction.categories.medium, prediction.categories.high, 100.0


def _first_labels_s(state: StoredState, p: int) -> float | None:
    """When the outcomes of the moments of the very first event are known."""
    if state.run is None or state.run.first_time_s is None:
        return None
    return _known_at_s(state, list(state.catalog.predictions.values())[p], state.run.first_time_s)


def first_judged_s(state: StoredState, p: int) -> float | None:
    """When the outcome of the first likelihood that prediction number `p` served is known; None while warming up."""
    served_s = state.served_from_s(p)
    return None if served_s is None else _known_at_s(state, list(state.catalog.predictions.values())[p], served_s)


def _known_at_s(state: StoredState, prediction: Prediction, moment_s: float) -> float:
    """The first whole hour after the window of a moment (docs/core.md)."""
    return (math.floor((moment_s + prediction.window_s + state.catalog.time.lateness_s) / HOUR_S) + 1.0) * HOUR_S


def _base_rate(selection: Selection) -> float | None:
    buckets = [bucket for bucket in selection.categories() if bucket.actual_rate is not None]
    weight = sum(bucket.weight for bucket in buckets)
    if not weight:
        return None
    return sum(bucket.weight * (bucket.actual_rate or 0.0) for bucket in buckets) / weight


# --- categories --------------------------------------------------------------------------------------------------


def _categories(state: StoredState, p: int, prediction: Prediction, both: Selection) -> Iterator[Category]:
    users = state.population.categories[p].tolist()
    words = category_names(prediction.kind)
    for k, (name, bucket) in enumerate(zip(CATEGORIES, both.categories(), strict=True)):
        yield Category(
            id=name,
            name=words[k],
            low=edges(prediction)[k],
            high=edges(prediction)[k + 1],
            users=users[k],
            share=_share(users[k], sum(users)),
            judged=bucket.weight,
            mean_likelihood=bucket.mean_likelihood,
            actual_rate=bucket.actual_rate,
            entries=_entries(state.population.crossings[p, k], float(state.user_days[p])),
        )


def entries_of(state: StoredState, p: int) -> tuple[Entries, ...]:
    """How users came into each category of prediction number `p`, from low to high; `state` of all shards together."""
    user_days = float(state.user_days[p])
    return tuple(_entries(state.population.crossings[p, k], user_days) for k in range(len(CATEGORIES)))


def _entries(counts: I64, user_days: float) -> Entries:
    """From [causes, STATS_SIZE]."""
    told = counts[[BY_GOAL, BY_EVENT, BY_SILENCE]].sum(axis=0)
    entered, judged, reached = int(told[ENTERED]), int(told[JUDGED]), int(told[REACHED])
    by_cause = counts[[BY_GOAL, BY_EVENT, BY_SILENCE, BY_OTHER], ENTERED]
    return Entries(
        entered=Causes(*by_cause.tolist()),
        per_1000_users_and_day=Causes(*(1000.0 * by_cause / user_days).tolist()) if user_days > 0.0 else None,
        undone_within_day=_share(int(told[UNDONE_DAY]), entered),
        undone_within_week=_share(int(told[UNDONE_WEEK]), entered),
        judged=judged,
        reached_goal=reached,
        reached_goal_rate=_share(reached, judged),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# --- quality ------------------------------------------------------------------------------------------------------


def _judged(quality: Quality, kind: int) -> Judged:
    selection = quality.select((kind,))
    return Judged(
        tideline=selection.figures(),
        heuristic=selection.heuristic_figures(),
        lift=_lift_curve(selection.ranking),
        calibration=tuple(_groups(selection.calibration())),
        weeks=tuple(_week(start_s, week) for start_s, week in quality.by_week((kind,)) if week.n),
    )


def _lift_curve(ranking: Ranking) -> tuple[tuple[float, float], ...]:
    shares = [k / CURVE_POINTS for k in range(CURVE_POINTS + 1)]
    gains = [ranking.gain(share) for share in shares]
    return tuple((share, gain) for share, gain in zip(shares, gains, strict=True) if gain is not None)


def _groups(buckets: tuple[Bucket, ...]) -> Iterator[Group]:
    for bucket in buckets:
        if bucket.mean_likelihood is not None and bucket.actual_rate is not None:
            yield Group(bucket.weight, bucket.mean_likelihood, bucket.actual_rate)


def _week(start_s: float, selection: Selection) -> Week:
    served = selection.figures()
    return Week(
        start_s=start_s,
        n=served.n,
        positives=served.positives,
        roc_auc=served.roc_auc,
        heuristic_roc_auc=selection.heuristic_figures().roc_auc,
        expected_over_observed=served.expected_over_observed,
    )


# --- the population over the score ----------------------------------------------------------------------------------


def _users_per_bucket(state: StoredState, p: int, prediction: Prediction) -> I64:
    """Users of the audience per bucket of five points, int64[BUCKETS], from the bins of their rank values."""
    counts = state.population.counts[p]
    score = _score_of_bins(state, p, prediction)
    bucket = np.clip((score * (BUCKETS / 100.0)).astype(np.int64), 0, BUCKETS - 1)
    return np.bincount(bucket, weights=counts, minlength=BUCKETS).astype(np.int64)


def _score_of_bins(state: StoredState, p: int, prediction: Prediction) -> F64:
    # Until a prediction is live, its rank values are the heuristic's: no logits, and scores are percentiles.
    is_served = state.snapshot is not None and state.snapshot.predictions[p].status != Status.WARMING
    if is_served and prediction.scale == "probability":
        middle = Z_MIN + (np.arange(BINS) + 0.5) * (Z_MAX - Z_MIN) / BINS
        score: F64 = 100.0 / (1.0 + np.exp(-middle))
        return score
    # Ranked in the audience of now, which is what the next snapshot will do.
    ranked: F64 = percentile_table(state.population.counts[p : p + 1])[0]
    return ranked


def _score_buckets(users: I64, judged: tuple[Bucket, ...]) -> Iterator[ScoreBucket]:
    width = 100.0 / BUCKETS
    for k, (count, bucket) in enumerate(zip(users.tolist(), judged, strict=True)):
        yield ScoreBucket(k * width, (k + 1) * width, count, bucket.weight, bucket.mean_likelihood, bucket.actual_rate)
