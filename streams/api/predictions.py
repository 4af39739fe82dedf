"""Predictions as the store has them now."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, Field

from streams.api.auth import Authenticator, access
from streams.api.daily import Daily, DayView, compared, day_view
from streams.api.document import problems
from streams.api.judged_views import latest_model
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads, Standings
from streams.api.stored import NothingYet, StoreReads
from streams.api.views import PredictionList, PredictionView, time_text
from streams.runtime.stored import StoredState


class ModelView(BaseModel):
    """The model that is in force."""

    version: int = Field(description="Grows with every one; 0 before the first.")
    learned: int = Field(description="Examples that it was learned from.")
    learning_since: str | None = Field(
        description="Since when it learns without a break; null where that is not known."
    )


class PredictionDetail(PredictionView):
    """One prediction, with its model and what it expected on earlier days."""

    model: ModelView | None = Field(description="null before the first.")
    days: list[DayView] = Field(
        description="What it expected, counted by the API once a day (UTC) while it is live, the oldest first; "
        "without days on which it asked something else."
    )
    week_ago: DayView | None = Field(description="The one of these that is nearest to a week ago, within half a day.")
    comparable_from: str | None = Field(description="When there will be one; null where there is, or no day is kept.")


def add_predictions(
    app: FastAPI, stored: StoreReads, reads: PredictionReads, daily: Daily, authenticator: Authenticator
) -> None:
    """Add the routes of predictions."""

    @app.get(
        "/v1/predictions",
        tags=["predictions"],
        operation_id="listPredictions",
        summary="All predictions, with their audiences",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_predictions() -> PredictionList:
        return list_predictions(stored, reads)

    @app.get(
        "/v1/predictions/{prediction_id}",
        tags=["predictions"],
        operation_id="getPrediction",
        summary="One prediction, its model, and what it expected on earlier days",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_prediction(prediction_id: str) -> PredictionDetail:
        return get_detail(stored, reads, daily, prediction_id)


def list_predictions(stored: StoreReads, reads: PredictionReads) -> PredictionList:
    """All predictions. Raises StoreError, and `Problem` where no worker has told its catalog yet."""
    standings, judged = _found(stored, reads)
    return PredictionList(items=[standings.view(id_, judged) for id_ in standings.ids])


def get_prediction(stored: StoreReads, reads: PredictionReads, prediction_id: str) -> PredictionView:
    """One prediction. Raises NotStored, StoreError, and `Problem` as `list_predictions`."""
    standings, judged = _found(stored, reads)
    return standings.view(prediction_id, judged)


def get_detail(stored: StoreReads, reads: PredictionReads, daily: Daily, prediction_id: str) -> PredictionDetail:
    """The same with its model and days. Raises as `get_prediction`."""
    standings, judged = _found(stored, reads)
    view = standings.view(prediction_id, judged)
    days = daily.days(prediction_id) if standings.states else []
    comparison = compared(days, daily.now_s())
    return PredictionDetail(
        **view.model_dump(),
        model=model_view(standings, prediction_id),
        days=[day_view(line) for line in days],
        week_ago=None if comparison.week_ago is None else day_view(comparison.week_ago),
        comparable_from=time_text(comparison.from_s),
    )


def model_view(standings: Standings, prediction_id: str) -> ModelView | None:
    """The latest model that a shard has in force; None before the first."""
    model = latest_model(standings.states, prediction_id)
    if model is None:
        return None
    return ModelView(version=model.version, learned=model.learned, learning_since=time_text(model.begun_s or None))


def _found(stored: StoreReads, reads: PredictionReads) -> tuple[Standings, StoredState | None]:
    """Where they stand, and all that the learners know; None where nothing is stored yet."""
    try:
        with stored.reader() as reader:
            shards = stored.shard_states(reader)
            judged = stored.with_learner(reader, shards)
    except NothingYet:
        return reads.standings([]), None
    return reads.standings([state for _, state in shards]), judged
