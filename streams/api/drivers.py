"""What raises and lowers the likelihood of a prediction, over all users."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from models.snapshot import Status
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.judged_views import latest_model
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads, Standings
from streams.api.stored import StoreReads
from streams.runtime.drivers import Driver, drivers_of, likelihood_at_means
from streams.runtime.stored import StoredState

_WARMING = "the prediction warms up: its model is not in use yet"
_NO_WEIGHTS = "the model is not a logistic regression of Tideline's own, so it has no weights that could be told"

Limit = Annotated[int, Query(ge=1, le=200, description="At most so many, the strongest.")]


class DriverView(BaseModel):
    """One feature, with all others held fast."""

    feature: str = Field(description="Its name for machines.", examples=["count:Order Completed:7d"])
    words: str = Field(description="What much of it is.", examples=["Order Completed in about the last 7 days: many"])
    direction: Literal["raises", "lowers"] = Field(description="What much of it does to the likelihood.")
    strength: float = Field(
        description="What one standard deviation more adds to the logit, or takes from it.", examples=[0.42]
    )
    odds_factor: float = Field(description="So much it multiplies the odds by.", examples=[1.52])


class DriversView(BaseModel):
    """What a model looks at."""

    prediction_id: str = Field(examples=["orders_7d"])
    status: str
    model_version: int = Field(description="As in transitions.")
    likelihood_at_means: float | None = Field(description="Of somebody who is at the mean in everything.")
    drivers: list[DriverView] | None = Field(description="The strongest first.")
    reason: str | None = Field(description="Why there are none.")


def add_drivers(app: FastAPI, stored: StoreReads, reads: PredictionReads, authenticator: Authenticator) -> None:
    """Add the route."""

    @app.get(
        "/v1/predictions/{prediction_id}/drivers",
        tags=["predictions"],
        operation_id="getDrivers",
        summary="What raises and lowers the likelihood",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def drivers(prediction_id: str, limit: Limit = 20) -> DriversView:
        return get_drivers(stored, reads, prediction_id, limit)


def get_drivers(stored: StoreReads, reads: PredictionReads, prediction_id: str, limit: int) -> DriversView:
    """Of one prediction, at most so many. Raises NotStored, `Problem`, StoreError."""
    with stored.reader() as reader:
        states = stored.shard_states(reader)
        judged = stored.with_learner(reader, states)
    standings = reads.standings([state for _, state in states])
    standings.require(prediction_id)
    return _view(prediction_id, standings, judged, limit)


def _view(name: str, standings: Standings, judged: StoredState, limit: int) -> DriversView:
    p = judged.definitions.prediction_ids.index(name)
    model = latest_model(standings.states, name)
    view = DriversView(
        prediction_id=name,
        status=standings.status(name),
        model_version=0 if model is None else model.version,
        likelihood_at_means=None,
        drivers=None,
        reason=_WARMING,
    )
    if model is None or model.status == Status.WARMING:
        return view
    found = drivers_of(judged, model, p, limit)
    if found is None:
        return view.model_copy(update={"reason": _NO_WEIGHTS})
    shown = {"drivers": [_driver(each) for each in found], "likelihood_at_means": likelihood_at_means(model)}
    return view.model_copy(update={**shown, "reason": None})


def _driver(found: Driver) -> DriverView:
    return DriverView(
        feature=found.feature,
        words=found.words,
        direction=found.direction,
        strength=abs(found.effect),
        odds_factor=math.exp(min(found.effect, 700.0)),
    )
