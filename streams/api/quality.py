"""How good a prediction has been: what was said, against what happened, judged before it was known."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from models.examples import KIND_CROSSING, KIND_EVENT, KIND_SILENT, TOUCH_SENT, TOUCH_WITHHELD
from models.quality import UNTOUCHED, Bucket, Figures, Quality, Selection
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.judged_views import JudgedView, judged_view, why_nothing_is_judged
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads
from streams.api.stored import StoreReads
from streams.api.views import time_text
from streams.runtime.past import joined
from streams.runtime.stored import StoredState

MAX_WEEKS = 520
_NO_CAMPAIGNS = "no campaign has sent or withheld a message in the window of a judged moment"

Weeks = Annotated[int, Query(ge=1, le=MAX_WEEKS, description="The latest so many weeks that hold anything.")]


class FiguresView(BaseModel):
    """Figures of some judged moments; null where one has no meaning (say, where nobody reached the goal)."""

    moments: int = Field(description="Judged moments, each counted once.", examples=[9041])
    goals: int = Field(description="Those at which the goal followed within the window.", examples=[611])
    roc_auc: float | None = Field(description="How often one with the goal is ranked above one without.")
    average_precision: float | None
    top_decile_lift: float | None = Field(description="The goal's rate in the best tenth over that of all.")
    lift_quality: float | None = Field(description="0 for a random order, 100 for a perfect one.")
    band: str | None = Field(description="`excellent` from 60, `good` from 40, `fair` from 20, else `poor`.")
    normalized_entropy: float | None = Field(description="Below 1 is better than saying the mean rate to everybody.")
    expected_over_observed: float | None = Field(description="1 is calibrated; above it too much was expected.")


class WeekView(BaseModel):
    """One week of moments: from a Monday, 0:00 UTC."""

    start: str = Field(examples=["2026-05-11T00:00:00Z"])
    served: FiguresView
    baseline: FiguresView


class KindView(BaseModel):
    """One kind of moments."""

    served: FiguresView = Field(description="Of the likelihoods that were served.")
    baseline: FiguresView = Field(
        description="Of the simple rule on the same moments: often and lately. It has no likelihood."
    )
    calibration: list[JudgedView] = Field(description="Up to 20 groups of equal size in rising order of likelihood.")
    weeks: list[WeekView] = Field(description="Oldest first; without those that hold nothing.")


class TouchView(BaseModel):
    """Moments of one group, events and silent ones together."""

    moments: int = Field(description="Judged moments, each counted once.", examples=[412])
    goals: int
    mean_likelihood: float | None = Field(description="What was said at these moments; null where there are none.")
    actual_rate: float | None = Field(description="How often the goal was reached within the window.")
    expected_over_observed: float | None
    calibration: list[JudgedView] = Field(description="Up to 20 groups of equal size in rising order of likelihood.")


class TouchedView(BaseModel):
    """Moments apart by what campaigns did to the user within the window; all null where they did nothing.

    What to compare `treated` with is `withheld`: chance alone has parted these two.
    """

    untouched: TouchView | None = Field(description="No message was sent; those of `withheld` are among them.")
    withheld: TouchView | None = Field(description="One was withheld, for a control group or holdout; none was sent.")
    treated: TouchView | None = Field(description="At least one message was sent.")
    reason: str | None = Field(description="Why there is none.")


class QualityView(BaseModel):
    """All that is known of a prediction's quality. It judges what was served, by what happened afterwards."""

    prediction_id: str = Field(examples=["orders_7d"])
    status: str
    period: str = Field(description="What figures over time are of: quality is kept by week.", examples=["week"])
    served_since: str | None = Field(description="Since when likelihoods are served; null while warming up.")
    learned: int = Field(description="Examples that the model has learned.")
    learned_goals: int
    unserved: int = Field(description="Moments of the warm-up; they are judged in nothing.")
    base_rate: float | None = Field(description="How often the goal was reached, over all judged moments.")
    events: KindView = Field(description="Moments at which a user had just done something.")
    silent: KindView = Field(description="Moments of silence, one a week of each silent user.")
    crossings: KindView = Field(description="Moments at which a user came into another category.")
    by_touch: TouchedView
    not_judged: str | None = Field(description="Why nothing is judged; null where something is.")


