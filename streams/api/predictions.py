"""Predictions as the store has them now."""

from __future__ import annotations

from fastapi import FastAPI

from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads, Standings
from streams.api.stored import NothingYet, StoreReads
from streams.api.views import PredictionList, PredictionView
from streams.runtime.stored import StoredState


def add_predictions(app: FastAPI, stored: StoreReads, reads: PredictionReads, authenticator: Authenticator) -> None:
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
        summary="One prediction",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_prediction(prediction_id: str) -> PredictionView:
        return get_prediction(stored, reads, prediction_id)


def list_predictions(stored: StoreReads, reads: PredictionReads) -> PredictionList:
    """All predictions. Raises StoreError, and `Problem` where no worker has told its catalog yet."""
    standings, judged = _found(stored, reads)
    return PredictionList(items=[standings.view(id_, judged) for id_ in standings.ids])


def get_prediction(stored: StoreReads, reads: PredictionReads, prediction_id: str) -> PredictionView:
    """One prediction. Raises NotStored, StoreError, and `Problem` as `list_predictions`."""
    standings, judged = _found(stored, reads)
    return standings.view(prediction_id, judged)


def _found(stored: StoreReads, reads: PredictionReads) -> tuple[Standings, StoredState | None]:
    """Where they stand, and all that the learners know; None where nothing is stored yet."""
    try:
        with stored.reader() as reader:
            shards = stored.shard_states(reader)
            judged = stored.with_learner(reader, shards)
    except NothingYet:
        return reads.standings([]), None
    return reads.standings([state for _, state in shards]), judged