def add_quality(app: FastAPI, stored: StoreReads, reads: PredictionReads, authenticator: Authenticator) -> None:
    """Add the route."""

    @app.get(
        "/v1/predictions/{prediction_id}/quality",
        tags=["predictions"],
        operation_id="getQuality",
        summary="How good it has been, over time, and whether likelihoods mean what they say",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def quality(prediction_id: str, weeks: Weeks = 26) -> QualityView:
        return get_quality(stored, reads, prediction_id, weeks)


def get_quality(stored: StoreReads, reads: PredictionReads, prediction_id: str, weeks: int) -> QualityView:
    """Of one prediction, with at most so many weeks. Raises NotStored, `Problem`, StoreError."""
    with stored.reader() as reader:
        states = stored.shard_states(reader)
        judged = stored.with_learner(reader, states)
    standings = reads.standings([state for _, state in states])
    standings.require(prediction_id)
    return _view(prediction_id, standings.status(prediction_id), judged, weeks)


def _view(name: str, status: str, judged: StoredState, weeks: int) -> QualityView:
    p = judged.definitions.prediction_ids.index(name)
    learner = judged.learner.predictions[p]
    both = learner.quality.select()
    return QualityView(
        prediction_id=name,
        status=status,
        period="week",
        served_since=time_text(judged.served_from_s(p)),
        learned=learner.learned,
        learned_goals=learner.goals,
        unserved=both.unserved,
        base_rate=joined(both.categories()).actual_rate,
        events=_kind(learner.quality, KIND_EVENT, weeks),
        silent=_kind(learner.quality, KIND_SILENT, weeks),
        crossings=_kind(learner.quality, KIND_CROSSING, weeks),
        by_touch=_by_touch(learner.quality),
        not_judged=None if both.n else why_nothing_is_judged(judged, p),
    )


def _kind(quality: Quality, kind: int, weeks: int) -> KindView:
    selection = quality.select((kind,))
    filled = [(start_s, week) for start_s, week in quality.by_week((kind,)) if week.n]
    return KindView(
        served=_figures(selection.figures()),
        baseline=_figures(selection.heuristic_figures()),
        calibration=_groups(selection.calibration()),
        weeks=[_week(start_s, week) for start_s, week in filled[-weeks:]],
    )


def _by_touch(quality: Quality) -> TouchedView:
    withheld, treated = quality.select(touches=(TOUCH_WITHHELD,)), quality.select(touches=(TOUCH_SENT,))
    if not withheld.n and not treated.n:
        return TouchedView(untouched=None, withheld=None, treated=None, reason=_NO_CAMPAIGNS)
    untouched = quality.select(touches=UNTOUCHED)
    return TouchedView(untouched=_touch(untouched), withheld=_touch(withheld), treated=_touch(treated), reason=None)


def _touch(selection: Selection) -> TouchView:
    figures, whole = selection.figures(), joined(selection.categories())
    return TouchView(
        moments=figures.n,
        goals=figures.positives,
        mean_likelihood=whole.mean_likelihood,
        actual_rate=whole.actual_rate,
        expected_over_observed=figures.expected_over_observed,
        calibration=_groups(selection.calibration()),
    )


def _groups(buckets: tuple[Bucket, ...]) -> list[JudgedView]:
    return [judged_view(bucket) for bucket in buckets]


def _week(start_s: float, week: Selection) -> WeekView:
    return WeekView(
        start=time_text(start_s) or "",
        served=_figures(week.figures()),
        baseline=_figures(week.heuristic_figures()),
    )


def _figures(figures: Figures) -> FiguresView:
    return FiguresView(
        moments=figures.n,
        goals=figures.positives,
        roc_auc=figures.roc_auc,
        average_precision=figures.average_precision,
        top_decile_lift=figures.top_decile_lift,
        lift_quality=figures.lift_quality,
        band=figures.band,
        normalized_entropy=figures.normalized_entropy,
        expected_over_observed=figures.expected_over_observed,
    )
